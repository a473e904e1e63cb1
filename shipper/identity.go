package shipper

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"seawal/internal/killpoint"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// Which replica is this database's? The state directory says it by an id, and that is written down before replica.json is created: after
// a crash in between, nobody else can have the replica. So there are two kinds of states:
//
//	begun      the id was drawn, and nothing is known to have been durable. Another process may have been faster, by way of another URL
//	           of the same store, or a create of an earlier process arrives late. Such a state contradicts nothing: what
//	           the replica says counts, and whether that is ours is proven as it is without a state directory.
//	confirmed  something was durable in that replica. It is ours for good, and no other one is.

// isConfirmed says whether the replica that a state is of is known to have had something, from the state or from the position file beside it.
func isConfirmed(dir string, st *state) bool {
	if st.Position.Timeline > 0 {
		return true
	}
	t, ok := readPosition(dir)
	return ok && t.durable > 0
}

// isConfirmed is isConfirmed of this Shipper's state.
func (s *Shipper) isConfirmed() bool {
	return s.state != nil && (s.state.Position.Timeline > 0 || s.prior.Tx > 0)
}

// identify holds the replica that has answered against the state directory. Afterwards s.state is of this replica, or nil.
func (s *Shipper) identify(rep replica.Replica) error {
	if s.state != nil && s.state.Replica != rep.ID && !s.isConfirmed() {
		s.state, s.table = nil, nil
		s.mu.Lock()
		s.census = nil
		s.mu.Unlock()
	}
	if s.state == nil {
		if err := s.adopt(rep.ID); err != nil {
			return err
		}
	}
	if s.state != nil && s.state.Replica != rep.ID {
		return s.gone(fmt.Errorf("%w, %v", ErrOtherDatabase, rep.ID))
	}
	return nil
}

// createReplica makes the replica of a database that has none, once it has a page.
func (s *Shipper) createReplica(ctx context.Context) (replica.Replica, error) {
	size, err := s.firstPage(ctx)
	if err != nil {
		return replica.Replica{}, err
	}
	if s.fresh.ID.IsZero() {
		s.fresh = replica.Replica{
			ID: segment.NewID(), PageSize: size, Created: time.Now(), Name: filepath.Base(s.cfg.DBPath), Path: s.cfg.DBPath, Key: pagesum.NewKey(),
		}
		if s.state != nil {
			// Begun by a process before. What it sent may still arrive, and has to be ours then.
			s.fresh.ID = s.state.Replica
		}
	}
	// The state comes first: after a crash it says that the replica is ours.
	s.state, s.prior = &state{Format: stateFormat, Replica: s.fresh.ID, Writer: s.writer}, replica.Pos{}
	if err := s.saveState(s.state); err != nil {
		return replica.Replica{}, err
	}
	killpoint.Hit("shipper/replica-state-saved")
	err = replica.CreateReplica(ctx, s.store, s.fresh)
	if errors.Is(err, store.ErrExist) {
		return s.createdBefore(ctx, err)
	}
	if err != nil {
		return replica.Replica{}, err
	}
	killpoint.Hit("shipper/replica-created")
	return s.fresh, nil
}

// createdBefore is the replica that was there when this Shipper was about to make it: a process of this database has created it, under the
// same id, or under one that it drew by way of another URL. Else it is another database's.
func (s *Shipper) createdBefore(ctx context.Context, exist error) (replica.Replica, error) {
	rep, err := replica.ReadReplica(ctx, s.store)
	if err != nil {
		return replica.Replica{}, errors.Join(exist, err)
	}
	if rep.ID == s.fresh.ID {
		return rep, nil
	}
	if st, _ := stateElsewhere(s.cfg.OtherDirs, rep.ID); st != nil {
		return rep, nil
	}
	return replica.Replica{}, fmt.Errorf("%w: another writer created it just now: %w", ErrOtherDatabase, exist)
}

// mayBegin says whether an empty database may go on with a replica that exists: it may while nothing was ever shipped to that.
func (s *Shipper) mayBegin(ctx context.Context, rep replica.Replica) error {
	all, err := replica.Timelines(ctx, s.store)
	if err != nil {
		return err
	}
	o, err := s.findOrigin(ctx, rep, all)
	if err == nil && !o.pos.IsZero() || replica.IsDamage(err) {
		return fmt.Errorf("%w: replica %v exists, and %s is empty; run restore, or use another URL, or open it with _recreated=new-timeline to begin anew in it", ErrOtherDatabase, rep.ID, s.cfg.DBPath)
	}
	return err
}
