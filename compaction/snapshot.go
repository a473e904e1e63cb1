package compaction

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/restore"
	"seawal/store"
)

// snapshotBytes is how much behind a snapshot is never too much, bytes: it takes a restore a fraction of a second. Tests set it.
var snapshotBytes int64 = 1 << 20

const (
	// snapshotObjects is how many objects behind a snapshot make a new one due. A restore fetches 32 at a time, so it stays
	// below a second at a round trip of 50 ms.
	snapshotObjects = 256
	// snapshotBack is how much older than the newest point it may be, to be where a merged segment ends.
	snapshotBack = time.Hour
	// snapshotAge is when a new one is due in any case, if anything was committed.
	snapshotAge = 24 * time.Hour
)

// errUnlisted says that a database has pages that no segment lists.
var errUnlisted = errors.New("the database has pages that no segment lists")

// snapshot makes one if it is due: where the last merged segment ends, so that those behind it lead on from there, or of the
// newest point where nothing was merged since the last snapshot.
func (j *job) snapshot(ctx context.Context) (*Snapshot, error) {
	plan, err := restore.NewPlan(ctx, j.store, 0, restore.Newest())
	if errors.Is(err, restore.ErrNoPoint) {
		return nil, nil // nothing is shipped yet
	}
	if err != nil {
		return nil, fmt.Errorf("plan a snapshot: %w", err)
	}
	reason, err := j.due(ctx, plan)
	if err != nil || reason == "" {
		return nil, err
	}
	if end := j.ends[plan.Target.Pos.Timeline]; end > plan.Steps[0].Last && end < plan.Target.Pos.Tx {
		earlier, err := restore.NewPlan(ctx, j.store, plan.Timeline, restore.AtTx(end))
		if err != nil {
			return nil, fmt.Errorf("plan a snapshot: %w", err)
		}
		if plan.Target.Time.Sub(earlier.Target.Time) < snapshotBack {
			plan = earlier
		}
	}
	at := plan.Target
	s := &Snapshot{Object: segment.SnapshotName(at.Pos.Timeline, at.Pos.Tx), Point: at, Reason: reason}
	if j.dryRun {
		return s, nil
	}
	if err := j.compose(ctx, s, plan); errors.Is(err, errUnlisted) {
		return nil, nil // a restore of it is proven by the segments; a snapshot would have to list those pages, too
	} else if err != nil {
		return nil, fmt.Errorf("make a snapshot of %v: %w", at.Pos, err)
	}
	return s, nil
}

// due says why a new snapshot is worth its bytes; "": it isn't.
func (j *job) due(ctx context.Context, plan *restore.Plan) (reason string, err error) {
	var base, behind int64
	steps := plan.Steps
	if len(steps) > 0 && steps[0].Kind == segment.Snapshot.String() {
		base, steps = steps[0].Size, steps[1:]
	}
	for _, s := range steps {
		behind += s.Size
	}
	switch {
	case len(steps) == 0:
		return "", nil
	case len(steps) > snapshotObjects:
		return fmt.Sprintf("a restore reads %d objects behind the last one", len(steps)), nil
	case behind > max(base, snapshotBytes):
		return fmt.Sprintf("a restore reads %d bytes behind the last one, which has %d", behind, base), nil
	case base == 0:
		return "", nil // the log begins with an empty database, and is short
	}
	_, info, err := replica.Inspect(ctx, j.store, store.Object{Name: plan.Steps[0].Object, Size: plan.Steps[0].Size})
	if err != nil {
		return "", err
	}
	if age := plan.Target.Time.Sub(time.Unix(0, info.LastTime)); age >= snapshotAge {
		return fmt.Sprintf("the last one is %v older than the newest commit", age.Round(time.Minute)), nil
	}
	return "", nil
}

// compose restores a point and makes a snapshot of the file.
func (j *job) compose(ctx context.Context, s *Snapshot, plan *restore.Plan) (err error) {
	dir, err := os.MkdirTemp(j.dir, ".seawal-compact-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "database")
	r, err := restore.Run(ctx, j.store, restore.Options{Output: path, Timeline: plan.Timeline, Target: restore.AtTx(plan.Target.Pos.Tx)})
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // read only
	out, err := j.spill()
	if err != nil {
		return err
	}
	defer out.Close()
	info, err := j.encode(f, out, r)
	if err != nil {
		return err
	}
	s.Size = info.Size
	s.Existed, err = j.create(ctx, segment.Name{Kind: segment.Snapshot, Timeline: info.Timeline, First: info.Last, Last: info.Last}, info, out)
	return err
}

// encode writes the snapshot of a database that was restored.
func (j *job) encode(db io.Reader, out io.Writer, r restore.Result) (segment.Info, error) {
	h := segment.Header{Kind: segment.Snapshot, PageSize: r.PageSize, Timeline: r.Point.Pos.Timeline, First: r.Point.Pos.Tx, Replica: j.replica.ID, Writer: j.writer, Key: j.replica.Key}
	enc, err := segment.NewEncoder(out, h)
	if err != nil {
		return segment.Info{}, err
	}
	if err := enc.Begin(segment.Tx{Number: r.Point.Pos.Tx, Span: 1, Time: r.Point.Time.UnixNano(), PageCount: r.PageCount}); err != nil {
		return segment.Info{}, err
	}
	in := bufio.NewReaderSize(db, 1<<20)
	hasher, lock, total := pagesum.NewHasher(j.replica.Key), pagesum.LockPage(r.PageSize), pagesum.Sum(0)
	image := make([]byte, r.PageSize)
	for page := uint32(1); page <= r.PageCount; page++ {
		if _, err := io.ReadFull(in, image); err != nil {
			return segment.Info{}, fmt.Errorf("read page %d of the restored database: %w", page, err)
		}
		if page == lock {
			continue
		}
		sum := hasher.Of(page, image)
		total ^= sum
		if err := enc.Page(segment.Page{Number: page, Kind: segment.Full, Data: image, Sum: sum}); err != nil {
			return segment.Info{}, err
		}
	}
	if total.String() != r.Checksum {
		return segment.Info{}, errUnlisted
	}
	if err := enc.End(total); err != nil {
		return segment.Info{}, err
	}
	return enc.Close(wal.Place{})
}
