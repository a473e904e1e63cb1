package vfs_test

import (
	"database/sql"
	"os"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/restore"
	"seawal/vfs"
)

// The shipper's own connection met the database in rollback journal mode and has not looked since: the
// application's last connection deletes the log. That is no commit of another process.
func TestLogDeletedByTheLastConnectionIsNoCommit(t *testing.T) {
	p := newPlace(t)
	db, err := sql.Open("seawal", "file:"+p.path+"?_ship_interval=5ms&_replica="+p.replica)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "PRAGMA journal_mode=WAL")
	mustExec(t, db, "INSERT INTO t(b) VALUES('x')")
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("Close after Flush: %v", err)
	}
	p.same(p.path, p.restore(restore.Newest()))
}

// A log that the application wants to outlive its last connection does, although seawal's own one is closed after it. So
// does one that it does not want, when it says so last.
func TestLogThatTheApplicationKeeps(t *testing.T) {
	name := "seawal-keeps-the-log" + t.TempDir()
	keep := 1
	err := vfs.Register(name, vfs.Config{ConnectHook: func(c *sqlite3.SQLiteConn) error {
		return c.SetFileControlInt("main", sqlite3.SQLITE_FCNTL_PERSIST_WAL, keep)
	}})
	if err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	create(t, p.path, 4096)
	for keep = range []int{0, 1} {
		for range 2 { // the second one finds the log of the first
			s := p.beginDriver(name, "_journal_mode=WAL")
			s.steps("INSERT INTO t(b) VALUES(randomblob(9000))", "INSERT INTO t(b) VALUES(1)")
			s.end()
			_, err := os.Stat(p.path + "-wal")
			if kept := err == nil; kept != (keep == 1) {
				t.Errorf("with PERSIST_WAL=%d the log after the last close: %v", keep, err)
			}
		}
	}
}
