package shipper

import (
	"context"
	"fmt"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/wal"
)

// A database that a loss of power has robbed of its newest transactions can be rolled forward only before it is opened. Where that wasn't
// possible, because the store didn't answer, whether they are wanted back shows in what the application does: it closes the
// database, and the next open gets them back, or it writes, and another history begins.

// lostPoint is a database that was found at an earlier point than its replica.
type lostPoint struct {
	at, end  replica.Pos    // of the database and of the replica
	table    *pagesum.Table // of at
	place    wal.Place      // of at in the log
	pageSize int
	ticket   uint64 // of the source at that point: the commits behind it are the other history
}

// behind is the error for a database at an earlier point than its replica. The next open rolls it forward.
func (s *Shipper) behind(l *lostPoint) error {
	s.lost = l
	s.state.Behind, s.state.Found = true, &found{At: l.at, Sum: l.table.Total().String()}
	if err := s.saveState(s.state); err != nil {
		s.log.Warn("saving the state", "err", err)
	}
	return &BehindError{Local: l.at, Replica: l.end, DBPath: s.cfg.DBPath}
}

// waitBehind waits until the application writes to a database that is behind its replica, or closes it. Nothing is asked of the
// store meanwhile.
func (s *Shipper) waitBehind(ctx context.Context, cause error) error {
	s.mu.Lock()
	s.stat.mode, s.behindErr, s.behindTicket = ModeBehind, cause, s.lost.ticket
	s.broadcastLocked()
	s.mu.Unlock()
	for {
		closing := s.isClosing() // before the look: the last commit comes before Close
		if ticket, _ := s.src.Last(); ticket > s.lost.ticket {
			s.setMode(ModeAttaching)
			return nil
		}
		if closing {
			return errNothingToDo
		}
		if !s.src.Idle() {
			if err := s.pause(ctx, s.cfg.Tick); err != nil {
				return err
			}
			continue
		}
		select {
		case <-s.src.Wake():
		case <-s.kick:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// goOnBehind plans to ship what was committed since the database was found behind, one by one, on a timeline of its own.
func (s *Shipper) goOnBehind() *plan {
	l := s.lost
	s.setPageSize(l.pageSize)
	return &plan{
		at: l.at, table: l.table, place: l.place, offline: -l.ticket, captured: true,
		takeover: fmt.Sprintf("the database had lost the transactions up to %v, and was written before they were got back; they stay on timeline %d", l.end, l.end.Timeline),
	}
}
