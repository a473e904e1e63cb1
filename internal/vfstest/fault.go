package vfstest

// #include "trace.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
)

// Apply says how much of a call happens below although a Rule decides its result.
type Apply int

// What happens below.
const (
	Nothing Apply = C.TRACE_NOTHING // the lower VFS is not called
	Prefix  Apply = C.TRACE_PREFIX  // Write: only the first Rule.Bytes bytes arrive; Read: zeros follow them; other methods: nothing
	All     Apply = C.TRACE_ALL     // everything; only the result is changed
	Pass    Apply = C.TRACE_PASS    // everything, and its own result stands (for Hold, or to count calls)
)

// Rule is one scripted fault: which calls it looks at, at which of them it
// fires, and what happens then. Every matching call is counted by every rule; the
// first rule that fires decides. Close always closes the file below.
//
// With Code OK and Apply Nothing the call is swallowed: a disk that lies.
type Rule struct {
	Op      Op         // method; 0: any
	Kind    Kind       // kind of file; 0: any
	Lock    *LockRange // ShmLock: only this range and these flags
	Control int        // Control: only this opcode; 0: any
	At      *Call      // only calls with exactly these arguments
	Byte    *int64     // Read, Write: only calls that this byte of the file is part of, however large they are

	Nth    int  // fires at the Nth matching call from now; 0 means 1
	Sticky bool // and at each one after it
	Widen  bool // with Sticky: and once it has fired, at each call of Op and Kind

	Code   Code  // what SQLite is told
	Apply  Apply // what happens all the same
	Bytes  int   // for Prefix
	Answer *int  // the answer to PERSIST_WAL, POWERSAFE_OVERWRITE, SectorSize and DeviceCharacteristics
	Hold   bool  // wait in the call until Release; see Fault.Reached
}

// LockRange is the argument of an xShmLock call.
type LockRange struct {
	Slot, N int
	Flags   int // ShmLock|ShmExclusive and so on
}

// Call is the arguments of a call, as its Event has them.
type Call struct {
	Offset, Amount int64
	Flags          int
}

// Fault is a Rule in force.
type Fault struct {
	trace   *Trace
	number  C.int
	reached *os.File // of a Hold: a byte comes when a call arrives
	release *os.File // of a Hold: a byte lets it go
	ours    []*os.File
}

// Fail puts a rule in force. It panics when 64 rules are in force already, or
// when the rule makes no sense: both are mistakes in the test.
func (t *Trace) Fail(r Rule) *Fault {
	if r.Lock != nil && r.Op != ShmLock || r.Control != 0 && r.Op != Control {
		panic("vfstest: Rule.Lock needs Op ShmLock, Rule.Control needs Op Control")
	}
	if r.Byte != nil && (r.At != nil || r.Op != Read && r.Op != Write) {
		panic("vfstest: Rule.Byte needs Op Read or Write, and no Rule.At")
	}
	c := C.TraceRule{
		eOp: C.int(r.Op), eKind: C.int(r.Kind), iNth: C.sqlite3_int64(max(r.Nth, 1)),
		rc: C.int(r.Code), eApply: C.int(r.Apply), nApply: C.int(r.Bytes),
		fdReached: -1, fdGo: -1,
	}
	if r.Lock != nil {
		c.mMatch = C.TRACE_BY_OFST | C.TRACE_BY_AMT | C.TRACE_BY_FLAGS
		c.iOfst, c.nAmt, c.flags = C.sqlite3_int64(r.Lock.Slot), C.sqlite3_int64(r.Lock.N), C.int(r.Lock.Flags)
	}
	if r.Control != 0 {
		c.mMatch, c.flags = C.TRACE_BY_FLAGS, C.int(r.Control)
	}
	if r.At != nil {
		c.mMatch = C.TRACE_BY_OFST | C.TRACE_BY_AMT | C.TRACE_BY_FLAGS
		c.iOfst, c.nAmt, c.flags = C.sqlite3_int64(r.At.Offset), C.sqlite3_int64(r.At.Amount), C.int(r.At.Flags)
	}
	if r.Byte != nil {
		c.mMatch, c.iOfst = C.TRACE_BY_BYTE, C.sqlite3_int64(*r.Byte)
	}
	if r.Sticky {
		c.isSticky = 1
	}
	if r.Widen {
		c.isWide = 1
	}
	if r.Answer != nil {
		c.hasAnswer, c.iAnswer = 1, C.int(*r.Answer)
	}
	f := &Fault{trace: t}
	if r.Hold {
		if err := f.hold(&c); err != nil {
			panic(err)
		}
	}
	f.number = C.seawalTraceFail(t.vfs, &c)
	if f.number == 0 {
		panic("vfstest: too many rules; End those that are done")
	}
	return f
}

// hold makes the pipes through which a held call reports and is let go. Fd puts
// the C side's ends into blocking mode.
func (f *Fault) hold(c *C.TraceRule) error {
	reached, tell, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("vfstest: make a pipe to report by: %w", err)
	}
	wait, release, err := os.Pipe()
	if err != nil {
		return errors.Join(fmt.Errorf("vfstest: make a pipe to wait at: %w", err), reached.Close(), tell.Close())
	}
	f.reached, f.release, f.ours = reached, release, []*os.File{tell, wait}
	c.fdReached, c.fdGo = C.int(tell.Fd()), C.int(wait.Fd())
	return nil
}

// Fired is the number of calls that the rule has decided.
func (f *Fault) Fired() int { return int(C.seawalTraceFired(f.trace.vfs, f.number)) }

// Reached waits until a call is held. For rules with Hold only.
func (f *Fault) Reached() {
	if _, err := f.reached.Read(make([]byte, 1)); err != nil {
		panic(fmt.Errorf("vfstest: wait for the held call: %w", err))
	}
}

// Release lets the held call, or the next one to be held, go on. For rules with Hold only.
func (f *Fault) Release() {
	if _, err := f.release.Write([]byte{1}); err != nil {
		panic(fmt.Errorf("vfstest: release the held call: %w", err))
	}
}

// End takes the rule out of force and returns what Fired was. Call it once,
// with no call held. The Fault must not be used afterwards.
func (f *Fault) End() int {
	n := f.Fired()
	C.seawalTraceEnd(f.trace.vfs, f.number)
	for _, p := range f.ours {
		p.Close()
	}
	if f.reached != nil {
		f.reached.Close()
		f.release.Close()
	}
	return n
}
