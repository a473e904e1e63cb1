package vfs_test

// The facts of SQLite that this package rests on, each shown by the calls that the SQLite
// in this binary makes. A test here that fails after an update of SQLite names what has
// to be thought through again in shim.c.

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sqlite3 "github.com/mattn/go-sqlite3"

	"seawal/internal/vfstest"
)

// facts is one database under a tracing VFS of its own.
type facts struct {
	*vfstest.Trace
	t    *testing.T
	path string
}

func newFacts(t *testing.T) *facts {
	return newFactsOptions(t, vfstest.Options{})
}

func newFactsOptions(t *testing.T, o vfstest.Options) *facts {
	t.Helper()
	t.Parallel() // they wait for the disk most of the time
	tr, err := vfstest.Register("facts-"+t.Name(), "", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Errorf("after all connections were closed: %v", err)
		}
	})
	return &facts{Trace: tr, t: t, path: filepath.Join(t.TempDir(), "facts.db")}
}

// factsConn is one connection. The statements run directly on it: no pool may
// open, close or retry anything that is not in the test.
type factsConn struct {
	*sqlite3.SQLiteConn
	t *testing.T
}

// open opens a connection with further DSN parameters ("&_journal_mode=WAL").
// It is closed at the end of the test, unless the test does so.
func (f *facts) open(params string) *factsConn {
	f.t.Helper()
	return openFacts(f.t, f.path, f.Name(), params)
}

// openFacts opens a connection to any database through any VFS, "" for SQLite's own.
func openFacts(t *testing.T, path, vfs, params string) *factsConn {
	t.Helper()
	if vfs != "" {
		params += "&vfs=" + vfs
	}
	c, err := new(sqlite3.SQLiteDriver).Open("file:" + path + "?_busy_timeout=0" + params)
	if err != nil {
		t.Fatalf("open %s with %q: %v", path, params, err)
	}
	conn := &factsConn{SQLiteConn: c.(*sqlite3.SQLiteConn), t: t}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// close closes the connection, which must succeed.
func (c *factsConn) close() {
	c.t.Helper()
	if err := c.Close(); err != nil {
		c.t.Fatalf("close: %v", err)
	}
}

// exec runs statements, which must succeed.
func (c *factsConn) exec(sql string, args ...driver.Value) {
	c.t.Helper()
	if _, err := c.Exec(sql, args); err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
}

// execFails runs statements, which must fail with the extended result code.
func (c *factsConn) execFails(want vfstest.Code, sql string) {
	c.t.Helper()
	_, err := c.Exec(sql, nil)
	var serr sqlite3.Error
	if !errors.As(err, &serr) || vfstest.Code(serr.ExtendedCode) != want {
		c.t.Fatalf("%s: got error %v, want %v", sql, err, want)
	}
}

// rows runs a query and returns its rows, values joined by "|".
func (c *factsConn) rows(query string) []string {
	c.t.Helper()
	r, err := c.Query(query, nil)
	if err != nil {
		c.t.Fatalf("%s: %v", query, err)
	}
	defer r.Close()
	var out []string
	values := make([]driver.Value, len(r.Columns()))
	for {
		err := r.Next(values)
		if err == io.EOF {
			return out
		}
		if err != nil {
			c.t.Fatalf("%s: %v", query, err)
		}
		words := make([]string, len(values))
		for i, v := range values {
			words[i] = factsText(v)
		}
		out = append(out, strings.Join(words, "|"))
	}
}

// expect runs a query that must give exactly these rows.
func (c *factsConn) expect(query string, want ...string) {
	c.t.Helper()
	if diff := cmp.Diff(want, c.rows(query)); diff != "" {
		c.t.Errorf("%s (-want +got):\n%s", query, diff)
	}
}

// trace returns what SQLite calls while do runs, without the questions about the
// device, which it may ask at any time.
func (f *facts) trace(do func()) vfstest.Log {
	f.t.Helper()
	f.Take()
	do()
	return f.Take().Only(func(e *vfstest.Event) bool {
		return e.Op != vfstest.DeviceCharacteristics && e.Op != vfstest.SectorSize
	})
}

// wantWords fails unless the words of log are exactly those of script.
func wantWords(t *testing.T, log vfstest.Log, script string) {
	t.Helper()
	if diff := cmp.Diff(strings.Fields(script), log.Words()); diff != "" {
		t.Errorf("calls differ (-want +got):\n%s\ntrace:\n%v", diff, log)
	}
}

// wantOne fails unless the query gives one row, which it returns.
func (c *factsConn) one(query string) string {
	c.t.Helper()
	rows := c.rows(query)
	if len(rows) != 1 {
		c.t.Fatalf("%s: got %d rows, want one: %q", query, len(rows), rows)
	}
	return rows[0]
}

// commits returns the COMMIT_PHASETWO file controls in log.
func commits(log vfstest.Log) vfstest.Log {
	return log.Only(func(e *vfstest.Event) bool { return e.IsControl(vfstest.FcntlCommitPhaseTwo) })
}

// releases returns the releases of WAL_WRITE_LOCK in log.
func releases(log vfstest.Log) vfstest.Log {
	r := vfstest.LockRange{Slot: vfstest.SlotWrite, N: 1, Flags: vfstest.ShmUnlock | vfstest.ShmExclusive}
	return log.Only(func(e *vfstest.Event) bool { return e.IsLock(r) })
}

// released returns the wal-index at the only release of WAL_WRITE_LOCK in log.
func released(t *testing.T, log vfstest.Log) *vfstest.Index {
	t.Helper()
	r := releases(log)
	if len(r) != 1 || r[0].Index == nil {
		t.Fatalf("%d releases of WAL_WRITE_LOCK, want one:\n%v", len(r), log)
	}
	return r[0].Index
}

// writer drops from log what a reader does to find its mark, and the end of the
// read transaction: what is left is the write transaction.
func writer(log vfstest.Log) vfstest.Log {
	first := log.Index(func(e *vfstest.Event) bool {
		return e.IsLock(vfstest.LockRange{Slot: vfstest.SlotWrite, N: 1, Flags: vfstest.ShmLocking | vfstest.ShmExclusive})
	})
	if first < 0 {
		return log
	}
	log = log[first:]
	if last := log[len(log)-1]; last.Op == vfstest.ShmLock && last.Flags == vfstest.ShmUnlock|vfstest.ShmShared {
		log = log[:len(log)-1]
	}
	return log
}

// fill makes a table with n rows of about a page each.
func (c *factsConn) fill(n int) {
	c.t.Helper()
	c.exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	c.exec("WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s WHERE i<?) "+
		"INSERT INTO t SELECT i, zeroblob(3000) FROM s", int64(n))
}

func factsText(v driver.Value) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}
