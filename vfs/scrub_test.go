package vfs_test

import (
	"strings"
	"testing"

	"seawal/restore"
	"seawal/vfs"
)

// An older copy of the file comes to stand beside the newer WAL of a killed process: the WAL proves where the replica stands, and says nothing of the
// pages that had been checkpointed. They are found, named, and not shipped; restore has what was committed.
func TestOlderFileBesideItsLogIsNamed(t *testing.T) {
	s := newPlace(t).begin("_checkpoint=app&_journal_mode=WAL")
	s.exec("PRAGMA wal_autocheckpoint=0", "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)",
		"INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100) SELECT randomblob(900) FROM n")
	s.flush()
	s.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	older := readFile(t, s.path)
	s.exec("UPDATE t SET b=randomblob(900)", "PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t(b) VALUES('last')")
	s.flush()
	killed, p := s.disk(), s.place
	s.end()
	want := readFile(t, p.path)
	killed.db = older
	p.put(killed)
	db := p.open("_checkpoint=app&_journal_mode=WAL")
	defer db.Close()
	waitStatus(t, db, func(st vfs.Stat) bool {
		return strings.Contains(st.Notice, "no transaction wrote pages") && strings.Contains(st.Notice, "restore --force")
	})
	out := p.restore(restore.Newest())
	if got := readFile(t, out); string(got) != string(want) {
		t.Error("the replica has something else than what was committed")
	}
}
