package shipper

import (
	"context"
	"errors"
	"fmt"

	"seawal/internal/killpoint"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// # Taking over
//
// The writer of the newest timeline may be alive, on a host that nobody reaches. From position p it creates the log segment
// named p+1, and nothing else (see the fence in upload.go). So whoever opens the next timeline first creates that name itself, as
// a close: from then on that writer can't have anything confirmed, and it learns so at its very next segment. When the name is
// taken by a segment, the writer was faster: p is the end of that segment then, and the next name is tried.
//
//	old writer   create p+1 -> exists: it is a close -> ErrFenced
//	taker        create p+1 (close)  ->  create timeline.json of the next timeline  ->  create its first segment
//
// What the old writer had confirmed up to p and the taker's database doesn't have stays on the old timeline. The close
// says where the new one leaves it, and the old writer's error repeats that.
//
// Killed in between, the taker leaves a timeline that is closed and that nothing follows. Whoever attaches next, be it the old
// writer, opens the next timeline: findOrigin finds the close. Of two who do so at once one creates timeline.json.

// closeTries is how many segments the old writer may be faster by before its timeline is left open for the time being. It
// writes without a pause then, and finds the new timeline by itself after lookEvery segments at the latest.
const closeTries = 32

// closeTimeline ends the log of the timeline before t, for t. done is false when that can't be had for now: the old
// writer is faster, or the end of the timeline can't be read.
func (s *Shipper) closeTimeline(ctx context.Context, t replica.Timeline, tries int) (done bool, err error) {
	old := t.Timeline - 1
	if old == 0 || s.cfg.weakness == leavesOpen {
		return true, nil
	}
	at, begun, err := s.endOf(ctx, old)
	for i := 0; err == nil && i < tries; i++ {
		if at, done, err = s.closeAt(ctx, t, at); err != nil || !done {
			continue
		}
		if begun {
			return true, nil
		}
		// A first snapshot, which the fence doesn't cover, may have come before the close: see lookForClose.
		first := at
		if at, begun, err = s.endOf(ctx, old); err == nil && at == first {
			return true, nil
		}
	}
	if replica.IsDamage(err) {
		s.log.Warn("closing the timeline that is left: its end can't be read", "timeline", old, "err", err)
		err = nil
	}
	return false, err
}

// closeAt tries to end the log of the timeline before t behind transaction at. When it isn't done, the log goes on to end.
func (s *Shipper) closeAt(ctx context.Context, t replica.Timeline, at uint64) (end uint64, done bool, err error) {
	c := segment.Close{
		Header: segment.Header{PageSize: t.PageSize, Timeline: t.Timeline - 1, First: at + 1, Replica: s.id, Writer: s.writer, Key: s.hasher.Key()},
		Next:   t.Timeline, Parent: t.Parent, ParentTx: t.ParentTx, Time: t.Created.UnixNano(),
	}
	killpoint.Hit("shipper/close-before")
	err = replica.CloseTimeline(ctx, s.store, c)
	killpoint.Hit("shipper/close-created")
	if !errors.Is(err, store.ErrExist) {
		return at, err == nil, err
	}
	end, err = s.readOn(ctx, segment.LogName(c.Timeline, c.First))
	if errors.As(err, new(*replica.ClosedError)) {
		// By an earlier attempt, or by another taker: which of the two goes on is decided by timeline.json.
		return at, true, nil
	}
	return end, false, err
}

// endOf is the last transaction of a timeline that is to be closed; begun says that something was shipped on it.
func (s *Shipper) endOf(ctx context.Context, timeline uint32) (at uint64, begun bool, err error) {
	parent := uint64(0)
	for _, t := range s.all {
		if t.Timeline == timeline {
			parent = t.ParentTx
		}
	}
	switch {
	case s.isMapped() && s.timeline == timeline:
		at = s.Durable().Tx
	case s.newestEnd.Timeline == timeline:
		at = s.newestEnd.Tx
	}
	if known := s.shippedHere(); known.Timeline == timeline {
		at = max(at, known.Tx) // the newest segments may be lost: who has them can't put them back where a close lies
	}
	if at > parent {
		return at, true, nil
	}
	end, err := replica.EndOf(ctx, s.store, timeline, replica.Pos{})
	if errors.Is(err, store.ErrNotExist) {
		return parent, false, nil
	}
	return end.Info.Last, true, err
}

// readOn is the last transaction of the segment whose name was to be closed.
func (s *Shipper) readOn(ctx context.Context, name string) (uint64, error) {
	o, err := s.store.Stat(ctx, name)
	if err != nil {
		return 0, err
	}
	_, info, err := replica.Inspect(ctx, s.store, o)
	return info.Last, err
}

// closedBy is the reason of a timeline that goes on from one that was closed, when nobody opened the one it was closed for.
func closedBy(c *segment.Close) string {
	return fmt.Sprintf("timeline %d was taken over behind transaction %d, and timeline %d was never opened by who did", c.Timeline, c.First-1, c.Next)
}

// lookForClose is what a writer does whose timeline began with a snapshot just now: the fence doesn't cover that, because a snapshot has
// a number of the writer's choice. Who took the timeline over before the snapshot was there closed it behind the point where it left its
// parent, after, and looked for snapshots then. One of the two sees the other.
func (s *Shipper) lookForClose(ctx context.Context, after uint64) error {
	name := segment.LogName(s.timeline, after+1)
	switch _, err := s.readOn(ctx, name); {
	case errors.As(err, new(*replica.ClosedError)):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	case err != nil && !errors.Is(err, store.ErrNotExist):
		return fmt.Errorf("look whether timeline %d was taken over: %w", s.timeline, err)
	}
	return nil
}
