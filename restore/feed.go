package restore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/store"
)

// feed is one segment on its way from the store to the builder.
type feed struct {
	store   store.Store
	step    Step
	whole   chan whole    // one value, of a small object only
	before  *feed         // the segment in front of it; nil for the first, and once that was opened
	opened  chan struct{} // closed when the store has nothing more to say before it can be decoded, nor for those in front
	batches chan *batch   // closed when all of them are in, or err is set
	told    int64         // bytes that progress knows of; valid once batches is closed
	err     error         // likewise
}

// whole is a small object, fetched.
type whole struct {
	raw []byte
	err error
}

func newFeed(s store.Store, step Step, before *feed) *feed {
	return &feed{
		store:   s,
		step:    step,
		before:  before,
		opened:  make(chan struct{}),
		whole:   make(chan whole, 1),
		batches: make(chan *batch, batchAhead),
	}
}

// batch is a run of records of a segment.
type batch struct {
	records []record
	data    []byte // page data of the records
}

// record is one thing to do, in order.
type record struct {
	kind recordKind
	tx   segment.Tx   // of recordBase (After only), recordBegin and recordEnd
	page segment.Page // of recordPage, without Data
	from int          // of recordPage: Data is batch.data[from:to]
	to   int
}

type recordKind uint8

const (
	recordBase  recordKind = iota + 1 // the database has to have this checksum now
	recordBegin                       // a transaction begins
	recordPage                        // a page of it
	recordEnd                         // the transaction ends
)

var batchPool = sync.Pool{New: func() any { return new(batch) }}

func newBatch() *batch {
	t := batchPool.Get().(*batch)
	t.records, t.data = t.records[:0], t.data[:0]
	return t
}

func (t *batch) full() bool { return len(t.data) >= batchSize || len(t.records) >= batchRecords }

func (t *batch) pageOf(r *record) segment.Page {
	p := r.page
	p.Data = t.data[r.from:r.to]
	return p
}

// fetch reads a small segment whole; decode waits for it.
func (f *feed) fetch(ctx context.Context) {
	if f.step.Size > wholeSize {
		return
	}
	raw := make([]byte, f.step.Size)
	_, err := objectReader{ctx, f.store, f.step.Object}.ReadAt(raw, 0)
	f.whole <- whole{raw, err}
}

// open returns the object's bytes: from memory, or from the store as they are read. Segments are opened in order: a stream stays
// open while its batches wait to be applied, and where the store allows few requests at once (store.Limits.Concurrent) it
// would keep those in front of it, which are applied first, from theirs for ever.
func (f *feed) open(ctx context.Context) (io.ReadCloser, error) {
	if f.before != nil {
		select {
		case <-f.before.opened:
			f.before = nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer close(f.opened)
	if f.step.Size > wholeSize {
		return objectReader{ctx, f.store, f.step.Object}.stream()
	}
	select {
	case w := <-f.whole:
		return io.NopCloser(bytes.NewReader(w.raw)), w.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// decode fills and closes batches.
func (f *feed) decode(ctx context.Context, b *builder) {
	defer close(f.batches)
	body, err := f.open(ctx)
	if err == nil {
		in := &teller{Reader: body, progress: b.progress}
		err = f.decodeFrom(ctx, b, in)
		f.told = in.told
		err = errors.Join(err, body.Close())
	}
	if err != nil {
		f.err = blame("read", f.step.Object, err)
	}
}

// teller passes on how much was read.
type teller struct {
	io.Reader
	progress *progress
	told     int64
}

func (r *teller) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.told += int64(n)
	r.progress.add(int64(n))
	return n, err
}

func (f *feed) decodeFrom(ctx context.Context, b *builder, r io.Reader) error {
	d, err := segment.NewDecoder(bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		return err
	}
	if err := checkHeader(f.step.name, d.Header()); err != nil {
		return err
	}
	if err := b.checkOwner(f.step.Object, d.Header()); err != nil {
		return err
	}
	s := &sender{ctx: ctx, to: f.batches, batch: newBatch()}
	before := d.Header().Before // checksum that the database must have before the next transaction
	at := f.step.First - 1      // last transaction that the database has
	var last uint64             // last transaction that was met
	for {
		tx, err := d.NextTx()
		if err == io.EOF {
			return errors.Join(f.ended(at, last), s.flush())
		}
		if err != nil {
			return errors.Join(err, s.flush()) // what came before it is good
		}
		last = tx.Number
		switch {
		case tx.Number <= at:
			var p segment.Page
			for err == nil {
				err = d.NextPage(&p)
			}
			if err != io.EOF {
				return err
			}
			before = d.TxEnd()
			continue
		case at == f.step.Last:
			return errors.Join(unfit(f.step.Object, "goes on with transaction %d, which the next segment begins with", at+1), s.flush())
		case tx.Number-tx.Span != at || tx.Number > f.step.Last:
			return unfit(f.step.Object, "transactions %d to %d are one, and begin elsewhere than after %d", tx.Number-tx.Span+1, tx.Number, at)
		}
		if err := s.transaction(d, tx, before); err != nil {
			return errors.Join(err, s.flush())
		}
		before, at = d.TxEnd(), tx.Number
		if at == f.step.Last && at != f.step.name.Last {
			return s.flush() // the rest is behind the target
		}
	}
}

// ended says whether a segment that was read to its end, transaction last, has led the database far enough: to at.
func (f *feed) ended(at, last uint64) error {
	switch {
	case at >= f.step.Last:
		return nil
	case f.step.name.Kind == segment.Log:
		return &shortSegment{object: f.step.Object, last: last}
	}
	return unfit(f.step.Object, "ends before transaction %d", f.step.Last)
}

// sender gathers records into batches.
type sender struct {
	ctx   context.Context
	to    chan<- *batch
	batch *batch
}

// transaction sends one transaction, which d is at the begin of.
func (s *sender) transaction(d *segment.Decoder, tx segment.Tx, before pagesum.Sum) error {
	if err := s.add(record{kind: recordBase, tx: segment.Tx{Number: tx.Number, After: before}}, nil); err != nil {
		return err
	}
	if err := s.add(record{kind: recordBegin, tx: tx}, nil); err != nil {
		return err
	}
	var p segment.Page
	for {
		err := d.NextPage(&p)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := s.add(record{kind: recordPage, page: p}, p.Data); err != nil {
			return err
		}
	}
	tx.After = d.TxEnd()
	return s.add(record{kind: recordEnd, tx: tx}, nil)
}

func (s *sender) add(r record, data []byte) error {
	r.page.Data = nil
	r.from = len(s.batch.data)
	s.batch.data = append(s.batch.data, data...)
	r.to = len(s.batch.data)
	s.batch.records = append(s.batch.records, r)
	if s.batch.full() {
		return s.flush()
	}
	return nil
}

// flush hands the batch over; it belongs to the receiver then.
func (s *sender) flush() error {
	select {
	case s.to <- s.batch:
		s.batch = newBatch()
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// drain applies all of a feed.
func (b *builder) drain(ctx context.Context, f *feed) error {
	for {
		select {
		case t, ok := <-f.batches:
			if !ok {
				return f.err
			}
			if err := b.applyBatch(f.step, t); err != nil {
				return err
			}
			batchPool.Put(t)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *builder) applyBatch(step Step, t *batch) error {
	object := step.Object
	for i := range t.records {
		r := &t.records[i]
		var err error
		switch r.kind {
		case recordBase:
			if got := b.table.Total(); got != r.tx.After {
				err = unfit(object, "before transaction %d the database has checksum %v, want %v", r.tx.Number, got, r.tx.After)
			}
		case recordBegin:
			err = b.begin(step, r.tx)
		case recordPage:
			err = b.page(object, t.pageOf(r))
		case recordEnd:
			err = b.end(object, r.tx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
