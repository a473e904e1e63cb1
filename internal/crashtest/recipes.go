package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// A recipe leads a process to some of the points: what comes before it, and what it is told.
type recipe struct {
	name    string
	nature  func(*rand.Rand) nature
	prepare func(context.Context, *history) error // nil: the database is new
	job     func(*job)                            // nil: the process restores
	rebuild func(*history) (*rebuild, error)
}

var recipes = []recipe{
	{name: "a new database", nature: plain, job: func(j *job) {}},
	{name: "opened after a kill", nature: plain, prepare: written, job: func(j *job) {}},
	{name: "every commit a segment", nature: plain, job: func(j *job) { j.Remote, j.Steps, j.Sessions = true, 350, 1 }},
	{name: "a log that grows", nature: plain, job: func(j *job) {
		// The log is left to the checkpointer, and commits come while it is at it.
		j.RingBytes, j.CheckpointBytes, j.Steps, j.Sessions, j.Synchronous, j.CacheSize = 1<<20, 1<<20, 200, 1, "FULL", 8
		j.LeaveLog = true
	}},
	{name: "outages with a short log", nature: plain, prepare: written, job: func(j *job) {
		j.RingBytes, j.MaxWAL, j.CheckpointBytes, j.Steps, j.Store.OffMS = 1<<20, 1<<20, 1<<20, 100, 100
	}},
	{name: "closed and opened again in an outage", nature: plain, job: func(j *job) { j.Store.Offline = true }},
	{name: "a store that fails", nature: plain, job: func(j *job) { j.Store.Faults = 0.5 }},
	{name: "the first snapshot's acknowledgement is lost", nature: plain, job: func(j *job) { j.Store.LostSnapshot = true }},
	{name: "a rollback journal", nature: journal, job: func(j *job) { j.RingBytes = 1 << 20 }},
	{name: "a new log after a rollback journal", nature: journal, prepare: written, job: func(j *job) { j.Journal = "WAL" }},
	{name: "locking_mode=EXCLUSIVE", nature: plain, job: func(j *job) { j.Exclusive = true }},
	{name: "the state folder is gone", nature: plain, prepare: stateless, job: func(j *job) {}},
	{name: "power was lost", nature: plain, prepare: cut, job: func(j *job) {}},
	{name: "the database is gone", nature: plain, prepare: gone, job: func(j *job) { j.IfMissing = true }},
	{name: "restore", nature: plain, prepare: shipped, rebuild: restoreBeside},
	{name: "restore over a database", nature: plain, prepare: shipped, rebuild: restoreOver},
}

// plain is a database in WAL mode that gets a thousand frames soon.
func plain(r *rand.Rand) nature {
	return nature{pageSize: 1024 << r.IntN(3), autoVacuum: r.IntN(3), journals: []string{"WAL"}}
}

func journal(r *rand.Rand) nature {
	return nature{pageSize: 4096, autoVacuum: r.IntN(3), journals: rollbackModes}
}

// small makes a job that does little, twice, and ends.
func small(j *job) {
	j.Exclusive, j.Remote, j.AppCheckpoints, j.AutoCheckpoint = false, false, false, 0
	j.RingBytes, j.MaxWAL, j.CheckpointBytes, j.Store = 0, 0, 0, weather{Seed: j.Seed}
	j.Sessions, j.Steps, j.AskFirst = 2, 60, false
}

// written is a database whose process was killed in the middle of it.
func written(ctx context.Context, h *history) error {
	_, err := h.incarnation(ctx, h.jobs(func(j *job) { small(j); j.Sessions = 0 }), end{event: 40 + h.r.IntN(200)})
	return err
}

// shipped is a database whose process was killed, and whose replica has something to restore.
func shipped(ctx context.Context, h *history) error {
	if err := closedWell(ctx, h); err != nil {
		return err
	}
	return written(ctx, h)
}

// closedWell is a database that was closed.
func closedWell(ctx context.Context, h *history) error {
	_, err := h.incarnation(ctx, h.jobs(small), end{})
	return err
}

func stateless(ctx context.Context, h *history) error {
	if err := closedWell(ctx, h); err != nil {
		return err
	}
	h.dbs[0].newWriter = true
	return os.RemoveAll(statePath(h.dbs[0].dir))
}

// gone is a database of which nothing is left but the replica.
func gone(ctx context.Context, h *history) error {
	if err := closedWell(ctx, h); err != nil {
		return err
	}
	h.dbs[0].newWriter = true // the restored file isn't the one that the state folder knows, until a process has attached
	if err := removeDatabase(databasePath(h.dbs[0].dir)); err != nil {
		return err
	}
	h.dbs[0].isGone = true
	return nil
}

// cut is a database that lost transactions which its replica has, and whose machine was started again.
func cut(ctx context.Context, h *history) error {
	d := h.dbs[0]
	for range tries {
		if err := written(ctx, h); err != nil {
			return err
		}
		if d.held.last() == 0 {
			continue
		}
		isCut, err := d.losePower(ctx, func(floor, _ int64) int64 { return floor })
		if err != nil {
			return err
		}
		if !isCut {
			continue
		}
		d.isReboot = true
		if err := d.reboot(); err != nil {
			return err
		}
		if d.local.last() > 0 && d.local.last() < d.held.last() {
			return nil
		}
	}
	return fmt.Errorf("power was lost %d times, and no transaction with it", tries)
}

// prepared does what comes before the process that the recipe is about.
func (r *recipe) prepared(ctx context.Context, h *history) error {
	if r.prepare == nil {
		return nil
	}
	if err := r.prepare(ctx, h); err != nil {
		return fmt.Errorf("preparing: %w", err)
	}
	return nil
}

// target runs the process that the recipe is about, and checks what it leaves.
func (r *recipe) target(ctx context.Context, h *history, e end) (killed bool, err error) {
	if r.rebuild == nil {
		return h.live(ctx, h.jobs(func(j *job) { small(j); r.job(j) }), e)
	}
	o, err := r.rebuild(h)
	if err != nil {
		return false, err
	}
	log := logPath(h.dir, h.processes)
	h.processes++
	if _, killed, err = incarnate(ctx, h.exe, log, orders{Restore: o}, e); err != nil {
		return killed, err
	}
	return killed, h.dbs[0].checkRebuilt(ctx, o, killed)
}

// kill kills the process that the recipe is about, and lets its database go on to a good end.
func (r *recipe) kill(ctx context.Context, exe, dir string, seed uint64, e end) (killed bool, s Stats, err error) {
	h, err := newHistory(exe, dir, seed, 1, r.nature)
	if err != nil {
		return false, s, err
	}
	if err := r.prepared(ctx, h); err != nil {
		return false, h.stats, err
	}
	killed, err = r.target(ctx, h, e)
	if err == nil {
		if killed {
			h.stats.Points++
		}
		err = h.finish(ctx)
	}
	return killed, h.stats, err
}

func restoreBeside(h *history) (*rebuild, error) {
	dir := filepath.Join(h.dir, "beside")
	return &rebuild{Dir: h.dbs[0].dir, Output: databasePath(dir)}, os.Mkdir(dir, 0o755)
}

// restoreOver replaces a copy of the database as it was left, with its log and its state.
func restoreOver(h *history) (*rebuild, error) {
	dir := filepath.Join(h.dir, "over")
	if err := os.MkdirAll(statePath(dir), 0o755); err != nil {
		return nil, err
	}
	for _, suffix := range []string{"", "-wal", "-shm", "-journal", "-seawal/state.json"} {
		err := copyFile(databasePath(h.dbs[0].dir)+suffix, databasePath(dir)+suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return &rebuild{Dir: h.dbs[0].dir, Output: databasePath(dir), Force: true}, nil
}
