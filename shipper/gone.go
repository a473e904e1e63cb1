package shipper

import (
	"context"
	"errors"
	"fmt"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// A replica that something was durable in doesn't vanish: a disk isn't mounted, a bucket was emptied, or a listing is no listing. To begin
// another one in its place would call durable what lies behind a hole, or on the wrong disk, and would cover the traces. So
// nothing is created and nothing is confirmed until the replica is there again, or a person has removed the state directory. Shipping tries
// again all the time: a disk that is mounted is enough.

// GoneError is the error for a replica that isn't there any more. It is ErrReplicaGone.
type GoneError struct {
	Replica  segment.ID  // as the state directory knows it
	Last     replica.Pos // that was durable in it
	DBPath   string
	StateDir string
	Err      error // what the store says instead
}

func (e *GoneError) Error() string {
	return fmt.Sprintf("%v: %v of %s, which had everything up to %v, isn't there: %v; nothing is created or confirmed meanwhile. "+
		"Mount or put back what was there, and shipping goes on by itself; or remove %s to begin a new replica on purpose",
		ErrReplicaGone, e.Replica, e.DBPath, e.Last, e.Err, e.StateDir)
}

// Unwrap returns ErrReplicaGone and what the store says.
func (e *GoneError) Unwrap() []error { return []error{ErrReplicaGone, e.Err} }

// gone is the error for the replica of this Shipper.
func (s *Shipper) gone(why error) error {
	e := &GoneError{Last: s.Durable(), DBPath: s.cfg.DBPath, StateDir: s.cfg.StateDir, Err: why}
	s.mu.Lock()
	e.Replica = s.id
	s.mu.Unlock()
	if e.Last.IsZero() { // not attached: of the drain goroutine alone
		e.Replica, e.Last = s.state.Replica, s.shippedHere()
	}
	return e
}

// setGone makes err what waiters get, until something of the replica was seen again.
func (s *Shipper) setGone(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if (s.goneErr == nil) != (err == nil) || err != nil && s.goneErr.Error() != err.Error() {
		s.goneErr = err
		s.broadcastLocked()
	}
}

// Known returns the replica that a state directory knows to have had something, and the newest position that was durable in it; ok is
// false when there is none.
func Known(stateDir string) (id segment.ID, last replica.Pos, ok bool) {
	st, err := readState(stateDir)
	if err != nil || st == nil || !isConfirmed(stateDir, st) {
		return id, last, false
	}
	last = st.Position
	if t, ok := readPosition(stateDir); ok {
		if at := (replica.Pos{Timeline: t.timeline, Tx: t.durable}); at.Compare(last) > 0 {
			last = at
		}
	}
	return st.Replica, last, true
}

// mayBeginRoot says why the whole database can't be shipped as the beginning of a timeline: what is there says that there was more
// than the listings show. A listing can be wrong where a request for one object is right: a proxy answers it with an empty page.
func (s *Shipper) mayBeginRoot(ctx context.Context, newest replica.Timeline, damage string) error {
	if damage == "" && s.isConfirmed() {
		return s.gone(errors.New("the store lists nothing of it"))
	}
	if newest.Timeline == 0 || newest.Damage != nil {
		return nil
	}
	if err := s.isListed(ctx, segment.TimelineName(newest.Timeline)); err != nil {
		return err
	}
	for _, x := range s.sentBefore {
		if x.checksum != 0 || x.pos.Timeline != newest.Timeline || damage != "" {
			continue
		}
		name := segment.SnapshotName(x.pos.Timeline, x.pos.Tx)
		if _, err := s.store.Stat(ctx, name); err == nil {
			return fmt.Errorf("the store doesn't list %s, which is there", name)
		} else if !errors.Is(err, store.ErrNotExist) {
			return err
		}
	}
	return nil
}

// isListed holds a listing against an object that was read a moment ago.
func (s *Shipper) isListed(ctx context.Context, name string) error {
	for o, err := range s.store.List(ctx, name, "") {
		if err != nil {
			return fmt.Errorf("list %s: %w", name, err)
		}
		if o.Name == name {
			return nil
		}
	}
	return fmt.Errorf("the store doesn't list %s, which can be read: it is behind, or something between answers in its place", name)
}
