package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"seawal/internal/killpoint"
	"seawal/store"
)

// Options says what Run does. Only Output is required.
type Options struct {
	Output   string // file to be written
	Timeline uint32 // 0: the newest one
	Target   Target // zero: the newest point
	Check    Check  // zero: CheckQuick

	// IfMissing makes Run do nothing when the output exists. It wins over
	// nothing else: a log or journal without its database is still ErrExists.
	IfMissing bool

	// Force replaces the output if it exists, with its log and journal. A database that
	// somebody has open, at the start or when it would be replaced, is ErrInUse all the same; the package comment
	// says what can't be seen. With IfMissing too, Force decides.
	Force bool

	// Progress is called as objects arrive, with bytes of objects done and in
	// all; both begin anew when a bad object is gone around. Never called twice
	// at a time. It must be quick. nil: nobody looks.
	Progress func(done, total int64)
}

// CheckOutput says whether Run would begin: skip, that it would leave an
// existing output alone; an error, what stands in the way. It changes nothing.
func (o Options) CheckOutput() (skip bool, err error) {
	_, skip, err = openOutput(o.Output, o.IfMissing, o.Force)
	return skip, err
}

// Result says what Run did.
type Result struct {
	Output    string        `json:"output"`
	Skipped   bool          `json:"skipped"` // the output existed, and IfMissing was set; nothing else is set then
	Replica   string        `json:"replica,omitempty"`
	Database  string        `json:"database,omitempty"` // base name of the source
	Timeline  uint32        `json:"timeline,omitempty"` // whose history was followed
	Point     Point         `json:"point,omitzero"`     // what the file holds; it may be on a parent of Timeline
	PageSize  int           `json:"page_size"`          // bytes
	PageCount uint32        `json:"page_count"`
	Bytes     int64         `json:"bytes"`    // size of the file
	Checksum  string        `json:"checksum"` // of the database, 16 hex digits
	Check     string        `json:"check"`    // what was verified: none, quick or full
	Objects   int           `json:"objects"`  // segments applied
	Fetched   int64         `json:"fetched"`  // their size, bytes
	Elapsed   time.Duration `json:"elapsed_ns"`

	// Avoided are objects that could not be used, and that the restore went
	// around: the replica should be looked after.
	Avoided []Avoided `json:"avoided,omitempty"`
}

// Run rebuilds a database file from the replica in s.
//
// Nothing is at Options.Output before the file is complete, verified and on
// stable storage, and when Run returns an error everything there is as it was
// (one exception is told in the error: the file is in place, and syncing the folder or
// removing the log of a replaced database failed). The temporary file is removed then.
//
// An object that turns out to be missing, cut short or damaged is gone around if others lead to the
// target, an older snapshot and a longer log for one; Result.Avoided names it. Else the error is
// an *ObjectError.
//
// Run asks the store for everything once: a caller that wants failed requests
// repeated gives it a store that does, store.Retry.
//
// Errors: ErrExists and ErrInUse, before anything is asked of the store, and again when all is ready;
// ErrNoReplica; *PointError (ErrNoPoint); *ObjectError; ctx's; and what store
// and file system say, wrapped.
func Run(ctx context.Context, s store.Store, o Options) (Result, error) {
	start := time.Now()
	if o.Check > CheckFull {
		return Result{}, fmt.Errorf("restore: unknown check %v", o.Check)
	}
	out, skip, err := openOutput(o.Output, o.IfMissing, o.Force)
	if err != nil {
		return Result{}, fmt.Errorf("restore: %w", err)
	}
	if skip {
		return Result{Output: o.Output, Skipped: true}, nil
	}
	r, err := run(ctx, s, o, out)
	if err != nil {
		return Result{}, fmt.Errorf("restore %s: %w", o.Output, err)
	}
	r.Output, r.Elapsed = o.Output, time.Since(start)
	return r, nil
}

// run makes plans and follows them until one leads to the end, or none is left.
func run(ctx context.Context, s store.Store, o Options, out *output) (Result, error) {
	p := newPlanner(s)
	plan, err := p.plan(ctx, o.Timeline, o.Target)
	if err != nil {
		return Result{}, err
	}
	for {
		r, good, err := follow(ctx, p, plan, o, out)
		var bad *badObject
		var short *shortSegment
		switch {
		case errors.As(err, &bad):
			p.bad[bad.object] = flaw{err: bad.err, applied: true, good: good}
		case errors.As(err, &short):
			if last, known := p.ends[short.object]; known && last <= short.last {
				return r, err // the object changes as it is read
			}
			p.ends[short.object] = short.last
		default:
			return r, err
		}
		// What was resolved stays: a moment must not become an earlier
		// transaction because the object that holds it is bad.
		timeline := p.hist.timeline()
		if plan, err = p.plan(ctx, timeline, AtTx(plan.Target.Pos.Tx)); err != nil {
			return Result{}, err
		}
	}
}

// follow builds the file that a plan leads to. good is the last transaction
// that was in and verified when a segment turned out bad.
func follow(ctx context.Context, p *planner, plan *Plan, o Options, out *output) (r Result, good uint64, err error) {
	file, err := out.create()
	if err != nil {
		return Result{}, 0, err
	}
	open := true
	defer func() {
		if err == nil {
			return
		}
		if open {
			err = errors.Join(err, file.Close())
		}
		if rerr := os.Remove(file.Name()); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("remove temporary file: %w", rerr))
		}
	}()
	killpoint.Hit("restore/created")
	b := newBuilder(p.store, p.hist.replica, plan.PageSize, file, o.Check, newProgress(plan.Bytes(), o.Progress))
	if err := b.build(ctx, plan.Steps); err != nil {
		return Result{}, b.tx, err
	}
	if err := b.finish(ctx, o.Check); err != nil {
		return Result{}, 0, err
	}
	open = false
	if err := file.Close(); err != nil {
		return Result{}, 0, fmt.Errorf("close restored file: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return Result{}, 0, err
	}
	killpoint.Hit("restore/built")
	if err := out.publish(file.Name()); err != nil {
		return Result{}, 0, err
	}
	point := plan.Target
	point.Time = unixTime(b.time)
	return Result{
		Replica: plan.Replica, Database: plan.Database, Timeline: plan.Timeline, Point: point,
		PageSize: plan.PageSize, PageCount: b.count, Bytes: int64(b.count) * int64(plan.PageSize),
		Checksum: b.table.Total().String(), Check: o.Check.String(),
		Objects: len(plan.Steps), Fetched: plan.Bytes(), Avoided: plan.Avoided,
	}, 0, nil
}

// progress adds up what has arrived and passes it on.
type progress struct {
	mu    sync.Mutex // guards done, and serialises tell
	done  int64
	total int64
	tell  func(done, total int64) // nil: nobody looks
}

func newProgress(total int64, tell func(done, total int64)) *progress {
	p := &progress{total: total, tell: tell}
	p.add(0)
	return p
}

func (p *progress) add(n int64) {
	if p.tell == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	p.tell(min(p.done, p.total), p.total)
}
