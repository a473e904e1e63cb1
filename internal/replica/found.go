package replica

import (
	"context"
	"errors"
	"fmt"
	"io"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/store"
)

// What replica.json and timeline.json say stands in the segments, too, except for what is there for people. So a document that is
// damaged or gone is no loss as long as segments of it can be read: what it said is found there, and proven by their checksums.

// anyTimeline begins the names of all segments: timelines are numbered from 1. What else there may be in a bucket, like the folders of
// other replicas, is not listed for it.
const anyTimeline = "0"

// findReplica is the replica whose replica.json is damaged or gone, from its first segment. When there is none, the error is damage.
func findReplica(ctx context.Context, s store.Store, damage error) (Replica, error) {
	info, err := firstSegment(ctx, s, anyTimeline, damage)
	if err != nil {
		return Replica{}, err
	}
	return Replica{Format: formatOf(info.Key), ID: info.Replica, PageSize: info.PageSize, Key: info.Key, Name: "a database", Damage: damage}, nil
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
	log, err := firstSegment(ctx, s, segment.LogPrefix(n), none)
	if err != nil && err != none {
		return t, err
	}
	hasLog := err == nil
	snapshot, err := firstSegment(ctx, s, segment.SnapshotPrefix(n), none)
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
// Each timeline is asked for itself, not for its parents, which were asked before: that takes a few requests, however long their logs are.
func parentOf(ctx context.Context, s store.Store, n uint32, log segment.Info) (parent uint32, found bool, err error) {
	for m := uint32(1); ; m++ {
		// Only those that there are: n comes from the name of an object, and may be any number.
		if m, _, err = nextTimeline(ctx, s, m); err != nil || m == 0 || m >= n {
			return 0, false, err
		}
		sum, err := sumAt(ctx, s, Pos{Timeline: m, Tx: log.First - 1})
		if err == nil && sum == log.Before {
			return m, true, nil
		}
		if err != nil && !IsDamage(err) && !errors.Is(err, ErrNoPoint) {
			return 0, false, err
		}
	}
}

// sumAt is the checksum of the database at a position, as the log segment that holds it says, or a snapshot of it. The error wraps
// store.ErrNotExist when the timeline itself has neither.
func sumAt(ctx context.Context, s store.Store, pos Pos) (pagesum.Sum, error) {
	o, n, err := holder(ctx, s, pos)
	if err == nil {
		var sum pagesum.Sum
		if sum, err = sumInLog(ctx, s, o, n, pos.Tx); err == nil {
			return sum, nil
		}
	}
	if err != nil && !IsDamage(err) && !errors.Is(err, ErrNoPoint) {
		return 0, err
	}
	if o, err = s.Stat(ctx, segment.SnapshotName(pos.Timeline, pos.Tx)); err != nil {
		return 0, err
	}
	_, info, err := Inspect(ctx, s, o)
	return info.After, err
}

// holder is the log segment of a timeline that holds a transaction, if one does: the last one that begins at or before it.
func holder(ctx context.Context, s store.Store, pos Pos) (last store.Object, name segment.Name, err error) {
	for _, window := range windows {
		begin := pos.Tx - min(pos.Tx, window)
		for o, err := range s.List(ctx, segment.LogPrefix(pos.Timeline), segment.LogName(pos.Timeline, begin)) {
			if err != nil {
				return last, name, fmt.Errorf("list log of timeline %d: %w", pos.Timeline, err)
			}
			n, err := ParseName(o.Name)
			if err != nil {
				continue // none of ours
			}
			if n.First > pos.Tx {
				break
			}
			if _, isClose, err := ReadClose(ctx, s, o); err != nil {
				return last, name, err
			} else if !isClose {
				last, name = o, n
			}
		}
		if last.Name != "" || begin == 0 {
			break
		}
	}
	if last.Name == "" {
		err = fmt.Errorf("find the log segment of %v: %w", pos, store.ErrNotExist)
	}
	return last, name, err
}

// sumInLog is the checksum of the database that a log segment records behind a transaction. The error is ErrNoPoint when it ends before that, or
// has squashed it.
func sumInLog(ctx context.Context, s store.Store, o store.Object, n segment.Name, tx uint64) (pagesum.Sum, error) {
	in, err := s.Read(ctx, o.Name, 0, o.Size)
	if err != nil {
		return 0, fmt.Errorf("read segment %s: %w", o.Name, err)
	}
	defer in.Close() // read only
	d, err := segment.NewDecoder(in)
	if err == nil {
		err = Matches(n, d.Header())
	}
	var t segment.Tx
	for err == nil && t.Number < tx {
		t, err = d.NextTx()
	}
	if err == io.EOF || err == nil && t.Number > tx {
		return 0, ErrNoPoint
	}
	var p segment.Page
	for err == nil {
		err = d.NextPage(&p)
	}
	if err != io.EOF {
		return 0, InObject(o.Name, err)
	}
	return d.TxEnd(), nil
}

// maxUnreadable is how many segments that can't be read are passed over, to find the first one that can.
const maxUnreadable = 16

// firstSegment is what the first segment with a prefix says of itself. The error is none when there is none. Of a log only the very first
// one counts.
func firstSegment(ctx context.Context, s store.Store, prefix string, none error) (segment.Info, error) {
	unreadable := 0
	for o, err := range s.List(ctx, prefix, "") {
		if err != nil {
			return segment.Info{}, fmt.Errorf("look for a segment: %w", err)
		}
		n, err := ParseName(o.Name)
		if err != nil {
			continue
		}
		_, info, err := Inspect(ctx, s, o)
		if err == nil {
			return info, nil
		}
		if errors.As(err, new(*ClosedError)) {
			continue
		}
		if !IsDamage(err) {
			return segment.Info{}, err
		}
		if unreadable++; unreadable == maxUnreadable || prefix != anyTimeline && n.Kind == segment.Log {
			break
		}
	}
	return segment.Info{}, none
}
