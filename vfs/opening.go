//go:build cgo

package vfs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"seawal/shipper"
	"seawal/store"
)

// opening is the first connection's work on a database: it may be restored, or rolled forward, for hours. It belongs to the
// connector and not to who asked first, whose context may end long before: then it goes on, and the next one waits for it too.
type opening struct {
	done   chan struct{} // closed at its end
	cancel context.CancelFunc

	mu   sync.Mutex
	last store.Failure // of the store; zero: none
	at   time.Time     // of it

	err error // valid once done
}

// failed remembers a failure of the store, for Status.
func (o *opening) failed(f store.Failure) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last, o.at = f, time.Now()
}

// failed passes on what the store says while the database is being opened.
func (t target) failed(f store.Failure) {
	if t.onError != nil {
		t.onError(f)
	}
}

// closeWait is how long closing a *sql.DB waits for an opening that it has cancelled. A store that hears no context may take longer: then
// nobody waits for it, and it ends by itself.
const closeWait = time.Second

// beginLocked starts to open the database, or finds that somebody has. The caller holds c.mu.
func (c *connector) beginLocked(ctx context.Context) *opening {
	if c.opening != nil {
		return c.opening
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o := &opening{done: make(chan struct{}), cancel: cancel}
	c.opening = o
	go func() {
		defer cancel()
		db, err := c.openNow(ctx, o)
		c.mu.Lock()
		c.opening = nil
		late := c.closed && db != nil
		if err == nil && !late {
			if c.number == 0 {
				c.number = ownersMade.Add(1)
				owners.Store(c.number, c)
			}
			c.db, c.ended = db, nil
		}
		c.mu.Unlock()
		if late {
			err = errors.Join(sql.ErrConnDone, db.release())
		}
		o.err = err
		close(o.done)
	}()
	return o
}

func (c *connector) openNow(ctx context.Context, o *opening) (*database, error) {
	name := DriverName
	if lower := c.target.cfg.VFS; lower != "" {
		name += "-" + lower
	}
	if err := registerShim(name, c.target.cfg.VFS); err != nil {
		return nil, err
	}
	t := c.target
	t.onError = o.failed
	return openDatabase(ctx, t, name)
}

// open takes the connector's reference to its database, and one more for the caller: Close may come
// before the connection is made.
func (c *connector) open(ctx context.Context) (*database, error) {
	for {
		c.mu.Lock()
		if c.closed {
			c.mu.Unlock()
			return nil, sql.ErrConnDone
		}
		if db := c.db; db != nil {
			defer c.mu.Unlock()
			c.connecting++
			db.retain(c.target.query.Get("mode"))
			return db, nil
		}
		o := c.beginLocked(ctx)
		c.mu.Unlock()
		select {
		case <-o.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s is still being opened: %w", c.target.path, ctx.Err())
		}
		if o.err != nil {
			return nil, o.err
		}
	}
}

// status is what can be said of a database that is still being opened; ok is false when it isn't.
func (c *connector) status(ctx context.Context) (st Stat, ok bool) {
	c.mu.Lock()
	o := c.opening
	c.mu.Unlock()
	if o == nil {
		return st, false
	}
	soon := time.NewTimer(statusWait)
	defer soon.Stop()
	select {
	case <-o.done:
		return st, false
	case <-soon.C:
	case <-ctx.Done():
	}
	st.Database, st.Mode = c.target.path, modeOpening
	st.Health = Health{Word: shipper.WordBehind, Sentence: "the database is restored from its replica, or compared with it, before it is opened"}
	if urls, err := c.target.cfg.replicas(); err == nil {
		st.Replica = store.Redact(urls[0])
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last.Err != nil {
		st.LastError, st.LastErrorTime = o.last.Err.Error(), o.at
	}
	return st, true
}

// modeOpening is Stat.Mode while the database is restored, rolled forward, or compared with its replica before it is opened.
const modeOpening = "opening"

// statusWait is how long Status waits for a database that is being opened: nearly all are open by then.
const statusWait = 100 * time.Millisecond
