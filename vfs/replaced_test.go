package vfs_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"seawal/restore"
	"seawal/vfs"
)

// Another process takes the file away while it is open. Shipping ends with a sentence that says what happened, the
// replica keeps the database as it was, and nothing of another file gets there.
func TestFileTakenAway(t *testing.T) {
	for name, c := range map[string]struct {
		take func(t *testing.T, p place) error
		word string
		gone bool // a new connection would open another file
	}{
		"deleted": {func(_ *testing.T, p place) error { return os.Remove(p.path) }, "was deleted", true},
		"deleted with its log": {func(_ *testing.T, p place) error {
			return errors.Join(os.Remove(p.path), os.RemoveAll(p.path+"-wal"), os.RemoveAll(p.path+"-shm"))
		}, "was deleted", true},
		"replaced": {func(t *testing.T, p place) error {
			other := p.path + ".new"
			create(t, other, 4096)
			plain(t, other, "INSERT INTO t(b) VALUES(zeroblob(100000))")
			return os.Rename(other, p.path)
		}, "is another file now", true},
		"emptied": {func(_ *testing.T, p place) error { return os.Truncate(p.path, 0) }, "cut", false},
	} {
		for _, mode := range []string{"WAL", "DELETE"} {
			for _, when := range []string{"idle", "writing"} {
				t.Run(name+"/"+mode+"/"+when, func(t *testing.T) {
					t.Parallel()
					p := newPlace(t)
					db := p.at("_busy_timeout=100&_ship_interval=1ms&_journal_mode=" + mode)
					defer db.Close() // what it has to say is looked at below
					db.SetMaxOpenConns(2)
					mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
					mustExec(t, db, "INSERT INTO t(b) VALUES(randomblob(20000))")
					flush(t, db)
					want, err := fingerprint(t.Context(), db)
					if err != nil {
						t.Fatal(err)
					}
					if err := c.take(t, p); err != nil {
						t.Fatal(err)
					}
					if when == "writing" {
						_, _ = db.Exec("UPDATE t SET b='to nowhere'") // SQLite may find the file malformed
					}
					after, _ := fingerprint(t.Context(), db) // likewise
					waitStatus(t, db, func(st vfs.Stat) bool { return st.Mode == "stopped" })
					st, err := vfs.Status(t.Context(), db)
					if err != nil || !strings.Contains(st.LastError, c.word) || !strings.Contains(st.LastError, p.path) || !strings.Contains(st.LastError, "close the database") {
						t.Errorf("status: %+v, %v", st, err)
					}
					if err := vfs.Flush(t.Context(), db); !errors.Is(err, vfs.ErrReplaced) && err != nil {
						t.Errorf("flush: %v", err)
					}
					conn, err := db.Conn(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if second, err := db.Conn(t.Context()); c.gone && !errors.Is(err, vfs.ErrReplaced) {
						t.Errorf("a new connection: %v", err)
					} else if err == nil {
						second.Close()
					}
					conn.Close()
					if got := fingerprintFile(t, p.restore(restore.Newest())); got != want && (got != after || when == "idle") {
						t.Error("the replica has other rows than the database had")
					}
				})
			}
		}
	}
}

// What comes next after each of them: the way out that the error names.
func TestFileTakenAwayAndBroughtBack(t *testing.T) {
	p := newPlace(t)
	db := p.at("_ship_interval=1ms&_journal_mode=WAL")
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	mustExec(t, db, "INSERT INTO t(b) VALUES(randomblob(20000))")
	flush(t, db)
	want, err := fingerprint(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.path); err != nil {
		t.Fatal(err)
	}
	waitStatus(t, db, func(st vfs.Stat) bool { return st.Mode == "stopped" })
	if err := db.Close(); err != nil && !errors.Is(err, vfs.ErrReplaced) {
		t.Error(err)
	}
	if err := errors.Join(os.RemoveAll(p.path+"-wal"), os.RemoveAll(p.path+"-shm")); err != nil {
		t.Fatal(err)
	}
	db = p.at("_ship_interval=1ms&_journal_mode=WAL&_restore=if-missing")
	got, err := fingerprint(t.Context(), db)
	if err != nil || got != want {
		t.Errorf("brought back: other rows, %v", err)
	}
	mustExec(t, db, "INSERT INTO t(b) VALUES('on it goes')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	p.same(p.path, p.restore(restore.Newest()))
}
