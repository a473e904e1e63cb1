package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"seawal/internal/segment"
	"seawal/store"
)

// Timeline says where a timeline comes from. It is timeline.json.
type Timeline struct {
	Format   int        `json:"format"`              // of this document; 0 given to CreateTimeline means Format
	Timeline uint32     `json:"timeline"`            // its number, from 1
	Parent   uint32     `json:"parent"`              // smaller; 0 for a root
	ParentTx uint64     `json:"parent_tx"`           // last transaction that it shares with the parent; 0 for a root
	PageSize int        `json:"page_size,omitempty"` // of its transactions, bytes; 0: as its parent has at ParentTx, of a root what replica.json says
	Reason   string     `json:"reason"`              // for people
	Writer   segment.ID `json:"writer"`              // process that opened it
	Created  time.Time  `json:"created"`

	// Damage is what is wrong with the document: it is corrupt, or gone (store.ErrNotExist). What it said was found in the segments then, and
	// only Reason and Created are not what they were, and the parent of one that begins with a snapshot, which Found tells; unless Lost says
	// that it could not be found: where the timeline comes from is not known, and none of it can be restored.
	Damage error `json:"-"`
	Lost   bool  `json:"-"`
}

// AllFound says, for people, that a document with Damage is no loss.
const AllFound = "what it said was found in the segments"

// Found says, for people, what is known of a timeline with Damage; whole is false when that isn't all that leads to older points.
func (t Timeline) Found() (text string, whole bool) {
	switch {
	case t.Lost:
		return "where it came from is not known", false
	case t.Timeline > 1 && t.Parent == 0:
		return "it begins with a snapshot, and the timeline that it left, if it left one, is not known: what is older is restored with --timeline", false
	}
	return AllFound, true
}

func (t Timeline) validate() error {
	switch {
	case t.Timeline == 0:
		return errors.New("timeline 0")
	case t.Parent >= t.Timeline:
		return fmt.Errorf("parent %d of timeline %d", t.Parent, t.Timeline)
	case t.Parent == 0 && t.ParentTx != 0:
		return fmt.Errorf("leaves no timeline at transaction %d", t.ParentTx)
	case t.ParentTx > MaxTx:
		return fmt.Errorf("leaves timeline %d at transaction %d, which is out of range", t.Parent, t.ParentTx)
	case t.Writer.IsZero():
		return errors.New("no writer")
	case t.PageSize != 0:
		return validatePageSize(t.PageSize)
	}
	return nil
}

// ReadTimeline reads a timeline's timeline.json. The error wraps store.ErrNotExist
// when there is no such timeline.
func ReadTimeline(ctx context.Context, s store.Store, timeline uint32) (Timeline, error) {
	name := segment.TimelineName(timeline)
	var t Timeline
	if err := readDocument(ctx, s, name, Format, &t); err != nil {
		return Timeline{}, err
	}
	err := t.validate()
	if err == nil && t.Timeline != timeline {
		err = fmt.Errorf("says that it is of timeline %d", t.Timeline)
	}
	if err != nil {
		return Timeline{}, &CorruptError{Object: name, Err: err}
	}
	t.Reason = cutText(t.Reason)
	return t, nil
}

// CreateTimeline opens a timeline. The error wraps store.ErrExist when another
// writer was faster. Calling it again with the same Timeline succeeds, so that is
// what to do when the outcome is unknown.
func CreateTimeline(ctx context.Context, s store.Store, t Timeline) error {
	t.Format, t.Created = Format, t.Created.UTC()
	name := segment.TimelineName(t.Timeline)
	if err := t.validate(); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return createDocument(ctx, s, name, t)
}

// maxTimelines is more than a replica has: one each hour for eleven years. It bounds the memory and the requests that whoever
// may create objects can cause.
const maxTimelines = 100_000

// maxText is how much of a text for people is kept, in bytes. Some are in memory for each timeline.
const maxText = 1000

func cutText(s string) string {
	if len(s) > maxText {
		return s[:maxText] + "…"
	}
	return s
}

// Timelines reads every timeline of the replica, ascending by number; none is no
// error. It costs one read for each timeline and one more, and one list request,
// plus one for each gap in the numbers; and more where a timeline.json is damaged or gone, see Timeline.Damage. More than
// maxTimelines are an error.
func Timelines(ctx context.Context, s store.Store) ([]Timeline, error) {
	var all []Timeline
	seen := false // a list has shown something of the timeline that is read next
	for n := uint32(1); ; {
		if n == 0 { // behind the last there can be
			return all, nil
		}
		if len(all) > maxTimelines {
			return nil, fmt.Errorf("the replica has more than %d timelines: something else than seawal has written there", maxTimelines)
		}
		t, err := ReadTimeline(ctx, s, n)
		if err == nil {
			all = append(all, t)
			n, seen = n+1, false
			continue
		}
		var corrupt *CorruptError
		if errors.As(err, &corrupt) {
			if t, err = findTimeline(ctx, s, n, err); err != nil {
				return nil, err
			}
			all = append(all, t)
			n, seen = n+1, false
			continue
		}
		if !errors.Is(err, store.ErrNotExist) {
			return nil, err
		}
		next, name, err := nextTimeline(ctx, s, n)
		if err != nil {
			return nil, err
		}
		if next == 0 {
			return all, nil
		}
		// It may have come between the read and the list, with its first segments, but only once.
		if next == n && seen {
			gone := fmt.Errorf("%s: %w, but there is %s", segment.TimelineName(n), store.ErrNotExist, name)
			if t, err = findTimeline(ctx, s, n, gone); err != nil {
				return nil, err
			}
			all = append(all, t)
			n, seen = n+1, false
			continue
		}
		n, seen = next, true
	}
}

// PageSizeAt is the page size of the database at a position, bytes: that of the timeline which
// holds it. all are the timelines of the replica, ascending; a position on none of them has the size of r.
//
// A timeline whose pages have another size than those of the point where it left its parent begins with a snapshot, and the transactions
// between that point and the snapshot are squashed into it.
func PageSizeAt(r Replica, all []Timeline, pos Pos) int {
	for pos = PointOf(all, pos); pos.Timeline != 0; {
		t, ok := find(all, pos.Timeline)
		if !ok {
			break
		}
		if t.PageSize != 0 {
			return t.PageSize
		}
		pos = PointOf(all, Pos{Timeline: t.Parent, Tx: t.ParentTx})
	}
	return r.PageSize
}

// PointOf is a position under the name that it has on the timeline which holds it: at or before the point where a timeline left its
// parent, that is the parent's, or one further up. all are the timelines of the replica, ascending.
func PointOf(all []Timeline, pos Pos) Pos {
	for pos.Timeline != 0 {
		t, ok := find(all, pos.Timeline)
		if !ok || t.Parent == 0 || pos.Tx > t.ParentTx {
			break
		}
		pos.Timeline = t.Parent
	}
	return pos
}

// LostIn is what is wrong with the first timeline on the way from timeline n to its root of which it is not known where it comes from; nil when
// there is none. all are the timelines of the replica, ascending.
func LostIn(all []Timeline, n uint32) error {
	for child := uint32(0); n != 0; {
		t, ok := find(all, n)
		if !ok {
			return &CorruptError{Object: segment.TimelineName(n), Err: fmt.Errorf("it is missing, and timeline %d came from it", child)}
		}
		if t.Lost {
			return t.Damage
		}
		child, n = n, t.Parent
	}
	return nil
}

func find(all []Timeline, n uint32) (Timeline, bool) {
	i, ok := slices.BinarySearchFunc(all, n, func(t Timeline, n uint32) int { return cmp.Compare(t.Timeline, n) })
	if !ok {
		return Timeline{}, false
	}
	return all[i], true
}

// nextTimeline returns the smallest timeline, from n on, that has any object, and
// the first object found there; 0 when there is none.
func nextTimeline(ctx context.Context, s store.Store, n uint32) (timeline uint32, name string, err error) {
	for o, err := range s.List(ctx, "", fmt.Sprintf("%08x", n)) {
		if err != nil {
			return 0, "", fmt.Errorf("list timelines: %w", err)
		}
		folder, _, isFolder := strings.Cut(o.Name, "/")
		t, err := strconv.ParseUint(folder, 16, 32)
		if isFolder && err == nil && folder == fmt.Sprintf("%08x", t) {
			return uint32(t), o.Name, nil
		}
		if folder > "g" { // behind every hex number: replica.json, for one
			break
		}
	}
	return 0, "", nil
}

// Leg is a stretch of history on one timeline: its transactions behind After, up
// to and including Last.
type Leg struct {
	Timeline uint32
	After    uint64
	Last     uint64
}

// Lineage returns the history of a position, oldest first: the timeline of pos up
// to pos.Tx is the last leg, what its parent holds of it comes before, and the first
// leg is of a root. A leg is empty (Last is not greater than After) when its
// timeline was left before it had a transaction. One read for each leg; the error
// wraps store.ErrNotExist when a timeline is missing. A timeline.json that is damaged or gone is one only when the segments don't tell, either.
func Lineage(ctx context.Context, s store.Store, pos Pos) ([]Leg, error) {
	var legs []Leg
	for at := pos; ; {
		t, err := timelineOf(ctx, s, at.Timeline)
		if err != nil {
			return nil, fmt.Errorf("follow the history of %v: %w", pos, err)
		}
		legs = append(legs, Leg{Timeline: at.Timeline, After: t.ParentTx, Last: at.Tx})
		if t.Parent == 0 {
			slices.Reverse(legs)
			return legs, nil
		}
		at = Pos{Timeline: t.Parent, Tx: min(t.ParentTx, at.Tx)}
	}
}
