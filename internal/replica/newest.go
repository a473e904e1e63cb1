package replica

import (
	"context"
	"errors"
	"fmt"

	"seawal/internal/segment"
	"seawal/store"
)

// Newest returns the segment of a timeline that reaches furthest, with what its
// footer says. Of several that end at one transaction it prefers a log segment to
// a merged one and that to a snapshot.
//
// after names a position up to which the caller knows the timeline; it has to be
// the end of a segment or zero, and its timeline doesn't matter when it is zero.
// Only segments that reach behind it count. The error wraps store.ErrNotExist when
// there is none.
//
// It costs three list requests plus one for each 1,000 segments behind after, and
// one ranged read, and remembers one name.
func Newest(ctx context.Context, s store.Store, timeline uint32, after Pos) (segment.Name, segment.Info, error) {
	var known uint64
	if !after.IsZero() {
		if after.Timeline != timeline {
			return segment.Name{}, segment.Info{}, fmt.Errorf("find newest segment: position %v is not on timeline %d", after, timeline)
		}
		known = after.Tx
	}
	best, err := findNewest(ctx, s, timeline, known, after.IsZero())
	if err != nil {
		return segment.Name{}, segment.Info{}, err
	}
	name, info, err := Inspect(ctx, s, best)
	if !errors.Is(err, store.ErrNotExist) {
		return name, info, err
	}
	// It was there a moment ago: merged away, and what replaced it is there by now.
	if best, err = findNewest(ctx, s, timeline, known, after.IsZero()); err != nil {
		return segment.Name{}, segment.Info{}, err
	}
	return Inspect(ctx, s, best)
}

// findNewest returns the segment that reaches furthest behind transaction known,
// or, when all is set, furthest of all.
func findNewest(ctx context.Context, s store.Store, timeline uint32, known uint64, all bool) (store.Object, error) {
	best := newest{known: known, all: all}
	for _, l := range []struct{ prefix, after string }{
		// The order is that of preference.
		{segment.LogPrefix(timeline), logsFrom(timeline, known+1)},
		{segment.MergedPrefix(timeline), ""}, // all: the names begin with the level
		{segment.SnapshotPrefix(timeline), segment.SnapshotName(timeline, known)},
	} {
		if all {
			l.after = ""
		}
		for o, err := range s.List(ctx, l.prefix, l.after) {
			if err != nil {
				return store.Object{}, fmt.Errorf("list %s: %w", l.prefix, err)
			}
			best.offer(o)
		}
	}
	if best.object.Name == "" {
		return store.Object{}, fmt.Errorf("find newest segment of timeline %d behind transaction %d: %w", timeline, known, store.ErrNotExist)
	}
	return best.object, nil
}

// logsFrom returns what to list after, to get the log segments that begin with
// transaction first or later: their names are longer than it, and so greater.
func logsFrom(timeline uint32, first uint64) string {
	return fmt.Sprintf("%s%016x", segment.LogPrefix(timeline), first)
}

// newest keeps the object that reaches furthest.
type newest struct {
	known  uint64 // what counts reaches behind this transaction,
	all    bool   // or nothing is known and all counts
	object store.Object
	last   uint64
}

// offer takes o if it reaches behind everything before. An object that is no
// segment is none of ours.
func (b *newest) offer(o store.Object) {
	n, err := segment.ParseName(o.Name)
	if err != nil || n.Last <= b.known && !b.all {
		return
	}
	if b.object.Name == "" || n.Last > b.last {
		b.object, b.last = o, n.Last
	}
}
