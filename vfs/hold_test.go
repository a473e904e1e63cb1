package vfs

import (
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/vfstest"
)

// traced registers a tracing VFS for one test, to lie beneath the shim.
func traced(t *testing.T) *vfstest.Trace {
	t.Helper()
	name := "beneath-" + strings.NewReplacer("/", "-", "=", "-").Replace(t.Name())
	tr, err := vfstest.Register(name, "", vfstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// integrity runs SQLite's own check of a database.
func integrity(t *testing.T, conn *sqlite3.SQLiteConn) {
	t.Helper()
	rows, err := conn.Query("PRAGMA integrity_check", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil || fmt.Sprint(row[0]) != "ok" {
		t.Fatalf("integrity_check: %v, %v", row[0], err)
	}
}

func isWALWrite(e *vfstest.Event) bool { return e.Kind == vfstest.WAL && e.Op == vfstest.Write }

func TestHoldWritesATransactionWithOneCall(t *testing.T) {
	tr := traced(t)
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), tr.Name(), 1<<20)
	conn := c.open("_journal_mode=WAL&_synchronous=NORMAL")
	exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	exec(t, conn, "INSERT INTO t(b) VALUES('warm')")

	tr.Take()
	exec(t, conn, "INSERT INTO t(b) VALUES(zeroblob(20000))")
	if got := tr.Take().Only(isWALWrite).Words(); len(got) != 1 {
		t.Errorf("a transaction of a few frames made these writes, want one: %q", got)
	}

	// 400 KB: more than one system call of the unix VFS takes.
	exec(t, conn, "INSERT INTO t(b) VALUES(zeroblob(400000))")
	for _, e := range tr.Take().Only(isWALWrite) {
		if e.Amount > 131071 {
			t.Errorf("%v writes %d bytes at once", e, e.Amount)
		}
	}

	tr.Take()
	exec(t, conn, "BEGIN; INSERT INTO t(b) VALUES(zeroblob(20000)); ROLLBACK")
	if got := tr.Take().Only(isWALWrite).Words(); len(got) != 0 {
		t.Errorf("a rolled-back transaction made these writes: %q", got)
	}
	c.drain()
	exec(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
	c.compare("at the end")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// A spilled transaction that is rolled back leaves frames in the file beyond
// the end of the log. The connection that writes next must find nothing held back of them.
func TestHoldIsDroppedWithARollback(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	one, two := c.open("_journal_mode=WAL"), c.open("_journal_mode=WAL")
	exec(t, one, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	exec(t, one, "PRAGMA cache_size=5")
	exec(t, one, "INSERT INTO t(b) SELECT randomblob(3000) FROM (SELECT 1 UNION SELECT 2 UNION SELECT 3), (SELECT 1 UNION SELECT 2 UNION SELECT 3)")
	for i := range 30 {
		exec(t, one, fmt.Sprintf("BEGIN; UPDATE t SET b=randomblob(3000) WHERE a<=%d; ROLLBACK", 1+i%9))
		exec(t, two, "INSERT INTO t(b) VALUES(randomblob(2000))")
		exec(t, one, "UPDATE t SET b=randomblob(100) WHERE a=1")
	}
	c.drain()
	integrity(t, two)
	exec(t, two, "PRAGMA wal_checkpoint(TRUNCATE)")
	c.compare("at the end")
	for _, conn := range []*sqlite3.SQLiteConn{one, two} {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Calls of the lower VFS fail at random while a random workload runs. Whatever
// SQLite makes of it, what was published must be what is committed.
func TestHoldFaults(t *testing.T) {
	rules := []vfstest.Rule{
		{Op: vfstest.Write, Kind: vfstest.WAL, Code: vfstest.IOErrWrite},
		{Op: vfstest.Write, Kind: vfstest.WAL, Code: vfstest.Full, Apply: vfstest.Prefix, Bytes: 700},
		{Op: vfstest.Write, Kind: vfstest.WAL, Code: vfstest.IOErrWrite, Apply: vfstest.All},
		{Op: vfstest.Sync, Kind: vfstest.WAL, Code: vfstest.IOErrFsync},
		{Op: vfstest.Read, Kind: vfstest.WAL, Code: vfstest.IOErrRead},
		{Op: vfstest.Truncate, Kind: vfstest.WAL, Code: vfstest.IOErrTruncate},
		{Op: vfstest.Write, Kind: vfstest.Main, Code: vfstest.IOErrWrite},
		{Op: vfstest.Sync, Kind: vfstest.Main, Code: vfstest.IOErrFsync},
		{Op: vfstest.ShmLock, Lock: &vfstest.LockRange{Slot: vfstest.SlotWrite, N: 1, Flags: vfstest.ShmLocking | vfstest.ShmExclusive}, Code: vfstest.Busy},
	}
	first := firstSeed(t)
	for seed := first; seed < first+45; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			rule := rules[seed%uint64(len(rules))]
			tr := traced(t)
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), tr.Name(), 1<<20)
			conn := c.open("_busy_timeout=20&_journal_mode=WAL&_synchronous=" + []string{"NORMAL", "FULL"}[r.IntN(2)])
			exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
			exec(t, conn, fmt.Sprintf("PRAGMA cache_size=%d", 8+r.IntN(60)))
			fired := 0
			for range 60 {
				rule.Nth = 1 + r.IntN(12)
				f := tr.Fail(rule)
				sql := randomStatement(r)
				if _, err := conn.Exec(sql, nil); err != nil {
					_, _ = conn.Exec("ROLLBACK", nil) // fails when SQLite did it already
				}
				fired += f.End()
				if r.IntN(3) == 0 {
					c.drain()
				}
			}
			c.drain()
			integrity(t, conn)
			exec(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
			c.drain()
			c.compare(fmt.Sprintf("after %d faults of %v", fired, rule))
			t.Logf("%d faults; %d commits with frames, %d ranges, %d gaps", fired, c.frames, c.ranges, c.gaps)
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
