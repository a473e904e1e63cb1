package replica

import (
	"context"
	"errors"
	"fmt"

	"seawal/internal/segment"
	"seawal/store"
)

// What replica.json and timeline.json say stands in the segments, too, except for what is there for people. So a document that is
// damaged or gone is no loss as long as segments of it can be read: what it said is found there, and proven by their checksums.

// findReplica is the replica whose replica.json is damaged or gone, from its first segment. When there is none, the error is damage.
func findReplica(ctx context.Context, s store.Store, damage error) (Replica, error) {
	info, err := firstSegment(ctx, s, "", "0", damage)
	if err != nil {
		return Replica{}, err
	}
	return Replica{Format: Format, ID: info.Replica, PageSize: info.PageSize, Name: "a database", Damage: damage}, nil
}

// timelineOf is ReadTimeline, and where the document is damaged or gone what the segments tell. The error wraps store.ErrNotExist
// when there is nothing of it.
func timelineOf(ctx context.Context, s store.Store, n uint32) (Timeline, error) {
	t, err := ReadTimeline(ctx, s, n)
	if err == nil || !IsDamage(err) {
		return t, err
	}
	t, ferr := findTimeline(ctx, s, n, err)
	if ferr == nil && t.Lost {
		ferr = err
	}
	return t, ferr
}

// findTimeline is a timeline whose timeline.json is damaged or gone. It left its parent where the state was the one that its first log segment
// begins with; one that begins with a snapshot is restored without a parent, and so is the first one in any case.
func findTimeline(ctx context.Context, s store.Store, n uint32, damage error) (Timeline, error) {
	t := Timeline{Format: Format, Timeline: n, Reason: fmt.Sprintf("not known, %v", damage), Damage: damage}
	none := errors.New("none")
	log, err := firstSegment(ctx, s, segment.LogPrefix(n), "", none)
	if err != nil && err != none {
		return t, err
	}
	hasLog := err == nil
	snapshot, err := firstSegment(ctx, s, segment.SnapshotPrefix(n), "", none)
	if err != nil && err != none {
		return t, err
	}
	hasSnapshot := err == nil
	switch {
	case hasSnapshot:
		t.Writer, t.PageSize = snapshot.Writer, snapshot.PageSize
	case hasLog:
		t.Writer, t.PageSize = log.Writer, log.PageSize
	}
	if n == 1 {
		return t, nil
	}
	if hasLog && (!hasSnapshot || log.First <= snapshot.Last) {
		var found bool
		if t.Parent, found, err = parentOf(ctx, s, n, log); err != nil {
			return t, err
		}
		if found {
			t.Writer, t.PageSize, t.ParentTx = log.Writer, log.PageSize, log.First-1
			return t, nil
		}
	}
	t.Lost = !hasSnapshot
	return t, nil
}

// parentOf finds the timeline that timeline n left, given its first log segment: that is the first one which has this state at this transaction.
func parentOf(ctx context.Context, s store.Store, n uint32, log segment.Info) (parent uint32, found bool, err error) {
	for m := uint32(1); m < n; m++ {
		table, err := TableAt(ctx, s, Pos{Timeline: m, Tx: log.First - 1}, nil, Pos{})
		if err == nil && table.Total() == log.Before {
			return m, true, nil
		}
		if err != nil && !IsDamage(err) && !errors.Is(err, ErrNoPoint) {
			return 0, false, err
		}
	}
	return 0, false, nil
}

// maxUnreadable is how many segments that can't be read are passed over, to find the first one that can.
const maxUnreadable = 16

// firstSegment is what the first segment behind a name says of itself. The error is none when there is none. Of a log only the very first
// one counts.
func firstSegment(ctx context.Context, s store.Store, prefix, after string, none error) (segment.Info, error) {
	unreadable := 0
	for o, err := range s.List(ctx, prefix, after) {
		if err != nil {
			return segment.Info{}, fmt.Errorf("look for a segment: %w", err)
		}
		if o.Name > "g" { // behind the folders of all timelines
			break
		}
		n, err := segment.ParseName(o.Name)
		if err != nil {
			continue
		}
		_, info, err := Inspect(ctx, s, o)
		if err == nil {
			return info, nil
		}
		if !IsDamage(err) {
			return segment.Info{}, err
		}
		if unreadable++; unreadable == maxUnreadable || prefix != "" && n.Kind == segment.Log {
			break
		}
	}
	return segment.Info{}, none
}
