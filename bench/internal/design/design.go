// Package design is what the benchmark compares: ways to open one database, with and without a replica.
//
// A design that needs something which is not everywhere (a program on PATH, an emulator, a package of
// a store) says so in Check and is left out of the run by name. To add one, write a file with an init
// that calls Register.
package design

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// Plain is the name of the design that all others are compared with.
const Plain = "sqlite3"

// Peer is the name of the design of somebody else.
const Peer = "litestream"

// Design is one way to open a database.
type Design struct {
	Name       string
	Title      string
	Replicates bool
	Remote     bool         // its replica is not in the folder that Database names
	Check      func() error // why it can't be measured here; nil: it always can
	Open       func(ctx context.Context, d Database) (Session, error)
}

// Database is what a Design opens.
type Database struct {
	Path    string        // of the file, which exists
	Replica string        // folder for the replica; not there before the first Open
	Sync    string        // PRAGMA synchronous
	VFS     string        // below everything; "" is SQLite's default one
	Busy    time.Duration // how long a connection waits for a lock
}

// Session is an open database.
type Session interface {
	DB() *sql.DB

	// Close closes the pool and stops whatever runs beside it. Afterwards all
	// work that the database caused is done.
	Close(ctx context.Context) error
}

// Replicator is a Session whose commits go somewhere.
type Replicator interface {
	Session

	// Flush returns when every commit before the call is durable in the replica.
	Flush(ctx context.Context) error

	// Mark notes what is committed now; wait returns when that is durable. It does not hasten it.
	Mark(ctx context.Context) (wait func(context.Context) error, err error)

	// Sent is what the store has had so far as the session itself counts it: the zero value when it doesn't.
	Sent(ctx context.Context) (Sent, error)
}

// Sent is what a replicator has asked of its store.
type Sent struct {
	Requests int64 // of all kinds, with those that failed
	Uploads  Stored
}

// Companion is a Session with a process beside the application.
type Companion interface {
	// Sidecar is the process's id.
	Sidecar() int
}

var designs []Design

// Register adds a design to the ones that workloads can name.
func Register(d Design) {
	for _, o := range designs {
		if o.Name == d.Name {
			panic("design " + d.Name + " registered twice")
		}
	}
	designs = append(designs, d)
}

// Lookup finds a design by name, and says whether it can be measured here.
func Lookup(name string) (Design, error) {
	for _, d := range designs {
		if d.Name != name {
			continue
		}
		if d.Check != nil {
			if err := d.Check(); err != nil {
				return d, fmt.Errorf("%s: %w", name, err)
			}
		}
		return d, nil
	}
	return Design{Name: name, Title: name}, fmt.Errorf("%s: not built in", name)
}

// Title is the title of a design, or its name when it is not known.
func Title(name string) string {
	for _, d := range designs {
		if d.Name == name {
			return d.Title
		}
	}
	return name
}

// dsn is the data source name that all designs share; extra parameters come behind.
func (d Database) dsn(extra url.Values) string {
	v := url.Values{
		"_journal_mode": {"WAL"},
		"_synchronous":  {d.Sync},
		"_busy_timeout": {strconv.FormatInt(d.Busy.Milliseconds(), 10)},
	}
	if d.VFS != "" {
		v.Set("vfs", d.VFS)
	}
	for k, vals := range extra {
		v[k] = vals
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: d.Path}).EscapedPath(), RawQuery: v.Encode()}).String()
}

// pool is a Session without a replica.
type pool struct{ db *sql.DB }

var _ Session = pool{}

func (p pool) DB() *sql.DB                 { return p.db }
func (p pool) Close(context.Context) error { return p.db.Close() }

// openPool opens a pool whose first connection works.
func openPool(ctx context.Context, driver, dsn string) (*sql.DB, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	if err := db.PingContext(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("opening %s with driver %s: %w", dsn, driver, err)
	}
	return db, nil
}

// Outage is a Replicator whose store can be taken away.
type Outage interface {
	Replicator
	SetDown(down bool)
}
