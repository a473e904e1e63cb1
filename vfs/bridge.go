//go:build cgo

package vfs

// All unsafe code and every function that C calls are in this file. No Go
// pointer is ever kept in C: the shim knows a database by a handle.

/*
#cgo CFLAGS: -std=gnu11 -Wall -Wextra -I${SRCDIR}/../internal/sqliteabi
#cgo linux LDFLAGS: -Wl,--unresolved-symbols=ignore-in-object-files -lpthread
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup

#include <stdlib.h>
#include "sqlite_abi.h"
#include "shim.h"
*/
import "C"

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"github.com/mattn/go-sqlite3" // the one SQLite of the program: the shim's symbols resolve against it

	_ "seawal/internal/sqliteabi" // its header
	"seawal/internal/wal"
	"seawal/shipper"
)

// Result codes of SQLite that Go looks at.
const (
	sqliteOK        = C.SQLITE_OK
	sqliteBusy      = C.SQLITE_BUSY
	sqliteShortRead = C.SQLITE_IOERR_SHORT_READ

	codeNotDurable = C.SEAWAL_NOT_DURABLE
	codeUntold     = C.SEAWAL_UNTOLD
	notDurableText = C.SEAWAL_NOT_DURABLE_TEXT
)

// The bytes that the shim writes to its wake-up descriptor.
const (
	wakeConsumer   = C.SEAWAL_WAKE
	wakeCheckpoint = C.SEAWAL_WAKE_CHECKPOINT
	wakeGiveWay    = C.SEAWAL_WAKE_GIVE_WAY
	wakeClosed     = C.SEAWAL_WAKE_CLOSED
	wakeMoved      = C.SEAWAL_WAKE_MOVED
	wakeOutgrown   = C.SEAWAL_WAKE_OUTGROWN
)

// errBusy says that the log and what was published disagree for the moment.
var errBusy = errors.New("the database is being written")

// What is wrong with the files beside a database.
const (
	walGone = C.SEAWAL_WAL_GONE
	walCut  = C.SEAWAL_WAL_CUT
	shmGone = C.SEAWAL_SHM_GONE
)

// ourKey makes a connection one of our own. No SQL of the application can know it.
var ourKey = rand.Text()

// trusted says whether a SQLite of this version number (3054001 is 3.54.1) has the fix of the WAL-reset bug.
func trusted(version int) bool { return C.seawal_version_ok(C.int(version)) != 0 }

// registerShim puts the VFS name over the VFS lower ("" for the default one).
func registerShim(name, lower string) error {
	if !trusted(int(C.sqlite3_libversion_number())) {
		return fmt.Errorf("%w: the program is linked with SQLite %s, which can corrupt a WAL database when its log is restarted; "+
			"use 3.51.3 or later (a newer go-sqlite3 brings it), or the fixed 3.50.7 or 3.44.6", ErrSQLiteVersion, C.GoString(C.sqlite3_libversion()))
	}
	if sign := C.seawal_codec(); sign != nil {
		return fmt.Errorf("%w: the SQLite in the program encrypts databases (it has %s), and its commits can't be captured as they are stored; "+
			"link go-sqlite3's own SQLite, or open this database without a replica (_replica=none)", ErrCodec, C.GoString(sign))
	}
	ckey := C.CString(ourKey)
	defer C.free(unsafe.Pointer(ckey))
	C.seawal_set_key(ckey)
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	var clower, cerr *C.char
	if lower != "" {
		clower = C.CString(lower)
		defer C.free(unsafe.Pointer(clower))
	}
	if rc := C.seawal_shim_register(cname, clower, &cerr); rc != sqliteOK {
		return fmt.Errorf("registering the SQLite VFS %q over %q: %s", name, lower, C.GoString(cerr))
	}
	return nil
}

// fullPathname is the name that SQLite gives a file: absolute, links resolved.
func fullPathname(vfsName, path string) (string, error) {
	cvfs, cpath := C.CString(vfsName), C.CString(path)
	defer C.free(unsafe.Pointer(cvfs))
	defer C.free(unsafe.Pointer(cpath))
	const size = 4096
	out := (*C.char)(C.malloc(size))
	defer C.free(unsafe.Pointer(out))
	// SQLITE_OK_SYMLINK (512) is no failure: a link was followed.
	if rc := C.seawal_full_pathname(cvfs, cpath, out, size); rc&0xff != sqliteOK {
		return "", fmt.Errorf("finding the full path of %q: SQLite error %d", path, int(rc))
	}
	return C.GoString(out), nil
}

// plainFile is a database file that SQLite's VFS has opened for reading, with no connection: closing it leaves the locks alone that
// the process has on the file. Not safe for concurrent use.
type plainFile struct {
	c    *C.SeawalFile
	path string
}

var _ shipper.DBFile = (*plainFile)(nil)

// openPlainFile opens a database file, of which path is the full name. The error wraps fs.ErrNotExist when there is none.
func openPlainFile(path, vfsName string) (*plainFile, error) {
	return openUnconnected(path, vfsName, false)
}

// claimFile opens one that no connection uses, and keeps all others out until it is closed.
func claimFile(path, vfsName string) (*plainFile, error) { return openUnconnected(path, vfsName, true) }

func openUnconnected(path, vfsName string, claim bool) (*plainFile, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err // SQLite's code tells less
	}
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	var cvfs *C.char
	if vfsName != "" {
		cvfs = C.CString(vfsName)
		defer C.free(unsafe.Pointer(cvfs))
	}
	f := &plainFile{path: path}
	if claim {
		if rc := C.seawal_file_claim(cvfs, cpath, &f.c); rc != sqliteOK {
			return nil, fmt.Errorf("locking %s against all others: SQLite error %d", path, int(rc))
		}
		return f, nil
	}
	if rc := C.seawal_file_open(cvfs, cpath, &f.c); rc != sqliteOK {
		return nil, fmt.Errorf("opening %s to read it: SQLite error %d", path, int(rc))
	}
	return f, nil
}

// ReadAt implements io.ReaderAt.
func (f *plainFile) ReadAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	switch rc := C.seawal_file_read(f.c, unsafe.Pointer(&p[0]), C.int(len(p)), C.int64_t(off)); rc {
	case sqliteOK:
		return len(p), nil
	case sqliteShortRead:
		return 0, io.EOF // how much there is, the rest is zeros, SQLite does not say
	default:
		return 0, fmt.Errorf("reading %s at %d: SQLite error %d", f.path, off, int(rc))
	}
}

// Size returns the size of the file in bytes.
func (f *plainFile) Size() (int64, error) {
	var n C.int64_t
	if rc := C.seawal_file_size(f.c, &n); rc != sqliteOK {
		return 0, fmt.Errorf("finding the size of %s: SQLite error %d", f.path, int(rc))
	}
	return int64(n), nil
}

// Close closes the file.
func (f *plainFile) Close() error {
	if rc := C.seawal_file_close(f.c); rc != sqliteOK {
		return fmt.Errorf("closing %s: SQLite error %d", f.path, int(rc))
	}
	return nil
}

// tap is the C side of one database. Its methods may be called from any
// goroutine but where they say otherwise, until destroy.
type tap struct {
	c *C.SeawalTap
}

// newTap creates the tap of the database at path, which SQLite has not opened yet.
func newTap(path string, ringBytes, maxWAL int64, block bool, wakeFD uintptr, handle uint64) (tap, error) {
	cpath := C.CString(path)
	defer C.free(unsafe.Pointer(cpath))
	isBlock := C.int(0)
	if block {
		isBlock = 1
	}
	c := C.seawal_tap_create(cpath, C.uint64_t(ringBytes), C.uint64_t(maxWAL), isBlock, C.int(wakeFD), C.uint64_t(handle))
	if c == nil {
		return tap{}, fmt.Errorf("allocating a ring of %d bytes for %s: out of memory", ringBytes, path)
	}
	return tap{c}, nil
}

// destroy frees the tap; false while SQLite has a file of it open.
func (t tap) destroy() bool { return C.seawal_tap_destroy(t.c) == sqliteOK }

// companions is what is wrong with the files beside the database: walGone, walCut, shmGone.
func (t tap) companions() int { return int(C.seawal_tap_companions(t.c)) }

// locked are the inodes of the database file and its wal-index, if this process has to have a lock on both; else zeros.
func (t tap) locked() (main, shm uint64) {
	var cshm C.uint64_t
	main = uint64(C.seawal_tap_locked(t.c, &cshm))
	return main, uint64(cshm)
}

// lockless says that the file was refused, because its VFS has no locks.
func (t tap) lockless() bool { return C.seawal_tap_lockless(t.c) != 0 }

// commitBatch is how many commits one call into C brings.
const commitBatch = C.SEAWAL_BATCH

// captured is a commit in memory of the tap, which the next call of next uses again.
type captured C.SeawalCommit

// next returns commits that it has not returned before. The caller serialises it with release.
func (t tap) next() []captured {
	var n C.int
	first := C.seawal_tap_next(t.c, &n)
	return unsafe.Slice((*captured)(unsafe.Pointer(first)), int(n))
}

// commit is what the shipper sees of it.
func (c *captured) commit() shipper.Commit {
	salt := [2]uint32{uint32(c.aSalt[0]), uint32(c.aSalt[1])}
	out := shipper.Commit{
		Kind:      shipper.CommitKind(c.eKind),
		Ticket:    uint64(c.iTicket),
		Count:     uint64(c.nCommit),
		Time:      int64(c.iTime),
		PageSize:  int(c.szPage),
		PageCount: uint32(c.nPage),
	}
	if out.Kind == shipper.CommitGap {
		return out
	}
	if salt != [2]uint32{} {
		out.From = wal.Place{Salt: salt, Frame: uint32(c.iFirst)}
		out.To = wal.Place{Salt: salt, Frame: uint32(c.iLast)}
	}
	if out.Kind == shipper.CommitFrames {
		for j := range out.Frames {
			if n := int(c.anPiece[j]); n > 0 {
				out.Frames[j] = unsafe.Slice((*byte)(unsafe.Pointer(c.aPiece[j])), n)
			}
		}
		last := out.Frames[1] // alone where the end of the ring has no room for a frame
		if len(last) == 0 {
			last = out.Frames[0]
		}
		if salt != [2]uint32{} && len(last) > 0 {
			slot := wal.FrameHeaderSize + out.PageSize
			out.To.Cksum = wal.ParseFrameHeader(last[len(last)-slot:]).Cksum
		}
	}
	return out
}

// began is the commit time of the first one in it, unix nanoseconds.
func (c *captured) began() int64 { return int64(c.iTimeFirst) }

// Commits in a row are remembered as one range while they lie no further apart than mergeSpan nanoseconds, and 1/mergePart of
// the age of the oldest one that is remembered.
const (
	mergeSpan = C.SEAWAL_MERGE_SPAN
	mergePart = C.SEAWAL_MERGE_PART
)

func (t tap) release(ticket uint64) { C.seawal_tap_release(t.c, C.uint64_t(ticket)) }
func (t tap) idle() bool            { return C.seawal_tap_idle(t.c) != 0 }
func (t tap) ask(frames int)        { C.seawal_tap_ask(t.c, C.uint32_t(frames)) }
func (t tap) unpin()                { C.seawal_tap_unpin(t.c) }

// forget says that written won't be asked for less than ticket any more.
func (t tap) forget(ticket uint64) { C.seawal_tap_forget(t.c, C.uint64_t(ticket)) }

// written returns the pages that may have been written by commits behind a ticket; nil: any page may have been. The set is copied chunk by chunk,
// each in a moment: writers need the same mutex.
func (t tap) written(since uint64) *shipper.PageSet {
	for range writtenTries {
		set := new(shipper.PageSet)
		var words [shipper.PageSetWords]uint64
		var chunk, least C.uint32_t
		var turn, first C.uint64_t
		for n := 0; ; n++ {
			found := C.seawal_tap_written(t.c, C.uint64_t(since), &chunk, (*C.uint64_t)(unsafe.Pointer(&words[0])), &least, &turn)
			if found == C.SEAWAL_PAGES_ALL {
				return nil
			}
			if n == 0 {
				first = turn
			}
			if turn != first {
				break // it was made anew meanwhile, and this may lack some
			}
			set.AddFrom(uint32(least) + 1)
			if found == C.SEAWAL_PAGES_END {
				return set
			}
			set.AddChunk(uint32(chunk), &words)
			chunk++
		}
	}
	return nil
}

// writtenTries is how often a set is copied that is made anew meanwhile.
const writtenTries = 8

// The size of a chunk is the same on both sides.
var _ = [1]struct{}{}[C.SEAWAL_PAGE_WORDS-shipper.PageSetWords]

// hold says that one more consumer, or one less, has yet to read back what it released.
func (t tap) hold(on bool) {
	n := C.int(-1)
	if on {
		n = 1
	}
	C.seawal_tap_hold(t.c, n)
}

// attachState is what the consumers of a tap are at.
type attachState int

const (
	allAttached attachState = C.SEAWAL_ATTACHED  // all follow on their replicas
	attaching   attachState = C.SEAWAL_ATTACHING // one has yet to
	allPassing  attachState = C.SEAWAL_STANDBY   // another process ships, to all of them
	somePassing attachState = C.SEAWAL_SHARED    // others ship to some; ours follow on the rest
)

// attach says what the consumers are at, and whether others have yet to ship what was committed here.
func (t tap) attach(state attachState, unread bool) {
	v := C.int(0)
	if unread {
		v = 1
	}
	C.seawal_tap_attach(t.c, C.int(state), v)
}

// empty says that the file had no page after the commit with this ticket; false when that
// isn't the last one any more.
func (t tap) empty(ticket uint64) bool {
	return C.seawal_tap_empty(t.c, C.uint64_t(ticket)) == sqliteOK
}

// alone says that nobody consumes from now on, or that somebody does again.
func (t tap) alone(on bool) {
	v := C.int(0)
	if on {
		v = 1
	}
	C.seawal_tap_alone(t.c, v)
}

// persist says whether the last close keeps the WAL file.
func (t tap) persist(on bool) {
	v := C.int(0)
	if on {
		v = 1
	}
	C.seawal_tap_persist(t.c, v)
}

func (t tap) last() (ticket uint64, time int64) {
	var ct C.uint64_t
	var cm C.int64_t
	C.seawal_tap_last(t.c, &ct, &cm)
	return uint64(ct), int64(cm)
}

// tapStats are the shim's counters in the life of the tap.
type tapStats struct {
	commits, frames, ranges, foreign, gaps, heldBack, gaveUp, late uint64
	ringBytes                                                      uint64
	walFrames                                                      uint32
	pageSize                                                       int
	connections                                                    int
	logFull, held, unproven                                        bool
}

func (t tap) stats() tapStats {
	var s C.SeawalStats
	C.seawal_tap_stats(t.c, &s)
	return tapStats{
		commits: uint64(s.nCommit), frames: uint64(s.nFrame), ranges: uint64(s.nRange), foreign: uint64(s.nForeign),
		gaps: uint64(s.nGap), heldBack: uint64(s.nHeld), gaveUp: uint64(s.nGaveUp), late: uint64(s.nLate), ringBytes: uint64(s.nRing),
		walFrames: uint32(s.mxFrame), pageSize: int(s.szPage), connections: int(s.nOpen), logFull: s.isLogFull != 0,
		held: s.isHeld != 0, unproven: s.isUnproven != 0,
	}
}

// pollResult is what a poll of the wal-index leaves to be done.
type pollResult int

const (
	pollDone     pollResult = C.SEAWAL_POLL_DONE
	pollCounter  pollResult = C.SEAWAL_POLL_COUNTER
	pollUnmapped pollResult = C.SEAWAL_POLL_UNMAPPED
)

// poll publishes what other processes have committed, as far as the mapped wal-index tells. It makes no system call.
func (t tap) poll() pollResult { return pollResult(C.seawal_tap_poll(t.c)) }

// mark is what is captured, and its last ticket.
func (t tap) mark() (shipper.Mark, uint64) {
	var m C.SeawalMark
	C.seawal_tap_mark(t.c, &m)
	if m.isCounter != 0 {
		return shipper.Mark{Rollback: true, Counter: uint32(m.iCounter)}, uint64(m.iTicket)
	}
	return shipper.Mark{Salt: [2]uint32{uint32(m.aSalt[0]), uint32(m.aSalt[1])}, Frame: uint32(m.mxFrame)}, uint64(m.iTicket)
}

// logBegan is the generation of the log, and the last ticket before it; ok is false when this process didn't see it begin.
func (t tap) logBegan() (salt [2]uint32, ticket uint64, ok bool) {
	var m C.SeawalMark
	C.seawal_tap_mark(t.c, &m)
	ok = m.isBegun != 0 && m.isCounter == 0 && (m.aSalt[0] != 0 || m.aSalt[1] != 0)
	return [2]uint32{uint32(m.aSalt[0]), uint32(m.aSalt[1])}, uint64(m.iBegun), ok
}

// moved says whether another file than the one that was opened first is at the database's path, or none: for good.
func (t tap) moved() bool { return C.seawal_tap_moved(t.c) != 0 }

// counterMoved says whether the change counter in the file is another than the last one that is known, in a
// rollback journal mode. The caller serialises it with all that uses the reader connection.
func (t tap) counterMoved(reader int) bool { return C.seawal_tap_counter(t.c, C.int(reader)) != 0 }

// readerPlace is where the reader connection's transaction stands.
type readerPlace struct {
	inWAL     bool // the database is in WAL mode
	place     wal.Place
	inFile    bool // the file alone is the state
	pageSize  int
	pageCount uint32
	ticket    uint64
	time      int64 // of the commit with that ticket, unix nanoseconds
}

// maxReaders is how many reader connections a database can have: one for each replica.
const maxReaders = C.SEAWAL_READERS

// place pins the place of a reader's transaction until unpin; errBusy when it has to be
// tried again. lost is how many states in a row were given up because the log outgrew them. The caller serialises it with all that
// uses that reader connection.
func (t tap) place(reader, lost int) (readerPlace, error) {
	var p C.SeawalPlace
	switch rc := C.seawal_tap_place(t.c, C.int(reader), C.int(lost), &p); rc {
	case sqliteOK:
	case sqliteBusy:
		return readerPlace{}, errBusy
	default:
		return readerPlace{}, fmt.Errorf("finding the place of a read transaction: SQLite error %d", int(rc))
	}
	out := readerPlace{inWAL: p.isWal != 0, ticket: uint64(p.iTicket), time: int64(p.iTime)}
	if out.inWAL {
		out.place = wal.Place{Salt: [2]uint32{uint32(p.aSalt[0]), uint32(p.aSalt[1])}, Frame: uint32(p.mxFrame)}
		out.inFile = p.isInFile != 0
		out.pageSize, out.pageCount = int(p.szPage), uint32(p.nPage)
	}
	return out, nil
}

// readFile reads from the main database file through a reader connection's handle. (A descriptor
// of our own would, when closed, drop every POSIX lock that the process has on the file.)
// Fewer bytes than asked for are io.ErrUnexpectedEOF. The caller serialises.
func (t tap) readFile(reader int, p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	switch rc := C.seawal_tap_read(t.c, C.int(reader), unsafe.Pointer(&p[0]), C.int(len(p)), C.int64_t(off)); rc {
	case sqliteOK:
		return nil
	case sqliteShortRead:
		return fmt.Errorf("reading the database file at %d: %w", off, io.ErrUnexpectedEOF)
	default:
		return fmt.Errorf("reading the database file at %d: SQLite error %d", off, int(rc))
	}
}

// sync brings what the log holds to stable storage, through a reader connection's handle. The caller serialises.
func (t tap) sync(reader int) error {
	if rc := C.seawal_tap_sync(t.c, C.int(reader)); rc != sqliteOK {
		return fmt.Errorf("syncing the log: SQLite error %d", int(rc))
	}
	return nil
}

// fileSize is the size of the main database file in bytes. The caller serialises.
func (t tap) fileSize(reader int) (int64, error) {
	var n C.int64_t
	if rc := C.seawal_tap_file_size(t.c, C.int(reader), &n); rc != sqliteOK {
		return 0, fmt.Errorf("finding the size of the database file: SQLite error %d", int(rc))
	}
	return int64(n), nil
}

// skewClock makes commits of this process as much later, or earlier, than they are. For tests.
func skewClock(d time.Duration) { C.seawal_clock_skew(C.int64_t(d)) }

// handles names databases to C.
var handles struct {
	sync.RWMutex
	next uint64
	m    map[uint64]*database
}

func newHandle(d *database) uint64 {
	handles.Lock()
	defer handles.Unlock()
	if handles.m == nil {
		handles.m = map[uint64]*database{}
	}
	handles.next++
	handles.m[handles.next] = d
	return handles.next
}

func dropHandle(h uint64) {
	handles.Lock()
	defer handles.Unlock()
	delete(handles.m, h)
}

func databaseOf(h C.uint64_t) *database { return databaseByHandle(uint64(h)) }

func databaseByHandle(h uint64) *database {
	handles.RLock()
	defer handles.RUnlock()
	return handles.m[h]
}

// seawalGoPragma answers PRAGMA seawal_...; it runs on the thread of the connection.
//
//export seawalGoPragma
func seawalGoPragma(handle C.uint64_t, name, arg *C.char, out **C.char, isError, remote *C.int, timeout *C.int64_t) C.int {
	d := databaseOf(handle)
	if d == nil {
		return 0
	}
	var value *string
	if arg != nil {
		s := C.GoString(arg)
		value = &s
	}
	now := connDurability{remote: *remote != 0, timeout: time.Duration(*timeout) * time.Millisecond}
	a, known := d.pragma(C.GoString(name), value, now)
	if !known {
		return 0
	}
	*out = C.CString(a.text)
	if a.failed {
		*isError = 1
	}
	if set := a.durability; set != nil {
		*remote = 0
		if set.remote {
			*remote = 1
		}
		*timeout = C.int64_t(set.timeout.Milliseconds())
	}
	return 1
}

// seawalGoWait keeps a commit of a connection with durability=remote until it is durable, which is 1, or is given up.
//
//export seawalGoWait
func seawalGoWait(handle C.uint64_t, ticket C.uint64_t, timeout C.int64_t, isPinning C.int, db unsafe.Pointer) C.int {
	d := databaseOf(handle)
	if d == nil {
		return 0
	}
	w := remoteWait{ticket: uint64(ticket), timeout: time.Duration(timeout) * time.Millisecond, pinning: isPinning != 0}
	w.interrupted = func() bool { return db != nil && C.sqlite3_is_interrupted((*C.sqlite3)(db)) != 0 }
	if err := d.waitRemote(w); err != nil {
		return 0
	}
	return 1
}

// seawalGoOwned counts the files of a connector.
//
//export seawalGoOwned
func seawalGoOwned(owner C.uint64_t, n C.int) {
	if c, ok := owners.Load(uint64(owner)); ok {
		c.(*connector).counted(int(n))
	}
}

// seawalGoRefused says in the log what the result of a refused transaction has no words for.
//
//export seawalGoRefused
func seawalGoRefused(handle C.uint64_t, isOfSeveral C.int) {
	if d := databaseOf(handle); d != nil {
		d.refusedRemote(isOfSeveral != 0)
	}
}

// sqliteError is the error that go-sqlite3 makes of a result code which comes without a message of its own: errors.Is compares
// all of its fields, and one of them can't be set from outside.
func sqliteError(code int) sqlite3.Error {
	err := sqlite3.Error{Code: sqlite3.ErrNo(code & 0xff), ExtendedCode: sqlite3.ErrNoExtended(code)}
	text := reflect.ValueOf(&err).Elem().FieldByName("err")
	if text.IsValid() && text.Kind() == reflect.String {
		*(*string)(text.Addr().UnsafePointer()) = err.Error() // SQLite's own for the code
	}
	return err
}
