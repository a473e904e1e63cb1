package vfs_test

import (
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"seawal/restore"
	"seawal/vfs"
)

// unmounted is a place whose database was shipped and closed, and whose replica isn't there any more. back puts it back.
func unmounted(t *testing.T) (p place, last vfs.Pos, back func()) {
	t.Helper()
	p = newPlace(t)
	db := p.open("")
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	mustExec(t, db, "INSERT INTO t(b) VALUES('before')")
	flush(t, db)
	last, err := vfs.Position(t.Context(), db)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	folder := strings.TrimPrefix(p.replica, "file://")
	if err := errors.Join(os.Rename(folder, folder+"-away"), os.Mkdir(folder, 0o700)); err != nil {
		t.Fatal(err)
	}
	return p, last, func() {
		if err := errors.Join(os.Remove(folder), os.Rename(folder+"-away", folder)); err != nil { // nothing was made there
			t.Fatal(err)
		}
	}
}

// A database is opened whose replica isn't mounted: commits go on, none is called durable, and once it is mounted all are shipped.
func TestReplicaIsNotMounted(t *testing.T) {
	p, last, back := unmounted(t)
	db, err := sql.Open(impatient, "file:"+p.path+"?_replica="+p.replica)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO t(b) VALUES('meanwhile')")
	for _, err := range []error{vfs.Flush(t.Context(), db), vfs.Wait(t.Context(), db, vfs.Pos{Timeline: last.Timeline, Tx: last.Tx + 1})} {
		if !errors.Is(err, vfs.ErrReplicaGone) || !strings.Contains(err.Error(), last.String()) {
			t.Errorf("%v, want %v that names %v", err, vfs.ErrReplicaGone, last)
		}
	}
	if st := mustStatus(t, db); !strings.Contains(st.LastError, vfs.ErrReplicaGone.Error()) || st.Mode == "stopped" {
		t.Errorf("status %+v", st)
	}
	back()
	for deadline := time.Now().Add(time.Minute); vfs.Flush(t.Context(), db) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it isn't seen again: %+v", mustStatus(t, db))
		}
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	p.same(p.path, p.restore(restore.Newest()))
}

// The database is missing, and so is the replica that its state directory knows, or another one is there: it isn't begun anew.
func TestRestoreIfMissingWithoutItsReplica(t *testing.T) {
	p, last, back := unmounted(t)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(p.path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	refused := func() {
		t.Helper()
		db := p.open("_restore=if-missing")
		defer db.Close()
		if _, err := db.Exec("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)"); !errors.Is(err, vfs.ErrReplicaGone) || !strings.Contains(err.Error(), last.String()) {
			t.Errorf("%v, want %v that names %v", err, vfs.ErrReplicaGone, last)
		}
		if _, err := os.Stat(p.path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v, want none", p.path, err)
		}
	}
	refused()
	back()
	folder := strings.TrimPrefix(p.replica, "file://")
	other := newPlace(t)
	db := other.open("")
	mustExec(t, db, "CREATE TABLE of_another(a)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(folder, folder+"-away"), os.Rename(strings.TrimPrefix(other.replica, "file://"), folder)); err != nil {
		t.Fatal(err)
	}
	refused()
	if err := errors.Join(os.RemoveAll(folder), os.Rename(folder+"-away", folder)); err != nil {
		t.Fatal(err)
	}
	db = p.open("_restore=if-missing")
	defer db.Close()
	if got := one(t, db, "SELECT b FROM t"); got != "before" {
		t.Errorf("restored %q", got)
	}
}
