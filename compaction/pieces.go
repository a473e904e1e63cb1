package compaction

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// object is a segment that a listing has shown.
type object struct {
	store.Object
	name segment.Name
}

// piece is what is taken from an object: the transactions from first to last. Of a log segment the name doesn't tell where it
// ends, so that there may be fewer: then something is missing behind them.
type piece struct {
	object
	first, last uint64 // last is openEnd where nothing follows
}

// openEnd stands for the end of a log segment that isn't known.
const openEnd = math.MaxUint64

// pieces yields what leads through a timeline from transaction first on, for a merge to a level: segments merged to a lower
// level where one begins, the highest level first, and the log in between. Only names are looked at, so that what comes can be
// fetched ahead. Where something is missing a piece doesn't begin behind the one before.
func pieces(ctx context.Context, s store.Store, timeline uint32, merged []object, level int, first uint64) iter.Seq2[piece, error] {
	return func(yield func(piece, error) bool) {
		lower := slices.DeleteFunc(slices.Clone(merged), func(o object) bool { return o.name.Level >= level })
		slices.SortFunc(lower, func(a, b object) int {
			return cmp.Or(cmp.Compare(a.name.First, b.name.First), cmp.Compare(b.name.Level, a.name.Level), cmp.Compare(b.name.Last, a.name.Last))
		})
		log := &logCursor{ctx: ctx, s: s, timeline: timeline}
		defer log.stop()
		for {
			for len(lower) > 0 && lower[0].name.First < first {
				lower = lower[1:]
			}
			next := uint64(openEnd) // first transaction of the next merged segment
			if len(lower) > 0 {
				next = lower[0].name.First
			}
			if next == first {
				p := piece{lower[0], first, lower[0].name.Last}
				if !yield(p, nil) {
					return
				}
				first = p.last + 1
				continue
			}
			o, behind, err := log.seek(first)
			if err != nil {
				yield(piece{}, err)
				return
			}
			next = min(next, behind)
			if o.Name != "" && !yield(piece{o, first, lastBefore(next)}, nil) {
				return
			}
			if next == openEnd {
				return
			}
			first = next
		}
	}
}

func lastBefore(next uint64) uint64 {
	if next == openEnd {
		return openEnd
	}
	return next - 1
}

// logCursor finds log segments by the transactions in them, which are asked for in ascending order.
type logCursor struct {
	ctx      context.Context
	s        store.Store
	timeline uint32

	pull func() (store.Object, error, bool)
	end  func()
	held object // the last one that was listed and lies before ahead
	next object // the one behind it; zero: there is none
}

// windows are how far in front of a transaction the segment that holds it is expected to begin, in transactions: names tell
// where a segment begins alone.
var windows = [...]uint64{256, 16384, math.MaxUint64}

// jump is by how many transactions the listing goes on rather than to begin anew: one page of it has 1,000 names.
const jump = 1000

// seek returns the last log segment that begins at or before a transaction, and where the one behind it begins, openEnd if
// there is none. The object is zero when the log begins behind the transaction.
func (c *logCursor) seek(tx uint64) (o object, behind uint64, err error) {
	if c.pull != nil && c.held.Name != "" && tx-c.held.name.First <= jump {
		return c.walk(tx)
	}
	for _, w := range windows {
		begin := tx - min(tx, w)
		c.restart(begin)
		o, behind, err = c.walk(tx)
		if err != nil || o.Name != "" || begin == 0 {
			return o, behind, err
		}
	}
	return o, behind, err
}

// restart lists what begins behind transaction begin.
func (c *logCursor) restart(begin uint64) {
	c.stop()
	after := ""
	if begin > 0 {
		after = segment.LogName(c.timeline, begin)
	}
	c.held, c.next = object{}, object{}
	c.pull, c.end = iter.Pull2(c.s.List(c.ctx, segment.LogPrefix(c.timeline), after))
}

func (c *logCursor) stop() {
	if c.end != nil {
		c.end()
		c.pull, c.end = nil, nil
	}
}

// walk goes on to a transaction.
func (c *logCursor) walk(tx uint64) (object, uint64, error) {
	for {
		if c.next.Name == "" {
			o, ok, err := c.take()
			if err != nil {
				return object{}, 0, err
			}
			if !ok {
				return c.held, openEnd, nil
			}
			c.next = o
		}
		if c.next.name.First > tx {
			return c.held, c.next.name.First, nil
		}
		c.held, c.next = c.next, object{}
	}
}

// take returns the next log segment of the listing.
func (c *logCursor) take() (object, bool, error) {
	for {
		o, err, ok := c.pull()
		switch {
		case !ok:
			return object{}, false, nil
		case err != nil:
			return object{}, false, fmt.Errorf("list the log of timeline %d: %w", c.timeline, err)
		}
		name, err := replica.ParseName(o.Name)
		if err != nil {
			continue // none of ours
		}
		if _, isClose, err := replica.ReadClose(c.ctx, c.s, o); err != nil {
			return object{}, false, err
		} else if isClose {
			continue
		}
		return object{o, name}, true, nil
	}
}

// listMerged lists the merged segments of a timeline.
func listMerged(ctx context.Context, s store.Store, timeline uint32) ([]object, error) {
	var all []object
	for o, err := range s.List(ctx, segment.MergedPrefix(timeline), "") {
		if err != nil {
			return nil, fmt.Errorf("list the merged segments of timeline %d: %w", timeline, err)
		}
		if name, err := replica.ParseName(o.Name); err == nil && name.Kind == segment.Merged {
			all = append(all, object{o, name})
		}
	}
	return all, nil
}
