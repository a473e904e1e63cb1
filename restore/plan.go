package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// Step is one object of a plan and the transactions that are taken from it.
type Step struct {
	Object string `json:"object"` // name in the store
	Kind   string `json:"kind"`   // "snapshot", "merged" or "log"
	Size   int64  `json:"bytes"`  // of the object
	First  uint64 `json:"first"`  // first transaction taken from it
	Last   uint64 `json:"last"`   // last transaction taken from it

	name segment.Name
}

// Plan says which objects lead to a point, in the order in which they are applied.
type Plan struct {
	Replica  string `json:"replica"`   // id
	Database string `json:"database"`  // base name of the source, for people
	PageSize int    `json:"page_size"` // of the database at the target, bytes
	Timeline uint32 `json:"timeline"`  // whose history leads there; the target may be on a parent of it
	Target   Point  `json:"target"`    // what will be restored
	Steps    []Step `json:"steps"`     // the first one is the snapshot, unless the history begins with an empty database

	// Avoided are objects that can't be used, and that the plan goes around.
	Avoided []Avoided `json:"avoided,omitempty"`

	// Sampled says that there are so many log segments that their footers were not read: one that is missing
	// shows only when the plan is followed.
	Sampled bool `json:"sampled,omitempty"`
}

// Avoided is an object that can't be used, and why.
type Avoided struct {
	Object string `json:"object"`
	Reason string `json:"reason"`
}

// Bytes is the size of all objects of the plan.
func (p *Plan) Bytes() int64 {
	var n int64
	for _, s := range p.Steps {
		n += s.Size
	}
	return n
}

// NewPlan finds the way to a target: the newest snapshot at or before it, then
// merged segments, the highest level first, then log segments, free of gaps.
// timeline 0 means the newest one.
//
// It costs at most four LIST requests and one for every 1,000 objects of the
// timelines involved, a read for each timeline, and a few short reads that say
// where the log ends, where a moment lies and whether a transaction inside a segment is a point. A
// log that has a hole costs one more listing, to say what can still be restored.
//
// That no log segment is missing shows in their footers alone: a short read for each, some at a time, which NewPlan does where there are
// at most 256; see Plan.Sampled, and ProvePlan. Run does without, because it reads the segments anyway, and notices as it applies them.
//
// Errors: ErrNoReplica, *PointError, *ObjectError for a gap, and what the store says.
func NewPlan(ctx context.Context, s store.Store, timeline uint32, target Target) (*Plan, error) {
	p := newPlanner(s)
	p.footers = quickFooters
	return p.plan(ctx, timeline, target)
}

// ProvePlan is NewPlan that reads the footer of every log segment, however many there are. It may take longer than the restore.
func ProvePlan(ctx context.Context, s store.Store, timeline uint32, target Target) (*Plan, error) {
	p := newPlanner(s)
	p.footers = math.MaxInt
	return p.plan(ctx, timeline, target)
}

// planner makes plans for one run: again, when an object turns out to be bad or to end early.
type planner struct {
	store   store.Store
	now     func() time.Time
	footers int               // how many log segments a plan may have to be proven by their footers; 0: none is
	bad     map[string]flaw   // objects not to be used, by name
	ends    map[string]uint64 // last transactions of log segments that were looked at, by name
	hist    *history          // of the last plan
}

// flaw is what is wrong with an object.
type flaw struct {
	err     error
	applied bool   // it turned out while it was applied,
	good    uint64 // and this is the last transaction that was in by then
}

func newPlanner(s store.Store) *planner {
	return &planner{store: s, now: time.Now, bad: map[string]flaw{}, ends: map[string]uint64{}}
}

// plan makes a plan. An object that turns out bad while it looks around is noted, and the next
// try goes without it; there are finitely many.
func (p *planner) plan(ctx context.Context, timeline uint32, target Target) (*Plan, error) {
	for {
		plan, err := p.try(ctx, timeline, target)
		var lost *lostTimeline
		if errors.As(err, &lost) {
			return nil, without(ctx, p.store, lost)
		}
		var bad *badObject
		if !errors.As(err, &bad) {
			return plan, err
		}
		if _, known := p.bad[bad.object]; known {
			return nil, err
		}
		p.bad[bad.object] = flaw{err: bad.err}
	}
}

// without is the *ObjectError for a timeline that is lost: the newest point is that of the newest timeline without it.
func without(ctx context.Context, s store.Store, lost *lostTimeline) error {
	e := &ObjectError{Object: lost.object, Err: lost.err}
	if lost.other != 0 {
		if plan, err := newPlanner(s).plan(ctx, lost.other, Newest()); err == nil {
			e.Newest = &plan.Target
		}
	}
	return e
}

func (p *planner) try(ctx context.Context, timeline uint32, target Target) (*Plan, error) {
	h, err := openHistory(ctx, p.store, timeline)
	if err != nil {
		return nil, err
	}
	p.hist, h.ends = h, p.ends
	if target.kind == atTime || len(p.bad) > 0 {
		err = h.loadAll(ctx, p.store)
	} else {
		err = h.loadNear(ctx, p.store, target.limit())
	}
	if err != nil {
		return nil, err
	}
	for {
		plan, err := p.lookAround(ctx, target)
		if !errors.Is(err, errMeasured) {
			return plan, err
		}
		h.measure() // there are finitely many segments to be measured
	}
}

// lookAround makes a plan from what is listed. The error is errMeasured when that is to be tried again.
func (p *planner) lookAround(ctx context.Context, target Target) (*Plan, error) {
	h := p.hist
	tx, err := p.resolve(ctx, target)
	if err != nil {
		return nil, err
	}
	steps, ok := h.without(p.bad).route(tx)
	if !ok && !h.complete {
		if err := h.loadAll(ctx, p.store); err != nil {
			return nil, err
		}
		steps, ok = h.without(p.bad).route(tx)
	}
	if !ok {
		return nil, p.unreachable(ctx, target, tx)
	}
	if err := p.testify(ctx, steps); err != nil {
		return nil, err
	}
	proven := true
	if p.footers > 0 {
		if proven, err = p.prove(ctx, steps); err != nil {
			return nil, err
		}
	}
	at, err := p.checkPoint(ctx, target, steps[len(steps)-1], tx)
	if err != nil {
		return nil, err
	}
	return &Plan{
		Replica:  h.replica.ID.String(),
		Database: h.replica.Name,
		PageSize: h.pageSizeOf(tx),
		Timeline: h.timeline(),
		Target:   Point{Pos: Pos{Timeline: h.timelineOf(tx), Tx: tx}, Time: at},
		Steps:    steps,
		Avoided:  p.avoided(),
		Sampled:  !proven,
	}, nil
}

func (p *planner) avoided() []Avoided {
	all := p.hist.damagedDocuments()
	for name, f := range p.bad {
		all = append(all, Avoided{Object: name, Reason: f.err.Error()})
	}
	slices.SortFunc(all, func(a, b Avoided) int { return strings.Compare(a.Object, b.Object) })
	return all
}

// resolve returns the transaction that the target means.
func (p *planner) resolve(ctx context.Context, target Target) (uint64, error) {
	if target.kind != atTx { // a transaction is looked for where it has to be
		if err := p.measureEnd(ctx); err != nil {
			return 0, err
		}
	}
	if target.kind == atTime {
		return p.locate(ctx, target)
	}
	last, ok := p.hist.last()
	if (!ok || target.tx > last) && !p.hist.complete {
		// The listing began at a snapshot and may have missed what lies before it.
		if err := p.hist.loadAll(ctx, p.store); err != nil {
			return 0, err
		}
		last, ok = p.hist.last()
	}
	switch {
	case !ok:
		return 0, &PointError{Want: target.String(), Reason: "the replica holds no snapshot and no log yet"}
	case target.kind == newest:
		return last, nil
	case target.tx > last:
		return 0, p.noPoint(ctx, target, "it is after the last point")
	}
	return target.tx, nil
}

// route returns the steps that lead to target; ok is false when there is no
// way. Of the snapshots the newest from which there is one is taken.
func (h *history) route(target uint64) (steps []Step, ok bool) {
	dead := map[uint64]bool{} // transactions from which there is no way on
	for _, base := range h.bases(target) {
		if steps, ok := h.walk(base.tx, target, dead); ok {
			return append(base.steps, steps...), true
		}
	}
	return nil, false
}

// base is a state to begin with: that of a snapshot, or the empty database.
type base struct {
	tx    uint64
	steps []Step // the snapshot; none for the empty database
}

// bases returns the states to begin with at or before target, the newest first.
func (h *history) bases(target uint64) []base {
	var all []base
	for _, o := range slices.Backward(h.snapshots) {
		if o.Last <= target {
			all = append(all, base{o.Last, []Step{o.step(o.Last, o.Last)}})
		}
	}
	if h.empty && target > 0 {
		all = append(all, base{})
	}
	return all
}

func (o object) step(first, last uint64) Step {
	return Step{Object: o.String(), Kind: o.Kind.String(), Size: o.size, First: first, Last: last, name: o.Name}
}

// walk finds segments that lead from the state after transaction from to the
// one after target. It goes back where a choice led nowhere, and tries no state twice.
func (h *history) walk(from, target uint64, dead map[uint64]bool) ([]Step, bool) {
	type choice struct {
		at   uint64   // the state before
		next []object // not tried yet, the best one last
	}
	var path []choice
	var steps []Step // steps[i] leads on from path[i]
	for at := from; at != target; at = steps[len(steps)-1].Last {
		c := choice{at: at}
		if !dead[at] {
			c.next = h.nextObjects(at, target)
		}
		path = append(path, c)
		for len(path[len(path)-1].next) == 0 {
			dead[path[len(path)-1].at] = true
			path = path[:len(path)-1]
			if len(path) == 0 {
				return nil, false
			}
			steps = steps[:len(path)-1]
		}
		top := &path[len(path)-1]
		o := top.next[len(top.next)-1]
		top.next = top.next[:len(top.next)-1]
		steps = append(steps, o.step(top.at+1, min(o.end, target)))
	}
	return steps, true
}

// nextObjects returns the segments that lead on from the state after at, the best one last.
func (h *history) nextObjects(at, target uint64) []object {
	var found []object
	// A log segment may begin before: transactions that the state has already are skipped.
	i := sort.Search(len(h.logs), func(i int) bool { return h.logs[i].First > at+1 })
	if i > 0 && h.logs[i-1].end > at {
		found = append(h.partsOf(h.logs[i-1], at, target), h.logs[i-1])
	}
	// A merged segment knows the net effect only, so it has to begin exactly here.
	n := len(found)
	i = sort.Search(len(h.merged), func(i int) bool { return h.merged[i].First > at })
	for ; i < len(h.merged) && h.merged[i].First == at+1; i++ {
		if h.merged[i].end <= target {
			found = append(found, h.merged[i])
		}
	}
	slices.SortFunc(found[n:], func(a, b object) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.end, b.end))
	})
	return found
}

// partsOf returns the log segment o, cut where a merged segment begins inside it: what lies behind o may be there as part of that
// alone. It leads on from the state after at, and the longest part comes last.
func (h *history) partsOf(o object, at, target uint64) (parts []object) {
	end := min(o.end, target)
	i := sort.Search(len(h.merged), func(i int) bool { return h.merged[i].First > at+1 })
	for ; i < len(h.merged) && h.merged[i].First <= end; i++ {
		if last := h.merged[i].First - 1; len(parts) == 0 || parts[len(parts)-1].end < last {
			part := o
			part.end = last
			parts = append(parts, part)
		}
	}
	return parts
}

// reach returns the newest transaction at or before limit that there is a way to.
func (h *history) reach(limit uint64) (tx uint64, ok bool) {
	seen := map[uint64]bool{}
	for _, b := range h.bases(limit) {
		open := []uint64{b.tx}
		if len(b.steps) > 0 {
			tx, ok = max(tx, b.tx), true
		}
		for len(open) > 0 {
			at := open[len(open)-1]
			open = open[:len(open)-1]
			if seen[at] || at >= limit {
				continue
			}
			seen[at] = true
			for _, o := range h.nextObjects(at, limit) {
				end := min(o.end, limit)
				tx, ok = max(tx, end), true
				open = append(open, end)
			}
		}
	}
	return tx, ok
}

// unreachable says why there is no way to a transaction that the replica seems to have.
func (p *planner) unreachable(ctx context.Context, target Target, tx uint64) error {
	h := p.hist.without(p.bad)
	first, any := p.hist.first()
	if !any || tx < first {
		return p.noPoint(ctx, target, "it is before the first point")
	}
	reach, ok := h.reach(tx)
	if before, after, inside := h.insideMerged(tx, reach); ok && inside {
		return &PointError{
			Want: target.String(), Reason: "the log around it was merged, and has no point in between",
			Before: p.point(ctx, before), After: p.point(ctx, after),
		}
	}
	if after, is := p.hist.resizedAt(tx); is {
		e := &PointError{Want: target.String(), Reason: "the page size changed there, and the commits up to the snapshot have no point", After: p.point(ctx, after)}
		if ok {
			e.Before = p.point(ctx, reach)
		}
		return e
	}
	e := &ObjectError{}
	for name, f := range p.bad {
		n, err := replica.ParseName(name)
		if n.Kind == segment.Log {
			n.Last = p.hist.lookUp(name).Last
		}
		begin := err == nil && n.Kind == segment.Snapshot && n.Last > reach && n.Last <= tx && h.isResized(n.Timeline)
		if begin || err == nil && n.First <= reach+1 && (n.Last > reach || n.Kind == segment.Snapshot) && (e.Object == "" || n.Kind == segment.Log) {
			e.Object, e.Err = name, f.err
			if good := p.good(ctx, n, f); n.Kind == segment.Log && good > reach && good < tx && n.First == reach+1 && ok {
				reach = good
			}
		}
	}
	if e.Object == "" {
		e.Object, e.Err = h.missing(reach + 1)
	}
	if ok {
		e.Newest = p.point(ctx, reach)
	}
	return e
}

// good returns the last transaction inside a bad log segment up to which it can
// be used. The segment's own last one never can: a plan that takes all of a segment wants it whole.
func (p *planner) good(ctx context.Context, n segment.Name, f flaw) uint64 {
	if n.Kind != segment.Log || f.applied && f.good < n.Last {
		return f.good
	}
	txs, _ := scan(ctx, p.store, n, n.Last) // what came before the error is what is wanted
	for _, tx := range slices.Backward(txs) {
		if tx.Number < n.Last {
			return tx.Number
		}
	}
	return 0
}

// insideMerged says whether tx has no way to it only because it lies inside a
// merged segment that begins at reach, the newest transaction before it.
func (h *history) insideMerged(tx, reach uint64) (before, after uint64, ok bool) {
	for _, o := range h.merged {
		if o.First == reach+1 && tx < o.end && (!ok || o.end < after) {
			before, after, ok = reach, o.end, true
		}
	}
	return before, after, ok
}

// lookUp returns an object of the history; the zero one when it isn't listed any more.
func (h *history) lookUp(name string) object {
	for _, all := range [][]object{h.logs, h.merged, h.snapshots} {
		for _, o := range all {
			if o.String() == name {
				return o
			}
		}
	}
	return object{}
}

// missing names the log segment that should begin with tx.
func (h *history) missing(tx uint64) (string, error) {
	next := uint64(math.MaxUint64)
	for _, o := range slices.Concat(h.logs, h.merged) {
		if o.First > tx {
			next = min(next, o.First)
		}
	}
	timeline := h.timelineOf(tx)
	if h.isResized(timeline) && !slices.ContainsFunc(h.snapshots, func(o object) bool { return o.Timeline == timeline }) {
		return segment.SnapshotPrefix(timeline) + "*", fmt.Errorf("%w: a timeline with pages of another size than its parent begins with it", ErrMissing)
	}
	err := fmt.Errorf("%w: transactions %d to %d are in no segment", ErrMissing, tx, next-1)
	if next == math.MaxUint64 {
		err = fmt.Errorf("%w: transaction %d is in no segment", ErrMissing, tx)
	}
	return segment.LogName(timeline, tx), err
}

// first returns the oldest transaction that there is a way to.
func (h *history) first() (tx uint64, ok bool) {
	if h.empty && len(h.nextObjects(0, math.MaxUint64)) > 0 {
		tx, ok = 1, true
	}
	if len(h.snapshots) > 0 && (!ok || h.snapshots[0].Last < tx) {
		tx, ok = h.snapshots[0].Last, true
	}
	return tx, ok
}

// noPoint is the error for a target outside the history; it names the ends.
func (p *planner) noPoint(ctx context.Context, target Target, reason string) error {
	e := &PointError{Want: target.String(), Reason: reason}
	if !p.hist.complete {
		if err := p.hist.loadAll(ctx, p.store); err != nil {
			return errors.Join(e, err)
		}
	}
	var bad *badObject
	switch err := p.measureEnd(ctx); {
	case errors.As(err, &bad):
		p.bad[bad.object] = flaw{err: bad.err}
	case err != nil:
		return errors.Join(e, err)
	}
	h := p.hist.without(p.bad)
	if tx, ok := h.first(); ok {
		e.First = p.point(ctx, tx)
	}
	if tx, ok := h.reach(math.MaxUint64); ok {
		e.Last = p.point(ctx, tx)
	}
	return e
}
