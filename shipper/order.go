package shipper

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A database with several replicas has a lock for each. Processes that open it at once could get some of them each, and then each one
// would ship to some and stand by for the rest. It would do, but the log would be held back by all of them for what the others
// ship. So every process takes the locks in one order, whatever the order of its replicas is (InOrder): while it is refused one, it leaves those behind
// it alone, and who has the first one gets them all. Nobody waits for a lock with another one in hand, so there is no deadlock.
//
// A lock that stays free is an exception: of a replica that the process with the first lock doesn't know, since its list is
// another one, or that it has given up. Who has looked at it outOfTurn times takes it. The other one, if it wanted it, would have
// taken it by then.

// outOfTurn is how often, at standbyTurn, a lock has to be found free before it is taken out of turn.
const outOfTurn = 4

// rank is a Shipper's place among those of the other replicas of its database in this process.
type rank struct {
	before, behind *Shipper      // nil at the ends; they never change once one is started
	tried          chan struct{} // closed when the lock was tried for the first time
	free           int           // times in a row that the lock was free and it was not our turn; of the drain goroutine

	mu      sync.Mutex // for the rest, and for closing tried; taken alone
	isTried bool
	refused bool // another process has the lock, or we let it have it
}

// InOrder has the Shippers of a database's replicas, none of which is started, take their locks in this order. Every process that ships
// the database has to have the same order for those that it shares with others. All of them have to be started.
func InOrder(all ...*Shipper) {
	for i := 1; i < len(all); i++ {
		all[i].rank.before, all[i-1].rank.behind = all[i-1], all[i]
	}
}

// awaitBefore waits until the Shipper before this one has tried to get its lock, which takes no longer than a look at the disk.
func (s *Shipper) awaitBefore(ctx context.Context) {
	if b := s.rank.before; b != nil {
		select {
		case <-b.rank.tried:
		case <-b.finished:
		case <-ctx.Done():
		}
	}
}

// takeLock takes the lock of the state folder. The error is ErrLocked also when it isn't this Shipper's turn.
func (s *Shipper) takeLock() (*lock, error) {
	path := s.statePath(lockFile)
	l, err := takeLock(path)
	if b := s.rank.before; err == nil && b != nil && b.rank.isRefused() && s.rank.free < outOfTurn {
		s.rank.free++
		l.release()
		l, err = nil, fmt.Errorf("%w: it is about to take %s too", ErrLocked, path)
	} else {
		s.rank.free = 0
	}
	if s.rank.note(errors.Is(err, ErrLocked)) && s.rank.behind != nil {
		s.rank.behind.poke()
	}
	return l, err
}

func (r *rank) isRefused() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// note keeps what became of an attempt, and says whether that is something new for who comes next.
func (r *rank) note(refused bool) (changed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	changed = r.refused && !refused
	r.refused = refused
	if !r.isTried {
		r.isTried = true
		close(r.tried)
	}
	return changed
}
