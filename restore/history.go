package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// listBack is how many transactions before the snapshot the log is listed from:
// the segment that holds the first transaction behind the snapshot may begin
// before it. One page of a listing has 1,000 names, so no more than one request is spent on it.
const listBack = 1000

// branch is the part of a timeline that belongs to the history: its
// transactions from+1 to to.
type branch struct {
	timeline uint32
	from, to uint64
}

// object is a segment of the history.
type object struct {
	segment.Name
	size int64  // bytes
	end  uint64 // last transaction of it that belongs to the history: a parent's log may go on behind the fork. openEnd when it isn't known
}

// history is what led to a state: the timeline asked for, its parents, and
// their objects.
type history struct {
	replica   replica.Replica
	timelines []replica.Timeline // all of the replica, ascending
	branches  []branch           // root first
	complete  bool               // all objects of all branches are listed, not only those near the target
	empty     bool               // the history began with an empty database, and its first transaction is listed

	snapshots []object // ascending by transaction
	merged    []object // ascending by first transaction
	logs      []object // ascending by first transaction; they don't overlap

	ends   map[string]uint64 // last transactions of log segments, by object, where they are known
	behind map[uint32]uint64 // by timeline: where the first log segment begins that was left out, behind limit or fork
}

// openHistory finds out which timelines lead to the state that is asked for;
// timeline 0 means the newest. It costs one LIST request (one more for each gap in the
// timelines' numbers) and a read for each timeline.
func openHistory(ctx context.Context, s store.Store, timeline uint32) (*history, error) {
	r, err := replica.ReadReplica(ctx, s)
	var corrupt *replica.CorruptError
	switch {
	case errors.Is(err, store.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", ErrNoReplica, err)
	case errors.As(err, &corrupt):
		return nil, &ObjectError{Object: corrupt.Object, Err: fmt.Errorf("%w, and there is no segment that tells what it said", err)}
	case err != nil:
		return nil, err
	}
	h := &history{replica: r, behind: map[uint32]uint64{}}
	if h.timelines, err = replica.Timelines(ctx, s); err != nil {
		return nil, err
	}
	if len(h.timelines) == 0 {
		return nil, &PointError{Want: "any point", Reason: "the replica has no timeline yet"}
	}
	last := h.timelines[len(h.timelines)-1].Timeline
	if timeline == 0 {
		timeline = last
	}
	if _, ok := h.find(timeline); !ok {
		return nil, &PointError{
			Want:   fmt.Sprintf("timeline %d", timeline),
			Reason: fmt.Sprintf("there is no such timeline, the newest is %d", last),
		}
	}
	return h, h.follow(timeline)
}

// lostTimeline is the error for a history whose way leads over a timeline.json that is damaged or gone, and can't be found in the segments.
type lostTimeline struct {
	object string
	err    error
	other  uint32 // newest timeline whose history doesn't need it; 0: none
}

func (e *lostTimeline) Error() string { return fmt.Sprintf("object %s: %v", e.object, e.err) }
func (e *lostTimeline) Unwrap() error { return e.err }

// lost is the error for timeline n of the history of timeline.
func (h *history) lost(n, timeline uint32) error {
	e := &lostTimeline{object: segment.TimelineName(n), err: ErrMissing}
	if t, ok := h.find(n); ok {
		e.err = t.Damage
		if errors.Is(e.err, store.ErrNotExist) {
			e.err = fmt.Errorf("%w: %w", ErrMissing, e.err)
		}
	}
	if n < timeline {
		e.err = fmt.Errorf("%w; timeline %d came from it", e.err, timeline)
	}
	for _, t := range slices.Backward(h.timelines) {
		if t.Timeline < timeline && replica.LostIn(h.timelines, t.Timeline) == nil {
			e.other = t.Timeline
			break
		}
	}
	return e
}

// damagedDocuments are those that the history was found without.
func (h *history) damagedDocuments() (all []Avoided) {
	add := func(object string, err error, found string) {
		if err != nil {
			all = append(all, Avoided{Object: object, Reason: fmt.Sprintf("%v; %s", err, found)})
		}
	}
	add(segment.ReplicaName, h.replica.Damage, replica.AllFound)
	for _, b := range h.branches {
		if t, ok := h.find(b.timeline); ok {
			found, _ := t.Found()
			add(segment.TimelineName(b.timeline), t.Damage, found)
		}
	}
	return all
}

func (h *history) find(timeline uint32) (replica.Timeline, bool) {
	i, ok := slices.BinarySearchFunc(h.timelines, timeline, func(t replica.Timeline, n uint32) int {
		return cmp.Compare(t.Timeline, n)
	})
	if !ok {
		return replica.Timeline{}, false
	}
	return h.timelines[i], true
}

// follow sets the branches: timeline and its parents, up to the root.
func (h *history) follow(timeline uint32) error {
	to, asked := uint64(math.MaxUint64), timeline
	for n := timeline; n != 0; {
		t, ok := h.find(n)
		if !ok || t.Lost {
			return h.lost(n, asked)
		}
		h.branches = append(h.branches, branch{timeline: n, from: t.ParentTx, to: to})
		to = min(to, t.ParentTx)
		n = t.Parent // its number is smaller
	}
	slices.Reverse(h.branches)
	return nil
}

// timeline returns the timeline that was asked for.
func (h *history) timeline() uint32 { return h.branches[len(h.branches)-1].timeline }

// timelineOf returns the timeline that a transaction of the history is on.
func (h *history) timelineOf(tx uint64) uint32 {
	for _, b := range h.branches {
		if tx <= b.to {
			return b.timeline
		}
	}
	return h.timeline()
}

// pageSizeOf returns the page size of the database after a transaction, bytes.
func (h *history) pageSizeOf(tx uint64) int {
	return replica.PageSizeAt(h.replica, h.timelines, Pos{Timeline: h.timelineOf(tx), Tx: tx})
}

// isResized says whether the pages of a timeline have another size than those of the point where it left its parent. Such a
// timeline begins with a snapshot.
func (h *history) isResized(timeline uint32) bool {
	for _, b := range h.branches[1:] {
		if b.timeline == timeline {
			return h.pageSizeOf(b.from) != replica.PageSizeAt(h.replica, h.timelines, Pos{Timeline: timeline, Tx: math.MaxUint64})
		}
	}
	return false
}

// resizedAt returns the snapshot that a transaction was squashed into since it came before the first one of a timeline with pages
// of another size.
func (h *history) resizedAt(tx uint64) (snapshot uint64, ok bool) {
	timeline := h.timelineOf(tx)
	if !h.isResized(timeline) {
		return 0, false
	}
	for _, o := range h.logs {
		if o.Timeline == timeline && o.First <= tx {
			return 0, false
		}
	}
	for _, o := range h.snapshots {
		if o.Timeline == timeline && o.Last > tx {
			return o.Last, true
		}
	}
	return 0, false
}

// loadNear lists what is needed to reach limit from the newest snapshot of the
// timeline: two LIST requests and what the log's length takes, or a third when the segment
// that follows the snapshot is unusually long. Without such a snapshot it loads everything.
func (h *history) loadNear(ctx context.Context, s store.Store, limit uint64) error {
	timeline := h.timeline()
	folder := timelineFolder(timeline)
	// Behind "log/" come "merged/" and "snapshot/".
	if err := h.list(ctx, s, folder, folder+"m", limit); err != nil {
		return err
	}
	if len(h.snapshots) == 0 {
		return h.loadAll(ctx, s)
	}
	base := h.snapshots[len(h.snapshots)-1].Last
	after := ""
	if base > listBack {
		after = segment.LogName(timeline, base-listBack)
	}
	if err := h.list(ctx, s, segment.LogPrefix(timeline), after, limit); err != nil {
		return err
	}
	if after != "" && base < limit && len(h.logs) > 0 && h.logs[0].First > base+1 {
		if err := h.list(ctx, s, segment.LogPrefix(timeline), "", h.logs[0].First-1); err != nil {
			return err
		}
	}
	h.sort()
	return h.findBegin(ctx, s)
}

// loadAll lists every object of the history: one LIST for each of two timelines,
// or one over the whole replica when there are more.
func (h *history) loadAll(ctx context.Context, s store.Store) error {
	h.snapshots, h.merged, h.logs = nil, nil, nil
	clear(h.behind)
	if len(h.branches) <= 2 {
		for _, b := range h.branches {
			if err := h.list(ctx, s, timelineFolder(b.timeline), "", math.MaxUint64); err != nil {
				return err
			}
		}
	} else if err := h.list(ctx, s, "", "", math.MaxUint64); err != nil {
		return err
	}
	h.sort()
	h.complete = true
	return h.findBegin(ctx, s)
}

// findBegin finds out whether the log can be applied to an empty database. A replica of a
// database that had content when replication began has its first transaction
// too, but only a snapshot to begin with.
func (h *history) findBegin(ctx context.Context, s store.Store) error {
	h.empty = false
	for _, o := range slices.Concat(h.logs, h.merged) {
		if o.First != 1 {
			continue
		}
		info, err := readInfo(ctx, s, o.Name, o.size)
		var bad *badObject
		switch {
		case errors.As(err, &bad):
			h.empty = len(h.snapshots) == 0 // perhaps; whoever needs it will meet the object, and blame it
		case err != nil:
			return err
		default:
			h.empty = info.Before == 0
			return nil
		}
	}
	return nil
}

// timelineFolder is what the names of all objects of a timeline start with.
func timelineFolder(timeline uint32) string {
	return strings.TrimSuffix(segment.LogPrefix(timeline), "log/")
}

// list adds the objects under prefix that belong to the history. It stops at
// the first log segment or snapshot that begins behind limit.
func (h *history) list(ctx context.Context, s store.Store, prefix, after string, limit uint64) error {
	for o, err := range s.List(ctx, prefix, after) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		name, err := replica.ParseName(o.Name)
		if err != nil {
			continue // timeline.json, or something that isn't ours
		}
		if name.First > limit && name.Kind != segment.Merged {
			h.leaveOut(name)
			return nil
		}
		if b := h.branchOf(name.Timeline); name.Kind == segment.Log && name.First > b.from && name.First <= b.to {
			_, isClose, err := replica.ReadClose(ctx, s, o)
			if err != nil {
				return err
			}
			if isClose {
				h.leaveOut(name) // the log ends in front of it
				continue
			}
		}
		h.add(name, o.Size)
	}
	return nil
}

// leaveOut notes where a segment begins that doesn't matter: the one in front of it ends there.
func (h *history) leaveOut(name segment.Name) {
	if name.Kind == segment.Log {
		h.behind[name.Timeline] = max(h.behind[name.Timeline], name.First)
	}
}

// branchOf returns the part of a timeline that belongs to the history; zero when none does.
func (h *history) branchOf(timeline uint32) branch {
	for _, b := range h.branches {
		if b.timeline == timeline {
			return b
		}
	}
	return branch{}
}

func (h *history) add(name segment.Name, size int64) {
	b := h.branchOf(name.Timeline)
	if b.timeline == 0 {
		return
	}
	o := object{Name: name, size: max(size, 0), end: min(name.Last, b.to)}
	switch {
	case name.Kind == segment.Snapshot && name.Last >= b.from && name.Last <= b.to:
		h.snapshots = append(h.snapshots, o)
	case name.Kind == segment.Merged && name.First > b.from && name.Last <= b.to:
		h.merged = append(h.merged, o)
	case name.Kind == segment.Log && name.First > b.from && name.First <= b.to:
		h.logs = append(h.logs, o) // measure sets the end
	case name.Kind == segment.Log && name.First > b.to:
		h.leaveOut(name)
	}
}

func (h *history) sort() {
	order := func(a, b object) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Timeline, b.Timeline), cmp.Compare(a.Last, b.Last))
	}
	slices.SortFunc(h.snapshots, order)
	slices.SortFunc(h.merged, order)
	slices.SortFunc(h.logs, order)
	h.measure()
}

// without returns the history as if some objects did not exist.
func (h *history) without(bad map[string]flaw) *history {
	if len(bad) == 0 {
		return h
	}
	keep := func(all []object) []object {
		return slices.DeleteFunc(slices.Clone(all), func(o object) bool { _, is := bad[o.String()]; return is })
	}
	c := *h
	c.snapshots, c.merged, c.logs = keep(h.snapshots), keep(h.merged), keep(h.logs)
	return &c
}

// last returns the last transaction that any object tells of; ok is false when
// there is no object. It is openEnd as long as nobody knows where the log ends.
func (h *history) last() (tx uint64, ok bool) {
	for _, all := range [][]object{h.snapshots, h.merged, h.logs} {
		for _, o := range all {
			tx, ok = max(tx, o.end), true
		}
	}
	return tx, ok
}
