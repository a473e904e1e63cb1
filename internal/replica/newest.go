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
// one ranged read (two when something else may reach behind the newest log segment), and remembers two names.
func Newest(ctx context.Context, s store.Store, timeline uint32, after Pos) (segment.Name, segment.Info, error) {
	end, err := EndOf(ctx, s, timeline, after)
	return end.Name, end.Info, err
}

// End is where a timeline ends.
type End struct {
	Name  segment.Name   // of the segment that reaches furthest
	Info  segment.Info   // what its footer says
	Close *segment.Close // nil: nobody has taken the timeline over
}

// EndOf is Newest, and says whether the timeline was taken over: also with an error that wraps store.ErrNotExist.
func EndOf(ctx context.Context, s store.Store, timeline uint32, after Pos) (End, error) {
	if !after.IsZero() && after.Timeline != timeline {
		return End{}, fmt.Errorf("find newest segment: position %v is not on timeline %d", after, timeline)
	}
	end, err := newest(ctx, s, timeline, after)
	var gone *goneError
	if errors.As(err, &gone) {
		// It was there a moment ago: merged away, and what replaced it is there by now.
		return newest(ctx, s, timeline, after)
	}
	return end, err
}

// goneError says that an object is no longer where a list has shown it.
type goneError struct{ err error }

func (e *goneError) Error() string { return e.err.Error() }
func (e *goneError) Unwrap() error { return e.err }

func newest(ctx context.Context, s store.Store, timeline uint32, after Pos) (end End, err error) {
	log, other, err := findNewest(ctx, s, timeline, after)
	if err != nil {
		return End{}, err
	}
	end.Close = log.close
	if log.object.Name != "" {
		// Where it ends is in its footer; at First at least.
		end.Name, end.Info, err = inspectListed(ctx, s, log.object)
		if err != nil || other.object.Name == "" || end.Info.Last >= other.last {
			return end, err
		}
	}
	if other.object.Name == "" {
		return end, fmt.Errorf("find newest segment of timeline %d behind transaction %d: %w", timeline, after.Tx, store.ErrNotExist)
	}
	end.Name, end.Info, err = inspectListed(ctx, s, other.object)
	return end, err
}

func inspectListed(ctx context.Context, s store.Store, o store.Object) (segment.Name, segment.Info, error) {
	name, info, err := Inspect(ctx, s, o)
	if errors.Is(err, store.ErrNotExist) {
		err = &goneError{err}
	}
	return name, info, err
}

// reaching is an object and a transaction that it reaches: of a log segment its first one, else its last one.
type reaching struct {
	object store.Object
	last   uint64
	close  *segment.Close // among those of a log that were listed; nil: none
}

// findNewest returns, of the segments that reach behind after, the log segment that begins last, and what reaches
// furthest of the others.
func findNewest(ctx context.Context, s store.Store, timeline uint32, after Pos) (log, other reaching, err error) {
	// Behind the end of a segment, a log segment reaches only if it begins there. Merged: all, because the
	// names begin with the level.
	if err := log.find(ctx, s, segment.LogPrefix(timeline), segment.LogName(timeline, after.Tx), after); err != nil {
		return log, other, err
	}
	if err := other.find(ctx, s, segment.MergedPrefix(timeline), "", after); err != nil {
		return log, other, err
	}
	return log, other, other.find(ctx, s, segment.SnapshotPrefix(timeline), segment.SnapshotName(timeline, after.Tx), after)
}

// find lists behind start, or all when after is zero, and keeps what reaches behind after and behind everything
// found before. An object that is no segment is none of ours.
func (r *reaching) find(ctx context.Context, s store.Store, prefix, start string, after Pos) error {
	if after.IsZero() {
		start = ""
	}
	for o, err := range s.List(ctx, prefix, start) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		n, err := ParseName(o.Name)
		if err != nil {
			continue
		}
		last := n.Last
		if n.Kind == segment.Log {
			last = n.First
		}
		if last <= after.Tx && !after.IsZero() {
			continue
		}
		c, isClose, err := ReadClose(ctx, s, o)
		if err != nil {
			return err
		}
		if isClose {
			r.close = &c
			continue
		}
		if r.object.Name == "" || last > r.last {
			r.object, r.last = o, last
		}
	}
	return nil
}
