package vfs_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// at opens the database with exactly these parameters besides the replica.
func (p place) at(params string) *sql.DB {
	p.t.Helper()
	db, err := sql.Open("seawal", "file:"+p.path+"?_replica="+p.replica+"&"+params)
	if err != nil {
		p.t.Fatal(err)
	}
	return db
}

func one(t *testing.T, q interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, query string) string {
	t.Helper()
	var s string
	if err := q.QueryRowContext(t.Context(), query).Scan(&s); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return s
}

func flush(t *testing.T, db *sql.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := vfs.Flush(ctx, db); err != nil {
		t.Fatal(err)
	}
}

// Closing a *sql.DB while its first connection is being made.
func TestCloseDuringConnect(t *testing.T) {
	for range 60 {
		p := newPlace(t)
		create(t, p.path, 4096)
		db := p.open("")
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _, _ = db.Exec("INSERT INTO t(b) VALUES(1)") }) // may come too late
		}
		wg.Go(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
	}
}

// Connections of one shared cache share the file object: what belongs to the first one is gone when that
// one is.
func TestSharedCache(t *testing.T) {
	p := newPlace(t)
	db := p.open("cache=shared&_durability=remote")
	defer db.Close()
	db.SetMaxIdleConns(1)
	first, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.ExecContext(t.Context(), "CREATE TABLE t(a INTEGER PRIMARY KEY, b)"); err != nil {
		t.Fatal(err)
	}
	second, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if err := first.Raw(func(c any) error { return c.(interface{ Close() error }).Close() }); err != nil {
		t.Fatal(err)
	}
	first.Close()
	for range 20 {
		if _, err := second.ExecContext(t.Context(), "INSERT INTO t(b) VALUES(randomblob(2000))"); err != nil {
			t.Fatal(err)
		}
	}
	st, err := vfs.Status(t.Context(), db)
	if err != nil || st.LagTransactions != 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

// A connection that lives on after Close, and the reopening of its database.
func TestReopenWithConnectionsLeft(t *testing.T) {
	p := newPlace(t)
	db := p.open("")
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	left, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := left.ExecContext(t.Context(), "INSERT INTO t(b) VALUES('between')"); err != nil {
		t.Fatal(err)
	}
	db = p.open("")
	mustExec(t, db, "INSERT INTO t(b) VALUES('again')")
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "INSERT INTO t(b) VALUES('last')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	p.same(p.path, p.restore(restore.Newest()))
	// When the left-over connection is the last to go, nothing of the database stays behind.
	db = p.open("")
	if left, err = db.Conn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(d)
}

// A database that is attached and has no replica is checkpointed as ever.
func TestAttachedDatabaseIsCheckpointed(t *testing.T) {
	p := newPlace(t)
	db := p.open("")
	defer db.Close()
	db.SetMaxOpenConns(1)
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	other := filepath.Join(t.TempDir(), "other.db")
	mustExec(t, db, "ATTACH '"+other+"' AS o")
	mustExec(t, db, "PRAGMA o.journal_mode=WAL")
	mustExec(t, db, "CREATE TABLE o.u(a INTEGER PRIMARY KEY, b)")
	for range 5000 {
		mustExec(t, db, "INSERT INTO o.u(b) VALUES(1)")
	}
	fi, err := os.Stat(other + "-wal")
	if err != nil || fi.Size() > 3000*4120 {
		t.Errorf("log of the attached database: %d bytes, %v", fi.Size(), err)
	}
}

// The first *sql.DB on a database may open it read-only, a later one for writing: checkpoints go on.
func TestReadOnlyFirst(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	var log bytes.Buffer
	if err := vfs.Register("seawal-logged", vfs.Config{Replica: p.replica, Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	ro, err := sql.Open("seawal-logged", "file:"+p.path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	one(t, ro, "SELECT count(*) FROM t")
	flush(t, ro)
	rw := p.open("")
	for range 2000 {
		mustExec(t, rw, "INSERT INTO t(b) VALUES(randomblob(100))")
	}
	flush(t, rw)
	if err := errors.Join(rw.Close(), ro.Close()); err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), "checkpoint failed") {
		t.Error(log.String())
	}
	p.same(p.path, p.restore(restore.Newest()))
}

// Close comes while the first connection is being made: that is over, and leaves nothing behind.
func TestCloseInTheMiddleOfConnect(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	var db *sql.DB
	name := "seawal-overhasty"
	err := vfs.Register(name, vfs.Config{Replica: p.replica, ConnectHook: func(*sqlite3.SQLiteConn) error { return db.Close() }})
	if err != nil {
		t.Fatal(err)
	}
	if db, err = sql.Open(name, p.path); err != nil {
		t.Fatal(err)
	}
	if err := db.Ping(); err == nil {
		t.Error("a connection after Close")
	}
	// The URL is free again.
	other := place{t, filepath.Join(t.TempDir(), "other.db"), p.replica}
	create(t, other.path, 4096)
	db2 := other.open("")
	defer db2.Close()
	if err := db2.Ping(); err != nil {
		t.Error(err)
	}
}

// A store that hangs holds up the opening of its own database and of no other.
func TestHangingStoreHoldsUpNoOtherDatabase(t *testing.T) {
	hung, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	store.Register("hang", func(context.Context, *url.URL) (store.Store, error) {
		once.Do(func() { close(hung) })
		<-release
		return nil, errors.New("it hung")
	})
	dir := t.TempDir()
	slow, err := sql.Open("seawal", filepath.Join(dir, "slow.db")+"?_replica=hang://x")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	done := make(chan error, 1)
	go func() { done <- slow.Ping() }()
	<-hung
	p := newPlace(t)
	db := p.open("")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, "CREATE TABLE t(a, b)"); err != nil {
		t.Errorf("another database: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	same, err := sql.Open("seawal", filepath.Join(dir, "slow.db")+"?_replica=hang://x")
	if err != nil {
		t.Fatal(err)
	}
	defer same.Close()
	ended, end := context.WithCancel(t.Context())
	end()
	if err := same.PingContext(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("the same database, with a context that has ended: %v", err)
	}
	close(release)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "it hung") {
		t.Errorf("the slow database: %v", err)
	}
}

// Opening and closing leaves no descriptor and no goroutine, whoever closes last.
func TestNothingStaysBehind(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	cycle := func(last bool) {
		db := p.open("_ship_interval=1ms")
		mustExec(t, db, "INSERT INTO t(b) VALUES(1)")
		left, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !last {
			left.Close()
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		left.Close()
	}
	cycle(false)
	cycle(true)
	settle := func(fds, goroutines int) (int, int) {
		for range 2000 {
			f, g := openFDs(t), runtime.NumGoroutine()
			if f <= fds && g <= goroutines {
				return f, g
			}
			time.Sleep(time.Millisecond) // the wake-up of a goroutine that nobody waits for
		}
		return openFDs(t), runtime.NumGoroutine()
	}
	fds, goroutines := settle(0, 0)
	for i := range 20 {
		cycle(i%2 == 0)
	}
	if f, g := settle(fds, goroutines); f > fds || g > goroutines {
		t.Errorf("descriptors: %d, then %d; goroutines: %d, then %d", fds, f, goroutines, g)
	}
}
