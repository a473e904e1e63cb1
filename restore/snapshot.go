package restore

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
)

const (
	// rangeBudget is what all workers together hold of compressed blocks, bytes.
	rangeBudget = 8 << 20
	// maxRange is the most that one request asks for, bytes: enough that its
	// round trip to a distant store costs little.
	maxRange = 4 << 20
	// writeSize is how many bytes of neighbouring pages are written at once.
	writeSize = 512 << 10
)

// applySnapshot writes the pages of a snapshot. Workers take ranges of blocks
// and fetch, decode, verify and write them; no order is needed.
func (b *builder) applySnapshot(ctx context.Context, step Step) error {
	info, err := readInfo(ctx, b.store, step.name, step.Size)
	if err != nil {
		return err
	}
	if err := b.checkOwner(step.Object, info.Header); err != nil {
		return err
	}
	index, err := segment.ReadIndex(objectReader{ctx, b.store, step.Object}, info)
	if err != nil {
		return blame("read index of", step.Object, err)
	}
	if err := b.file.Truncate(int64(info.PageCount) * int64(info.PageSize)); err != nil {
		return fmt.Errorf("set size of file: %w", err)
	}
	job := &snapshotJob{builder: b, step: step, index: index}
	job.cut(min(maxRange, rangeBudget/int64(b.workers)))
	g := newGroup(ctx)
	for range min(b.workers, len(job.ranges)) {
		g.run(job.work)
	}
	if err := g.wait(); err != nil {
		return err
	}
	return b.end(step.Object, segment.Tx{Number: info.Last, Time: info.LastTime, PageCount: info.PageCount, After: info.After})
}

// snapshotJob is the work on one snapshot.
type snapshotJob struct {
	*builder
	step   Step
	index  *segment.Index
	ranges []blockRange
	next   atomic.Int64 // range to be taken next

	mu sync.Mutex // guards builder.table
}

// blockRange is a run of neighbouring blocks that are fetched with one request.
type blockRange struct {
	first, end int   // blocks
	offset     int64 // bytes
	length     int64 // bytes
}

// cut cuts the blocks into ranges of about limit bytes. Between two blocks
// there may be a part of the index, which is fetched along.
func (j *snapshotJob) cut(limit int64) {
	for i, k := range j.index.Blocks {
		end := k.Offset + int64(k.Length)
		if n := len(j.ranges); n > 0 && end-j.ranges[n-1].offset <= limit {
			r := &j.ranges[n-1]
			r.end, r.length = i+1, end-r.offset
			continue
		}
		j.ranges = append(j.ranges, blockRange{first: i, end: i + 1, offset: k.Offset, length: int64(k.Length)})
	}
}

func (j *snapshotJob) work(ctx context.Context) error {
	w := &pageWriter{file: j.file, pageSize: j.pageSize, buf: make([]byte, 0, max(writeSize, j.pageSize))}
	var raw []byte
	for {
		i := int(j.next.Add(1)) - 1
		if i >= len(j.ranges) || ctx.Err() != nil {
			return ctx.Err()
		}
		r := j.ranges[i]
		if int64(cap(raw)) < r.length {
			raw = make([]byte, r.length)
		}
		raw = raw[:r.length]
		src := objectReader{ctx, j.store, j.step.Object}
		if _, err := src.ReadAt(raw, r.offset); err != nil {
			return blame("read", j.step.Object, err)
		}
		j.progress.add(r.length)
		if err := j.write(w, r, raw); err != nil {
			return err
		}
	}
}

// write decodes a range, writes its pages and enters their checksums in the table.
func (j *snapshotJob) write(w *pageWriter, r blockRange, raw []byte) error {
	w.sums = w.sums[:0]
	for i := r.first; i < r.end; i++ {
		k := j.index.Blocks[i]
		at := k.Offset - r.offset
		err := j.index.Decode(i, raw[at:at+int64(k.Length)], func(p segment.Page) error {
			if p.Number == j.lock {
				return unfit(j.step.Object, "holds page %d, which is never part of a database", p.Number)
			}
			if j.hash {
				if got := j.hasher.Of(p.Number, p.Data); got != p.Sum {
					return unfit(j.step.Object, "page %d has checksum %v, want %v", p.Number, got, p.Sum)
				}
			}
			return w.add(p)
		})
		if err != nil {
			return blame("decode", j.step.Object, err)
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range w.sums {
		j.table.Set(s.page, s.sum)
	}
	return nil
}

// pageWriter gathers neighbouring pages into large writes.
type pageWriter struct {
	file     *os.File
	pageSize int
	buf      []byte // images not yet written, of neighbouring pages
	first    uint32 // the first of them
	sums     []pageSum
}

type pageSum struct {
	page uint32
	sum  pagesum.Sum
}

func (w *pageWriter) add(p segment.Page) error {
	next := w.first + uint32(len(w.buf)/w.pageSize)
	if len(w.buf) > 0 && p.Number != next || len(w.buf)+w.pageSize > cap(w.buf) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(w.buf) == 0 {
		w.first = p.Number
	}
	w.buf = append(w.buf, p.Data...)
	w.sums = append(w.sums, pageSum{p.Number, p.Sum})
	return nil
}

func (w *pageWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	off := int64(w.first-1) * int64(w.pageSize)
	if _, err := w.file.WriteAt(w.buf, off); err != nil {
		return fmt.Errorf("write page %d and following: %w", w.first, err)
	}
	if len(w.buf) >= writeSize/2 { // small ones would only be in the disk's way
		startWriteback(w.file, off, int64(len(w.buf)))
	}
	w.buf = w.buf[:0]
	return nil
}
