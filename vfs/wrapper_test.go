package vfs_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// openingConnector connects by Driver.Open, as those do which know of no connectors.
type openingConnector struct {
	driver driver.Driver
	dsn    string
}

func (c openingConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c openingConnector) Driver() driver.Driver                        { return c.driver }

// embeddedConnector has no Close to pass on.
type embeddedConnector struct{ driver.Connector }

// wrappedDriver hides what the driver can do besides Open.
type wrappedDriver struct{ driver.Driver }

// wrappedConn hides what the connection is.
type wrappedConn struct{ driver.Conn }

// hidingConnector hides its connections, its driver, and its Close.
type hidingConnector struct{ driver.Connector }

func (c hidingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	return wrappedConn{conn}, err
}
func (c hidingConnector) Driver() driver.Driver { return wrappedDriver{c.Connector.Driver()} }

// wrappers are the ways in which libraries put something between database/sql and a driver.
var wrappers = []struct {
	name string
	open func(t *testing.T, name, dsn string) *sql.DB
}{
	{"none", func(t *testing.T, name, dsn string) *sql.DB { return mustOpen(t, name, dsn) }},
	{"Driver.Open", func(t *testing.T, name, dsn string) *sql.DB {
		return sql.OpenDB(openingConnector{driverOf(t, name), dsn})
	}},
	{"Driver.Open of a connector", func(t *testing.T, name, dsn string) *sql.DB {
		return sql.OpenDB(openingConnector{mustOpen(t, name, dsn).Driver(), dsn})
	}},
	{"Open of a wrapped driver", func(t *testing.T, name, dsn string) *sql.DB {
		return sql.OpenDB(openingConnector{wrappedDriver{driverOf(t, name)}, dsn})
	}},
	{"a connector in a struct", func(t *testing.T, name, dsn string) *sql.DB {
		return sql.OpenDB(embeddedConnector{connectorOf(t, name, dsn)})
	}},
	{"connections in a struct", func(t *testing.T, name, dsn string) *sql.DB {
		return sql.OpenDB(hidingConnector{connectorOf(t, name, dsn)})
	}},
}

func mustOpen(t *testing.T, name, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(name, dsn)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// driverOf is a registered driver, which database/sql shows by way of a *sql.DB only.
func driverOf(t *testing.T, name string) driver.Driver {
	return mustOpen(t, name, "file:"+filepath.Join(t.TempDir(), "unused.db")).Driver()
}

func connectorOf(t *testing.T, name, dsn string) driver.Connector {
	t.Helper()
	d, ok := driverOf(t, name).(driver.DriverContext)
	if !ok {
		t.Fatal("DB.Driver has no OpenConnector")
	}
	c, err := d.OpenConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Through whatever wraps the driver, db.Close ships the rest, and the functions of the package find the database.
func TestWrappersCloseShipsTheRest(t *testing.T) {
	for _, w := range wrappers {
		t.Run(w.name, func(t *testing.T) {
			p := newPlace(t)
			db := w.open(t, "seawal", "file:"+p.path+"?_journal_mode=WAL&_ship_interval=1h&_replica="+p.replica)
			mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
			flush(t, db)
			for range 20 {
				mustExec(t, db, "INSERT INTO t(b) VALUES(1)")
			}
			pos, err := vfs.Position(t.Context(), db)
			if err != nil {
				t.Error(err)
			}
			if st, err := vfs.Status(t.Context(), db); err != nil || st.Database != p.path || st.Captured != pos {
				t.Errorf("status %+v, %v; position %v", st, err, pos)
			}
			pos.Tx++
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			if err := vfs.Wait(ctx, db, pos); !errors.Is(err, vfs.ErrNotDurable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("wait for a transaction that is to come: %v", err)
			}
			cancel()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			for _, st := range vfs.Databases() {
				if st.Database == p.path {
					t.Error("the database is still open")
				}
			}
			p.same(p.path, p.restore(restore.Newest()))
		})
	}
	reliability.Record(t, reliability.Fault{
		Group: reliability.Durable, Name: "The pool is closed through a library that wraps the driver",
		How: "by Driver.Open, a connector in a struct without Close, connections in a struct; with commits that wait for the interval",
	}, len(wrappers), 0)
}

// A close in an outage is bounded by CloseTimeout, and the next open ships what was left.
func TestWrappersCloseInAnOutage(t *testing.T) {
	for _, w := range wrappers {
		t.Run(w.name, func(t *testing.T) {
			b := newBadPlace(t)
			b.driver = hasty
			create(t, b.path, 4096)
			dsn := "file:" + b.path + "?_journal_mode=WAL&_replica=" + b.replica
			db := w.open(t, hasty, dsn)
			flush(t, db)
			b.faults.SetRules(faultstore.When(faultstore.Always(), faultstore.Fail(errReset)))
			mustExec(t, db, "INSERT INTO t(b) VALUES('in the outage')")
			began := time.Now()
			err := db.Close()
			if took := time.Since(began); took > 20*time.Second { // hasty: 200 ms
				t.Errorf("it took %v", took)
			}
			if w.name == "none" && err == nil {
				t.Error("nothing was said of what was not shipped")
			}
			b.faults.SetRules()
			db = w.open(t, hasty, dsn)
			mustExec(t, db, "INSERT INTO t(b) VALUES('after it')")
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			b.same(b.path, b.good().restore(restore.Newest()))
		})
	}
}

// A pool that keeps no idle connection closes its last one again and again: nothing waits for the store then.
func TestWrappersPoolsMayLetTheLastConnectionGo(t *testing.T) {
	for _, w := range wrappers {
		t.Run(w.name, func(t *testing.T) {
			b := newBadPlace(t)
			b.driver = hasty
			create(t, b.path, 4096)
			db := w.open(t, hasty, "file:"+b.path+"?_journal_mode=WAL&_replica="+b.replica)
			db.SetMaxIdleConns(0)
			flush(t, db)
			first := mustStatus(t, db).Requests.List.Requests
			b.faults.SetRules(faultstore.When(faultstore.Always(), faultstore.Fail(errReset)))
			began := time.Now()
			for range 30 {
				mustExec(t, db, "INSERT INTO t(b) VALUES(1)")
			}
			if took := time.Since(began); took > 30*200*time.Millisecond/2 {
				t.Errorf("30 commits took %v: each waited for CloseTimeout", took)
			}
			b.faults.SetRules()
			flush(t, db)
			if st := mustStatus(t, db); st.Requests.List.Requests > first+2 {
				t.Errorf("the replica was attached to again: %+v", st.Requests)
			}
			// Of a pool without a connection nothing tells that it is closed, but by a wrapper that passes Close on.
			db.SetMaxIdleConns(1)
			mustExec(t, db, "INSERT INTO t(b) VALUES('the last one')")
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			b.same(b.path, b.good().restore(restore.Newest()))
		})
	}
}

// Each DSN has its own configuration, however it is opened.
func TestDriverOpenOfSeveralDatabases(t *testing.T) {
	p := newPlace(t)
	d := driverOf(t, "seawal")
	var conns []driver.Conn
	for i := range 2 {
		c, err := d.Open(fmt.Sprintf("file:%s%d?_journal_mode=WAL&_ship_interval=1h&_replica=%s%d", p.path, i, p.replica, i))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if _, err := c.(*sqlite3.SQLiteConn).Exec("CREATE TABLE t(a INTEGER PRIMARY KEY, b); INSERT INTO t(b) VALUES(1)", nil); err != nil {
			t.Fatal(err)
		}
	}
	// They belong to no pool: the end of the last one of a DSN is the end.
	for i, c := range conns {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		path, url := fmt.Sprint(p.path, i), fmt.Sprint(p.replica, i)
		p.same(path, place{t, path, url}.restore(restore.Newest()))
	}
}
