package compaction

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"slices"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// leveller merges what a timeline has to one level: all transactions whose commit times lie in one slot of the clock become
// one segment. So the end of each is a point that people can name, as the last one of an hour.
type leveller struct {
	*job
	timeline replica.Timeline
	pageSize int
	level    int
	width    time.Duration // of a slot
	whole    bool          // everything is one slot, whenever it was committed
	merged   []object      // of the timeline, all levels

	at    uint64     // the last transaction that was read, or the one in front of the first
	until uint64     // transactions behind it are left alone
	state *state     // of the database after at; nil: not known
	cur   *openMerge // nil: none is open
	done  []Merge    // what was made
}

// state is what is known of the database at a point.
type state struct {
	sum   pagesum.Sum
	count uint32 // pages
	in    string // object that says so
}

// openMerge is a merged segment in the making.
type openMerge struct {
	*merger
	slot    int64
	objects int    // that it is made of
	object  string // the last of them
	clean   uint64 // the last transaction up to which it could be written
}

// errSlotOpen ends the reading: what follows is merged once its slot is over.
var errSlotOpen = errors.New("the slot is not over")

// run reads on from a transaction, and merges slot by slot.
func (l *leveller) run(ctx context.Context, first, last uint64) error {
	l.at, l.until = first-1, last
	if err := l.begin(ctx); err != nil {
		return err
	}
	next, stop := iter.Pull2(pieces(ctx, l.store, l.timeline.Timeline, l.merged, l.level, first))
	defer stop()
	q := newQueue(ctx, l.store, next)
	defer q.close()
	defer l.abandon()
	for {
		p, ok, err := q.take(l.cur != nil)
		if err != nil {
			return err
		}
		if !ok || p.first > last {
			break
		}
		if p.first != l.at+1 {
			if err := l.gap(ctx, p.first); err != nil {
				return err
			}
		}
		if err := l.read(ctx, q.ahead, p); errors.Is(err, errSlotOpen) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return l.finish(ctx)
}

// begin finds out what the database was where the reading begins: a segment of this level or a higher one ends there.
func (l *leveller) begin(ctx context.Context) error {
	for _, o := range l.merged {
		if o.name.Last != l.at {
			continue
		}
		_, info, err := replica.Inspect(ctx, l.store, o.Object)
		if err != nil {
			return err
		}
		l.state = &state{info.After, info.PageCount, o.Name}
		return nil
	}
	return nil
}

// gap goes on behind transactions that no segment has: they were lost, or are in a snapshot. A merge doesn't lead over it.
func (l *leveller) gap(ctx context.Context, first uint64) error {
	if err := l.finish(ctx); err != nil {
		return err
	}
	l.at, l.state = first-1, nil
	return nil
}

// read takes the transactions of a piece.
func (l *leveller) read(ctx context.Context, ahead *replica.Ahead, p piece) (err error) {
	in, err := ahead.Open(p.Object)
	if err != nil {
		return fmt.Errorf("read segment %s: %w", p.Name, err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	d, err := segment.NewDecoder(in)
	if err != nil {
		return replica.InObject(p.Name, err)
	}
	if err := l.checkHeader(p, d.Header()); err != nil {
		return replica.InObject(p.Name, err)
	}
	if h := d.Header(); h.First == l.at+1 {
		if l.state != nil && l.state.sum != h.Before {
			return replica.InObject(p.Name, &segment.CorruptError{Err: fmt.Errorf("checksum of the database before transaction %d is %v, %s ends with %v", h.First, h.Before, l.state.in, l.state.sum)})
		}
		if l.state == nil {
			l.state = &state{h.Before, math.MaxUint32, p.Name}
		}
	}
	used := false
	for {
		tx, err := d.NextTx()
		if err == io.EOF {
			if used && l.cur != nil && l.cur.last.Number == l.at {
				l.cur.place = d.Info().Place
			}
			return nil
		}
		if err != nil {
			return replica.InObject(p.Name, err)
		}
		last := min(p.last, l.until)
		switch {
		case tx.Number > last:
			return nil
		case tx.Number <= l.at:
			if err := skip(d); err != nil {
				return replica.InObject(p.Name, err)
			}
			if tx.Number == l.at {
				l.state = &state{d.TxEnd(), tx.PageCount, p.Name}
			}
			continue
		case tx.Number-tx.Span != l.at:
			return replica.InObject(p.Name, &segment.CorruptError{Err: fmt.Errorf("transaction %d follows %d", tx.Number, l.at)})
		}
		if err := l.transaction(ctx, d, tx, p.Name); err != nil {
			return err
		}
		used = true
	}
}

func (l *leveller) checkHeader(p piece, h segment.Header) error {
	if err := replica.Matches(p.name, h); err != nil {
		return err
	}
	switch {
	case h.Replica != l.replica.ID:
		return &segment.CorruptError{Err: fmt.Errorf("it belongs to replica %v, not to %v", h.Replica, l.replica.ID)}
	case h.PageSize != l.pageSize:
		return &segment.CorruptError{Err: fmt.Errorf("it has pages of %d bytes, the timeline has %d", h.PageSize, l.pageSize)}
	}
	return nil
}

// skip reads the pages of a transaction.
func skip(d *segment.Decoder) error {
	var p segment.Page
	for {
		if err := d.NextPage(&p); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// transaction adds the next transaction to the merge of its slot.
func (l *leveller) transaction(ctx context.Context, d *segment.Decoder, tx segment.Tx, object string) error {
	slot := l.slotOf(tx.Time)
	if l.cur != nil && slot > l.cur.slot {
		if err := l.finish(ctx); err != nil {
			return err
		}
	}
	if l.cur == nil {
		if !l.isOver(slot) {
			return errSlotOpen
		}
		if err := l.open(slot); err != nil {
			return err
		}
	}
	if l.cur.object != object {
		l.cur.objects, l.cur.object = l.cur.objects+1, object
	}
	l.cur.begin(tx)
	var p segment.Page
	for {
		err := d.NextPage(&p)
		if err == io.EOF {
			break
		}
		if err != nil {
			return replica.InObject(object, err)
		}
		if err := l.cur.page(&p); err != nil {
			return replica.InObject(object, err)
		}
	}
	tx.After = d.TxEnd()
	l.cur.end(tx)
	if l.cur.isExpressible() {
		l.cur.clean = tx.Number
	}
	l.at, l.state = tx.Number, &state{tx.After, tx.PageCount, object}
	return nil
}

func (l *leveller) slotOf(at int64) int64 {
	if l.whole {
		return 0
	}
	return slotOf(at, l.width)
}

// slotOf is the slot of the clock that a moment lies in: the first one begins with 1970.
func slotOf(at int64, width time.Duration) int64 {
	slot := at / int64(width)
	if at < 0 && at%int64(width) != 0 {
		slot--
	}
	return slot
}

// isOver says that no more transactions are to be expected in a slot.
func (l *leveller) isOver(slot int64) bool {
	return l.whole || slot < slotOf(l.now.Add(-settle).UnixNano(), l.width)
}

func (l *leveller) open(slot int64) error {
	if l.state == nil {
		return fmt.Errorf("merge timeline %d from transaction %d on: what the database was in front of it is in no segment", l.timeline.Timeline, l.at+1)
	}
	h := segment.Header{PageSize: l.pageSize, Timeline: l.timeline.Timeline, First: l.at + 1, Replica: l.replica.ID, Writer: l.writer, Before: l.state.sum, Key: l.replica.Key}
	l.cur = &openMerge{merger: newMerger(h, l.state.count, l.memory, l.spill), slot: slot}
	return nil
}

// finish writes the merge that is open. Of one object nothing would be gained.
func (l *leveller) finish(ctx context.Context) error {
	c := l.cur
	if c == nil {
		return nil
	}
	l.cur = nil
	defer c.close()
	if c.objects < 2 {
		return nil
	}
	if !c.isExpressible() {
		return l.split(ctx, c)
	}
	m, err := l.put(ctx, c)
	if err != nil {
		return err
	}
	l.done = append(l.done, m)
	return nil
}

// split makes two merges of one that can't be written: the first one ends where it last could.
func (l *leveller) split(ctx context.Context, c *openMerge) error {
	for first, last := c.header.First, c.clean; first <= c.last.Number; first, last = last+1, c.last.Number {
		part := &leveller{
			job: l.job, timeline: l.timeline, pageSize: l.pageSize, level: l.level, merged: l.merged, whole: true,
		}
		if err := part.run(ctx, first, last); err != nil {
			return err
		}
		l.done = append(l.done, part.done...)
	}
	return nil
}

// abandon gives up the merge that is open.
func (l *leveller) abandon() {
	if l.cur != nil {
		l.cur.close()
		l.cur = nil
	}
}

// put creates a merged segment, and proves it by reading it back.
func (l *leveller) put(ctx context.Context, c *openMerge) (Merge, error) {
	name := segment.Name{Kind: segment.Merged, Timeline: l.timeline.Timeline, Level: l.level, First: c.header.First, Last: c.last.Number}
	m := Merge{Object: name.String(), Timeline: name.Timeline, Level: name.Level, First: name.First, Last: name.Last, Objects: c.objects, Time: time.Unix(0, c.last.Time).UTC()}
	f, err := l.spill()
	if err != nil {
		return m, fmt.Errorf("merge: %w", err)
	}
	defer f.Close()
	info, err := c.write(f)
	if err != nil {
		return m, fmt.Errorf("merge transactions %d to %d of timeline %d: %w", c.header.First, c.last.Number, l.timeline.Timeline, err)
	}
	m.Size = info.Size
	if l.dryRun {
		return m, nil
	}
	m.Existed, err = l.create(ctx, name, info, f)
	return m, err
}

// create makes an object of a file, and proves that it can be read. Another process may have made the same: exists.
func (j *job) create(ctx context.Context, name segment.Name, info segment.Info, f *os.File) (exists bool, err error) {
	body := func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(f, 0, info.Size)), nil }
	err = j.store.Create(ctx, name.String(), body)
	if errors.Is(err, store.ErrExist) {
		exists, err = true, nil
	}
	if err != nil {
		return false, fmt.Errorf("create %s: %w", name, err)
	}
	got, err := proven(ctx, j.store, name.String())
	if err != nil {
		return exists, fmt.Errorf("read back %s: %w", name, err)
	}
	if got.After != info.After || got.Before != info.Before || got.Last != info.Last || got.PageCount != info.PageCount {
		return exists, fmt.Errorf("%s is there already, and holds another state: %v to %v, not %v to %v", name, got.Before, got.After, info.Before, info.After)
	}
	return exists, nil
}

// proven reads an object to its end, every checksum of it included.
func proven(ctx context.Context, s store.Store, name string) (info segment.Info, err error) {
	in, err := s.Read(ctx, name, 0, -1)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	d, err := segment.NewDecoder(in)
	for err == nil {
		_, err = d.NextTx()
	}
	if err != io.EOF {
		return info, replica.InObject(name, err)
	}
	return d.Info(), nil
}

// progress is up to which transaction a timeline was merged to a level, or to a higher one.
func progress(merged []object, level int) (last uint64) {
	for _, o := range merged {
		if o.name.Level >= level {
			last = max(last, o.name.Last)
		}
	}
	return last
}

// queue takes pieces, and fetches those that come next.
type queue struct {
	next  func() (piece, error, bool)
	ahead *replica.Ahead
	held  []piece
	start int // pieces of held before it are being fetched
	err   error
	over  bool
}

// queued is how many pieces are known ahead of the one that is read.
const queued = 32

func newQueue(ctx context.Context, s store.Store, next func() (piece, error, bool)) *queue {
	return &queue{next: next, ahead: replica.NewAhead(ctx, s)}
}

func (q *queue) close() { q.ahead.Close() }

// take returns the next piece; ok is false behind the last one. more says that those behind it are as good as sure to be read.
func (q *queue) take(more bool) (p piece, ok bool, err error) {
	for !q.over && (more && len(q.held) <= queued || len(q.held) == 0) {
		p, err, ok := q.next()
		if q.over = err != nil || !ok; q.over {
			q.err = err
			break
		}
		q.held = append(q.held, p)
	}
	if len(q.held) == 0 {
		return piece{}, false, q.err
	}
	for more && q.start < len(q.held) && q.ahead.Start(q.held[q.start].Object) {
		q.start++
	}
	p = q.held[0]
	q.held = slices.Delete(q.held, 0, 1)
	q.start = max(0, q.start-1)
	return p, true, nil
}
