package vfs_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/restore"
	"seawal/vfs"
)

func TestConnectionsAreSQLiteConns(t *testing.T) {
	p := newPlace(t)
	db := p.open("")
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		if _, ok := c.(*sqlite3.SQLiteConn); !ok {
			return fmt.Errorf("the connection is a %T", c)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// What a DSN is refused for, and the words that must be in the error: the thing, and the way out.
func TestBadDSN(t *testing.T) {
	dir := t.TempDir()
	file := "file:" + filepath.Join(dir, "a.db")
	replica := "_replica=file://" + filepath.Join(dir, "r")
	for _, tt := range []struct {
		name, dsn string
		is        error
		words     []string
	}{
		{"scheme", file + "?_replica=ftp://host/x", nil, []string{"ftp"}},
		{"scheme to import", file + "?_replica=gs://bucket/x", nil, []string{"gs", "seawal/store/gcs"}},
		{"no scheme", file + "?_replica=/backup", nil, []string{"/backup", "file:///"}},
		{"interval", file + "?" + replica + "&_ship_interval=often", vfs.ErrDSN, []string{"_ship_interval", "often", "250ms"}},
		{"interval zero", file + "?" + replica + "&_ship_interval=0s", vfs.ErrDSN, []string{"_ship_interval", "1ms"}},
		{"durability", file + "?" + replica + "&_durability=maybe", vfs.ErrConfig, []string{"_durability", "maybe", "async", "remote"}},
		{"restore", file + "?" + replica + "&_restore=always", vfs.ErrConfig, []string{"_restore", "always", "if-missing"}},
		{"on full", file + "?" + replica + "&_on_full=panic", vfs.ErrConfig, []string{"_on_full", "squash", "block"}},
		{"checkpoint", file + "?" + replica + "&_checkpoint=never", vfs.ErrConfig, []string{"_checkpoint", "seawal", "app"}},
		{"empty", file + "?_replica=", vfs.ErrDSN, []string{"_replica", "empty"}},
		{"twice", file + "?" + replica + "&_durability=async&_durability=remote", vfs.ErrDSN, []string{"_durability", "2 times"}},
		{"memory", ":memory:?" + replica, vfs.ErrDSN, []string{"in-memory", "_replica"}},
		{"percent", file + "?_replica=file:///a%zz", vfs.ErrDSN, []string{"percent-encode"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			db, err := sql.Open("seawal", tt.dsn)
			if err == nil {
				err = db.Ping()
				db.Close()
			}
			if err == nil {
				t.Fatal("no error")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			for _, w := range tt.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "a.db")); err == nil {
				t.Error("a database was made all the same")
			}
		})
	}
}

func TestWithoutReplicaItIsThePlainDriver(t *testing.T) {
	t.Setenv(vfs.EnvReplica, "") // puts it back at the end
	os.Unsetenv(vfs.EnvReplica)
	path := filepath.Join(t.TempDir(), "a.db")
	db, err := sql.Open("seawal", "file:"+path+"?_journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "CREATE TABLE t(a)")
	var n int
	if err := db.QueryRow("PRAGMA wal_autocheckpoint").Scan(&n); err != nil || n != 1000 {
		t.Errorf("wal_autocheckpoint is %d, %v", n, err)
	}
	if _, err := vfs.Position(t.Context(), db); !errors.Is(err, vfs.ErrNotReplicated) {
		t.Errorf("position: %v", err)
	}
	if err := db.QueryRow("PRAGMA seawal_status").Scan(new(string)); !errors.Is(err, sql.ErrNoRows) {
		t.Errorf("seawal_status: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-seawal"); err == nil {
		t.Error("there is a state folder")
	}
}

func TestEnvironmentNamesTheBase(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(vfs.EnvReplica, "file://"+filepath.Join(dir, "backup"))
	db, err := sql.Open("seawal", filepath.Join(dir, "shop.db")+"?_journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "CREATE TABLE t(a, b)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "backup", "shop.db", "replica.json")); err != nil {
		t.Error(err)
	}
}

func TestPositionWaitFlushStatus(t *testing.T) {
	p := newPlace(t)
	db := p.open("_ship_interval=1h")
	defer db.Close()
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	before, err := vfs.Position(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO t(b) VALUES(1)")
	after, err := vfs.Position(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if after.Timeline != before.Timeline || after.Tx != before.Tx+1 {
		t.Errorf("one commit moved the position from %v to %v", before, after)
	}
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO t(b) VALUES(2)")
	last, err := vfs.Position(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if err := vfs.Wait(t.Context(), db, after); err != nil {
		t.Fatal(err)
	}
	// With an interval of an hour, nothing ships what came behind the flush.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := vfs.Wait(ctx, db, last); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "replication unknown") {
		t.Errorf("waiting for what nobody ships: %v", err)
	}
	st, err := vfs.Status(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if st.Durable.Compare(after) < 0 || st.Captured != last || st.LagTransactions == 0 || st.Mode != "shipping" || st.Lag <= 0 {
		t.Errorf("status: %+v", st)
	}
	var text string
	if err := db.QueryRow("PRAGMA seawal_status").Scan(&text); err != nil {
		t.Fatal(err)
	}
	var fromPragma vfs.Stat
	if err := json.Unmarshal([]byte(text), &fromPragma); err != nil || fromPragma.Captured != last {
		t.Errorf("PRAGMA seawal_status: %v, %+v", err, fromPragma)
	}
	if err := db.QueryRow("PRAGMA seawal_flush").Scan(&text); err != nil || text != last.String() {
		t.Errorf("PRAGMA seawal_flush: %q, %v; want %v", text, err, last)
	}
	if err := vfs.Wait(t.Context(), db, last); err != nil {
		t.Error(err)
	}
	err = db.QueryRow("PRAGMA seawal_wait='soon'").Scan(&text)
	if err == nil || !strings.Contains(err.Error(), "milliseconds") {
		t.Errorf("PRAGMA seawal_wait='soon': %v", err)
	}
}

func TestDurabilityRemote(t *testing.T) {
	p := newPlace(t)
	db := p.open("_ship_interval=1h&_durability=remote")
	defer db.Close()
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	for i := range 5 {
		mustExec(t, db, "INSERT INTO t(b) VALUES(?)", i)
		st, err := vfs.Status(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if st.LagTransactions != 0 {
			t.Errorf("commit %d returned with %d transactions not durable", i, st.LagTransactions)
		}
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var text string
	if err := conn.QueryRowContext(t.Context(), "PRAGMA seawal_durability").Scan(&text); err != nil || text != "remote" {
		t.Errorf("durability: %q, %v", text, err)
	}
	if err := conn.QueryRowContext(t.Context(), "PRAGMA seawal_durability=async").Scan(&text); err != nil || text != "async" {
		t.Errorf("setting the durability: %q, %v", text, err)
	}
	if _, err := conn.ExecContext(t.Context(), "INSERT INTO t(b) VALUES('async')"); err != nil {
		t.Fatal(err)
	}
	st, err := vfs.Status(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if st.LagTransactions != 1 {
		t.Errorf("an asynchronous commit left %d transactions to ship, want 1", st.LagTransactions)
	}
	if err := conn.QueryRowContext(t.Context(), "PRAGMA seawal_durability=sometimes").Scan(&text); err == nil || !strings.Contains(err.Error(), "remote or async") {
		t.Errorf("a bad durability: %v", err)
	}
}

func TestTwoDatabasesOnOneReplica(t *testing.T) {
	p := newPlace(t)
	db := p.open("")
	defer db.Close()
	mustExec(t, db, "CREATE TABLE t(a, b)")
	other := place{t, filepath.Join(t.TempDir(), "other.db"), p.replica + "/"}
	db2 := other.open("")
	defer db2.Close()
	err := db2.Ping()
	if !errors.Is(err, vfs.ErrReplicaInUse) || !strings.Contains(err.Error(), p.path) {
		t.Errorf("opening a second database on the replica: %v", err)
	}
	same := place{t, p.path, p.replica + "2"}
	db3 := same.open("")
	defer db3.Close()
	if err := db3.Ping(); !errors.Is(err, vfs.ErrReplicaInUse) {
		t.Errorf("opening the database with another replica: %v", err)
	}
}

func TestReplicaExistsAndDatabaseDoesNot(t *testing.T) {
	p := newPlace(t)
	db := p.open("")
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) VALUES('kept')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	keep, err := os.ReadFile(p.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{p.path, p.path + "-seawal"} {
		if err := os.RemoveAll(f); err != nil {
			t.Fatal(err)
		}
	}
	db = p.open("")
	if err := db.Ping(); !errors.Is(err, vfs.ErrReplicaExists) || !strings.Contains(err.Error(), "_restore=if-missing") {
		t.Errorf("opening without the database: %v", err)
	}
	db.Close()
	if _, err := os.Stat(p.path); err == nil {
		t.Error("a database was made all the same")
	}
	db = p.open("_restore=if-missing")
	defer db.Close()
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	var b string
	if err := db.QueryRow("SELECT b FROM t").Scan(&b); err != nil || b != "kept" {
		t.Errorf("restored row: %q, %v", b, err)
	}
	got, err := os.ReadFile(p.path)
	if err != nil || string(got) != string(keep) {
		t.Errorf("the restored file differs from the lost one (%v)", err)
	}
	mustExec(t, db, "INSERT INTO t(b) VALUES('more')")
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Errorf("going on after the restore: %v", err)
	}
}

func TestReplicaOfAnotherDatabase(t *testing.T) {
	p := newPlace(t)
	db := p.open("")
	mustExec(t, db, "CREATE TABLE t(a, b)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	other := place{t, filepath.Join(t.TempDir(), "other.db"), p.replica}
	create(t, other.path, 4096)
	db = other.open("")
	mustExec(t, db, "INSERT INTO t(b) VALUES('local')") // the application is not stopped
	_, err := vfs.Position(t.Context(), db)
	if err == nil || !strings.Contains(err.Error(), "another database") {
		t.Errorf("position: %v", err)
	}
	st, err := vfs.Status(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode != "stopped" || !strings.Contains(st.LastError, "another database") {
		t.Errorf("status: %+v", st)
	}
	if err := db.Close(); err == nil || !strings.Contains(err.Error(), "another database") {
		t.Errorf("close: %v", err)
	}
	p.same(p.path, p.restore(restore.Newest()))
}

func TestPageSizeMismatch(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	db := p.open("")
	mustExec(t, db, "INSERT INTO t(b) VALUES(1)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{p.path, p.path + "-seawal"} {
		if err := os.RemoveAll(f); err != nil {
			t.Fatal(err)
		}
	}
	create(t, p.path, 8192)
	db = p.open("")
	defer db.Close()
	if _, err := vfs.Position(t.Context(), db); err == nil || !strings.Contains(err.Error(), "8192") || !strings.Contains(err.Error(), "4096") {
		t.Errorf("position: %v", err)
	}
}

func TestReadOnlyFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("root writes everywhere: a file in the place of the state folder stands for it")
	}
	p := newPlace(t)
	create(t, p.path, 4096)
	if err := os.WriteFile(p.path+"-seawal", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := vfs.Register("seawal-hurried", vfs.Config{Replica: p.replica, CloseTimeout: 10 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("seawal-hurried", p.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err == nil || !strings.Contains(err.Error(), "1 committed transactions are not in the replica") {
			t.Errorf("close: %v", err)
		}
	}()
	mustExec(t, db, "INSERT INTO t(b) VALUES('local')")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = vfs.Position(ctx, db)
	st, serr := vfs.Status(t.Context(), db)
	if err == nil || serr != nil || !strings.Contains(st.LastError, p.path+"-seawal") {
		t.Errorf("position: %v; status: %+v, %v", err, st, serr)
	}
}

// A pool that closes every connection at once, and one connection alone, work as with the plain driver.
func TestPools(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*sql.DB)
	}{
		{"no idle connections", func(db *sql.DB) { db.SetMaxIdleConns(0) }},
		{"one connection", func(db *sql.DB) { db.SetMaxOpenConns(1) }},
		{"short lives", func(db *sql.DB) { db.SetConnMaxLifetime(time.Millisecond) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			db := p.open("_ship_interval=5ms")
			tt.set(db)
			mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
			for i := range 100 {
				mustExec(t, db, "INSERT INTO t(b) VALUES(?)", i)
			}
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := vfs.Position(t.Context(), db); err != nil { // must not need a connection
				t.Error(err)
			}
			if err := tx.Rollback(); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			p.same(p.path, p.restore(restore.Newest()))
		})
	}
}

func TestRegister(t *testing.T) {
	if err := vfs.Register("seawal-bad", vfs.Config{RingBytes: 10}); !errors.Is(err, vfs.ErrConfig) || !strings.Contains(err.Error(), "RingBytes") {
		t.Errorf("a ring of 10 bytes: %v", err)
	}
	hooked := 0
	p := newPlace(t)
	err := vfs.Register("seawal-mine", vfs.Config{
		Replica: p.replica, Interval: 10 * time.Millisecond,
		ConnectHook: func(*sqlite3.SQLiteConn) error { hooked++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("seawal-mine", p.path+"?_journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "CREATE TABLE t(a, b)")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if hooked == 0 {
		t.Error("the hook was not called")
	}
	p.same(p.path, p.restore(restore.Newest()))
}
