package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/reliability"
	"seawal/restore"
)

// script is something that applications do with go-sqlite3. What it says is compared between the drivers.
type script struct {
	name string
	run  func(*transcript)
}

// transcript is what the calls of a script returned under one driver.
type transcript struct {
	t      *testing.T
	place  place
	driver string
	lines  []string
}

// open opens the database of the script, or a file beside it.
func (tr *transcript) open(file, params string) *sql.DB {
	tr.t.Helper()
	path, replica := tr.place.path, tr.place.replica
	if file != "" {
		path, replica = filepath.Join(filepath.Dir(path), file), replica+"-"+file
	}
	if tr.driver == "seawal" {
		params += "&_ship_interval=5ms&_replica=" + url.QueryEscape(replica)
	}
	db, err := sql.Open(tr.driver, "file:"+path+"?"+params)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { db.Close() })
	return db
}

// say notes a result. The folder of the test is no part of it.
func (tr *transcript) say(what string, values ...any) {
	line := what + ":" + strings.TrimSuffix(fmt.Sprintln(values...), "\n")
	tr.lines = append(tr.lines, strings.ReplaceAll(line, filepath.Dir(tr.place.path), "DIR"))
}

func (tr *transcript) exec(db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, query string, args ...any) {
	res, err := db.ExecContext(tr.t.Context(), query, args...)
	if err != nil {
		tr.say(query, err)
		return
	}
	id, _ := res.LastInsertId()
	n, _ := res.RowsAffected()
	tr.say(query, id, n)
}

func (tr *transcript) query(db interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
}, query string, args ...any) {
	var v any
	err := db.QueryRowContext(tr.t.Context(), query, args...).Scan(&v)
	if b, ok := v.([]byte); ok {
		v = string(b)
	}
	tr.say(query, v, err)
}

// raw hands out the connection as go-sqlite3 made it.
func (tr *transcript) raw(c *sql.Conn, f func(*sqlite3.SQLiteConn) error) {
	err := c.Raw(func(raw any) error {
		conn, ok := raw.(*sqlite3.SQLiteConn)
		if !ok {
			return fmt.Errorf("the connection is a %T", raw)
		}
		return f(conn)
	})
	tr.say("raw", err)
}

func (tr *transcript) conn(db *sql.DB) *sql.Conn {
	tr.t.Helper()
	c, err := db.Conn(tr.t.Context())
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { c.Close() })
	return c
}

func (tr *transcript) close(db *sql.DB) { tr.say("close", db.Close()) }

const table = "CREATE TABLE t(a INTEGER PRIMARY KEY, b)"

var scripts = []script{
	{"functions and hooks", func(tr *transcript) {
		db := tr.open("", "_journal_mode=WAL")
		c := tr.conn(db)
		veto := 0
		tr.raw(c, func(conn *sqlite3.SQLiteConn) error {
			conn.RegisterUpdateHook(func(op int, name, table string, row int64) { tr.say("update", op, name, table, row) })
			conn.RegisterCommitHook(func() int { tr.say("commit"); return veto })
			conn.RegisterRollbackHook(func() { tr.say("rollback") })
			return conn.RegisterFunc("twice", func(v int64) int64 { return 2 * v }, true)
		})
		tr.exec(c, table)
		tr.exec(c, "INSERT INTO t(b) VALUES(twice(21))")
		tr.exec(c, "BEGIN")
		tr.exec(c, "UPDATE t SET b=twice(b)")
		tr.exec(c, "ROLLBACK")
		veto = 1
		tr.exec(c, "INSERT INTO t(b) VALUES('vetoed')")
		veto = 0
		tr.exec(c, "INSERT INTO t(b) VALUES(randomblob(10000))")
		tr.query(c, "SELECT count(*)||b FROM t WHERE a=1")
		c.Close()
		tr.close(db)
	}},
	{"serialize and deserialize", func(tr *transcript) {
		db := tr.open("", "")
		c := tr.conn(db)
		tr.exec(c, table)
		tr.exec(c, "INSERT INTO t(b) VALUES('kept')")
		tr.raw(c, func(conn *sqlite3.SQLiteConn) error {
			b, err := conn.Serialize("main")
			if err != nil {
				return err
			}
			tr.say("serialized", len(b))
			return conn.Deserialize(b, "main")
		})
		tr.exec(c, "INSERT INTO t(b) VALUES('in memory from now on')")
		tr.query(c, "SELECT count(*) FROM t")
		c.Close()
		tr.close(db)
	}},
	{"extensions", func(tr *transcript) {
		db := tr.open("", "")
		c := tr.conn(db)
		tr.exec(c, table)
		tr.query(c, "SELECT load_extension('nowhere')")
		tr.raw(c, func(conn *sqlite3.SQLiteConn) error {
			if err := conn.LoadExtension("nowhere", "entry"); err == nil {
				return errors.New("an extension that is nowhere was loaded")
			}
			return nil
		})
		c.Close()
		tr.close(db)
	}},
	{"prepared statements", func(tr *transcript) {
		db := tr.open("", "_journal_mode=WAL&_stmt_cache_size=4")
		tr.exec(db, table)
		for range 2 { // the second time after the schema has changed
			s, err := db.Prepare("INSERT INTO t(b) VALUES(?) RETURNING a")
			if err != nil {
				tr.t.Fatal(err)
			}
			for i := range 20 {
				var a int
				tr.say("inserted", s.QueryRow(strings.Repeat("x", i*100)).Scan(&a), a)
			}
			tr.exec(db, "CREATE INDEX IF NOT EXISTS i ON t(b)")
			var a int
			tr.say("once more", s.QueryRow("y").Scan(&a), a)
			s.Close()
		}
		tr.close(db)
	}},
	{"nothing but memory", func(tr *transcript) {
		db := tr.open("", "")
		c := tr.conn(db)
		tr.exec(c, table)
		tr.exec(c, "CREATE TEMP TABLE x(y)")
		tr.exec(c, "INSERT INTO x VALUES(1)")
		tr.exec(c, "ATTACH ':memory:' AS m")
		tr.exec(c, "CREATE TABLE m.t AS SELECT 1 AS a")
		tr.exec(c, "ATTACH '' AS nameless")
		tr.exec(c, "CREATE TABLE nameless.t AS SELECT 1 AS a")
		tr.exec(c, "INSERT INTO main.t(b) SELECT a FROM m.t")
		tr.query(c, "SELECT count(*) FROM main.t")
		c.Close()
		tr.close(db)
	}},
	{"a second file", func(tr *transcript) {
		db := tr.open("", "_journal_mode=WAL")
		other := tr.open("other.db", "_journal_mode=WAL")
		tr.exec(other, table)
		c := tr.conn(db)
		tr.exec(c, table)
		path := filepath.Join(filepath.Dir(tr.place.path), "other.db")
		if tr.driver == "seawal" {
			path = "file:" + path + "?vfs=seawal"
		}
		if _, err := c.ExecContext(tr.t.Context(), "ATTACH ? AS o", path); err != nil {
			tr.t.Fatal(err)
		}
		tr.exec(c, "BEGIN")
		tr.exec(c, "INSERT INTO main.t(b) VALUES(1)")
		tr.exec(c, "INSERT INTO o.t(b) VALUES(2)")
		tr.exec(c, "COMMIT")
		tr.query(other, "SELECT count(*) FROM t")
		c.Close()
		tr.close(db)
		tr.close(other)
	}},
	{"openings that may not write", func(tr *transcript) {
		db := tr.open("", "")
		tr.exec(db, table)
		tr.exec(db, "INSERT INTO t(b) VALUES(1)")
		tr.close(db)
		for _, params := range []string{"mode=ro", "immutable=1", "_query_only=1", "mode=ro&immutable=1"} {
			db := tr.open("", params)
			tr.query(db, "SELECT b FROM t")
			tr.exec(db, "INSERT INTO t(b) VALUES('"+params+"')")
			tr.close(db)
		}
		db = tr.open("", "nolock=1")
		tr.query(db, "SELECT b FROM t")
		tr.exec(db, "INSERT INTO t(b) VALUES(2)")
		tr.exec(db, "PRAGMA journal_mode=WAL")
		tr.exec(db, "INSERT INTO t(b) VALUES(3)")
		tr.close(db)
		db = tr.open("missing.db", "mode=ro")
		tr.say("missing", db.Ping())
		tr.close(db)
	}},
	{"shared cache", func(tr *transcript) {
		db := tr.open("", "cache=shared&_journal_mode=WAL")
		tr.exec(db, table)
		tx, err := db.Begin()
		if err != nil {
			tr.t.Fatal(err)
		}
		tr.exec(tx, "INSERT INTO t(b) VALUES(1)")
		tr.query(db, "SELECT count(*) FROM t") // locked: by the table's lock, in the cache
		tr.say("commit", tx.Commit())
		tr.query(db, "SELECT count(*) FROM t")
		tr.close(db)
	}},
}

// What applications do returns what it returns with the plain driver, and what is written is in the replica.
func TestStackIsUnchanged(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var said [2][]string
			for i, driver := range []string{"sqlite3", "seawal"} {
				tr := &transcript{t: t, place: newPlace(t), driver: driver}
				s.run(tr)
				said[i] = tr.lines
				if driver == "seawal" {
					tr.place.same(tr.place.path, tr.place.restore(restore.Newest()))
				}
			}
			plain, got := strings.Join(said[0], "\n"), strings.Join(said[1], "\n")
			if plain != got {
				t.Errorf("the plain driver:\n%s\nseawal:\n%s", plain, got)
			}
			reliability.Record(t, reliability.Fault{Group: reliability.Use, Name: "hooks, functions, statements, attached, temporary and read-only databases",
				How: "the same calls with both drivers; every result has to be the same, and the replica the file"}, len(said[1]), 0)
		})
	}
}

// A pool that keeps no connection, connections that live for milliseconds, and contexts that end in the middle of
// statements and transactions: what was committed is what is in the file, and in the replica.
func TestStackPoolUnderCancellation(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			db := p.at("_journal_mode=" + mode + "&_busy_timeout=20000&_txlock=immediate&_ship_interval=5ms")
			defer db.Close()
			db.SetMaxIdleConns(0)
			db.SetConnMaxLifetime(2 * time.Millisecond)
			mustExec(t, db, table)
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() { cancelAtRandom(t, db, rand.New(rand.NewPCG(1, uint64(i)))) })
			}
			wg.Wait()
			// A transaction has both of its rows, or none.
			if n := one(t, db, "SELECT count(*) FROM (SELECT b, count(*) AS n FROM t GROUP BY b HAVING n<>2)"); n != "0" {
				t.Errorf("%s transactions are there by half", n)
			}
			sameRows(t, p, db)
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			p.same(p.path, p.restore(restore.Newest()))
			reliability.Record(t, reliability.Fault{Group: reliability.Use, Name: "a pool without idle connections whose contexts are cancelled",
				How: "8 goroutines, contexts that end in the middle of statements and transactions; no transaction by half, and the replica is the file"}, 8*25, 0)
		})
	}
}

// cancelAtRandom makes transactions of two rows with the same text. Errors are those of the context.
func cancelAtRandom(t *testing.T, db *sql.DB, r *rand.Rand) {
	for range 25 {
		ctx, cancel := context.WithCancel(t.Context())
		go func(d time.Duration) { // races with what follows: before, in and after it
			time.Sleep(d)
			cancel()
		}(time.Duration(r.IntN(8000)) * time.Microsecond)
		err := twoRows(ctx, db, fmt.Sprint(r.Uint64()))
		cancel()
		if err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
}

func twoRows(ctx context.Context, db *sql.DB, text string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing after Commit
	if _, err := tx.ExecContext(ctx, "INSERT INTO t(b) VALUES(?)", text); err != nil {
		return err
	}
	var n int
	long := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<30000) SELECT count(*) FROM n"
	if err := tx.QueryRowContext(ctx, long).Scan(&n); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO t(b) VALUES(?)", text); err != nil {
		return err
	}
	return tx.Commit()
}
