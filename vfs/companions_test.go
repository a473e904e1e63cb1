package vfs_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/vfs"
)

// Somebody takes away what belongs to a database beside its file, while it is open. Status names it, and nobody says of what is lost that it
// is safe.
func TestCompanionsTakenAway(t *testing.T) {
	for name, c := range map[string]struct {
		take  func(p place) error
		ends  bool   // the replication
		words string // in Status
	}{
		"-wal deleted": {func(p place) error { return os.Remove(p.path + "-wal") }, true, "-wal, its log, was deleted"},
		"-wal renamed": {func(p place) error { return os.Rename(p.path+"-wal", p.path+"-wal.bak") }, true, "-wal, its log, was deleted"},
		"-wal replaced": {func(p place) error {
			return errors.Join(os.Rename(p.path+"-wal", p.path+"-wal.bak"), os.WriteFile(p.path+"-wal", make([]byte, 1<<20), 0o600))
		}, true, "-wal, its log, was deleted or replaced"},
		"-wal cut":               {func(p place) error { return os.Truncate(p.path+"-wal", 40) }, true, "-wal, its log, was cut short"},
		"-shm deleted":           {func(p place) error { return os.Remove(p.path + "-shm") }, false, "-shm was deleted"},
		"state directory":        {func(p place) error { return os.RemoveAll(p.path + "-seawal") }, false, "the state directory"},
		"the file read by hand":  {func(p place) error { _, err := os.ReadFile(p.path); return err }, false, "lost its locks"},
		"nothing (the control)":  {func(place) error { return nil }, false, ""},
		"-wal read by hand (ok)": {func(p place) error { _, err := os.ReadFile(p.path + "-wal"); return err }, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			db := p.open("_ship_interval=1ms")
			defer db.Close()
			db.SetMaxOpenConns(1)
			mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
			mustExec(t, db, "INSERT INTO t(b) VALUES(randomblob(20000))")
			flush(t, db)
			vfs.CheckCompanions()
			if st := mustStatus(t, db); st.Notice != "" || st.LastError != "" {
				t.Fatalf("before: %+v", st)
			}
			if err := c.take(p); err != nil {
				t.Fatal(err)
			}
			vfs.CheckCompanions()
			if c.ends {
				waitStatus(t, db, func(st vfs.Stat) bool { return st.Mode == "stopped" })
			}
			st := mustStatus(t, db)
			if said := st.LastError + st.Notice; !strings.Contains(said, c.words) || c.words == "" && said != "" {
				t.Errorf("status: %q", said)
			}
			if c.ends {
				_, _ = db.Exec("INSERT INTO t(b) VALUES('to nowhere')") // SQLite doesn't notice, or finds the log too short
				if err := vfs.Flush(t.Context(), db); !errors.Is(err, vfs.ErrReplaced) {
					t.Errorf("flush: %v", err)
				}
			} else {
				mustExec(t, db, "INSERT INTO t(b) VALUES('goes on')")
				flush(t, db)
			}
			if err := db.Close(); err != nil && strings.Contains(err.Error(), "safe in the database") || !c.ends && err != nil {
				t.Errorf("close: %v", err)
			}
			p.restore(restore.Newest())
			if c.words != "" {
				reliability.Record(t, reliability.Fault{
					Group: reliability.Live,
					Name:  "what belongs to an open database is taken away",
					How: "the log is deleted, renamed, replaced or cut, the wal-index or the state directory deleted, or the locks dropped by a descriptor that " +
						"the application closes: Status names it, and what can't be saved is never called safe",
				}, 1, 0)
			}
		})
	}
}

// A new connection through a link that leads elsewhere by now is refused: what it writes would be in no replica.
func TestLinkLeadsElsewhere(t *testing.T) {
	dir := t.TempDir()
	a, b, link := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db"), filepath.Join(dir, "current.db")
	create(t, a, 4096)
	create(t, b, 4096)
	if err := os.Symlink(a, link); err != nil {
		t.Fatal(err)
	}
	replica := filepath.Join(dir, "replica")
	for name, turn := range map[string]struct {
		dsn  string
		turn func() error
	}{
		"a link is changed": {link, func() error { return errors.Join(os.Remove(link), os.Symlink(b, link)) }},
		"another directory": {"a.db", func() error { t.Chdir(t.TempDir()); return nil }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(dir)
			db, err := sql.Open("seawal", "file:"+turn.dsn+"?_replica=file://"+replica)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			first, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer first.Close()
			if err := turn.turn(); err != nil {
				t.Fatal(err)
			}
			if second, err := db.Conn(t.Context()); !errors.Is(err, vfs.ErrReplaced) {
				t.Errorf("a new connection: %v", err)
				if err == nil {
					second.Close()
				}
			}
			if _, err := first.ExecContext(t.Context(), "INSERT INTO t(b) VALUES(1)"); err != nil {
				t.Error(err)
			}
			flush(t, db)
		})
	}
}

// A file with two names: that is said, and the second name isn't shipped over the first.
func TestHardLink(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	other := p.path + ".link"
	if err := os.Link(p.path, other); err != nil {
		t.Fatal(err)
	}
	db := p.open("")
	mustExec(t, db, "INSERT INTO t(b) VALUES(1)")
	flush(t, db)
	if st := mustStatus(t, db); !strings.Contains(st.Notice, "2 names") {
		t.Errorf("notice: %q", st.Notice)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	second := p
	second.path = other
	db = second.open("")
	defer db.Close()
	if err := db.Ping(); !errors.Is(err, vfs.ErrReplicaInUse) || !strings.Contains(err.Error(), p.path) {
		t.Errorf("under its other name: %v", err)
	}
}

// What has no locks, or is no file, isn't replicated, and says so.
func TestVFSWithoutLocksOrFiles(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		p := newPlace(t)
		create(t, p.path, 4096)
		plain(t, p.path, "PRAGMA journal_mode=DELETE")
		db := p.open("vfs=unix-none&_journal_mode=" + mode)
		if err := db.Ping(); !errors.Is(err, vfs.ErrConfig) || !strings.Contains(err.Error(), "unix-none") {
			t.Errorf("%s, without locks: %v", mode, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if db = p.open("vfs=unix-dotfile&_journal_mode=" + mode); db.Ping() != nil {
			t.Errorf("%s, with dot files: %v", mode, db.Ping())
		}
		flush(t, db)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if db, err := sql.Open("seawal", "file:/no-file.db?vfs=memdb&_replica=file:///nowhere"); !errors.Is(err, vfs.ErrDSN) {
		t.Errorf("memdb with a replica: %v, %v", db, err)
	}
	t.Setenv(vfs.EnvReplica, "file://"+t.TempDir())
	db, err := sql.Open("seawal", "file:/no-file.db?vfs=memdb")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "CREATE TABLE t(a)")
	if _, err := vfs.Status(t.Context(), db); !errors.Is(err, vfs.ErrNotReplicated) {
		t.Errorf("status of memdb: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/no-file.db-seawal"); err == nil {
		t.Error("a state directory was made for it")
	}
}
