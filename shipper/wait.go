package shipper

import (
	"context"
	"errors"
	"fmt"

	"seawal/internal/replica"
)

// until waits until cond, which is called under mu, says that it is over.
func (s *Shipper) until(ctx context.Context, cond func() (done bool, err error)) error {
	for {
		ticket, _ := s.src.Last()
		s.mu.Lock()
		done, err := cond()
		changed := s.changed
		if !done && err == nil {
			switch {
			case s.failure != nil:
				err = s.failure
			case s.behindErr != nil && !s.mapped && ticket <= s.behindTicket:
				err = s.behindErr // for as long as nobody writes
			case s.goneErr != nil:
				err = s.goneErr // until it is there again
			case s.ended:
				err = ErrClosed
			case s.standby && s.sharer != nil:
				err = errStandby
			}
		}
		s.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("committed locally, replication unknown: %w", ctx.Err())
		}
	}
}

// Position returns the position of everything that was committed before the call.
// It waits until the replica has answered once, because only then the numbers are
// known. The error is the one that stopped shipping before that, ErrClosed, or
// that of ctx.
func (s *Shipper) Position(ctx context.Context) (replica.Pos, error) {
	ticket, _ := s.src.Last()
	for {
		var pos replica.Pos
		err := s.until(ctx, func() (bool, error) {
			pos = s.posLocked(ticket)
			return s.mapped, nil
		})
		if errors.Is(err, errStandby) {
			pos, _, err = s.askPosition(ctx, wishTell)
		}
		switch {
		case err == nil:
			return pos, nil
		case !errors.Is(err, errTurn):
			return replica.Pos{}, fmt.Errorf("position of the replica: %w", err)
		}
	}
}

// posLocked is the position of a ticket, once mapped.
func (s *Shipper) posLocked(ticket uint64) replica.Pos {
	return replica.Pos{Timeline: s.timeline, Tx: s.base + ticket}
}

// Durable returns the position up to which the replica has everything; zero
// before it has answered.
func (s *Shipper) Durable() replica.Pos {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mapped {
		return replica.Pos{}
	}
	return replica.Pos{Timeline: s.timeline, Tx: s.durable}
}

// Wait returns once pos is durable. It rides the cadence and never makes a
// segment close early. Errors: ErrFenced and whatever else stopped shipping,
// ErrReplicaGone, ErrClosed, and ctx.Err() wrapped: committed locally, replication unknown.
func (s *Shipper) Wait(ctx context.Context, pos replica.Pos) error {
	for {
		if s.isStale(pos) {
			// Told by a process that ships no more, before it was durable: who ships now may number otherwise.
			ticket, _ := s.src.Last()
			return s.WaitTicket(ctx, ticket, false)
		}
		err := s.until(ctx, func() (bool, error) {
			if s.goneErr != nil {
				return false, s.goneErr // also for what was durable
			}
			if s.mapped && pos.Timeline > s.timeline {
				return false, fmt.Errorf("the database is on timeline %d", s.timeline)
			}
			if s.mapped && pos.Timeline < s.mappedOn {
				return int64(s.durable-s.base) >= 0, nil // of an earlier life: once all from before this one is there
			}
			return s.mapped && pos.Tx <= s.durable, nil
		})
		if errors.Is(err, errStandby) {
			err = s.askDurable(ctx, pos, s.epochOf(pos))
		}
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, errTurn):
			return fmt.Errorf("wait for %v: %w", pos, err)
		}
	}
}

// Flush ships at once, and waits until everything that was committed before the
// call is durable. Errors as of Wait.
func (s *Shipper) Flush(ctx context.Context) error {
	ticket, _ := s.src.Last()
	if err := s.waitTicket(ctx, ticket, true); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// WaitTicket waits until the commit with that ticket is durable; 0 stands for what was there before the first one.
// With now it ships at once: commits that wait at the same time share their uploads: one is under
// way, and the next segment collects until it is done. Errors as of Wait.
func (s *Shipper) WaitTicket(ctx context.Context, ticket uint64, now bool) error {
	if err := s.waitTicket(ctx, ticket, now); err != nil {
		return fmt.Errorf("wait for commit: %w", err)
	}
	return nil
}

// Ticket returns the ticket of the commit that is transaction pos, 0 for one from before this Source began. It
// waits as Position does, and has its errors.
func (s *Shipper) Ticket(ctx context.Context, pos replica.Pos) (ticket uint64, err error) {
	if s.isStale(pos) {
		ticket, _ = s.src.Last() // as Wait
		return ticket, nil
	}
	err = s.until(ctx, func() (bool, error) {
		if s.mapped && pos.Timeline > s.timeline {
			return false, fmt.Errorf("the database is on timeline %d", s.timeline)
		}
		ticket = 0
		if n := int64(pos.Tx - s.base); n > 0 && pos.Timeline >= s.mappedOn {
			ticket = uint64(n)
		}
		return s.mapped, nil
	})
	if errors.Is(err, errStandby) {
		ticket, _ = s.src.Last() // at least as much
		return ticket, nil
	}
	if err != nil {
		return 0, fmt.Errorf("commit of %v: %w", pos, err)
	}
	return ticket, nil
}

func (s *Shipper) waitTicket(ctx context.Context, ticket uint64, now bool) error {
	for {
		if now {
			s.mu.Lock()
			s.urgent = max(s.urgent, ticket)
			s.mu.Unlock()
			s.poke()
		}
		err := s.until(ctx, func() (bool, error) {
			if s.goneErr != nil {
				return false, s.goneErr
			}
			// The difference, because base may stand for a negative number.
			return s.mapped && int64(s.durable-(s.base+ticket)) >= 0, nil
		})
		if errors.Is(err, errStandby) {
			err = s.askAll(ctx, now)
		}
		if !errors.Is(err, errTurn) {
			return err
		}
	}
}
