package vfs

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"

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
}

var (
	_ driver.Driver        = (*Driver)(nil)
	_ driver.DriverContext = (*Driver)(nil)
	_ driver.Connector     = (*connector)(nil)
	_ io.Closer            = (*connector)(nil)
)

// Open opens a connection that belongs to no pool. The database stays open for replication as
// long as the process lives, since nothing says when it is done.
func (d *Driver) Open(dsn string) (driver.Conn, error) {
	c, err := d.OpenConnector(dsn)
	if err != nil {
		return nil, err
	}
	return c.Connect(context.Background())
}

// OpenConnector parses the DSN; the database is opened with the first connection.
func (d *Driver) OpenConnector(dsn string) (driver.Connector, error) {
	t, err := parseDSN(dsn, d.cfg)
	if err != nil {
		return nil, err
	}
	t.warnUnlessReplicated(d.cfg)
	return &connector{target: t}, nil
}

// connector is one *sql.DB. It is its own driver.Driver, so that Position and
// its kin find the database from sql.DB.Driver without taking a connection out of the pool.
type connector struct {
	target target

	mu     sync.Mutex // for the rest
	db     *database  // from the first connection on
	closed bool
}

func (c *connector) Driver() driver.Driver { return (*connectorDriver)(c) }

// connectorDriver is what sql.DB.Driver returns.
type connectorDriver connector

func (d *connectorDriver) Open(dsn string) (driver.Conn, error) {
	return (&Driver{cfg: d.target.cfg}).Open(dsn)
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
	conn, err = drv.Open(c.target.at(db.path).withParams(map[string]string{"vfs": db.vfsName}))
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

// open takes the connector's reference to its database, and one more for the caller: Close may come
// before the connection is made.
func (c *connector) open(ctx context.Context) (*database, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, sql.ErrConnDone
	}
	if c.db != nil {
		c.db.retain(c.target.query.Get("mode"))
		return c.db, nil
	}
	name := DriverName
	if lower := c.target.cfg.VFS; lower != "" {
		name += "-" + lower
	}
	if err := registerShim(name, c.target.cfg.VFS); err != nil {
		return nil, err
	}
	db, err := openDatabase(ctx, c.target, name)
	if err != nil {
		return nil, err
	}
	c.db = db
	db.retain(c.target.query.Get("mode"))
	return db, nil
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
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if c.db == nil {
		return nil
	}
	return c.db.release()
}

// escapePath escapes what has a meaning in a SQLite URI.
func escapePath(path string) string {
	return strings.ReplaceAll((&url.URL{Path: path}).EscapedPath(), ";", "%3B")
}
