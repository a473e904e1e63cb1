package restore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sort"
	"time"

	"seawal/internal/segment"
)

// unit is a stretch of history that one object tells the times of: a log
// segment, or the one point that a snapshot or a merged segment ends in.
type unit struct {
	object
	first uint64 // first transaction of it that may be a point
}

// units returns the history as stretches in order, without overlap.
func (h *history) units() []unit {
	var all []unit
	for _, o := range h.logs {
		all = append(all, unit{o, o.First})
	}
	inLog := func(tx uint64) bool {
		i := sort.Search(len(h.logs), func(i int) bool { return h.logs[i].First > tx })
		return i > 0 && h.logs[i-1].end >= tx
	}
	for _, o := range slices.Concat(h.snapshots, h.merged) {
		if !inLog(o.end) {
			all = append(all, unit{o, o.end})
		}
	}
	slices.SortFunc(all, func(a, b unit) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.Kind, b.Kind))
	})
	return slices.CompactFunc(all, func(a, b unit) bool { return a.end == b.end })
}

// locate returns the transaction that a moment means; see AtTime. It reads
// about log2(segments) footers and then one segment.
func (p *planner) locate(ctx context.Context, target Target) (uint64, error) {
	units := p.hist.without(p.bad).units()
	if len(units) == 0 {
		return 0, &PointError{Want: target.String(), Reason: "the replica holds no snapshot and no log yet"}
	}
	at := target.at.UnixNano()
	var failed error
	i := sort.Search(len(units), func(i int) bool {
		if failed != nil {
			return true
		}
		// Of the one that is found the end is known then: the moment may lie in what is missing behind it.
		info, err := p.info(ctx, units[i].object)
		if err != nil {
			failed = err
			return true
		}
		return units[i].time(info) > at
	}) - 1
	if failed != nil {
		return 0, failed
	}
	if i < 0 {
		return 0, p.noPoint(ctx, target, "it is before the first point")
	}
	tx, when, err := p.locateIn(ctx, units[i], at)
	if err != nil {
		return 0, err
	}
	if tx != units[i].end {
		return tx, nil
	}
	if i+1 == len(units) {
		if last, _ := p.hist.last(); last > tx {
			return 0, p.unreachable(ctx, target, tx+1) // what came behind is bad: nobody knows when it was
		}
		if at > when && target.at.After(p.now()) {
			return 0, p.noPoint(ctx, target, "it is in the future, after the last point")
		}
		return tx, nil
	}
	if next := units[i+1]; next.Kind == segment.Log && next.first > tx+1 {
		return 0, p.unreachable(ctx, target, tx+1) // the moment may lie in what is missing
	}
	return tx, nil
}

// time is the commit time of the first point in the unit.
func (u unit) time(info segment.Info) int64 {
	if u.Kind == segment.Log {
		return info.FirstTime
	}
	return info.LastTime
}

// locateIn returns the last transaction of the unit that was committed at or
// before at, and when. The unit's first one was.
func (p *planner) locateIn(ctx context.Context, u unit, at int64) (tx uint64, when int64, err error) {
	if u.Kind != segment.Log {
		return u.end, 0, nil
	}
	txs, err := scan(ctx, p.store, u.Name, u.end)
	if err != nil {
		return 0, 0, err
	}
	for _, t := range slices.Backward(txs) {
		if t.Time <= at && t.Number <= u.end {
			return t.Number, t.Time, nil
		}
	}
	return 0, 0, unfit(u.String(), "the first transaction is not where the footer says")
}

// checkPoint checks that tx, which the last step of a plan ends with, is a
// point and not inside a squashed span, and returns its commit time.
func (p *planner) checkPoint(ctx context.Context, target Target, last Step, tx uint64) (time.Time, error) {
	o := object{Name: last.name, size: last.Size, end: tx}
	if o.Last == tx || o.Last == openEnd {
		info, err := readInfo(ctx, p.store, o.Name, o.size)
		var bad *badObject
		switch {
		case err == nil && info.Last == tx:
			return unixTime(info.LastTime), nil
		case err == nil:
			if err := p.learn(o, info.Last); err != nil {
				return time.Time{}, err
			}
		case o.Last == tx || !errors.As(err, &bad):
			return time.Time{}, err
		}
		// Of the log's last segment tx is somewhere inside, as it seems. When its end is damaged, tx may still be whole.
	}
	txs, err := scan(ctx, p.store, o.Name, tx)
	if err != nil {
		return time.Time{}, err
	}
	if len(txs) == 0 {
		return time.Time{}, unfit(last.Object, "holds no transaction")
	}
	t := txs[len(txs)-1]
	if t.Number < tx { // it ends early, and what should come behind it is missing
		return time.Time{}, p.learn(o, t.Number)
	}
	if t.Number == tx {
		return unixTime(t.Time), nil
	}
	e := &PointError{Want: target.String(), Reason: "the commits around it were squashed into one, and have no point in between"}
	e.Before = p.point(ctx, t.Number-t.Span)
	e.After = p.pointAt(t.Number, t.Time)
	return time.Time{}, e
}

func (p *planner) pointAt(tx uint64, ns int64) *Point {
	return &Point{Pos: Pos{Timeline: p.hist.timelineOf(tx), Tx: tx}, Time: unixTime(ns)}
}

// point returns a transaction as a point, with its time if an object tells it. When tx is
// inside a squashed span it is the end of the span. For messages: an object
// that can't be read only leaves the time out.
func (p *planner) point(ctx context.Context, tx uint64) *Point {
	for _, o := range slices.Concat(p.hist.logs, p.hist.merged, p.hist.snapshots) {
		if o.Last == tx || o.Kind == segment.Log && o.First <= tx && tx <= o.end {
			if info, err := readInfo(ctx, p.store, o.Name, o.size); err == nil && info.Last == tx {
				return p.pointAt(tx, info.LastTime)
			}
		}
	}
	for _, o := range p.hist.logs {
		if o.First <= tx && tx <= o.end {
			txs, _ := scan(ctx, p.store, o.Name, tx)
			if n := len(txs); n > 0 && txs[n-1].Number >= tx {
				return p.pointAt(txs[n-1].Number, txs[n-1].Time)
			}
		}
	}
	return p.pointAt(tx, 0)
}
