package vfs

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/vfstest"
)

// ioWorkload is one connection's work on a small database. Everything in it is
// deterministic, so that two runs make the same calls up to the first fault.
type ioWorkload struct {
	name   string
	params string // of the DSN
	steps  []ioStep
	// alone: nobody else gets a lock before the connection is closed. What is published is looked at
	// then: a gap can't be read before, and a commit that failed late is published with the next one.
	alone bool
}

// ioStep is one transaction. When a statement of it fails the application rolls back and
// goes on with the next step.
type ioStep struct {
	sql []string
	// undone: the frames that it writes don't outlive it. Where the shim has never written them, a
	// fault of the disk can't fail it.
	undone bool
}

// ioTarget is a call that fails, named so that it is the same one whether writes are merged or not: the
// occurrence of a place in a step, not the number of a call.
type ioTarget struct {
	pos  int // 0: the connection is opened; 1...: a step; after the last step: it is closed
	op   vfstest.Op
	kind vfstest.Kind
	at   vfstest.Call
	nth  int // occurrence in the step
	code vfstest.Code
	cut  bool // half of it happens
	last bool // persistent: the fault stays for ioPersistence more steps
}

// ioPersistence is how many steps after its own a persistent fault stays for.
const ioPersistence = 2

func (g ioTarget) String() string {
	e := vfstest.Event{Op: g.op, Kind: g.kind, Offset: g.at.Offset, Amount: g.at.Amount, Flags: g.at.Flags, PageSize: ioPageSize}
	s := fmt.Sprintf("step %d, %v number %d, %v", g.pos, e, g.nth, g.code)
	if g.cut {
		s += ", half done"
	}
	if g.last {
		s += ", persistent"
	}
	return s
}

// lies says that SQLite takes the fault for an answer: it reads a database or rollback journal that is cut
// short as one that ends there. What it makes of that is the same with and without the shim, and no more is to be had.
func (g ioTarget) lies() bool { return g.code == vfstest.IOErrShortRead && g.kind != vfstest.WAL }

// rule is the fault at the target; on: it was persistent, and has been reached before.
func (g ioTarget) rule(on bool) vfstest.Rule {
	r := vfstest.Rule{Op: g.op, Kind: g.kind, Nth: g.nth, Code: g.code}
	switch {
	case on && g.op != vfstest.Read:
		r.Nth = 1
	case g.op == vfstest.Write && g.kind == vfstest.WAL:
		r.Byte = &g.at.Offset
	default:
		r.At = &g.at
	}
	if g.last {
		r.Sticky, r.Widen = true, g.op != vfstest.Read // a bad sector stays where it is
	}
	switch {
	case g.cut:
		r.Apply, r.Bytes = vfstest.Prefix, int(g.at.Amount/2)
	case g.op == vfstest.Unlock || g.op == vfstest.ShmLock && g.at.Flags&vfstest.ShmUnlock != 0 || g.op == vfstest.ShmUnmap:
		r.Apply = vfstest.All // a lock that nobody knows of would stay for ever
	}
	return r
}

// ioResult is what the application saw.
type ioResult struct {
	outcomes []string // of each position: the error code and the rows of what was asked
	seen     []string // the rows after each step, from that of the fault on
	fired    []bool   // by position
	sound    string   // integrity_check at the end
}

// ioRunner runs a workload again and again, on plain SQLite or with the shim over the same tracing VFS.
type ioRunner struct {
	w        ioWorkload
	trace    *vfstest.Trace
	shimmed  bool
	template []byte // the database at the start
}

const ioPageSize = 1024

// ioFolder is a folder where a sync costs nothing, if the machine has one.
func ioFolder(t *testing.T) string {
	if fi, err := os.Stat("/dev/shm"); err != nil || !fi.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "seawal-iofault-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// ioTemplate makes the database that every run begins with.
func ioTemplate(t *testing.T, w ioWorkload) []byte {
	t.Helper()
	path := filepath.Join(ioFolder(t), "template.db")
	conn, err := dialTest(path, "unix", "_synchronous=OFF")
	if err != nil {
		t.Fatal(err)
	}
	exec(t, conn, fmt.Sprintf("PRAGMA page_size=%d; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)", ioPageSize))
	exec(t, conn, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<30) INSERT INTO t SELECT i, printf('%0*d', 600, i) FROM n")
	if strings.Contains(w.params, "_journal_mode=WAL") {
		exec(t, conn, "PRAGMA journal_mode=WAL") // not what the faults are about
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ioRun is one run.
type ioRun struct {
	*ioRunner
	t      *testing.T
	path   string
	c      *capture // nil for plain SQLite
	conn   *sqlite3.SQLiteConn
	lied   bool // SQLite was told wrong content as if it were right
	result ioResult
	events []vfstest.Log // by position, when they are recorded
}

// run runs the workload; g is the fault, nil for none, and record asks for the calls.
func (rn *ioRunner) run(t *testing.T, g *ioTarget, record bool) *ioRun {
	t.Helper()
	r := &ioRun{ioRunner: rn, t: t, path: filepath.Join(ioFolder(t), "a.db")}
	if err := os.WriteFile(r.path, rn.template, 0o600); err != nil {
		t.Fatal(err)
	}
	if rn.shimmed {
		r.c = newCapture(t, r.path, rn.trace.Name(), 1<<20)
		r.c.pageSize, r.c.count = ioPageSize, uint32(len(rn.template)/ioPageSize)
		for n := range int(r.c.count) {
			r.c.pages[uint32(n+1)] = rn.template[n*ioPageSize : (n+1)*ioPageSize]
		}
	}
	rn.trace.Take()
	rn.trace.Record(vfstest.RecordNothing)
	if record {
		rn.trace.Record(vfstest.RecordCalls)
	}
	for pos := 0; pos <= len(rn.w.steps)+1; pos++ {
		r.position(pos, g)
	}
	rn.trace.Record(vfstest.RecordNothing)
	r.finish()
	return r
}

// position does one step, with the fault in force where it belongs.
func (r *ioRun) position(pos int, g *ioTarget) {
	r.lied = g != nil && g.lies()
	isEdge := pos == 0 || pos == len(r.w.steps)+1
	var fault *vfstest.Fault
	if g != nil {
		on := g.last && pos > g.pos && pos <= g.pos+ioPersistence && !isEdge && g.pos > 0
		if pos == g.pos || on {
			fault = r.trace.Fail(g.rule(on))
		}
	}
	outcome := r.do(pos)
	fired := fault != nil && fault.End() > 0
	r.result.outcomes = append(r.result.outcomes, outcome)
	r.result.fired = append(r.result.fired, fired)
	r.events = append(r.events, r.trace.Take())
	if pos == 0 && r.conn == nil {
		conn, err := r.open()
		if err != nil {
			r.t.Fatalf("opening it again: %v", err)
		}
		r.conn = conn
	}
	if r.c != nil && !(r.w.alone && r.conn != nil) {
		r.c.drain() // a log with something unread in it is held back, which plain SQLite's isn't
		r.c.src.giveWay()
	}
	if g == nil || pos >= g.pos && pos <= g.pos+ioPersistence+1 {
		r.result.seen = append(r.result.seen, r.look(pos))
	}
	r.trace.Take() // nobody asks what looking does
}

func (r *ioRun) open() (*sqlite3.SQLiteConn, error) {
	name := r.trace.Name()
	if r.c != nil {
		name = r.c.vfs
	}
	return dialTest(r.path, name, "_busy_timeout=0&"+r.w.params)
}

// do does what belongs to a position, and says what came of it.
func (r *ioRun) do(pos int) string {
	switch pos {
	case 0:
		conn, err := r.open()
		r.conn = conn
		if err != nil {
			r.conn = nil
			return code(err)
		}
		return code(r.settings())
	case len(r.w.steps) + 1:
		err := r.conn.Close()
		r.conn = nil
		return code(err)
	}
	var out []string
	for _, sql := range r.w.steps[pos-1].sql {
		rows, err := ask(r.conn, sql)
		if err != nil {
			_, _ = r.conn.Exec("ROLLBACK", nil) // fails when SQLite did it already
			return code(err)
		}
		out = append(out, rows)
	}
	return "OK " + strings.Join(out, ";")
}

// settings are per connection: a small cache, so that transactions spill.
func (r *ioRun) settings() error {
	_, err := r.conn.Exec("PRAGMA cache_size=12; PRAGMA cache_spill=12; PRAGMA wal_autocheckpoint=0", nil)
	return err
}

// code is an error as the application tells errors apart.
func code(err error) string {
	var e sqlite3.Error
	switch {
	case err == nil:
		return "OK"
	case errors.As(err, &e):
		return vfstest.Code(e.ExtendedCode).String()
	}
	return err.Error()
}

// ask runs a statement and returns its rows as text.
func ask(conn *sqlite3.SQLiteConn, sql string) (string, error) {
	rows, err := conn.Query(sql, nil)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	values := make([]driver.Value, len(rows.Columns()))
	for {
		err := rows.Next(values)
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return b.String(), errors.Join(err, rows.Close())
		}
		for _, v := range values {
			if s, isBytes := v.([]byte); isBytes {
				v = string(s)
			}
			fmt.Fprint(&b, v, "|")
		}
	}
}

// ioRows names every row of the database.
const ioRows = "SELECT name, sql FROM sqlite_schema UNION ALL SELECT a, substr(b, -8) || length(b) FROM t ORDER BY 1"

// look reads the database back. With the shim, what was published has to be just that.
func (r *ioRun) look(pos int) string {
	if r.conn == nil {
		return ""
	}
	if pos == 0 {
		if err := r.settings(); err != nil {
			r.t.Fatalf("after the fault: %v", err)
		}
	}
	rows, err := ask(r.conn, ioRows)
	if err != nil {
		r.t.Fatalf("after the fault: %v", err)
	}
	if r.c == nil || r.w.alone {
		return rows
	}
	if got := r.published(); got != rows && !r.lied {
		r.t.Errorf("after position %d: what was published is not what is committed: %s", pos, difference(got, rows))
	}
	return rows
}

// difference shows where two texts begin to differ.
func difference(a, b string) string {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return fmt.Sprintf("%.60q and %.60q", a[max(0, i-20):], b[max(0, i-20):])
}

// published is the rows of the database that the published commits add up to.
func (r *ioRun) published() string {
	path := filepath.Join(filepath.Dir(r.path), "model.db")
	b := r.c.image(int(r.c.count))
	if len(b) > 20 {
		b[18], b[19] = 1, 1 // without a log
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		r.t.Fatal(err)
	}
	conn, err := dialTest(path, "unix", "immutable=1")
	if err != nil {
		return err.Error()
	}
	rows, err := ask(conn, ioRows)
	if err = errors.Join(err, conn.Close()); err != nil {
		return err.Error()
	}
	return rows
}

// finish opens the closed database without faults, and compares all there is to compare.
func (r *ioRun) finish() {
	conn, err := r.open()
	if err != nil {
		r.t.Fatalf("opening it in the end: %v", err)
	}
	if r.result.sound, err = ask(conn, "PRAGMA integrity_check"); err != nil {
		r.t.Fatalf("integrity_check: %v", err)
	}
	rows, err := ask(conn, ioRows)
	if err != nil {
		r.t.Fatal(err)
	}
	r.result.seen = append(r.result.seen, rows)
	if _, err := ask(conn, "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		r.t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		r.t.Fatal(err)
	}
	if r.c == nil {
		return
	}
	r.c.drain()
	if err := r.c.src.close(); err != nil {
		r.t.Error(err)
	}
	file, err := os.ReadFile(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	if !r.lied {
		r.c.compare("in the end")
	}
	if n := len(file) / ioPageSize; int(r.c.count) != n && !r.lied {
		r.t.Errorf("the published commits add up to %d pages, and the file has %d", r.c.count, n)
	}
}
