package shipper

import (
	"errors"
	"fmt"

	"seawal/internal/replica"
)

var (
	// ErrFenced says that another writer has written to the replica. Nothing is shipped any more,
	// and nothing was overwritten.
	ErrFenced = errors.New("seawal: fenced: another writer has taken the replica over")

	// ErrOtherDatabase says that the replica holds another database.
	ErrOtherDatabase = errors.New("seawal: the replica holds another database")

	// ErrReplicaExists says that the replica holds a database, and that this one began empty: it is another one, or what it holds is missing here.
	ErrReplicaExists = errors.New("seawal: replica exists, database does not")

	// ErrReplicaGone says that the replica which the state directory knows isn't in the store any more. Nothing is created, nothing is
	// confirmed, and it goes on by itself when the replica is there again. See GoneError.
	ErrReplicaGone = errors.New("seawal: the replica is gone")

	// ErrBehind says that the database is at an earlier point than its replica, and that nothing was written since that was found.
	ErrBehind = errors.New("seawal: the database is behind its replica")

	// ErrReplaced says that the database file was deleted, replaced or emptied while it was open.
	ErrReplaced = errors.New("seawal: the database file is not the one that was opened")

	// ErrOverwrites says that the store creates a name that is taken, so that several writers couldn't be told from each other.
	// Nothing is shipped to it.
	ErrOverwrites = replica.ErrOverwrites

	// ErrClosed says that the shipper was closed.
	ErrClosed = errors.New("seawal: replication was stopped")

	// ErrLocked says that another process ships this database.
	ErrLocked = errors.New("seawal: another process replicates this database")

	// errMoved says that the log was restarted while it was read: what it held is known only by
	// its outcome now.
	errMoved = errors.New("the log was restarted")
)

// errNothingToDo says that the shipper was closed before there was anything to ship.
var errNothingToDo = errors.New("nothing to do")

// UnshippedError is what Close returns when it could not ship everything in time. The transactions are safe
// in the database and its log; the next open ships them.
type UnshippedError struct {
	Commits     uint64      // committed and not known to be in the replica; 0: none in this process, and it isn't known what the replica has
	First, Last replica.Pos // of them; zero when the replica never answered
	Bytes       int64       // encoded bytes of those that were encoded
	Err         error       // why; nil when only the time was too short
}

func (e *UnshippedError) Error() string {
	s := fmt.Sprintf("seawal: %d committed transactions are not in the replica", e.Commits)
	if e.Commits == 0 {
		s = "seawal: it isn't known whether the replica has all of the database, which nothing was committed to meanwhile"
	}
	if !e.Last.IsZero() {
		s += fmt.Sprintf(" (%v to %v)", e.First, e.Last)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if errors.Is(e.Err, ErrReplaced) {
		return s
	}
	if e.Commits == 0 {
		return s + "; what it lacks is shipped when the database is opened again"
	}
	return s + "; they are safe in the database, and shipped when it is opened again"
}

// Unwrap returns the cause.
func (e *UnshippedError) Unwrap() error { return e.Err }

// BehindError is the error for a database that lost its newest transactions, as in
// a loss of power with synchronous=NORMAL. It is ErrBehind, and is over when the application writes.
type BehindError struct {
	Local   replica.Pos // that the database is at
	Replica replica.Pos // that the replica is at
	DBPath  string

	// Reason is why it was not opened: nothing proves that a loss of power has taken them. "": it is open, and was found behind.
	Reason string
}

func (e *BehindError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("%v: %s is at %v, and %v was confirmed: its newest transactions are missing, and it isn't certain that a loss of power took them (%s)",
			ErrBehind, e.DBPath, e.Local, e.Replica, e.Reason)
	}
	return fmt.Sprintf("%v: %s is at %v, the replica at %v: its newest transactions were lost here, and nothing is shipped for now; "+
		"close it and open it again to get them back from the replica; or write to it, and it goes on from %v on a new timeline, while they stay readable on timeline %d",
		ErrBehind, e.DBPath, e.Local, e.Replica, e.Local, e.Replica.Timeline)
}

// Unwrap returns ErrBehind.
func (e *BehindError) Unwrap() error { return ErrBehind }

// fatal says that err ends shipping for good: trying again can't help.
func fatal(err error) bool {
	if errors.Is(err, ErrReplicaGone) {
		return false // also where another database's is in its place
	}
	for _, e := range []error{ErrFenced, ErrOtherDatabase, ErrReplicaExists, ErrReplaced, ErrOverwrites} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
