//go:build cgo

package vfs

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/wal"
	"seawal/shipper"
)

var (
	_ shipper.Source  = (*source)(nil)
	_ shipper.Settler = (*source)(nil)
	_ shipper.Sharer  = (*source)(nil)

	_ shipper.LogWatcher = (*source)(nil)
)

// source is a database as the shipper of one replica sees it.
type source struct {
	*cursor
	tap   tap
	path  string
	index int                                          // of the replica, and of the reader connection
	dial  func(index int) (*sqlite3.SQLiteConn, error) // opens the reader connection

	hadPages atomic.Bool // a state with pages was read

	mu      sync.Mutex // for the reader connection, its file handle and its transaction
	reader  *sqlite3.SQLiteConn
	pinned  *readTx     // nil: none is open
	leaving *time.Timer // ends pinned, in a rollback journal mode: the application waits for it
	outgrew outgrowth
}

// rollbackPatience is how long a reader in a rollback journal mode goes on while the application
// waits to commit. Shorter, and a database that is written to all the time would never get a snapshot; longer, and commits
// would fail where SQLite's usual busy timeout of 5 s has them wait.
const rollbackPatience = 3 * time.Second

// errGaveWay says that a pinned state was let go.
var errGaveWay = errors.New("the read was broken off: the application needed the database to itself")

// errOutgrown says that a pinned state was given up, so that the log doesn't grow without end.
var errOutgrown = errors.New("the read was broken off: the log has grown past MaxWAL meanwhile, and can't be started again as long as it is read")

// outgrowth is what is remembered of pinned states that were given up because the log had grown past its bound.
type outgrowth struct {
	lost int       // so many in a row
	at   time.Time // when the last one was
	salt [2]uint32 // generation of the log
}

// restartPatience is how long no state is pinned after that, unless the log is started again before: pinned at once, the next one would keep it
// from that.
const restartPatience = 5 * time.Second

// giveUp ends a read that keeps the log from being started again.
func (s *source) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.pinned
	if t == nil || !t.at.inWAL {
		return
	}
	s.outgrew = outgrowth{lost: s.outgrew.lost + 1, at: time.Now(), salt: t.at.place.Salt}
	t.why = errOutgrown
	_ = s.letGoLocked() // a read that was broken off has nothing to report
}

// awaitRestartLocked is an error as long as the log that outgrew a pinned state has its chance to be started again.
func (s *source) awaitRestartLocked() error {
	if s.outgrew.at.IsZero() || time.Since(s.outgrew.at) >= restartPatience {
		return nil
	}
	if log, _ := s.tap.mark(); log.Salt != s.outgrew.salt {
		return nil
	}
	return fmt.Errorf("%w: the database is read again once the log was started again", errOutgrown)
}

func (s *source) Last() (ticket uint64, time int64) { return s.tap.last() }

// LogBegan implements shipper.LogWatcher.
func (s *source) LogBegan() (salt [2]uint32, ticket uint64, ok bool) { return s.tap.logBegan() }

func (s *source) WAL() (shipper.WALFile, error) { return os.Open(s.path + "-wal") }

func (s *source) ReadFile(page uint32, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.openReaderLocked(); err != nil {
		return err
	}
	return s.readFileLocked(page, p)
}

func (s *source) readFileLocked(page uint32, p []byte) error {
	return s.tap.readFile(s.index, p, int64(page-1)*int64(len(p)))
}

// Settle implements shipper.Settler. An application that still has connections, or that checkpoints by
// itself, is not disturbed: the checkpoint gives way to every lock.
func (s *source) Settle() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader == nil || s.pinned != nil {
		return nil
	}
	if err := s.execLocked("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil && !isBusy(err) {
		return err
	}
	return nil
}

func (s *source) openReaderLocked() error {
	if s.reader != nil {
		return nil
	}
	c, err := s.dial(s.index)
	if err != nil {
		return fmt.Errorf("opening a connection to read the database: %w", err)
	}
	s.reader = c
	return nil
}

// giveWay closes the reader connection, even in the middle of a read: in WAL mode it keeps a lock as long
// as it is open, and other modes can't commit while it reads.
func (s *source) giveWay() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch t := s.pinned; {
	case t == nil || t.at.inWAL:
		_ = s.letGoLocked() // a read that was broken off has nothing to report
	case s.leaving == nil:
		s.leaving = time.AfterFunc(rollbackPatience, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.pinned == t {
				_ = s.letGoLocked() // likewise
			}
		})
	}
}

// letGoLocked closes the reader connection. What it reads is lost before its lock is.
func (s *source) letGoLocked() error {
	if t := s.pinned; t != nil {
		t.lost.Store(true)
		s.unpinLocked()
	}
	return s.closeLocked()
}

func (s *source) unpinLocked() {
	s.pinned = nil
	if s.leaving != nil {
		s.leaving.Stop()
		s.leaving = nil
	}
	s.tap.unpin()
}

// close closes the reader connection.
func (s *source) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeLocked()
}

func (s *source) closeLocked() error {
	if s.reader == nil {
		return nil
	}
	err := s.reader.Close()
	s.reader = nil
	return err
}

// How often BeginRead looks again when a commit is on its way, before it suspects another
// process: the time between SQLite's update of the wal-index and the release of its lock is
// microseconds, but the thread may lose its processor there. A lock is waited for longer.
const (
	placeAttempts = 50
	lockWait      = time.Second
	placePause    = 200 * time.Microsecond
)

func (s *source) BeginRead(ctx context.Context) (shipper.ReadTx, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinned != nil {
		return nil, errors.New("a state of the database is pinned already")
	}
	if err := s.checkFile(); err != nil {
		return nil, err
	}
	if err := s.awaitRestartLocked(); err != nil {
		return nil, err
	}
	// An empty file has nothing to lock, and a lock could be in the way of the application that is about
	// to choose its journal mode. The ticket is taken first: what was committed before it would show in the size.
	ticket, _ := s.tap.last()
	fi, err := os.Stat(s.path)
	if (errors.Is(err, fs.ErrNotExist) || err == nil && fi.Size() == 0) && s.tap.empty(ticket) {
		return &emptyTx{ticket}, nil
	}
	began := time.Now()
	for attempt := 1; ; attempt++ {
		tx, err := s.tryBeginLocked()
		switch {
		case err == nil:
			return tx, nil
		case isBusy(err):
			// In rollback journal modes, and while the mode changes, a writer keeps readers out for a moment.
			if time.Since(began) >= lockWait {
				return nil, fmt.Errorf("the application has the database locked (locking_mode=EXCLUSIVE, or a long transaction in a rollback journal mode), "+
					"and nothing but captured commits can be shipped until it lets go: %w", err)
			}
		case !errors.Is(err, errBusy):
			return nil, err
		case attempt%placeAttempts == 0:
			// Taking the write lock for a moment makes the shim look at what another process did.
			if err := s.execLocked("BEGIN IMMEDIATE; ROLLBACK"); err != nil && !isBusy(err) {
				return nil, fmt.Errorf("looking for commits of other processes: %w", err)
			}
		}
		s.mu.Unlock() // for giveWay
		select {
		case <-ctx.Done():
		case <-time.After(placePause):
		}
		s.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// tryBeginLocked begins a read transaction and finds its place.
func (s *source) tryBeginLocked() (shipper.ReadTx, error) {
	if err := s.openReaderLocked(); err != nil {
		return nil, err
	}
	if err := s.execLocked("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1"); err != nil {
		_ = s.execLocked("ROLLBACK") // fails when BEGIN did
		return nil, fmt.Errorf("beginning to read the database: %w", err)
	}
	p, err := s.tap.place(s.index, s.outgrew.lost)
	if err != nil {
		return nil, errors.Join(err, s.execLocked("ROLLBACK"))
	}
	tx := &readTx{s: s, at: p}
	if p.place.Frame == 0 {
		// Nothing in the log: the file says it all.
		err = tx.measureLocked()
	}
	if err != nil {
		s.tap.unpin()
		return nil, errors.Join(err, s.execLocked("ROLLBACK"))
	}
	if tx.at.pageCount > 0 {
		s.hadPages.Store(true)
	}
	s.pinned = tx
	return tx, nil
}

// PassOn implements shipper.Sharer. A stand-by keeps a connection open, so that the log is not deleted when the process that
// ships is gone.
func (s *source) PassOn(read bool) (full bool) {
	full = s.cursor.PassOn(read)
	s.mu.Lock()
	open := s.reader != nil
	s.mu.Unlock()
	if !open {
		s.look()
	}
	return full
}

// Mark implements shipper.Sharer.
func (s *source) Mark() (shipper.Mark, uint64) {
	s.tap.poll() // what it leaves undone, the poller does
	return s.tap.mark()
}

// look publishes what other processes have committed, with a read lock for a moment. It tries once: what is locked is
// looked at again.
func (s *source) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinned != nil {
		return // the mapped log, or the next look, will tell
	}
	if tx, err := s.tryBeginLocked(); err == nil {
		s.unpinLocked()
		tx.(*readTx).closed = true
		_ = s.execLocked("ROLLBACK") // of a transaction that has only read
	}
}

// counterMoved says in a rollback journal mode whether there may be something to look at.
func (s *source) counterMoved() bool {
	if !s.mu.TryLock() {
		return false // it is being read, and that looks
	}
	defer s.mu.Unlock()
	return s.reader == nil || s.tap.counterMoved(s.index)
}

func (s *source) execLocked(sql string) error {
	if err := s.openReaderLocked(); err != nil {
		return err
	}
	_, err := s.reader.Exec(sql, []driver.Value{})
	return err
}

func isBusy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && e.Code == sqlite3.ErrBusy
}

// emptyTx is the pinned state of a database without a page.
type emptyTx struct{ ticket uint64 }

var _ shipper.ReadTx = (*emptyTx)(nil)

func (*emptyTx) Place() wal.Place { return wal.Place{} }
func (*emptyTx) InFile() bool     { return true }
func (t *emptyTx) Ticket() uint64 { return t.ticket }
func (*emptyTx) Time() int64      { return 0 } // nothing is shipped of it
func (*emptyTx) PageSize() int    { return 0 }
func (*emptyTx) PageCount() uint32 {
	return 0
}
func (*emptyTx) ReadFile(page uint32, _ []byte) error {
	return fmt.Errorf("reading page %d of an empty database", page)
}
func (*emptyTx) Close() error { return nil }

// readTx is a pinned state: SQLite's read lock keeps checkpoints from the pages that it needs,
// and the shim refuses to restart the log. Other processes ask SQLite's lock alone, and READ_LOCK(0), which a reader takes
// when the whole log is in the file, doesn't keep them from writing over the frames: such a state is read from the file.
type readTx struct {
	s      *source
	at     readerPlace
	closed bool
	lost   atomic.Bool // it was let go; set under s.mu
	why    error       // valid once lost is set; nil: the application needed the database
}

var (
	_ shipper.ReadTx = (*readTx)(nil)
	_ shipper.Loser  = (*readTx)(nil)
	_ shipper.Syncer = (*readTx)(nil)
)

// Lost implements shipper.Loser.
func (t *readTx) Lost() error {
	switch {
	case !t.lost.Load():
		return nil
	case t.why != nil:
		return t.why
	}
	return errGaveWay
}

func (t *readTx) Place() wal.Place  { return t.at.place }
func (t *readTx) InFile() bool      { return t.at.inFile }
func (t *readTx) Ticket() uint64    { return t.at.ticket }
func (t *readTx) Time() int64       { return t.at.time }
func (t *readTx) PageSize() int     { return t.at.pageSize }
func (t *readTx) PageCount() uint32 { return t.at.pageCount }

func (t *readTx) ReadFile(page uint32, p []byte) error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if err := t.Lost(); err != nil {
		return err
	}
	return t.s.readFileLocked(page, p)
}

// measureLocked takes page size and page count from the file: byte 16 of its header, and its length.
func (t *readTx) measureLocked() error {
	var hdr [18]byte
	if err := t.s.tap.readFile(t.s.index, hdr[:], 0); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint16(hdr[16:]))
	if size == 1 {
		size = 1 << 16
	}
	n, err := t.s.tap.fileSize(t.s.index)
	if err != nil {
		return err
	}
	if n == 0 {
		size = 0
	}
	t.at.pageSize, t.at.pageCount = size, 0
	if size > 0 {
		t.at.pageCount = uint32(n / int64(size))
	}
	return nil
}

// Sync implements shipper.Syncer. In rollback journal modes SQLite has synced what was committed.
func (t *readTx) Sync() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if err := t.Lost(); err != nil {
		return err
	}
	return t.s.tap.sync(t.s.index)
}

func (t *readTx) Close() error {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.closed || t.lost.Load() {
		return nil
	}
	t.closed = true
	t.s.outgrew = outgrowth{}
	t.s.unpinLocked()
	if err := t.s.execLocked("ROLLBACK"); err != nil {
		return fmt.Errorf("ending a read of the database: %w", err)
	}
	return nil
}
