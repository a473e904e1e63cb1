package vfs_test

import (
	"testing"

	"seawal/internal/vfstest"
	"seawal/vfs"
)

// With synchronous=NORMAL commits are not on the disk until a checkpoint. What the first snapshot holds has to be: a loss of power could
// take the database back before the first point of its replica otherwise, from where nothing rolls it forward.
func TestFirstSnapshotIsOnTheDisk(t *testing.T) {
	tr, err := vfstest.Register("traced-first-snapshot", "", vfstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := vfs.Register("seawal-first-snapshot", vfs.Config{VFS: tr.Name(), Checkpoint: vfs.CheckpointApp}); err != nil {
		t.Fatal(err)
	}
	p := newPlace(t)
	back := p.away()
	s := p.beginDriver("seawal-first-snapshot", "_journal_mode=WAL&_synchronous=NORMAL")
	s.exec("PRAGMA wal_autocheckpoint=0", "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)", "INSERT INTO t(b) VALUES(randomblob(9000))")
	isWrite := func(e *vfstest.Event) bool { return e.Op == vfstest.Write && e.Kind == vfstest.WAL }
	if log := tr.Take(); log.Index(isWrite) < 0 {
		t.Fatalf("nothing was written to the log: %v", log)
	}
	back()
	s.flush()
	log := tr.Take()
	if log.Index(isWrite) >= 0 || log.Index(func(e *vfstest.Event) bool { return e.Op == vfstest.Sync && e.Kind == vfstest.WAL }) < 0 {
		t.Errorf("the snapshot was shipped, and the log was not synced: %v", log)
	}
	s.note()
	s.end()
}
