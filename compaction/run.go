package compaction

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/restore"
	"seawal/store"
)

// Options says how Run works. The zero Options are right for a replica of any size.
type Options struct {
	// Memory is for pages that are being merged, bytes; 0 means 16 MiB. It is the size of the images of some thousand
	// pages; more only saves writing to TempDir.
	Memory int

	// TempDir is where files are put that don't fit into Memory. "" means that of the system ($TMPDIR).
	TempDir string

	// NoSnapshot leaves out the snapshot.
	NoSnapshot bool

	// DryRun says what would be done and creates nothing. What is merged to a level is not there then for the next one,
	// which is told as if it were made of the log.
	DryRun bool

	// Now is the time that decides which slots are over; nil means time.Now. A clock that is ahead makes segments that
	// are shorter than their slot, and one that is behind makes them later: both are without harm.
	Now func() time.Time
}

// Merge is a merged segment that Run made.
type Merge struct {
	Object   string    `json:"object"` // name in the store
	Timeline uint32    `json:"timeline"`
	Level    int       `json:"level"`
	First    uint64    `json:"first"` // first transaction in it
	Last     uint64    `json:"last"`  // last transaction in it
	Time     time.Time `json:"time"`  // of the last
	Objects  int       `json:"objects"`
	Size     int64     `json:"bytes"`

	// Existed says that somebody else had made the same one meanwhile.
	Existed bool `json:"existed,omitempty"`
}

// Snapshot is a snapshot that Run made.
type Snapshot struct {
	Object string        `json:"object"` // name in the store
	Point  restore.Point `json:"point"`  // that it is of
	Size   int64         `json:"bytes"`
	Reason string        `json:"reason"` // why it was due

	// Existed says that somebody else had made the same one meanwhile.
	Existed bool `json:"existed,omitempty"`
}

// Result says what Run did.
type Result struct {
	Replica  string    `json:"replica"`  // id
	Database string    `json:"database"` // base name of the source, for people
	Merged   []Merge   `json:"merged"`   // in the order in which they were made
	Snapshot *Snapshot `json:"snapshot,omitempty"`
}

// levels are the widths of the slots of each level, from level 1 on. Each is a multiple of the one before, so that a segment of
// one level lies in one slot of the next.
var levels = []time.Duration{5 * time.Minute, time.Hour, 24 * time.Hour}

// settle is how long a slot is waited for after its end: a commit of its last moment is shipped a little later.
const settle = time.Minute

// defaultMemory is for pages that are being merged, bytes.
const defaultMemory = 16 << 20

// job is one Run.
type job struct {
	store   store.Store
	replica replica.Replica
	writer  segment.ID
	memory  int
	dir     string
	dryRun  bool
	now     time.Time
	ends    map[uint32]uint64 // where the last merged segment of each timeline ends
}

// Run merges what has been shipped to the replica in s, and makes a snapshot when one is due. What it has made before an error
// stays, is good, and is in the Result.
//
// Run asks the store for everything once: a caller that wants failed requests repeated gives it a store that does,
// store.Retry. It may run while processes ship to the replica, and at the same time as another Run.
//
// Errors: restore.ErrNoReplica; *segment.CorruptError, which names the object that is damaged (what lies in front of it is
// merged, and other timelines are); ctx's; and what store and file system say, wrapped.
func Run(ctx context.Context, s store.Store, o Options) (Result, error) {
	j := &job{store: s, writer: segment.NewID(), memory: cmp.Or(o.Memory, defaultMemory), dir: o.TempDir, dryRun: o.DryRun, now: time.Now(), ends: map[uint32]uint64{}}
	if o.Now != nil {
		j.now = o.Now()
	}
	var err error
	if j.replica, err = replica.ReadReplica(ctx, s); err != nil {
		if errors.Is(err, store.ErrNotExist) {
			err = fmt.Errorf("%w: %w", restore.ErrNoReplica, err)
		}
		return Result{}, fmt.Errorf("compact: %w", err)
	}
	r := Result{Replica: j.replica.ID.String(), Database: j.replica.Name, Merged: []Merge{}}
	timelines, err := replica.Timelines(ctx, s)
	if err != nil {
		return r, fmt.Errorf("compact: %w", err)
	}
	var errs []error
	for _, t := range timelines {
		done, err := j.timeline(ctx, timelines, t)
		r.Merged = append(r.Merged, done...)
		if err != nil {
			errs = append(errs, fmt.Errorf("timeline %d: %w", t.Timeline, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() == nil && !o.NoSnapshot {
		r.Snapshot, err = j.snapshot(ctx)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return r, fmt.Errorf("compact: %w", err)
	}
	return r, nil
}

// timeline merges one timeline, level by level.
func (j *job) timeline(ctx context.Context, all []replica.Timeline, t replica.Timeline) (done []Merge, err error) {
	merged, err := listMerged(ctx, j.store, t.Timeline)
	if err != nil {
		return nil, err
	}
	size := replica.PageSizeAt(j.replica, all, replica.Pos{Timeline: t.Timeline, Tx: replica.MaxTx})
	for i, width := range levels {
		l := &leveller{job: j, timeline: t, pageSize: size, level: i + 1, width: width, merged: merged}
		err := l.run(ctx, max(progress(merged, i+1), t.ParentTx)+1, openEnd)
		done = append(done, l.done...)
		if err != nil {
			return done, err
		}
		if j.dryRun {
			continue
		}
		for _, m := range l.done {
			name, err := replica.ParseName(m.Object)
			if err != nil {
				return done, err
			}
			merged = append(merged, object{store.Object{Name: m.Object, Size: m.Size}, name})
		}
	}
	j.ends[t.Timeline] = progress(merged, 1)
	return done, nil
}

// spill returns an empty file without a name.
func (j *job) spill() (*os.File, error) {
	f, err := os.CreateTemp(j.dir, ".seawal-compact-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
