package vfs

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/vfstest"
)

// A VFS below that may encrypt what it is given, page by page, gets exactly the writes that SQLite makes, and the capture of them is whole.
func TestWritesAreNotJoinedAboveOtherVFSs(t *testing.T) {
	run := func(conn *sqlite3.SQLiteConn, tr *vfstest.Trace) (writes []string) {
		exec(t, conn, "PRAGMA wal_autocheckpoint=0")
		exec(t, conn, "PRAGMA cache_size=10")
		exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
		for _, sql := range []string{
			"INSERT INTO t(b) VALUES(zeroblob(20000))",
			"BEGIN; UPDATE t SET b=zeroblob(30000); ROLLBACK",
			"INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<60) SELECT zeroblob(3000) FROM n", // spills
			"UPDATE t SET b=zeroblob(100)",
		} {
			exec(t, conn, sql)
		}
		for _, e := range tr.Take().Only(isWALWrite) {
			writes = append(writes, fmt.Sprintf("%d bytes at %d", e.Amount, e.Offset))
		}
		return writes
	}
	plain, err := vfstest.Register("opaque-plain", "", vfstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	below, err := vfstest.Register("opaque-below", "", vfstest.Options{Opaque: true})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "plain.db")
	conn, err := dialTest(path, plain.Name(), "_journal_mode=WAL&_synchronous=NORMAL")
	if err != nil {
		t.Fatal(err)
	}
	want := run(conn, plain)
	conn.Close()
	c := newCapture(t, filepath.Join(t.TempDir(), "shim.db"), below.Name(), 1<<20)
	conn = c.open("_journal_mode=WAL&_synchronous=NORMAL")
	defer conn.Close()
	got := run(conn, below)
	if !slices.Equal(got, want) {
		t.Errorf("%d writes of the WAL, want the %d of plain SQLite:\n%.2000q\n%.2000q", len(got), len(want), got, want)
	}
	c.drain()
	exec(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
	c.compare("at the end")
}

// A SQLite that encrypts is told by its VFS, among others: a database isn't opened with a replica then, and the error says what to do.
func TestEncryptingSQLiteIsRefused(t *testing.T) {
	tr, err := vfstest.Register("multipleciphers-test", "", vfstest.Options{Opaque: true})
	if err != nil {
		t.Fatal(err)
	}
	err = registerShim("seawal-over-a-cipher", tr.Name())
	if cerr := tr.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	if !errors.Is(err, ErrCodec) || !strings.Contains(err.Error(), "multipleciphers-test") || !strings.Contains(err.Error(), "_replica=none") {
		t.Errorf("registered over a cipher: %v", err)
	}
	if err := registerShim("seawal-over-no-cipher", ""); err != nil {
		t.Errorf("without one: %v", err)
	}
}
