package replica

import (
	"context"
	"errors"
	"math"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
)

// Reach is how far a timeline can be read.
type Reach struct {
	At     Pos            // end of the last object before what is broken; zero: not even a snapshot can be read
	Info   segment.Info   // of that object. Place and LastTime are zero when it goes on behind At, on a timeline that was left
	Table  *pagesum.Table // sums of all pages at At
	Broken error          // what can't be read: see IsDamage. nil: nothing, At is the end
}

// ReachOf reads the history of a timeline from the newest snapshot that can be read to its end, or up to
// the first object that is missing or damaged.
func ReachOf(ctx context.Context, s store.Store, timeline uint32) (Reach, error) {
	end := Pos{Timeline: timeline, Tx: math.MaxUint64}
	legs, err := Lineage(ctx, s, end)
	if err != nil {
		return Reach{}, err
	}
	w := &walk{ctx: ctx, s: s, strict: true}
	if legs, err = w.start(legs, end); err != nil {
		if IsDamage(err) {
			return Reach{Broken: err}, nil
		}
		return Reach{}, err
	}
	r := Reach{}
	for _, leg := range legs {
		err := w.follow(leg)
		var gap *GapError
		if errors.As(err, &gap) && gap.Next == 0 && leg.Timeline == timeline {
			if w.passedAt > w.at {
				r.Broken = w.passed
			}
			break // its end
		}
		if err != nil && !IsDamage(err) {
			return Reach{}, err
		}
		if err != nil {
			r.Broken = joinPassed(w.passed, err)
			break
		}
	}
	r.At, r.Table = w.whole, w.table
	if r.Broken != nil {
		// The table is somewhere behind.
		if r.Table, err = TableAt(ctx, s, r.At, nil, Pos{}); err != nil {
			return Reach{}, err
		}
	}
	if _, r.Info, err = Inspect(ctx, s, w.last); err != nil {
		return Reach{}, err
	}
	if r.Info.Last != r.At.Tx {
		r.Info.Place, r.Info.LastTime = wal.Place{}, 0
	}
	return r, nil
}
