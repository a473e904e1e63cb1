package shipper

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/store"
)

// A replica may lose an object, or find it damaged. What is shipped behind it could never be restored. So a new timeline leaves the
// damaged one at the newest point before that, where the whole of the database, or what differs, is shipped again. Nothing is overwritten:
// who mends the object has the old timeline back.

// heal returns the point of the replica that a new timeline can leave it at, and why it has to; no point when none can be read. Where nothing
// is wrong at a second look the error is damage, the first time: what was missing may have been merged away just then.
func (s *Shipper) heal(ctx context.Context, newest replica.Timeline, damage error) (origin, error) {
	r, err := s.reach(ctx, newest.Timeline, damage)
	if err != nil {
		return origin{}, errors.Join(damage, err)
	}
	if r.Broken == nil && !s.sawDamage {
		s.sawDamage = true
		return origin{}, damage
	}
	s.mu.Lock()
	s.census = nil // what is missing of the timelines up to here is known
	s.mu.Unlock()
	o := origin{takeover: whyHeal(r, damage)}
	if !r.At.IsZero() {
		reason := o.takeover
		o = endOf(r.Info)
		o.pos, o.after, o.takeover = r.At, r.Table.Total(), reason
	}
	s.log.Error("the replica is damaged", "err", damage, "readable up to", r.At)
	return o, nil
}

// reach is how far the newest timeline can be read; or, where it isn't known where that comes from, the newest one before it that can.
func (s *Shipper) reach(ctx context.Context, newest uint32, damage error) (replica.Reach, error) {
	r, err := replica.ReachOf(ctx, s.store, newest)
	for i := len(s.all) - 1; i >= 0 && replica.IsDamage(err); i-- {
		if n := s.all[i].Timeline; n < newest {
			r, err = replica.ReachOf(ctx, s.store, n)
			r.Broken = damage
		}
	}
	if replica.IsDamage(err) {
		return replica.Reach{Broken: damage}, nil
	}
	return r, err
}

// mendDocuments creates again what is gone of replica.json and the timelines' timeline.json, from what the segments tell. One that
// is damaged stays as it is: what the segments tell takes its place for whoever reads it. So does one that they don't tell all of: there may be a copy of it.
func (s *Shipper) mendDocuments(ctx context.Context) error {
	create := func(damage error, found string, do func() error) error {
		if errors.Is(damage, store.ErrNotExist) && do != nil {
			if err := do(); err != nil && !errors.Is(err, store.ErrExist) {
				return err
			}
			found += ", and it was made again"
		}
		s.noticeDocument(damage, found)
		return nil
	}
	if r := s.rep; r.Damage != nil {
		r.Created, r.Name = time.Now(), filepath.Base(s.cfg.DBPath)
		r.Path = s.cfg.DBPath
		if err := create(r.Damage, replica.AllFound, func() error { return replica.CreateReplica(ctx, s.store, r) }); err != nil {
			return err
		}
		s.rep.Damage = nil // it was said
	}
	for i, t := range s.all {
		if t.Damage == nil || t.Lost {
			continue
		}
		t.Created = time.Now()
		do := func() error { return replica.CreateTimeline(ctx, s.store, t) }
		found, whole := t.Found()
		if !whole || t.Writer.IsZero() {
			do = nil
		}
		if err := create(t.Damage, found, do); err != nil {
			return err
		}
		s.all[i].Damage = nil
	}
	return nil
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
