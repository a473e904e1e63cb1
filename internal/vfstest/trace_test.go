package vfstest_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sqlite3 "github.com/mattn/go-sqlite3"

	. "seawal/internal/vfstest"
)

// open opens a connection to a new database through t's own tracing VFS.
func open(t *testing.T, tr *Trace, path, params string) *sqlite3.SQLiteConn {
	t.Helper()
	c, err := new(sqlite3.SQLiteDriver).Open("file:" + path + "?vfs=" + tr.Name() + params)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*sqlite3.SQLiteConn)
}

func register(t *testing.T, lower string, o Options) *Trace {
	t.Helper()
	tr, err := Register("trace-"+t.Name(), lower, o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func mustExec(t *testing.T, c *sqlite3.SQLiteConn, sql string) {
	t.Helper()
	if _, err := c.Exec(sql, nil); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func mustClose(t *testing.T, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestCommitInWords(t *testing.T) {
	tr := register(t, "", Options{})
	c := open(t, tr, filepath.Join(t.TempDir(), "a.db"), "&_journal_mode=WAL")
	mustExec(t, c, "CREATE TABLE t(a); INSERT INTO t VALUES(1)")
	tr.Take()
	mustExec(t, c, "INSERT INTO t VALUES(2)")
	log := tr.Take()
	want := strings.Fields(`+READ1s barrier{3/3} +WRITE wal.frame4(pg2,commit=2) wal.body4
		barrier{3/4} -WRITE{4} db.ctl(COMMIT_PHASETWO) -READ1s`)
	got := log.Only(func(e *Event) bool { return e.Op != DeviceCharacteristics })
	if i := got.Index(func(e *Event) bool { return e.Op == ShmLock && e.Flags&ShmShared != 0 }); i > 0 {
		got = got[i:] // how a reader picks its mark is not the point here
	}
	if diff := cmp.Diff(want, got.Words()); diff != "" {
		t.Errorf("-want +got:\n%s\n%v", diff, log)
	}
	mustClose(t, c)
	mustClose(t, tr)
}

// A VFS under another one sees the same calls, and its faults reach the top.
func TestStacked(t *testing.T) {
	low := register(t, "", Options{})
	high, err := Register(low.Name()+"-high", low.Name(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, high, filepath.Join(t.TempDir(), "a.db"), "&_journal_mode=WAL&_synchronous=FULL")
	mustExec(t, c, "CREATE TABLE t(a)")
	if diff := cmp.Diff(low.Take().Words(), high.Take().Words()); diff != "" {
		t.Errorf("-lower +upper:\n%s", diff)
	}
	fault := low.Fail(Rule{Op: Sync, Kind: WAL, Code: IOErrFsync})
	_, err = c.Exec("INSERT INTO t VALUES(1)", nil)
	var serr sqlite3.Error
	if !errors.As(err, &serr) || serr.ExtendedCode != sqlite3.ErrIoErrFsync {
		t.Errorf("insert: got %v, want IOERR_FSYNC", err)
	}
	isSync := func(e *Event) bool { return e.Op == Sync }
	if got := low.Take().Only(isSync).Words(); len(got) != 1 || got[0] != "wal.sync=IOERR_FSYNC!" {
		t.Errorf("lower: got %q", got)
	}
	if got := high.Take().Only(isSync).Words(); len(got) != 1 || got[0] != "wal.sync=IOERR_FSYNC" {
		t.Errorf("upper: got %q", got)
	}
	mustExec(t, c, "INSERT INTO t VALUES(1)")
	if n := fault.End(); n != 1 {
		t.Errorf("fired %d times, want once", n)
	}
	if err := low.Close(); !errors.Is(err, ErrOpenFiles) {
		t.Errorf("Close with a file open: %v", err)
	}
	mustClose(t, c)
	mustClose(t, high)
	mustClose(t, low)
}

func ptr(n int64) *int64 { return &n }

func TestRules(t *testing.T) {
	tests := []struct {
		name  string
		rule  Rule
		fails []bool // each of four inserts
		fired int
	}{
		{"first", Rule{Op: Write, Kind: WAL, Code: Full}, []bool{true, false, false, false}, 1},
		{"third write", Rule{Op: Write, Kind: WAL, Nth: 3, Code: Full}, []bool{false, true, false, false}, 1},
		{"from then on", Rule{Op: Write, Kind: WAL, Nth: 5, Sticky: true, Code: Full}, []bool{false, false, true, true}, 2},
		{"other kind", Rule{Op: Write, Kind: Journal, Code: Full}, []bool{false, false, false, false}, 0},
		{"write lock", Rule{Op: ShmLock, Lock: &LockRange{SlotWrite, 1, ShmLocking | ShmExclusive}, Nth: 2, Code: IOErrShmLock},
			[]bool{false, true, false, false}, 1},
		{"any call", Rule{Sticky: true, Code: IOErr}, []bool{true, true, true, true}, -1},
		{"counting only", Rule{Op: Write, Kind: WAL, Sticky: true, Apply: Pass, Code: Full}, []bool{false, false, false, false}, 8},
		{"done but denied", Rule{Op: Write, Kind: WAL, Apply: All, Code: Full}, []bool{true, false, false, false}, 1},
		{"the call of frame 5's body", Rule{Op: Write, Kind: WAL, At: &Call{Offset: 32 + 4*4120 + 24, Amount: 4096}, Code: Full},
			[]bool{false, false, true, false}, 1},
		{"a byte of frame 4's body", Rule{Op: Write, Kind: WAL, Byte: ptr(32 + 3*4120 + 1000), Code: Full}, []bool{false, true, false, false}, 1},
		{"that byte alone", Rule{Op: Write, Kind: WAL, Byte: ptr(32 + 3*4120 + 1000), Sticky: true, Apply: All}, []bool{false, false, false, false}, 1},
		{"from that byte on", Rule{Op: Write, Kind: WAL, Byte: ptr(32 + 3*4120 + 1000), Sticky: true, Widen: true, Apply: All},
			[]bool{false, false, false, false}, 5},
		{"control", Rule{Op: Control, Control: FcntlCommitPhaseTwo, Nth: 4, Code: IOErr}, []bool{false, false, false, true}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tr := register(t, "", Options{})
			c := open(t, tr, filepath.Join(t.TempDir(), "a.db"), "&_journal_mode=WAL")
			mustExec(t, c, "CREATE TABLE t(a)")
			f := tr.Fail(tt.rule)
			for i, want := range tt.fails {
				if _, err := c.Exec("INSERT INTO t VALUES(1)", nil); (err != nil) != want {
					t.Errorf("insert %d: %v, want an error: %v", i+1, err, want)
				}
			}
			if n := f.End(); n != tt.fired && tt.fired >= 0 || n == 0 && tt.fired < 0 {
				t.Errorf("fired %d times, want %d", n, tt.fired)
			}
			mustExec(t, c, "INSERT INTO t VALUES(1)")
			mustClose(t, c)
			mustClose(t, tr)
		})
	}
}

func TestPrefixAndSwallow(t *testing.T) {
	// A header, a frame of page 1 and one of page 2: the fifth write is the last body.
	for _, tt := range []struct {
		name string
		rule Rule
		size int64 // of the WAL afterwards
	}{
		{"prefix", Rule{Op: Write, Kind: WAL, Nth: 5, Apply: Prefix, Bytes: 100, Code: Full}, 32 + 4120 + 24 + 100},
		{"swallowed", Rule{Op: Write, Kind: WAL, Nth: 5}, 32 + 4120 + 24},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := register(t, "", Options{})
			path := filepath.Join(t.TempDir(), "a.db")
			c := open(t, tr, path, "&_journal_mode=WAL")
			mustExec(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
			f := tr.Fail(tt.rule)
			_, err := c.Exec("CREATE TABLE t(a)", nil)
			if (err != nil) != (tt.rule.Code != OK) {
				t.Errorf("create: %v", err)
			}
			st, err := os.Stat(path + "-wal")
			if err != nil {
				t.Fatal(err)
			}
			if st.Size() != tt.size {
				t.Errorf("WAL of %d bytes, want %d\n%v", st.Size(), tt.size, tr.Take())
			}
			f.End()
			mustClose(t, c)
			mustClose(t, tr)
		})
	}
}

// A read that is cut short answers as the VFS interface wants it: zeros for the rest.
func TestShortRead(t *testing.T) {
	tr := register(t, "", Options{})
	path := filepath.Join(t.TempDir(), "a.db")
	c := open(t, tr, path, "&_journal_mode=WAL")
	mustExec(t, c, "CREATE TABLE t(a); INSERT INTO t VALUES(1)")
	other := open(t, tr, path, "")
	f := tr.Fail(Rule{Op: Read, Kind: WAL, At: &Call{Offset: 32 + 2*4120 + 24, Amount: 4096}, Apply: Prefix, Bytes: 100, Code: IOErrShortRead})
	var serr sqlite3.Error
	if _, err := other.Exec("INSERT INTO t VALUES(2)", nil); !errors.As(err, &serr) || serr.ExtendedCode != sqlite3.ErrIoErrShortRead {
		t.Errorf("got %v, want IOERR_SHORT_READ\n%v", err, tr.Take())
	}
	if f.End() != 1 {
		t.Error("not read exactly once")
	}
	mustExec(t, other, "INSERT INTO t VALUES(2)")
	mustClose(t, c)
	mustClose(t, other)
	mustClose(t, tr)
}

func TestAnswer(t *testing.T) {
	tr := register(t, "", Options{})
	path := filepath.Join(t.TempDir(), "a.db")
	one := 1
	f := tr.Fail(Rule{Op: Control, Control: FcntlPersistWAL, Answer: &one, Sticky: true})
	c := open(t, tr, path, "&_journal_mode=WAL")
	mustExec(t, c, "CREATE TABLE t(a)")
	mustClose(t, c)
	if _, err := os.Stat(path + "-wal"); err != nil {
		t.Errorf("WAL gone although PERSIST_WAL was answered: %v", err)
	}
	if f.End() != 1 {
		t.Error("not asked exactly once")
	}
	mustClose(t, tr)
}

func TestHold(t *testing.T) {
	tr := register(t, "", Options{})
	path := filepath.Join(t.TempDir(), "a.db")
	a := open(t, tr, path, "&_journal_mode=WAL")
	b := open(t, tr, path, "&_busy_timeout=0")
	mustExec(t, a, "CREATE TABLE t(a)")
	f := tr.Fail(Rule{Op: ShmLock, Lock: &LockRange{SlotWrite, 1, ShmUnlock | ShmExclusive}, Hold: true, Apply: Pass})
	done := make(chan error)
	go func() {
		_, err := a.Exec("INSERT INTO t VALUES(1)", nil)
		done <- err
	}()
	f.Reached()
	if _, err := b.Exec("INSERT INTO t VALUES(2)", nil); err == nil {
		t.Error("a second writer got in while the first was held before its release")
	}
	f.Release()
	if err := <-done; err != nil {
		t.Errorf("held insert: %v", err)
	}
	mustExec(t, b, "INSERT INTO t VALUES(2)")
	f.End()
	mustClose(t, a)
	mustClose(t, b)
	mustClose(t, tr)
}

func TestRecording(t *testing.T) {
	tr := register(t, "", Options{MaxEvents: 10})
	c := open(t, tr, filepath.Join(t.TempDir(), "a.db"), "&_journal_mode=WAL")
	mustExec(t, c, "CREATE TABLE t(a)")
	log := tr.Take()
	if len(log) != 11 || log[10].Op != Lost || log[10].Amount == 0 {
		t.Errorf("full log: got %d events ending in %v, want 10 and a count of the lost", len(log), log[len(log)-1])
	}
	tr.Record(RecordNothing)
	mustExec(t, c, "INSERT INTO t VALUES(1)")
	if log := tr.Take(); len(log) != 0 {
		t.Errorf("recorded while off:\n%v", log)
	}
	mustClose(t, c)
	mustClose(t, tr)
}

func TestRecordContent(t *testing.T) {
	tr := register(t, "", Options{})
	path := filepath.Join(t.TempDir(), "a.db")
	c := open(t, tr, path, "&_journal_mode=WAL")
	mustExec(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
	tr.Take()
	tr.Record(RecordContent)
	mustExec(t, c, "CREATE TABLE t(a); INSERT INTO t VALUES('x')")
	got := make([]byte, 0)
	for _, e := range tr.Take() {
		if e.Kind != WAL || e.Op != Write {
			continue
		}
		if e.Path != path+"-wal" {
			t.Errorf("path %q", e.Path)
		}
		if need := int(e.Offset + e.Amount); len(got) < need {
			got = append(got, make([]byte, need-len(got))...)
		}
		copy(got[e.Offset:], e.Data)
	}
	want, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 || string(got) != string(want) {
		t.Errorf("the writes recorded give %d bytes that differ from the file's %d", len(got), len(want))
	}
	mustClose(t, c)
	mustClose(t, tr)
}

func TestRegisterErrors(t *testing.T) {
	tr := register(t, "", Options{})
	if _, err := Register(tr.Name(), "", Options{}); err == nil {
		t.Error("took a name twice")
	}
	if _, err := Register("trace-orphan", "no-such-vfs", Options{}); err == nil {
		t.Error("registered over a VFS that does not exist")
	}
	mustClose(t, tr)
	again, err := Register(tr.Name(), "", Options{})
	if err != nil {
		t.Fatalf("name not free after Close: %v", err)
	}
	mustClose(t, again)
}

// The declarations of internal/sqliteabi hold for the header of the SQLite in the binary.
func TestABI(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/mattn/go-sqlite3").Output()
	if err != nil {
		t.Fatalf("find go-sqlite3: %v", err)
	}
	cc, err := exec.Command("go", "env", "CC").Output()
	if err != nil {
		t.Fatalf("find the C compiler: %v", err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(t.TempDir(), "abi.c")
	text := fmt.Sprintf("#include %q\n#include %q\n", filepath.Join(strings.TrimSpace(string(dir)), "sqlite3-binding.h"),
		filepath.Join(here, "..", "sqliteabi", "sqlite_abi_check.h"))
	if err := os.WriteFile(src, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(strings.TrimSpace(string(cc)), "-fsyntax-only", src).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
