//go:build cgo

package vfs

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"
)

// DriverName is the database/sql driver that importing the package registers.
const DriverName = "seawal"

func init() {
	sql.Register(DriverName, &Driver{})
}

// Register makes a database/sql driver with a Config of its own. The name
// must not be taken: sql.Register panics, and so does this.
func Register(name string, cfg Config) error {
	if err := cfg.withDefaults().validate(); err != nil {
		return err
	}
	sql.Register(name, &Driver{cfg: cfg})
	return nil
}

// Driver opens connections of go-sqlite3 on seawal's VFS. Use it through database/sql, whose
// DB.Close is what tells that the rest is to be shipped.
type Driver struct {
	cfg Config

	mu    sync.Mutex            // for the rest
	loose map[string]*connector // of Open, by DSN
}

var (
	_ driver.Driver        = (*Driver)(nil)
	_ driver.DriverContext = (*Driver)(nil)
	_ driver.Connector     = (*connector)(nil)
	_ io.Closer            = (*connector)(nil)
)

// Open opens a connection for a wrapper that has no use for a connector. What it opens with one DSN belongs together, as the connections
// of a connector do: see connector.
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	d.mu.Lock()
	c := d.loose[dsn]
	if c == nil {
		made, err := d.OpenConnector(dsn)
		if err != nil {
			d.mu.Unlock()
			return nil, err
		}
		c = made.(*connector)
		c.loose = true
		if d.loose == nil {
			d.loose = map[string]*connector{}
		}
		d.loose[dsn] = c
	}
	d.mu.Unlock()
	return c.Connect(context.Background())
}

// OpenConnector parses the DSN; the database is opened with the first connection.
func (d *Driver) OpenConnector(dsn string) (driver.Connector, error) {
	t, err := parseDSN(dsn, d.cfg)
	if err != nil {
		return nil, err
	}
	t.warnUnlessReplicated(d.cfg)
	return &connector{target: t, driver: d}, nil
}

// connector is one *sql.DB. It is its own driver.Driver, so that Position and
// its kin find the database from sql.DB.Driver without taking a connection out of the pool.
//
// Its database is closed, and the rest shipped, by Close; by the end of the last connection if the pool is being closed,
// since a wrapper may have no Close to pass on; and, of connections that belong to no pool, by the end of the last one of
// Driver.Open. A pool that lets go of its last idle connection closes nothing: the database stays open for the next one. A connector
// that connects again opens it again.
type connector struct {
	target target
	driver *Driver
	loose  bool // of Driver.Open

	mu         sync.Mutex // for the rest; never held while a store is asked
	number     uint64     // in owners; 0: not there
	db         *database  // while it is open
	opening    *opening   // nil unless it is being opened
	closed     bool
	lent       bool  // its driver has opened other connections, for a wrapper
	connecting int   // calls of Connect
	conns      int   // files open
	ended      error // what closing the last connection could not ship
}

// owners are the connectors with connections, by their numbers: C knows those.
var (
	owners     sync.Map
	ownersMade atomic.Uint64
)

func (c *connector) Driver() driver.Driver { return (*connectorDriver)(c) }

// connectorDriver is what sql.DB.Driver returns. It opens other DSNs with the configuration of the driver.
type connectorDriver connector

var _ driver.DriverContext = (*connectorDriver)(nil)

func (d *connectorDriver) Open(dsn string) (driver.Conn, error) {
	(*connector)(d).lend()
	return d.driver.Open(dsn)
}

func (d *connectorDriver) OpenConnector(dsn string) (driver.Connector, error) {
	(*connector)(d).lend()
	return d.driver.OpenConnector(dsn)
}

// lend notes that a *sql.DB which has the connector's driver may be another one's.
func (c *connector) lend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lent = true
}

func (c *connector) isLent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lent
}

// counted is called on the thread of a connection when its file was opened (1) or closed (-1).
func (c *connector) counted(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns += n
	if n > 0 || c.conns > 0 || c.connecting > 0 || c.db == nil {
		return
	}
	if inPool, closing := poolOf(); !closing && (inPool || !c.loose) {
		return
	}
	db := c.db
	c.db = nil
	if c.ended = db.release(); c.ended != nil {
		db.cfg.logger().Error("the last connection was closed, and something was not shipped", "database", db.path, "err", c.ended)
	}
}

// poolOf says whether the caller's goroutine is in database/sql, and whether that is closing a whole pool. Nothing else tells the
// end of a pool from one that lets go of its last idle connection.
func poolOf() (inPool, closing bool) {
	pcs := make([]uintptr, 128)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		inPool = inPool || strings.HasPrefix(f.Function, "database/sql.")
		closing = closing || f.Function == "database/sql.(*DB).Close"
		if !more {
			return inPool, closing
		}
	}
}

// Connect opens a connection: a *sqlite3.SQLiteConn, whatever the DSN says.
func (c *connector) Connect(ctx context.Context) (conn driver.Conn, err error) {
	cfg := c.target.cfg
	drv := &sqlite3.SQLiteDriver{Extensions: cfg.Extensions, ConnectHook: cfg.ConnectHook}
	if !c.target.replicated() {
		return drv.Open(c.target.dsn)
	}
	db, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		c.mu.Lock()
		c.connecting--
		c.mu.Unlock()
		if e := db.release(); e != nil && err == nil {
			conn.Close()
			conn, err = nil, e
		}
	}()
	if err := db.checkPath(c.target.path); err != nil {
		return nil, err
	}
	drv.ConnectHook = func(conn *sqlite3.SQLiteConn) error {
		if err := db.checkCaptured(conn); err != nil {
			return err
		}
		return setUp(conn, cfg)
	}
	conn, err = drv.Open(c.target.at(db.path).withParams(map[string]string{"vfs": db.vfsName, "seawal_owner": strconv.FormatUint(c.number, 10)}))
	if err != nil && db.tap.lockless() {
		return nil, fmt.Errorf("%w: the VFS %q has no locks for %s, and a database without locks can't be replicated: seawal's own connections read it, and have to see when it is written; "+
			"leave vfs= out, or use a file system with locks", ErrConfig, cfg.VFS, db.path)
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		conn.Close()
		return nil, sql.ErrConnDone
	}
	err = db.start(ctx)
	if err == nil && db.tap.moved() {
		err = db.replaced()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// setUp makes a new connection one of a replicated database; the
// application's own hook comes after it and can change everything.
func setUp(conn *sqlite3.SQLiteConn, cfg Config) error {
	if cfg.Checkpoint == CheckpointSeawal {
		if _, err := conn.Exec("PRAGMA wal_autocheckpoint=0", nil); err != nil {
			return fmt.Errorf("leaving checkpoints to seawal: %w", err)
		}
		// The setting is the connection's, and it may attach databases that nobody else checkpoints.
		if _, err := conn.Exec("PRAGMA seawal_checkpoint_attached", nil); err != nil {
			return fmt.Errorf("leaving checkpoints of attached databases to SQLite: %w", err)
		}
	}
	durability := fmt.Sprintf("PRAGMA seawal_durability=%s; PRAGMA seawal_durability_timeout=%d", cfg.Durability, cfg.DurabilityTimeout.Milliseconds())
	if _, err := conn.Exec(durability, nil); err != nil {
		return fmt.Errorf("setting the durability: %w", err)
	}
	if cfg.ConnectHook != nil {
		return cfg.ConnectHook(conn)
	}
	return nil
}

// Close is called by sql.DB.Close after the pool's idle connections were closed. The last
// one of a database ships the rest.
func (c *connector) Close() error {
	c.mu.Lock()
	closed, o, db, ended := c.closed, c.opening, c.db, c.ended
	c.closed, c.db = true, nil
	owners.Delete(c.number)
	c.mu.Unlock()
	switch {
	case closed:
		return nil
	case db != nil:
		return db.release()
	case o == nil:
		return ended
	}
	o.cancel()
	late := time.NewTimer(closeWait)
	defer late.Stop()
	select {
	case <-o.done:
	case <-late.C:
	}
	return nil
}

// escapePath escapes what has a meaning in a SQLite URI.
func escapePath(path string) string {
	return strings.ReplaceAll((&url.URL{Path: path}).EscapedPath(), ";", "%3B")
}
