package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/store"
)

// ErrNoPoint says that the replica holds the transactions around a position but
// can't tell the state between them: they were squashed into one.
var ErrNoPoint = errors.New("there is no point between them")

// GapError says that the replica doesn't lead to a transaction: the segment that
// would hold the next one is not there.
type GapError struct {
	Timeline uint32
	Missing  uint64 // first transaction that is missing
	Wanted   uint64 // transaction that was to be reached, at least Missing
	Next     uint64 // first transaction that is there behind the gap; 0 when nothing is
}

func (e *GapError) Error() string {
	if e.Next == 0 {
		return fmt.Sprintf("timeline %d ends at transaction %d, before %d", e.Timeline, e.Missing-1, e.Wanted)
	}
	return fmt.Sprintf("timeline %d lacks the transactions %d to %d: there is no %s", e.Timeline, e.Missing, e.Next-1, segment.LogName(e.Timeline, e.Missing))
}

// IsDamage says that an error of TableAt, Lineage, Newest or Inspect means that the replica itself is at fault: an object is missing, cut short, or not what
// it was. Asking again gives the same.
func IsDamage(err error) bool {
	var corrupt *segment.CorruptError
	var document *CorruptError
	var gap *GapError
	return errors.As(err, &corrupt) || errors.As(err, &document) || errors.As(err, &gap) || errors.Is(err, segment.ErrTorn) || errors.Is(err, store.ErrNotExist)
}

// TableAt returns the sums of all pages at a position, rebuilt from the replica:
// from the index of the newest snapshot at or before pos, and from the records of
// the log segments behind it, across the timelines that pos descends from. No page
// image is looked at.
//
// When from is not nil it is the table at fromPos, and only what lies between
// fromPos and pos is read. from is not changed. fromPos has to be in the history of
// pos.
//
// After every transaction the checksum of the table is compared with the one
// recorded, so the result is proven: a mismatch is a *segment.CorruptError that
// names the segment. A missing log segment is a *GapError, a position between squashed
// transactions ErrNoPoint; no snapshot at or before pos wraps store.ErrNotExist.
//
// Memory: 8 bytes a page for the table (20 while the index of a snapshot is read),
// and one Decoder.
func TableAt(ctx context.Context, s store.Store, pos Pos, from *pagesum.Table, fromPos Pos) (*pagesum.Table, error) {
	return tableAt(&walk{ctx: ctx, s: s}, pos, from, fromPos)
}

// SoundTableAt is TableAt for a position that is to be gone on from: also what the segment that it ends in has
// behind it is held against its checksums, because no later position can be restored without that segment.
func SoundTableAt(ctx context.Context, s store.Store, pos Pos, from *pagesum.Table, fromPos Pos) (*pagesum.Table, error) {
	return tableAt(&walk{ctx: ctx, s: s, strict: true}, pos, from, fromPos)
}

func tableAt(w *walk, pos Pos, from *pagesum.Table, fromPos Pos) (*pagesum.Table, error) {
	legs, err := Lineage(w.ctx, w.s, pos)
	if err != nil {
		return nil, err
	}
	if from != nil {
		if !inHistory(legs, fromPos) {
			return nil, fmt.Errorf("rebuild page checksums of %v: %v is not in its history", pos, fromPos)
		}
		w.table, w.at = from.Clone(), fromPos.Tx
	} else if legs, err = w.start(legs, pos); err != nil {
		return nil, err
	}
	for _, leg := range legs {
		if err := w.follow(leg); err != nil {
			return nil, fmt.Errorf("rebuild page checksums of %v: %w", pos, joinPassed(w.passed, err))
		}
	}
	return w.table, nil
}

// joinPassed adds to an error what is wrong with the snapshots before.
func joinPassed(passed, err error) error {
	if passed == nil {
		return err
	}
	return errors.Join(passed, err)
}

// inHistory says whether a position lies on the way that legs describe.
func inHistory(legs []Leg, p Pos) bool {
	for _, leg := range legs {
		if leg.Timeline == p.Timeline {
			return p.Tx <= leg.Last
		}
	}
	return false
}

// walk leads a table through the transactions of a replica.
type walk struct {
	ctx   context.Context
	s     store.Store
	table *pagesum.Table
	at    uint64 // transaction that table is of
	size  int64  // of the segment that is read, bytes

	strict   bool         // the last segment has to be whole, as who restores what comes behind it needs it
	passed   error        // what is wrong with snapshots that were passed over
	passedAt uint64       // transaction of the newest of them
	whole    Pos          // end of the last object that was read to its end, or to that of its leg
	last     store.Object // which
}

// start makes the table of the newest snapshot in legs that can be read, and returns the legs from
// there on.
func (w *walk) start(legs []Leg, pos Pos) ([]Leg, error) {
	for i := len(legs) - 1; i >= 0; i-- {
		leg := legs[i]
		var all []store.Object
		var numbers []uint64
		for o, err := range w.s.List(w.ctx, segment.SnapshotPrefix(leg.Timeline), "") {
			if err != nil {
				return nil, fmt.Errorf("list snapshots of timeline %d: %w", leg.Timeline, err)
			}
			n, err := ParseName(o.Name)
			if err != nil {
				continue // none of ours
			}
			if n.Last > leg.Last {
				break
			}
			all, numbers = append(all, o), append(numbers, n.Last)
		}
		for k, o := range slices.Backward(all) {
			err := w.snapshot(o)
			if err == nil {
				err = w.testify(o, Pos{Timeline: leg.Timeline, Tx: numbers[k]})
			}
			if err == nil {
				return legs[i:], nil
			}
			if !IsDamage(err) {
				return nil, err
			}
			// An older one leads there too, with more of the log.
			w.passed, w.passedAt = errors.Join(w.passed, err), max(w.passedAt, numbers[k])
		}
	}
	if w.passed != nil {
		return nil, w.passed
	}
	return nil, fmt.Errorf("find a snapshot at or before %v: %w", pos, store.ErrNotExist)
}

// snapshot makes the table of a snapshot.
func (w *walk) snapshot(o store.Object) error {
	r := &objectReader{ctx: w.ctx, s: w.s, o: o, ahead: readAhead}
	_, info, err := inspectTail(r)
	if err != nil {
		return err
	}
	x, err := segment.ReadIndex(r, info)
	if err != nil {
		return InObject(o.Name, err)
	}
	w.table, w.at = pagesum.New(), info.Last
	x.Sums(w.table.Set)
	if got := w.table.Total(); got != info.After {
		return InObject(o.Name, &segment.CorruptError{
			Offset: info.IndexOffset,
			Err:    fmt.Errorf("checksum of the database is %v, its pages have %v", info.After, got),
		})
	}
	w.whole, w.last = Pos{Timeline: info.Timeline, Tx: w.at}, o
	return nil
}

// windows are how far in front of the next transaction its segment is expected to
// begin, in transactions. Names tell where a segment begins, so the one that holds a
// transaction in its middle is found by listing from before it; only after a
// snapshot inside a long segment does it take a wider look.
var windows = [...]uint64{256, 16384, math.MaxUint64}

// follow applies the log segments that lead from w.at to the end of a leg.
func (w *walk) follow(leg Leg) error {
	for _, window := range windows {
		begin := uint64(1)
		if w.at > window {
			begin = w.at - window
		}
		err := w.followFrom(leg, begin)
		var gap *GapError
		if !errors.As(err, &gap) || begin == 1 || begin-1 <= leg.After {
			return err
		}
	}
	panic("replica: the last window is not the widest") // it begins at 1
}

// followFrom is follow for the segments that begin with transaction begin or later.
func (w *walk) followFrom(leg Leg, begin uint64) error {
	if w.at >= leg.Last {
		return nil
	}
	way := &way{walk: w, leg: leg, ahead: NewAhead(w.ctx, w.s)}
	defer way.ahead.Close()
	for o, err := range w.s.List(w.ctx, segment.LogPrefix(leg.Timeline), segment.LogName(leg.Timeline, begin-1)) {
		if err != nil {
			return fmt.Errorf("list log of timeline %d: %w", leg.Timeline, err)
		}
		n, err := ParseName(o.Name)
		if err != nil {
			continue // none of ours
		}
		if n.First <= leg.Last {
			if _, isClose, err := ReadClose(w.ctx, w.s, o); err != nil {
				return err
			} else if isClose {
				continue
			}
		}
		if done, err := way.list(wayStep{o, n}); err != nil {
			return err
		} else if done {
			return way.ended()
		}
		if n.First > leg.Last {
			break // it shows that the one before was the last, or where a gap ends
		}
	}
	if err := way.finish(); err != nil {
		return err
	}
	return way.ended()
}

// decode stops behind transaction last, or ended is true: the whole segment is proven. What the segment has behind last is of
// no interest, and may be damaged, unless w is strict.
func (w *walk) decode(in io.Reader, n segment.Name, last uint64) (ended bool, err error) {
	d, err := segment.NewDecoder(in)
	if err != nil {
		return false, err
	}
	h := d.Header()
	if err := Matches(n, h); err != nil {
		return false, err
	}
	if h.First == w.at+1 && h.Before != w.table.Total() {
		return false, w.mismatch("before", h.First, h.Before)
	}
	for w.at < last {
		tx, err := d.NextTx()
		if err == io.EOF { // proves the whole object
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if tx.Number > MaxTx {
			return false, &segment.CorruptError{Err: fmt.Errorf("transaction %d is out of range", tx.Number)}
		}
		if tx.Number <= w.at {
			continue
		}
		if before := tx.Number - tx.Span; before != w.at || tx.Number > last {
			return false, fmt.Errorf("the transactions %d to %d were squashed into one: %w", before+1, tx.Number, ErrNoPoint)
		}
		if err := w.transaction(d, tx); err != nil {
			return false, err
		}
	}
	if !w.strict {
		return false, nil
	}
	if _, err = d.NextTx(); err == io.EOF {
		return true, nil
	}
	return false, err
}

// transaction applies the pages of one transaction.
func (w *walk) transaction(d *segment.Decoder, tx segment.Tx) error {
	// Each page that the transaction has takes the bytes of its checksum in the object, at least.
	pageSize := d.Header().PageSize
	if err := w.table.CheckSize(tx.PageCount, pageSize, w.size/8); err != nil {
		return &segment.CorruptError{Err: fmt.Errorf("transaction %d: %w", tx.Number, err)}
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
		w.table.Set(p.Number, p.Sum)
	}
	w.table.Truncate(tx.PageCount)
	if err := w.table.CheckSize(tx.PageCount, pageSize, 0); err != nil {
		return &segment.CorruptError{Err: fmt.Errorf("transaction %d: %w", tx.Number, err)}
	}
	if d.TxEnd() != w.table.Total() {
		return w.mismatch("after", tx.Number, d.TxEnd())
	}
	w.at = tx.Number
	return nil
}

// mismatch says that the table is not that of the state that a segment is about.
func (w *walk) mismatch(when string, tx uint64, recorded pagesum.Sum) error {
	return &segment.CorruptError{Err: fmt.Errorf("checksum of the database %s transaction %d is %v, the pages have %v", when, tx, recorded, w.table.Total())}
}
