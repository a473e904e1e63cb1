package restore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// maxWorkers bounds the memory of a machine with many cores.
const maxWorkers = 8

// builder is the database being rebuilt.
type builder struct {
	store    store.Store
	replica  replica.Replica
	pageSize int // of the database at the point, bytes
	file     *os.File
	lock     uint32 // page that is never part of a database
	workers  int
	hash     bool // compare page images with their checksums
	hasher   *pagesum.Hasher
	progress *progress

	table *pagesum.Table // sums of the pages in the file and in cache
	cache *pageCache     // nil before the first segment behind the snapshot
	tx    uint64         // last transaction that is in, whole and verified
	time  int64          // of its commit, unix nanoseconds
	count uint32         // size of the database after it, pages
}

func newBuilder(s store.Store, r replica.Replica, pageSize int, file *os.File, check Check, p *progress) *builder {
	return &builder{
		store:    s,
		replica:  r,
		pageSize: pageSize,
		file:     file,
		lock:     pagesum.LockPage(pageSize),
		workers:  min(runtime.GOMAXPROCS(0), maxWorkers),
		hash:     check != CheckNone,
		hasher:   pagesum.NewHasher(r.Key),
		progress: p,
		table:    pagesum.New(),
	}
}

// build applies the steps of a plan.
func (b *builder) build(ctx context.Context, steps []Step) error {
	if len(steps) > 0 && steps[0].name.Kind == segment.Snapshot {
		if err := b.applySnapshot(ctx, steps[0]); err != nil {
			return err
		}
		steps = steps[1:]
	}
	if len(steps) > 0 {
		b.cache = newPageCache(b.file, b.pageSize)
		if err := b.applySegments(ctx, steps); err != nil {
			return err
		}
		if err := b.cache.flush(); err != nil {
			return err
		}
	}
	if err := b.file.Truncate(int64(b.count) * int64(b.pageSize)); err != nil {
		return fmt.Errorf("set size of file: %w", err)
	}
	return nil
}

// checkOwner checks that a segment belongs to this replica.
func (b *builder) checkOwner(object string, h segment.Header) error {
	if h.Replica != b.replica.ID {
		return unfit(object, "belongs to replica %v, not to %v", h.Replica, b.replica.ID)
	}
	if h.PageSize != b.pageSize {
		return unfit(object, "has pages of %d bytes, the timeline has %d", h.PageSize, b.pageSize)
	}
	return nil
}

// begin starts a transaction of a step.
func (b *builder) begin(step Step, tx segment.Tx) error {
	if tx.PageCount < b.table.Len() {
		b.table.Truncate(tx.PageCount)
	}
	// Each page that the transaction has takes the bytes of its checksum in the object, at least.
	if err := b.table.CheckSize(tx.PageCount, b.pageSize, step.Size/8); err != nil {
		return unfit(step.Object, "transaction %d: %w", tx.Number, err)
	}
	if tx.PageCount < b.count {
		return b.cache.truncate(tx.PageCount)
	}
	return nil
}

// page applies one page of the current transaction.
func (b *builder) page(object string, p segment.Page) error {
	img, err := b.cache.image(p.Number, p.Kind == segment.Full)
	if err != nil {
		return err
	}
	if p.Kind == segment.Full {
		copy(img, p.Data)
	} else if err := segment.ApplyDelta(img, p.Data); err != nil {
		return unfit(object, "page %d: %w", p.Number, err)
	}
	if b.hash {
		if got := b.hasher.Of(p.Number, img); got != p.Sum {
			return unfit(object, "page %d has checksum %v, want %v", p.Number, got, p.Sum)
		}
	}
	b.table.Set(p.Number, p.Sum)
	return nil
}

// end ends a transaction: the whole database has to be what its writer had.
func (b *builder) end(object string, tx segment.Tx) error {
	if got := b.table.Total(); got != tx.After {
		return unfit(object, "after transaction %d the database has checksum %v, want %v", tx.Number, got, tx.After)
	}
	if err := b.table.CheckSize(tx.PageCount, b.pageSize, 0); err != nil {
		return unfit(object, "transaction %d: %w", tx.Number, err)
	}
	b.tx, b.time, b.count = tx.Number, tx.Time, tx.PageCount
	return nil
}

// group runs goroutines that end together: the first error ends the context of all.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newGroup(ctx context.Context) *group {
	ctx, cancel := context.WithCancelCause(ctx)
	return &group{ctx: ctx, cancel: cancel}
}

func (g *group) run(f func(ctx context.Context) error) {
	g.wg.Go(func() {
		if err := f(g.ctx); err != nil {
			g.cancel(err)
		}
	})
}

// wait joins all goroutines and returns the first error.
func (g *group) wait() error {
	g.wg.Wait()
	err := context.Cause(g.ctx)
	g.cancel(errDone)
	return err
}

// errDone is the cause of a group's context that ended well.
var errDone = errors.New("done")
