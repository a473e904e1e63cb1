package crashtest

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// schema: every transaction writes the items of one group, the row of the group with their checksum, and a
// row of hist. hist is never changed: its chain names all that was committed up to
// a transaction, so that two databases with the same last row have had the same past.
const schema = `
CREATE TABLE IF NOT EXISTS item(id INTEGER PRIMARY KEY, grp INTEGER, seq INTEGER, body BLOB);
CREATE INDEX IF NOT EXISTS item_grp ON item(grp, seq);
CREATE TABLE IF NOT EXISTS grp(id INTEGER PRIMARY KEY, n INTEGER, sum INTEGER);
CREATE TABLE IF NOT EXISTS hist(t INTEGER PRIMARY KEY, chain INTEGER, nonce INTEGER, grp INTEGER, n INTEGER, sum INTEGER);`

// querier is a connection, so that what is asked for in a transaction is asked for in it.
type querier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	QueryRowContext(context.Context, string, ...any) *sql.Row
}

// book is what a database holds: the chain after each transaction; the index is T-1.
type book []int64

// last is the last transaction; 0 when there is none.
func (b book) last() int64 { return int64(len(b)) }

// has says that the history of b leads through transaction t with that chain.
func (b book) has(t, chain int64) bool { return t == 0 || t <= b.last() && b[t-1] == chain }

// head is the chain of the last transaction.
func (b book) head() int64 {
	if len(b) == 0 {
		return 0
	}
	return b[len(b)-1]
}

// link is the chain after a transaction.
func link(before, nonce, grp, n, sum int64) int64 {
	h := fnv.New64a()
	for _, v := range []int64{before, nonce, grp, n, sum} {
		_ = binary.Write(h, binary.LittleEndian, v) // a hash never fails
	}
	return int64(h.Sum64())
}

// lastOf is the last transaction of a database and its chain.
func lastOf(ctx context.Context, q querier) (t, chain int64, err error) {
	err = q.QueryRowContext(ctx, "SELECT t, chain FROM hist ORDER BY t DESC LIMIT 1").Scan(&t, &chain)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, 0, nil
	}
	return t, chain, err
}

// sumOf counts the items of a group and adds them up.
func sumOf(ctx context.Context, q querier, grp int64) (n, sum int64, err error) {
	rows, err := q.QueryContext(ctx, "SELECT seq, body FROM item WHERE grp=? ORDER BY seq", grp)
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	h := fnv.New64a()
	for rows.Next() {
		var seq int64
		var body sql.RawBytes
		if err := rows.Scan(&seq, &body); err != nil {
			return 0, 0, err
		}
		fmt.Fprintf(h, "%d:%d:", seq, len(body))
		h.Write(body)
		n++
	}
	return n, int64(h.Sum64()), rows.Err()
}

// group is a row of grp or hist.
type group struct{ n, sum int64 }

// read checks a database and returns its book. q must be in a read transaction
// unless nobody writes.
func read(ctx context.Context, q querier) (book, error) {
	var verdict string
	if err := q.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil {
		return nil, fmt.Errorf("integrity_check: %w", err)
	}
	if verdict != "ok" {
		return nil, fmt.Errorf("integrity_check: %s", verdict)
	}
	var tables int
	if err := q.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name='hist'").Scan(&tables); err != nil {
		return nil, err
	}
	if tables == 0 {
		return nil, nil
	}
	b, want, err := readHist(ctx, q)
	if err != nil {
		return nil, err
	}
	have, err := readGroups(ctx, q)
	if err != nil {
		return nil, err
	}
	for id, g := range want {
		if have[id] != g {
			return nil, fmt.Errorf("group %d is %v, the last transaction that wrote it left %v", id, have[id], g)
		}
		n, sum, err := sumOf(ctx, q, id)
		if err != nil {
			return nil, err
		}
		if n != g.n || sum != g.sum {
			return nil, fmt.Errorf("group %d has %d items with the sum %x, want %d with %x: a transaction is torn", id, n, sum, g.n, g.sum)
		}
	}
	var items, counted int64
	if err := q.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM item), (SELECT ifnull(sum(n), 0) FROM grp)").Scan(&items, &counted); err != nil {
		return nil, err
	}
	if items != counted || len(have) != len(want) {
		return nil, fmt.Errorf("%d items and %d groups, want %d and %d", items, len(have), counted, len(want))
	}
	return b, nil
}

func readHist(ctx context.Context, q querier) (book, map[int64]group, error) {
	rows, err := q.QueryContext(ctx, "SELECT t, chain, nonce, grp, n, sum FROM hist ORDER BY t")
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var b book
	want := map[int64]group{}
	for rows.Next() {
		var t, chain, nonce, id int64
		var g group
		if err := rows.Scan(&t, &chain, &nonce, &id, &g.n, &g.sum); err != nil {
			return nil, nil, err
		}
		if t != b.last()+1 {
			return nil, nil, fmt.Errorf("transaction %d follows %d", t, b.last())
		}
		if c := link(b.head(), nonce, id, g.n, g.sum); c != chain {
			return nil, nil, fmt.Errorf("transaction %d has the chain %x, want %x", t, chain, c)
		}
		b, want[id] = append(b, chain), g
	}
	return b, want, rows.Err()
}

func readGroups(ctx context.Context, q querier) (map[int64]group, error) {
	rows, err := q.QueryContext(ctx, "SELECT id, n, sum FROM grp")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	have := map[int64]group{}
	for rows.Next() {
		var id int64
		var g group
		if err := rows.Scan(&id, &g.n, &g.sum); err != nil {
			return nil, err
		}
		have[id] = g
	}
	return have, rows.Err()
}

// readFile checks a database file with the plain driver.
func readFile(ctx context.Context, path string) (b book, err error) {
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if b, err = read(ctx, db); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}
