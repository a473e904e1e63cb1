//go:build cgo

package vfs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"seawal/internal/replica"
)

// Pos is a point in the history of a database: a transaction of a timeline. A later one is greater.
// Its text form is "1/42".
type Pos = replica.Pos

// databaseFor finds the database of a *sql.DB, which is connected if it has not been yet. Where something wraps the driver it asks a
// connection, and waits for one as every query does.
func databaseFor(ctx context.Context, db *sql.DB) (*run, *database, error) {
	d, ok := db.Driver().(*connectorDriver)
	if !ok || (*connector)(d).isLent() || !d.target.replicated() {
		opened, err := databaseBehind(ctx, db)
		if err == nil {
			r, err := opened.running()
			return r, opened, err
		}
		if !ok || d.target.replicated() || !errors.Is(err, ErrNotReplicated) {
			return nil, nil, err
		}
	}
	c := (*connector)(d)
	if !c.target.replicated() {
		return nil, nil, fmt.Errorf("%w: %s was opened without _replica, and %s is not set", ErrNotReplicated, c.target.path, EnvReplica)
	}
	c.mu.Lock()
	opened, closed := c.db, c.closed
	c.mu.Unlock()
	if closed {
		return nil, nil, sql.ErrConnDone
	}
	if opened != nil {
		if r, err := opened.running(); err == nil {
			return r, opened, nil
		}
	}
	// The database is open when the first connection has been made, which starts to ship. A connector in a wrapper that Driver looks
	// through may be another than the one that connects.
	return databaseConnected(ctx, db, c)
}

// databaseConnected connects a *sql.DB and finds its database.
func databaseConnected(ctx context.Context, db *sql.DB, c *connector) (*run, *database, error) {
	if err := db.PingContext(ctx); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	opened := c.db
	c.mu.Unlock()
	var err error
	if opened == nil {
		if opened, err = databaseBehind(ctx, db); err != nil {
			return nil, nil, err
		}
	}
	r, err := opened.running()
	return r, opened, err
}

// databaseBehind asks a connection, through whatever wraps it and the driver.
func databaseBehind(ctx context.Context, db *sql.DB) (*database, error) {
	var handle uint64
	err := db.QueryRowContext(ctx, "PRAGMA seawal_handle").Scan(&handle)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%w: no connection of seawal's driver is behind the *sql.DB (its driver is %T), or it was opened without _replica",
			ErrNotReplicated, db.Driver())
	}
	if err != nil {
		return nil, fmt.Errorf("asking a connection for its database: %w", err)
	}
	if d := databaseByHandle(handle); d != nil {
		return d, nil
	}
	return nil, sql.ErrConnDone
}

// Position returns the position of everything that was committed before the call, by any connection of any
// process. It waits until the replica has been reached once, since only the replica
// knows the number of the transaction that came last. Of several replicas it is the first one's.
func Position(ctx context.Context, db *sql.DB) (Pos, error) {
	r, _, err := databaseFor(ctx, db)
	if err != nil {
		return Pos{}, err
	}
	return r.position(ctx)
}

// Wait returns when everything up to pos is durable: stored by the replica, or by as many of several as Config.WaitFor says. It rides the cadence of the
// shipper; Flush ships at once. Its errors are an ErrNotDurable: when ctx ends first, the transactions are
// committed locally and their replication is unknown. ErrFenced, too: they will never be replicated from here.
func Wait(ctx context.Context, db *sql.DB, pos Pos) error {
	r, _, err := databaseFor(ctx, db)
	if err != nil {
		return err
	}
	return asked(r.wait(ctx, pos))
}

// asked makes what Wait and Flush return an ErrNotDurable.
func asked(err error) error {
	if err == nil {
		return nil
	}
	return &notDurable{reason: err, asked: true}
}

// Flush ships what was committed before the call, by whatever process, now, and waits until it is durable. Its errors are Wait's.
func Flush(ctx context.Context, db *sql.DB) error {
	r, _, err := databaseFor(ctx, db)
	if err != nil {
		return err
	}
	return asked(r.flush(ctx))
}

// Status tells how the replication of the database is going. It never waits for the store: the mode is "opening" while the database is restored or
// rolled forward before it is opened.
func Status(ctx context.Context, db *sql.DB) (Stat, error) {
	if d, ok := db.Driver().(*connectorDriver); ok {
		if st, ok := (*connector)(d).status(ctx); ok {
			return st, nil
		}
	}
	_, d, err := databaseFor(ctx, db)
	if err != nil {
		return Stat{}, err
	}
	return d.status()
}

// Databases is the Stat of every database that this process replicates, in the order of their paths. It never waits
// for a store.
func Databases() []Stat {
	databases.Lock() // with it no tap is freed
	defer databases.Unlock()
	var all []Stat
	for _, path := range slices.Sorted(maps.Keys(databases.byPath)) {
		if st, err := databases.byPath[path].status(); err == nil { // else nothing ships any more, or yet
			all = append(all, st)
		}
	}
	return all
}
