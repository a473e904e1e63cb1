package shipper

import (
	"context"

	"seawal/internal/wal"
)

// CommitKind says where the pages of a captured commit are.
type CommitKind uint8

const (
	// CommitFrames: the page images are in memory, in Commit.Frames.
	CommitFrames CommitKind = iota + 1
	// CommitRange: the frames (Commit.From, Commit.To] of the WAL are to be
	// read back from the file. The log is held back until Release, but another
	// process may restart it all the same: the reader checks the chain.
	CommitRange
	// CommitGap: what happened is known only by its outcome (the log was
	// restarted by others, or squashed). The difference by page checksums is
	// shipped as one transaction.
	CommitGap
)

// Commit is one captured commit, or several in a row that were captured as one
// range or gap, in the order in which SQLite made them.
type Commit struct {
	Kind      CommitKind
	Ticket    uint64    // number of the last commit in it, counted from 1 in the life of a Source
	Count     uint64    // commits in it, at least 1: tickets Ticket-Count+1 to Ticket
	Time      int64     // of the last of them, unix nanoseconds
	PageSize  int       // bytes
	PageCount uint32    // size of the database after it, pages
	From, To  wal.Place // To.Cksum is set for CommitFrames of a WAL; zero Places in rollback journal modes

	// Frames holds the frames in WAL layout (frame header, page), in one or two
	// pieces because the ring wraps. It points into the ring: valid until
	// Release of this ticket. A later frame of the same page supersedes an
	// earlier one. In rollback journal modes only the page number and the size
	// in the frame headers are set.
	Frames [2][]byte
}

// Source is one database as the shipper sees it. package vfs fills it; tests
// use a fake. Next and Release belong to one goroutine, the others are safe
// for concurrent use.
type Source interface {
	// Next returns the oldest captured commit that Next has not returned yet;
	// ok is false when there is none. It never blocks.
	Next() (c Commit, ok bool)

	// Release says that every commit up to ticket is no longer needed: its
	// memory and the log held back for it are free again.
	Release(ticket uint64)

	// Written returns the pages that may have been written by commits behind a ticket: every page that differs between the state after
	// that commit and any state that was pinned before the call. nil: any page may have been. A commit that another process made may
	// have written any page.
	Written(since uint64) *PageSet

	// Forget says that Written won't be asked for less than ticket any more. If it is after all, the answer is nil.
	Forget(ticket uint64)

	// Last returns the ticket and the time (unix nanoseconds) of the newest
	// captured commit; zeros when there was none. Every commit that returned
	// to the application before the call is counted.
	Last() (ticket uint64, time int64)

	// Idle arms the wake-up: it returns false when Next has something. Otherwise the
	// next commit sends on Wake. While not armed, Wake also gets a value when the ring is a quarter full.
	Idle() bool

	// Wake carries the wake-ups; capacity 1, never closed.
	Wake() <-chan struct{}

	// BeginRead pins the newest committed state: until Close neither the pages that the
	// database file holds for it nor the WAL up to its place change. Writers go on. It fails while
	// the database cannot be read (locked exclusively, for one); the shipper tries again.
	BeginRead(ctx context.Context) (ReadTx, error)

	// ReadFile reads the image that the main database file has of a page right now, whatever
	// transaction it is of: a candidate for the base of a delta, to be proven
	// by its checksum. len(p) is the page size. A page behind the end of the file is an
	// error that wraps io.ErrUnexpectedEOF.
	ReadFile(page uint32, p []byte) error

	// WAL opens the log file for reading. The caller closes it.
	WAL() (WALFile, error)
}

// WALFile is the log file, opened for reading.
type WALFile interface {
	ReadAt(p []byte, off int64) (int, error)
	Close() error
}

// ReadTx is a pinned state of the database: page n is its newest frame up to
// Place in the WAL, else its image in the file. When it is in the file, every page is read there.
type ReadTx interface {
	Place() wal.Place  // zero in rollback journal modes; Frame 0 when the WAL holds nothing of it. Cksum is not set
	InFile() bool      // the file has all of it, and the WAL may be written over although Place names a frame of it
	Ticket() uint64    // every commit up to this ticket is in it, none after
	Time() int64       // of the commit with that ticket, unix nanoseconds; 0 when that is 0
	PageSize() int     // bytes; 0 while the database is empty
	PageCount() uint32 // pages
	// ReadFile reads the file's image of a page, as Source.ReadFile does.
	ReadFile(page uint32, p []byte) error
	Close() error
}

// Syncer is a ReadTx whose state can be brought to stable storage. A snapshot needs that: it is the first point of its timeline, and
// a database that a loss of power takes back before it would be at no point of its replica, and could not be rolled forward.
type Syncer interface {
	// Sync returns when the state, or a later one, survives a loss of power.
	Sync() error
}

// Loser is a ReadTx that may lose its state before it is closed, because the application needs the database
// to itself, or because the log, which can't be started again meanwhile, has grown too large. What was read before Lost first returned an error is valid.
type Loser interface {
	Lost() error
}
