package shipper

import (
	"context"
	"errors"
	"fmt"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
)

// A replica may lose an object, or find it damaged. What is shipped behind it could never be restored. So a new timeline leaves the
// damaged one at the newest point before that, where the whole of the database, or what differs, is shipped again. Nothing is overwritten:
// who mends the object has the old timeline back.

// heal returns the point of the replica that a new timeline can leave it at, and why it has to; no point when none can be read. Where nothing
// is wrong at a second look the error is damage, the first time: what was missing may have been merged away just then.
func (s *Shipper) heal(ctx context.Context, newest replica.Timeline, damage error) (origin, error) {
	r, err := replica.ReachOf(ctx, s.store, newest.Timeline)
	if err != nil {
		return origin{}, errors.Join(damage, err)
	}
	if r.Broken == nil && !s.sawDamage {
		s.sawDamage = true
		return origin{}, damage
	}
	o := origin{takeover: whyHeal(r, damage)}
	if !r.At.IsZero() {
		reason := o.takeover
		o = endOf(r.Info)
		o.pos, o.after, o.takeover = r.At, r.Table.Total(), reason
	}
	s.log.Error("the replica is damaged", "err", damage, "readable up to", r.At)
	return o, nil
}

// whyHeal is the reason of a timeline that leaves a damaged one.
func whyHeal(r replica.Reach, damage error) string {
	if r.Broken != nil {
		damage = r.Broken
	}
	if r.At.IsZero() {
		return fmt.Sprintf("the replica is damaged, and nothing of it can be read: %v", damage)
	}
	return fmt.Sprintf("the replica is damaged behind %v: %v", r.At, damage)
}

// healLive opens a timeline for a replica that is found damaged while it is shipped to, and returns the page checksums of the point where
// it leaves the old one; nil when it begins with a snapshot. Nothing is under way.
func (s *Shipper) healLive(ctx context.Context, damage error) (*pagesum.Table, error) {
	o, err := s.heal(ctx, replica.Timeline{Timeline: s.timeline}, damage)
	if err != nil {
		return nil, err
	}
	t := replica.Timeline{Timeline: s.newest + 1, Parent: o.pos.Timeline, ParentTx: o.pos.Tx, PageSize: s.pageSize, Reason: o.takeover}
	if t, err = s.openTimeline(ctx, t); err != nil {
		return nil, err
	}
	s.noticeTimeline(t.Timeline, o.pos, t.Reason)
	at := replica.Pos{Timeline: t.Timeline, Tx: o.pos.Tx}
	if o.pos.IsZero() || o.pageSize != s.pageSize {
		s.startResized(at, 0, s.pageSize)
		return nil, nil
	}
	s.publish(at, 0)
	return replica.SoundTableAt(ctx, s.store, at, nil, replica.Pos{})
}
