package restore

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// Listing says what can be restored of one timeline and its parents.
type Listing struct {
	Replica   string         `json:"replica"`   // id
	Database  string         `json:"database"`  // base name of the source
	PageSize  int            `json:"page_size"` // of Timeline, bytes
	Timelines []TimelineInfo `json:"timelines"` // all of the replica
	Timeline  uint32         `json:"timeline"`  // the one whose history follows

	First       *Point         `json:"first"` // oldest point; null when there is none
	Last        *Point         `json:"last"`  // newest point
	Snapshots   []SnapshotInfo `json:"snapshots"`
	Ranges      []Range        `json:"ranges"`
	Squashed    []Span         `json:"squashed"`
	Gaps        []Span         `json:"gaps"`          // transactions that are lost; Next is null behind the last point
	TimesGoBack []Point        `json:"times_go_back"` // segments begin or end here with a time before that of an earlier point

	Objects int   `json:"objects"` // segments of the history
	Bytes   int64 `json:"bytes"`   // their size

	// Unreadable are segments whose footer can't be used, and what else of the history is damaged.
	Unreadable []Avoided `json:"unreadable,omitempty"`
	// Sampled says that there are so many segments that only those at the ends of the ranges
	// were looked at: Squashed and TimesGoBack may be incomplete, and Points counts what is squashed.
	Sampled bool `json:"sampled,omitempty"`
}

// TimelineInfo is where a timeline comes from.
type TimelineInfo struct {
	Timeline uint32    `json:"timeline"`
	Parent   Pos       `json:"parent"`    // where it left its parent; 0/0 for a root
	PageSize int       `json:"page_size"` // of its transactions, bytes
	Reason   string    `json:"reason"`
	Created  time.Time `json:"created"`
}

// SnapshotInfo is a snapshot.
type SnapshotInfo struct {
	Point
	Bytes int64 `json:"bytes"`
}

// Range is a stretch in which every transaction that isn't squashed is a point.
type Range struct {
	First  Point  `json:"first"`
	Last   Point  `json:"last"`
	Points uint64 `json:"points"`
}

// Span is a run of transactions that are no points.
type Span struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Next  *Point `json:"next"` // the next point behind them
}

// quickFooters is the number of segments up to which List and NewPlan look at each: a second on a distant store.
const quickFooters = 256

// List says what the replica can give back of a timeline, 0 being the newest, and of its
// parents up to where it left them. Where there are at most 256 segments it reads the footer of each, and
// those with squashed commits in full; else see Listing.Sampled, and ListAll. Errors as of NewPlan.
func List(ctx context.Context, s store.Store, timeline uint32) (*Listing, error) {
	return list(ctx, s, timeline, quickFooters)
}

// ListAll is List that looks at every segment, however many there are. That may take longer than a restore.
func ListAll(ctx context.Context, s store.Store, timeline uint32) (*Listing, error) {
	return list(ctx, s, timeline, math.MaxInt)
}

func list(ctx context.Context, s store.Store, timeline uint32, footers int) (*Listing, error) {
	h, err := openHistory(ctx, s, timeline)
	var lost *lostTimeline
	if errors.As(err, &lost) {
		return nil, without(ctx, s, lost)
	}
	if err != nil {
		return nil, err
	}
	if err := h.loadAll(ctx, s); err != nil {
		return nil, err
	}
	l := &lister{planner: newPlanner(s), infos: map[string]segment.Info{}}
	l.footers = footers
	l.hist, h.ends = h, l.ends
	l.out = Listing{
		Replica: h.replica.ID.String(), Database: h.replica.Name, PageSize: h.pageSizeOf(math.MaxUint64), Timeline: h.timeline(),
		Snapshots: []SnapshotInfo{}, Ranges: []Range{}, Squashed: []Span{}, Gaps: []Span{}, TimesGoBack: []Point{},
	}
	for _, t := range h.timelines {
		size := replica.PageSizeAt(h.replica, h.timelines, Pos{Timeline: t.Timeline, Tx: math.MaxUint64})
		l.out.Timelines = append(l.out.Timelines, TimelineInfo{t.Timeline, Pos{Timeline: t.Parent, Tx: t.ParentTx}, size, t.Reason, t.Created})
	}
	if err := l.readFooters(ctx); err != nil {
		return nil, err
	}
	if err := l.findSpans(ctx); err != nil {
		return nil, err
	}
	l.findRanges(ctx)
	l.findTimesGoBack()
	l.out.Unreadable = l.avoided()
	return &l.out, nil
}

// lister gathers a Listing.
type lister struct {
	*planner
	infos map[string]segment.Info // by object
	out   Listing
}

// readFooters reads the footers of all segments, which tell where those of the log end.
func (l *lister) readFooters(ctx context.Context) error {
	objects := slices.Concat(l.hist.snapshots, l.hist.merged, l.hist.logs)
	l.out.Objects = len(objects)
	for _, o := range objects {
		l.out.Bytes += o.size
	}
	if len(objects) > l.footers {
		l.out.Sampled = true
		objects = l.hist.snapshots
	}
	err := readFooters(ctx, l.store, objects, func(i int, info segment.Info, err error) error {
		o := objects[i]
		if err == nil {
			err = l.learn(o, info.Last)
		}
		var bad *badObject
		switch {
		case err == nil, errors.Is(err, errMeasured):
			l.infos[o.String()] = info
		case errors.As(err, &bad):
			l.bad[bad.object] = flaw{err: bad.err}
		default:
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	l.hist.measure()
	var bad *badObject
	switch err := l.measureEnd(ctx); { // when it was left out
	case errors.As(err, &bad):
		l.bad[bad.object] = flaw{err: bad.err}
	case err != nil:
		return err
	}
	l.testify()
	for _, o := range l.hist.snapshots {
		if info, ok := l.infos[o.String()]; ok {
			l.out.Snapshots = append(l.out.Snapshots, SnapshotInfo{*l.pointAt(o.Last, info.LastTime), o.size})
		}
	}
	return nil
}

// testify notes the snapshots and merged segments that say something else than the footer of the log segment which ends with
// the same transaction; see planner.testify. Segments aren't read for it.
func (l *lister) testify() {
	ends := map[uint64]segment.Info{}
	for _, o := range l.hist.without(l.bad).logs {
		if info, ok := l.infos[o.String()]; ok && info.Last == o.end {
			ends[info.Last] = info
		}
	}
	for _, o := range slices.Concat(l.hist.snapshots, l.hist.merged) {
		info, ok := l.infos[o.String()]
		if log, is := ends[o.end]; ok && is && log.PageSize == info.PageSize && log.After != info.After {
			err := unfit(o.String(), "says that the database has checksum %v after transaction %d, and the log has %v", info.After, o.end, log.After)
			l.bad[o.String()] = flaw{err: err}
			delete(l.infos, o.String())
		}
	}
}

// findSpans looks into the log segments that have fewer records than commits.
func (l *lister) findSpans(ctx context.Context) error {
	for _, o := range l.hist.without(l.bad).logs {
		info, ok := l.infos[o.String()]
		if !ok || info.Txs == info.Last-info.First+1 {
			continue
		}
		txs, err := scan(ctx, l.store, o.Name, o.end)
		var bad *badObject
		if errors.As(err, &bad) {
			l.bad[bad.object] = flaw{err: bad.err}
		} else if err != nil {
			return err
		}
		for _, tx := range txs {
			if tx.Span > 1 {
				l.out.Squashed = append(l.out.Squashed, Span{tx.Number - tx.Span + 1, tx.Number - 1, l.pointAt(tx.Number, tx.Time)})
			}
		}
	}
	return nil
}

// stretch is a run of transactions, both ends included.
type stretch struct{ first, last uint64 }

// stretches returns the transactions that can be reached, in runs. Of a merged
// segment only the end counts.
func (h *history) stretches() []stretch {
	var all []stretch
	seen := map[uint64]bool{}
	for _, b := range h.bases(1<<64 - 1) {
		if len(b.steps) > 0 {
			all = append(all, stretch{b.tx, b.tx})
		}
		for open := []uint64{b.tx}; len(open) > 0; {
			at := open[len(open)-1]
			open = open[:len(open)-1]
			if seen[at] {
				continue
			}
			seen[at] = true
			for _, o := range h.nextObjects(at, 1<<64-1) {
				open = append(open, o.end)
				if o.Kind == segment.Merged {
					all = append(all, stretch{o.end, o.end})
				} else {
					all = append(all, stretch{at + 1, o.end})
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b stretch) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last)) })
	var runs []stretch
	for _, s := range all {
		if n := len(runs); n > 0 && s.first <= runs[n-1].last+1 {
			runs[n-1].last = max(runs[n-1].last, s.last)
			continue
		}
		runs = append(runs, s)
	}
	return runs
}

// findRanges sets the ranges, the gaps between them, and the ends.
func (l *lister) findRanges(ctx context.Context) {
	h := l.hist.without(l.bad)
	runs := h.stretches()
	for i, s := range runs {
		first := l.point(ctx, s.first)
		r := Range{First: *first, Last: *l.point(ctx, s.last), Points: s.last - first.Pos.Tx + 1}
		for _, span := range l.out.Squashed {
			if span.First > first.Pos.Tx && span.Last < s.last {
				r.Points -= span.Last - span.First + 1
			}
		}
		l.out.Ranges = append(l.out.Ranges, r)
		if i == 0 {
			continue
		}
		span := Span{runs[i-1].last + 1, s.first - 1, first}
		_, resized := l.hist.resizedAt(span.Last)
		if resized || slices.ContainsFunc(h.merged, func(o object) bool { return o.First == span.First && o.end == s.first }) {
			l.out.Squashed = append(l.out.Squashed, span)
		} else {
			l.out.Gaps = append(l.out.Gaps, span)
		}
	}
	if n := len(runs); n > 0 {
		l.out.First, l.out.Last = &l.out.Ranges[0].First, &l.out.Ranges[n-1].Last
		last, _ := l.hist.last()
		if last == openEnd { // of the last segment nobody can tell more than where it begins
			last = l.hist.logs[len(l.hist.logs)-1].First
		}
		if last > runs[n-1].last {
			l.out.Gaps = append(l.out.Gaps, Span{First: runs[n-1].last + 1, Last: last})
		}
	}
	slices.SortFunc(l.out.Squashed, func(a, b Span) int { return cmp.Compare(a.First, b.First) })
}

// findTimesGoBack finds where commit times go back, as far as footers tell.
func (l *lister) findTimesGoBack() {
	latest := int64(-1 << 63)
	for _, o := range l.hist.without(l.bad).logs {
		info, ok := l.infos[o.String()]
		if !ok {
			continue
		}
		if o.end < o.Last { // the last one is behind the fork, on a timeline that was left
			info.LastTime = info.FirstTime
		}
		if info.FirstTime < latest {
			l.out.TimesGoBack = append(l.out.TimesGoBack, *l.pointAt(o.First, info.FirstTime))
		} else if info.LastTime < info.FirstTime {
			l.out.TimesGoBack = append(l.out.TimesGoBack, *l.pointAt(o.Last, info.LastTime))
		}
		latest = max(latest, info.FirstTime, info.LastTime)
	}
}
