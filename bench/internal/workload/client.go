package workload

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"sync"
)

// operation is what is timed: one transaction, one read, one request.
type operation func(ctx context.Context) error

// client is a connection with its prepared statements. It belongs to one goroutine.
type client struct {
	conn  *sql.Conn
	rng   *rand.Rand
	text  *text
	spec  Spec
	stmts []*sql.Stmt
	op    operation // once it was asked for
	now   int64     // counts up in place of a clock, so that both designs write the same bytes

	// write is what the clients of an application have to write one at a time: SQLite has one writer, and
	// waiting for it in a busy handler's sleeps would measure those.
	write *sync.Mutex
}

// newClient takes a connection out of the pool and sets it up.
func newClient(ctx context.Context, db *sql.DB, s Spec, seed uint64, write *sync.Mutex) (*client, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, rng: rand.New(rand.NewPCG(seed, 1)), text: newText(rand.NewPCG(seed, 2)), spec: s, write: write}
	// Not a DSN parameter of go-sqlite3.
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA mmap_size=%d", s.mmapSize())); err != nil {
		conn.Close()
		return nil, fmt.Errorf("setting mmap_size: %w", err)
	}
	return c, nil
}

func (c *client) close() {
	for _, s := range c.stmts {
		s.Close()
	}
	c.conn.Close()
}

// prepare keeps a statement until close.
func (c *client) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	s, err := c.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("preparing %q: %w", query, err)
	}
	c.stmts = append(c.stmts, s)
	return s, nil
}

// prepareAll prepares several statements into the places given.
func (c *client) prepareAll(ctx context.Context, queries map[**sql.Stmt]string) error {
	for dst, q := range queries {
		s, err := c.prepare(ctx, q)
		if err != nil {
			return err
		}
		*dst = s
	}
	return nil
}

// operation returns what this client does over and over.
func (c *client) operation(ctx context.Context) (operation, error) {
	switch c.spec.kind {
	case insertRows:
		return c.inserts(ctx)
	case updateRandom, outage:
		return c.updates(ctx)
	case readPoint:
		return c.reads(ctx)
	case webMix:
		return c.requests(ctx)
	}
	return nil, fmt.Errorf("workload %s has no operation", c.spec.Name)
}

const insertEvent = "INSERT INTO event(item, at, body) VALUES(?, ?, ?)"

// inserts appends rows, Spec.rows in a transaction; one row is an autocommit.
func (c *client) inserts(ctx context.Context) (operation, error) {
	var insert, begin, commit *sql.Stmt
	err := c.prepareAll(ctx, map[**sql.Stmt]string{&insert: insertEvent, &begin: "BEGIN IMMEDIATE", &commit: "COMMIT"})
	if err != nil {
		return nil, err
	}
	one := func(ctx context.Context) error {
		c.now++
		_, err := insert.ExecContext(ctx, c.rng.IntN(c.spec.template.rows), c.now, c.text.next(120))
		return err
	}
	if c.spec.rows == 1 {
		return one, nil
	}
	return func(ctx context.Context) error {
		if _, err := begin.ExecContext(ctx); err != nil {
			return err
		}
		for range c.spec.rows {
			if err := one(ctx); err != nil {
				return err
			}
		}
		_, err := commit.ExecContext(ctx)
		return err
	}, nil
}

// updates changes a number and a part of the text of a random row.
func (c *client) updates(ctx context.Context) (operation, error) {
	update, err := c.prepare(ctx, "UPDATE item SET stock=stock-1, body=?||substr(body, 41) WHERE id=?")
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := update.ExecContext(ctx, c.text.next(40), c.rng.IntN(c.spec.template.rows))
		return err
	}, nil
}

// reads looks up a random row.
func (c *client) reads(ctx context.Context) (operation, error) {
	query, err := c.prepare(ctx, "SELECT body FROM item WHERE id=?")
	if err != nil {
		return nil, err
	}
	var body sql.RawBytes
	return func(ctx context.Context) error {
		rows, err := query.QueryContext(ctx, c.rng.IntN(c.spec.template.rows))
		if err != nil {
			return err
		}
		for rows.Next() {
			if err := rows.Scan(&body); err != nil {
				rows.Close()
				return err
			}
		}
		return rows.Close()
	}, nil
}

// buyShare is the part of a web application's requests that write.
const buyShare = 0.2

// requests are those of a shop: looking around, and buying.
func (c *client) requests(ctx context.Context) (operation, error) {
	var w web
	err := c.prepareAll(ctx, map[**sql.Stmt]string{
		&w.account:  "SELECT name, seen FROM account WHERE id=?",
		&w.item:     "SELECT price, body FROM item WHERE id=?",
		&w.orders:   "SELECT p.id, p.at, i.price FROM purchase p JOIN item i ON i.id=p.item WHERE p.account=? ORDER BY p.at DESC LIMIT 20",
		&w.begin:    "BEGIN IMMEDIATE",
		&w.take:     "UPDATE item SET stock=stock-1 WHERE id=?",
		&w.purchase: "INSERT INTO purchase(account, item, at, note) VALUES(?, ?, ?, ?)",
		&w.touch:    "UPDATE account SET seen=?, orders=orders+1 WHERE id=?",
		&w.commit:   "COMMIT",
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		account := c.rng.IntN(c.spec.template.accounts())
		if c.rng.Float64() < buyShare {
			return w.buy(ctx, c, account)
		}
		return w.look(ctx, c, account)
	}, nil
}

// web holds the statements of the web application.
type web struct {
	account, item, orders                *sql.Stmt
	begin, take, purchase, touch, commit *sql.Stmt
}

// look reads an account, its last orders and three items.
func (w *web) look(ctx context.Context, c *client, account int) error {
	if err := drainRows(w.account.QueryContext(ctx, account)); err != nil {
		return err
	}
	if err := drainRows(w.orders.QueryContext(ctx, account)); err != nil {
		return err
	}
	for range 3 {
		if err := drainRows(w.item.QueryContext(ctx, c.rng.IntN(c.spec.template.rows))); err != nil {
			return err
		}
	}
	return nil
}

// buy is a transaction on three tables.
func (w *web) buy(ctx context.Context, c *client, account int) error {
	c.now++
	item, note := c.rng.IntN(c.spec.template.rows), c.text.next(60)
	c.write.Lock()
	defer c.write.Unlock()
	for _, step := range []struct {
		stmt *sql.Stmt
		args []any
	}{
		{w.begin, nil},
		{w.take, []any{item}},
		{w.purchase, []any{account, item, c.now, note}},
		{w.touch, []any{c.now, account}},
		{w.commit, nil},
	} {
		if _, err := step.stmt.ExecContext(ctx, step.args...); err != nil {
			return err
		}
	}
	return nil
}

// drainRows steps through the rows, which is where SQLite does the work.
func drainRows(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	if err := rows.Err(); err != nil {
		rows.Close()
		return err
	}
	return rows.Close()
}
