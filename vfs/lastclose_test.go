package vfs_test

import (
	"database/sql"
	"testing"

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
