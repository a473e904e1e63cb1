package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/machine"
	"seawal/bench/internal/result"
	"seawal/bench/internal/slowvfs"
)

// Job is one measurement, as a process is told of it.
type Job struct {
	Workload string        `json:"workload"`
	Design   string        `json:"design"`
	Pair     int           `json:"pair"`
	Order    int           `json:"order"`
	Seed     uint64        `json:"seed"`
	Dir      string        `json:"dir"` // for databases; templates in it are kept
	Quick    bool          `json:"quick"`
	Rows     int           `json:"rows,omitempty"` // of the database of a restore, if not the workload's
	Ops      int64         `json:"ops"`            // 0: as many as fit into Limit
	Limit    time.Duration `json:"limit"`          // of the operations; a slower design ends early

	// Prepare only makes what measurements of the workload begin with.
	Prepare bool `json:"prepare"`
}

// spec is the workload of the job in its size.
func (j Job) spec() (Spec, error) {
	s, err := Find(j.Workload)
	if err != nil {
		return s, err
	}
	if j.Quick {
		s = s.ForQuick()
	}
	if j.Rows != 0 {
		s = s.WithRows(j.Rows)
	}
	return s, nil
}

// Do does one job. The error of a measurement is in Run.Error too.
func Do(ctx context.Context, j Job) (result.Run, error) {
	run := result.Run{Design: j.Design, Pair: j.Pair, Order: j.Order}
	s, err := j.spec()
	if err != nil {
		return run, err
	}
	if err := do(ctx, j, s, &run); err != nil {
		run.Error = err.Error()
		return run, fmt.Errorf("%s, %s, pair %d: %w", j.Workload, j.Design, j.Pair, err)
	}
	return run, nil
}

func do(ctx context.Context, j Job, s Spec, run *result.Run) error {
	if s.kind == restoreFile {
		if j.Prepare {
			return prepareReplica(ctx, j, s)
		}
		return measureRestore(ctx, j, s, run)
	}
	template, err := makeTemplate(ctx, j.Dir, s)
	if err != nil || j.Prepare {
		return err
	}
	d, err := design.Lookup(j.Design)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(j.Dir, "run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{job: j, spec: s, design: d, dir: dir, run: run}
	if s.kind == manyIdle {
		return b.measureMany(ctx, template)
	}
	if err := b.open(ctx, template); err != nil {
		return err
	}
	defer b.abandon()
	switch s.kind {
	case bulkLoad:
		return b.measure(ctx, b.load)
	case outage:
		return b.measure(ctx, b.suffer)
	default:
		return b.measure(ctx, b.loop)
	}
}

// bench is a measurement under way.
type bench struct {
	job    Job
	spec   Spec
	design design.Design
	dir    string
	run    *result.Run

	path    string
	session design.Session // nil once closed
	clients []*client
	readers []*client
}

func (b *bench) replica() string { return filepath.Join(b.dir, "replica") }

// database is how designs are asked to open a file.
func (b *bench) database(path, replica string) (design.Database, error) {
	d := design.Database{Path: path, Replica: replica, Sync: b.spec.syncMode(), Busy: 10 * time.Second}
	if b.spec.slow > 0 {
		name := "slow-" + b.spec.slow.String()
		if err := slowvfs.Register(name, slowvfs.Options{Sync: b.spec.slow, Read: slowRead}); err != nil {
			return d, err
		}
		d.VFS = name
	}
	return d, nil
}

// slowRead is a read from attached storage that no cache answers.
const slowRead = 500 * time.Microsecond

// open copies the template and opens the copy, with its clients.
func (b *bench) open(ctx context.Context, template string) error {
	b.path = filepath.Join(b.dir, "app.db")
	if err := copyFile(template, b.path); err != nil {
		return err
	}
	d, err := b.database(b.path, b.replica())
	if err != nil {
		return err
	}
	if b.session, err = b.design.Open(ctx, d); err != nil {
		return err
	}
	write := newWriteLock()
	for i := range max(1, b.spec.clients) + b.spec.readers {
		s := b.spec
		reader := i >= max(1, s.clients)
		if reader {
			s.kind = readPoint
		}
		c, err := newClient(ctx, b.session.DB(), s, b.job.Seed<<8+uint64(i), write)
		if err != nil {
			return err
		}
		if reader {
			b.readers = append(b.readers, c)
		} else {
			b.clients = append(b.clients, c)
		}
	}
	return nil
}

// close ends the session: everything is shipped, checkpointed and gone.
func (b *bench) close(ctx context.Context) error {
	for _, c := range append(b.clients, b.readers...) {
		c.close()
	}
	b.clients, b.readers = nil, nil
	s := b.session
	b.session = nil
	return s.Close(ctx)
}

// abandon closes what a failed measurement left open.
func (b *bench) abandon() {
	if b.session != nil {
		_ = b.close(context.Background()) // the first error has been reported
	}
}

// measure warms up, does the work, and waits until all that it caused is done.
func (b *bench) measure(ctx context.Context, work func(context.Context) error) error {
	if err := b.warmUp(ctx); err != nil {
		return fmt.Errorf("warming up: %w", err)
	}
	rep, replicated := b.session.(design.Replicator)
	var sent, now design.Sent
	if replicated {
		var err error
		if sent, err = flush(ctx, rep); err != nil {
			return fmt.Errorf("shipping the warm-up: %w", err)
		}
		if sent, err = b.sent(sent); err != nil {
			return err
		}
	}
	runtime.GC()
	machine.ResetPeak()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	gcs := mem.NumGC
	sidecar := b.sidecarUsage()
	before := machine.Self()
	w := watch(ctx, b.marked(), b.path, b.run)

	err := work(ctx)
	ended := time.Now()
	w.workDone()
	if replicated && err == nil {
		now, err = flush(ctx, rep)
	}
	err = errors.Join(err, w.stop())
	runtime.ReadMemStats(&mem)
	b.run.GCs = int64(mem.NumGC - gcs)
	b.sidecarSince(sidecar)
	b.run.PeakRSS = machine.MemoryOf(0).PeakRSS
	err = errors.Join(err, b.close(ctx))
	b.run.Drain = time.Since(ended).Seconds()
	used := machine.Self().Sub(before)
	b.run.User, b.run.System = used.User.Seconds(), used.System.Seconds()
	if replicated && err == nil {
		now, err = b.sent(now)
		b.shipped(sent, now)
	}
	return err
}

// flush ships what is committed, and returns what the session sent until then.
func flush(ctx context.Context, rep design.Replicator) (design.Sent, error) {
	if err := rep.Flush(ctx); err != nil {
		return design.Sent{}, err
	}
	return rep.Sent(ctx)
}

// sent adds to what a session says that it sent what can be seen of it from outside: where the replica is a folder, that is
// looked into, so that all designs are measured alike.
func (b *bench) sent(s design.Sent) (design.Sent, error) {
	if b.design.Remote {
		return s, nil
	}
	var err error
	s.Uploads, err = design.StoredIn(b.replica())
	return s, err
}

// shipped notes what was sent between two looks.
func (b *bench) shipped(before, after design.Sent) {
	b.run.Requests = after.Requests - before.Requests
	b.run.Shipped, b.run.Objects = after.Uploads.Bytes-before.Uploads.Bytes, after.Uploads.Objects-before.Uploads.Objects
}

// marked is the session whose lag is sampled. A bulk load has no commits on the way that
// could lag: there the time to ship it afterwards is the figure.
func (b *bench) marked() design.Session {
	if b.spec.kind == bulkLoad {
		return nil
	}
	return b.session
}

// sidecarUsage is what the process beside the application has used so far.
func (b *bench) sidecarUsage() machine.Usage {
	c, ok := b.session.(design.Companion)
	if !ok {
		return machine.Usage{}
	}
	u, _ := machine.Of(c.Sidecar()) // it may be dead, which Flush reports
	return u
}

func (b *bench) sidecarSince(before machine.Usage) {
	c, ok := b.session.(design.Companion)
	if !ok {
		return
	}
	used := b.sidecarUsage().Sub(before)
	b.run.Sidecar = result.Sidecar{User: used.User.Seconds(), System: used.System.Seconds(), PeakRSS: machine.MemoryOf(c.Sidecar()).PeakRSS}
}
