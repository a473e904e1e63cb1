package vfstest

// #include "trace.h"
import "C"

import (
	"fmt"
	"math/bits"
	"strings"

	"seawal/internal/wal"
)

// Op is a method of sqlite3_io_methods or sqlite3_vfs.
type Op uint8

// The methods that are recorded, and Lost.
const (
	Open                  Op = C.TRACE_OPEN
	Close                 Op = C.TRACE_CLOSE
	Read                  Op = C.TRACE_READ
	Write                 Op = C.TRACE_WRITE
	Truncate              Op = C.TRACE_TRUNCATE
	Sync                  Op = C.TRACE_SYNC
	Size                  Op = C.TRACE_SIZE
	Lock                  Op = C.TRACE_LOCK
	Unlock                Op = C.TRACE_UNLOCK
	CheckReservedLock     Op = C.TRACE_RESERVED
	Control               Op = C.TRACE_CONTROL
	SectorSize            Op = C.TRACE_SECTOR
	DeviceCharacteristics Op = C.TRACE_DEVCHAR
	ShmMap                Op = C.TRACE_SHMMAP
	ShmLock               Op = C.TRACE_SHMLOCK
	ShmBarrier            Op = C.TRACE_BARRIER
	ShmUnmap              Op = C.TRACE_SHMUNMAP
	Fetch                 Op = C.TRACE_FETCH
	Unfetch               Op = C.TRACE_UNFETCH
	Delete                Op = C.TRACE_DELETE
	Access                Op = C.TRACE_ACCESS

	// Lost is no method: Amount events found the log full. It is the last event of a Take.
	Lost Op = 255
)

// Kind is the kind of file that a call is about.
type Kind uint8

// The kinds of file. The methods on shared memory have a kind of their own,
// although SQLite calls them on the database's handle.
const (
	Main    Kind = C.TRACE_MAIN
	WAL     Kind = C.TRACE_WAL
	Journal Kind = C.TRACE_JOURNAL
	Shm     Kind = C.TRACE_SHM
	Temp    Kind = C.TRACE_TEMP  // temporary databases and their journals
	Other   Kind = C.TRACE_OTHER // super-journals; paths of no known kind in Delete and Access
)

// Event is one call that SQLite made.
type Event struct {
	Seq  uint64 // counts the events of a Trace from 1
	Op   Op
	Kind Kind
	File uint32 // number of the open file, 0 when there is none
	Conn uint32 // number of its database's file, which tells connections apart; 0 when not known
	Path string // of the file, "" for one without a name

	Offset int64 // Read, Write, Fetch, Unfetch: bytes; ShmLock: first slot; ShmMap: region
	Amount int64 // Read, Write, Fetch: bytes; Truncate: new size; ShmLock: slots; ShmMap: bytes
	Flags  int   // Open, Sync, Access, ShmLock: flags; Lock, Unlock: level; Control: opcode; ShmMap: extend; ShmUnmap: delete
	Value  int64 // the answer: Size, CheckReservedLock, Access, SectorSize, DeviceCharacteristics, int file controls; Fetch: 1 for a pointer

	Code     Code // the result that SQLite got
	Injected bool // a Rule decided it
	PageSize int  // WAL: bytes, 0 while not known

	Head  []byte // Read, Write: the first 32 bytes
	Data  []byte // Write with RecordContent: all of it
	Index *Index // ShmLock, ShmBarrier, ShmUnmap, Control: the wal-index header; nil while it isn't mapped
}

// Part says which part of a WAL a read or write covers.
type Part uint8

// The parts of a WAL.
const (
	PartOther       Part = iota
	PartHeader           // the WAL header
	PartFrameHeader      // one frame header
	PartPage             // the page of one frame
	PartFrames           // one or more whole frames
)

// WALPart tells which part of the WAL e reads or writes, and for frames the
// first frame (from 1) and how many.
func (e *Event) WALPart() (part Part, frame uint32, n int) {
	if e.Kind != WAL || e.Op != Read && e.Op != Write {
		return PartOther, 0, 0
	}
	if e.Offset == 0 && e.Amount == wal.HeaderSize {
		return PartHeader, 0, 0
	}
	if e.PageSize == 0 || e.Offset < wal.HeaderSize {
		return PartOther, 0, 0
	}
	size := int64(wal.FrameHeaderSize + e.PageSize)
	frame = uint32((e.Offset-wal.HeaderSize)/size) + 1
	within := (e.Offset - wal.HeaderSize) % size
	switch {
	case within == 0 && e.Amount == wal.FrameHeaderSize:
		return PartFrameHeader, frame, 1
	case within == wal.FrameHeaderSize && e.Amount == int64(e.PageSize):
		return PartPage, frame, 1
	case within == 0 && e.Amount%size == 0:
		return PartFrames, frame, int(e.Amount / size)
	}
	return PartOther, 0, 0
}

// FrameHeader is the frame header that e reads or writes, the first when it
// covers several frames. ok is false when there is none.
func (e *Event) FrameHeader() (h wal.FrameHeader, ok bool) {
	part, _, _ := e.WALPart()
	if part != PartFrameHeader && part != PartFrames || len(e.Head) < wal.FrameHeaderSize {
		return wal.FrameHeader{}, false
	}
	return wal.ParseFrameHeader(e.Head), true
}

// IsLock says whether e took (or released, see Flags) exactly these slots.
func (e *Event) IsLock(r LockRange) bool {
	return e.Op == ShmLock && e.Offset == int64(r.Slot) && e.Amount == int64(r.N) && e.Flags == r.Flags
}

// IsControl says whether e is the file control with this opcode.
func (e *Event) IsControl(op int) bool { return e.Op == Control && e.Flags == op }

// String is e as one word; the package comment has the list.
func (e Event) String() string {
	var b strings.Builder
	switch e.Kind {
	case Shm:
		b.WriteString(e.shmWord())
	case WAL:
		b.WriteString(e.walWord())
	default:
		b.WriteString(e.fileWord())
	}
	// A VFS that doesn't know an opcode says so: nothing worth a word.
	if e.Code != OK && (e.Op != Control || e.Code != NotFound) {
		fmt.Fprintf(&b, "=%v", e.Code)
	}
	if e.Injected {
		b.WriteByte('!')
	}
	return b.String()
}

func (e *Event) shmWord() string {
	switch e.Op {
	case ShmLock:
		return e.lockWord()
	case ShmBarrier:
		if e.Index == nil {
			return "barrier"
		}
		return fmt.Sprintf("barrier{%d/%d}", e.Index.Header(0).MxFrame, e.Index.Header(1).MxFrame)
	case ShmMap:
		return fmt.Sprintf("shm.map%d", e.Offset)
	case ShmUnmap:
		if e.Flags != 0 {
			return "shm.unmap(delete)"
		}
		return "shm.unmap"
	}
	return e.fileWord()
}

var slots = [...]string{"WRITE", "CKPT", "RECOVER", "READ0", "READ1", "READ2", "READ3", "READ4"}

func (e *Event) lockWord() string {
	sign := "+"
	if e.Flags&ShmUnlock != 0 {
		sign = "-"
	}
	first, last := int(e.Offset), int(e.Offset+e.Amount)-1
	if first < 0 || last >= len(slots) || first > last {
		return fmt.Sprintf("%sslots(%d,%d)", sign, e.Offset, e.Amount)
	}
	word := sign + slots[first]
	if last > first {
		word += ".." + strings.TrimPrefix(slots[last], "READ")
	}
	if e.Flags&ShmShared != 0 {
		return word + "s"
	}
	if first == SlotWrite && sign == "-" && e.Index != nil {
		word += fmt.Sprintf("{%d}", e.Index.Header(0).MxFrame)
	}
	return word
}

func (e *Event) walWord() string {
	part, frame, n := e.WALPart()
	verb := "wal."
	if e.Op == Read {
		verb = "wal?"
	}
	switch part {
	case PartHeader:
		return verb + "header"
	case PartFrameHeader:
		return fmt.Sprintf("%sframe%d%s", verb, frame, e.frameNote())
	case PartPage:
		return fmt.Sprintf("%sbody%d", verb, frame)
	case PartFrames:
		if n == 1 {
			return fmt.Sprintf("%sframe%d+body%s", verb, frame, e.frameNote())
		}
		return fmt.Sprintf("%sframes%d-%d%s", verb, frame, int(frame)+n-1, e.frameNote())
	}
	return e.fileWord()
}

func (e *Event) frameNote() string {
	h, ok := e.FrameHeader()
	if !ok {
		return ""
	}
	note := fmt.Sprintf("(pg%d", h.Page)
	if h.Commit != 0 {
		note += fmt.Sprintf(",commit=%d", h.Commit)
	}
	if h.Salt == [2]uint32{} && h.Cksum == [2]uint32{} {
		note += ",open"
	}
	return note + ")"
}

func (e *Event) fileWord() string {
	name := e.Kind.String()
	switch e.Op {
	case Read:
		return fmt.Sprintf("%s?@%d+%d", name, e.Offset, e.Amount)
	case Write:
		// The pager writes whole pages to a database, and nothing else does.
		if e.Kind == Main && bits.OnesCount64(uint64(e.Amount)) == 1 && e.Offset%e.Amount == 0 {
			return fmt.Sprintf("%s.page%d", name, e.Offset/e.Amount+1)
		}
		return fmt.Sprintf("%s.write@%d+%d", name, e.Offset, e.Amount)
	case Truncate:
		return fmt.Sprintf("%s.truncate(%d)", name, e.Amount)
	case Lock, Unlock:
		return fmt.Sprintf("%s.%v(%s)", name, e.Op, levelName(e.Flags))
	case Control:
		if e.Flags == FcntlPersistWAL || e.Flags == FcntlPowersafeOverwrite {
			return fmt.Sprintf("%s.ctl(%s:%d)", name, controlName(e.Flags), e.Value)
		}
		return fmt.Sprintf("%s.ctl(%s)", name, controlName(e.Flags))
	case Size, CheckReservedLock, Access:
		return fmt.Sprintf("%s.%v:%d", name, e.Op, e.Value)
	case Lost:
		return fmt.Sprintf("LOST(%d)", e.Amount)
	}
	return fmt.Sprintf("%s.%v", name, e.Op)
}

// Log is a sequence of events, oldest first.
type Log []Event

// Only returns the events that keep wants.
func (l Log) Only(keep func(*Event) bool) Log {
	var out Log
	for i := range l {
		if keep(&l[i]) {
			out = append(out, l[i])
		}
	}
	return out
}

// Of returns the events of the given kinds.
func (l Log) Of(kinds ...Kind) Log {
	return l.Only(func(e *Event) bool {
		for _, k := range kinds {
			if e.Kind == k {
				return true
			}
		}
		return false
	})
}

// Index returns the position of the first event that is wanted, -1 if there is none.
func (l Log) Index(wanted func(*Event) bool) int {
	for i := range l {
		if wanted(&l[i]) {
			return i
		}
	}
	return -1
}

// Words returns each event as one word.
func (l Log) Words() []string {
	words := make([]string, len(l))
	for i := range l {
		words[i] = l[i].String()
	}
	return words
}

// String is the words of the log, in lines of readable length, each beginning with
// the connection that made the calls.
func (l Log) String() string {
	const width = 110
	var b strings.Builder
	n := 0
	for i := range l {
		word := l[i].String()
		if i == 0 || n+1+len(word) > width || l[i].Conn != l[i-1].Conn {
			if i > 0 {
				b.WriteByte('\n')
			}
			prefix := fmt.Sprintf("conn %d:", l[i].Conn)
			b.WriteString(prefix)
			n = len(prefix)
		}
		b.WriteByte(' ')
		b.WriteString(word)
		n += 1 + len(word)
	}
	if n > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}
