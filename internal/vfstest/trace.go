package vfstest

// #cgo CFLAGS: -std=gnu99 -Wall -Wextra -Werror -I${SRCDIR}/../sqliteabi
// #cgo linux LDFLAGS: -Wl,--unresolved-symbols=ignore-in-object-files
// #cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
// #include <stdlib.h>
// #include "trace.h"
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	_ "github.com/mattn/go-sqlite3" // the SQLite that trace.c calls

	_ "seawal/internal/sqliteabi" // its header
)

// ErrOpenFiles is returned by Close while SQLite has a file open through the VFS.
var ErrOpenFiles = errors.New("vfstest: files are still open")

// Options of a tracing VFS. The zero value suits most tests.
type Options struct {
	// MaxMethods is the highest version of sqlite3_io_methods that files offer:
	// 1 has no shared memory, 2 no memory mapping. 0 offers what the lower VFS does.
	MaxMethods int
	// MaxEvents bounds the log; 0 means 65,536. What finds it full is counted
	// and reported as an Event with Op Lost.
	MaxEvents int
	// MaxContent bounds the bytes of paths and of recorded content in the log;
	// 0 means 64 MiB. What finds it full is lost likewise.
	MaxContent int64
	// Opaque makes it a VFS that may do anything to what is written, as far as seawal knows: writes aren't joined above it.
	Opaque bool
}

// Trace is a registered tracing VFS. Its methods are safe for concurrent use.
type Trace struct {
	name string
	vfs  *C.TraceVfs

	mu    sync.Mutex // guards the fields below
	paths map[uint32]string
	buf   []C.TraceEvent // of Take, which is called so often that it would be most of what a test allocates
}

// Register adds a VFS called name over the one called lower, "" for SQLite's
// default. It fails when the name is taken or lower is not registered.
func Register(name, lower string, o Options) (*Trace, error) {
	if o.MaxEvents == 0 {
		o.MaxEvents = 1 << 16
	}
	if o.MaxContent == 0 {
		o.MaxContent = 64 << 20
	}
	zName := C.CString(name)
	defer C.free(unsafe.Pointer(zName))
	var zLower *C.char
	if lower != "" {
		zLower = C.CString(lower)
		defer C.free(unsafe.Pointer(zLower))
	}
	t := &Trace{name: name, paths: map[uint32]string{}}
	rc := Code(C.seawalTraceRegister(zName, zLower, C.int(o.MaxMethods),
		C.sqlite3_int64(o.MaxEvents), C.sqlite3_int64(o.MaxContent), &t.vfs))
	switch rc {
	case OK:
		if o.Opaque {
			C.seawalTraceOpaque(t.vfs)
		}
		return t, nil
	case Misuse:
		return nil, fmt.Errorf("register VFS %q: the name is taken", name)
	case NotFound:
		return nil, fmt.Errorf("register VFS %q: no lower VFS %q", name, lower)
	}
	return nil, fmt.Errorf("register VFS %q: %v", name, rc)
}

// Name is the name to open databases with.
func (t *Trace) Name() string { return t.name }

// Close unregisters the VFS. While files are open it fails with ErrOpenFiles and
// changes nothing. The Trace and its Faults must not be used after a success.
func (t *Trace) Close() error {
	switch rc := Code(C.seawalTraceUnregister(t.vfs)); rc {
	case OK:
		return nil
	case Busy:
		return fmt.Errorf("unregister VFS %q: %w", t.name, ErrOpenFiles)
	default:
		return fmt.Errorf("unregister VFS %q: %v", t.name, rc)
	}
}

// Recording says what the log receives. Rules work whatever it is.
type Recording int

// What is recorded.
const (
	RecordNothing Recording = C.TRACE_OFF
	RecordCalls   Recording = C.TRACE_CALLS   // every call; as at first
	RecordContent Recording = C.TRACE_CONTENT // and everything written, in Event.Data
)

// Record changes what is recorded from now on.
func (t *Trace) Record(r Recording) { C.seawalTraceRecord(t.vfs, C.int(r)) }

// Take returns the events since the last Take, oldest first, and forgets them.
// An event that SQLite is still waiting for, and those after it, stay for the next Take.
func (t *Trace) Take() Log {
	t.mu.Lock()
	defer t.mu.Unlock()
	var (
		log  Log
		lost uint64
	)
	if t.buf == nil {
		t.buf = make([]C.TraceEvent, 256)
	}
	buf := t.buf // a slice: of an array the check of what is passed to C would make a copy
	for {
		var nLost C.sqlite3_uint64
		n := int(C.seawalTraceTake(t.vfs, &buf[0], C.int(len(buf)), &nLost))
		lost += uint64(nLost)
		for i := range n {
			log = append(log, t.eventLocked(&buf[i]))
		}
		if n == 0 {
			break
		}
	}
	if lost > 0 {
		log = append(log, Event{Op: Lost, Amount: int64(lost)})
	}
	return log
}

// eventLocked converts c and frees what it owns.
func (t *Trace) eventLocked(c *C.TraceEvent) Event {
	e := Event{
		Seq:      uint64(c.iSeq),
		Op:       Op(c.eOp),
		Kind:     Kind(c.eKind),
		File:     uint32(c.idFile),
		Conn:     uint32(c.idConn),
		Offset:   int64(c.iOfst),
		Amount:   int64(c.nAmt),
		Value:    int64(c.iVal),
		Flags:    int(c.flags),
		Code:     Code(c.rc),
		PageSize: int(c.szPage),
		Injected: c.isInjected != 0,
	}
	if c.nHead > 0 {
		e.Head = C.GoBytes(unsafe.Pointer(&c.aHead), C.int(c.nHead))
	}
	if c.hasIndex != 0 {
		e.Index = new(Index)
		copy(e.Index[:], C.GoBytes(unsafe.Pointer(&c.aIndex), C.TRACE_NINDEX))
	}
	data := C.GoBytes(c.pData, c.nData)
	C.seawalTraceFree(c.pData)
	c.pData = nil
	switch e.Op {
	case Open, Delete, Access:
		e.Path = string(data)
		if e.Op == Open && e.File != 0 {
			t.paths[e.File] = e.Path
		}
	default:
		e.Path = t.paths[e.File]
		if len(data) > 0 {
			e.Data = data
		}
	}
	return e
}

// SQLite returns the version number and the source id of the SQLite that the C
// half of this package is linked with.
func SQLite() (version int, sourceID string) {
	return int(C.sqlite3_libversion_number()), C.GoString(C.sqlite3_sourceid())
}
