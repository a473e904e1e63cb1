package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// A remoteWay is a way to commit one row of table t.
type remoteWay struct {
	name   string
	commit func(ctx context.Context, c *sql.Conn) error
	rows   int  // that are there afterwards
	asText bool // the error has its text and no code
}

func execWay(queries ...string) func(context.Context, *sql.Conn) error {
	return func(ctx context.Context, c *sql.Conn) error {
		for i, q := range queries {
			if _, err := c.ExecContext(ctx, q); err != nil {
				if i < len(queries)-1 {
					err = fmt.Errorf("%s: %w", q, errors.Join(errEarly, err))
				}
				return err
			}
		}
		return nil
	}
}

// errEarly: a statement before the one that commits has failed.
var errEarly = errors.New("before the commit")

// cancellable calls a way with a context that could end.
func cancellable(commit func(context.Context, *sql.Conn) error) func(context.Context, *sql.Conn) error {
	return func(ctx context.Context, c *sql.Conn) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return commit(ctx, c)
	}
}

const remoteRow = "INSERT INTO t(b) VALUES(1)"

func remoteWays() []remoteWay {
	withArgs := func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, "INSERT INTO t(b) VALUES(?)", 1)
		return err
	}
	prepared := func(ctx context.Context, c *sql.Conn) error {
		st, err := c.PrepareContext(ctx, "INSERT INTO t(b) VALUES(?)")
		if err != nil {
			return errors.Join(errEarly, err)
		}
		defer st.Close()
		if _, err := st.ExecContext(ctx, 1); !vfs.IsNotDurable(err) {
			return err
		}
		_, err = st.ExecContext(ctx, 2) // it can be used again
		return err
	}
	inTx := func(ctx context.Context, c *sql.Conn) error {
		tx, err := c.BeginTx(ctx, nil)
		if err != nil {
			return errors.Join(errEarly, err)
		}
		if _, err := tx.ExecContext(ctx, remoteRow); err != nil {
			return errors.Join(errEarly, err)
		}
		return tx.Commit()
	}
	returning := func(ctx context.Context, c *sql.Conn, read bool) error {
		rows, err := c.QueryContext(ctx, "INSERT INTO t(b) VALUES(1), (2) RETURNING a")
		if err != nil {
			return err
		}
		for read && rows.Next() {
		}
		return errors.Join(rows.Err(), rows.Close())
	}
	reading := func(ctx context.Context, c *sql.Conn) error {
		rows, err := c.QueryContext(ctx, "SELECT a FROM t UNION ALL SELECT 1 UNION ALL SELECT 2")
		if err != nil || !rows.Next() {
			return errors.Join(errEarly, err, rows.Err())
		}
		_, failed := c.ExecContext(ctx, remoteRow)
		n := 1
		for rows.Next() {
			n++
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil || n < 3 {
			return fmt.Errorf("the statement that was running: %d rows, %w", n, errors.Join(errEarly, err))
		}
		return failed
	}
	return []remoteWay{
		{"Exec", execWay(remoteRow), 1, false},
		{"ExecContext", cancellable(execWay(remoteRow)), 1, false},
		{"arguments", withArgs, 1, false},
		{"arguments and a context", cancellable(withArgs), 1, false},
		{"prepared", prepared, 2, false},
		{"COMMIT", execWay("BEGIN", remoteRow, "COMMIT"), 1, false},
		{"COMMIT and a context", cancellable(execWay("BEGIN IMMEDIATE", remoteRow, "COMMIT")), 1, false},
		{"END", execWay("BEGIN", remoteRow, "END"), 1, false},
		{"Commit", inTx, 1, false},
		{"Commit and a context", cancellable(inTx), 1, false},
		{"several statements", execWay("BEGIN; " + remoteRow + "; COMMIT"), 1, false},
		{"RETURNING to the end", func(ctx context.Context, c *sql.Conn) error { return returning(ctx, c, true) }, 2, false},
		{"RETURNING to the end and a context", cancellable(func(ctx context.Context, c *sql.Conn) error { return returning(ctx, c, true) }), 2, false},
		{"RETURNING closed early", func(ctx context.Context, c *sql.Conn) error { return returning(ctx, c, false) }, 2, false},
		{"RETURNING of a row", cancellable(func(ctx context.Context, c *sql.Conn) error {
			var a int
			return c.QueryRowContext(ctx, "INSERT INTO t(b) VALUES(1) RETURNING a").Scan(&a)
		}), 1, false},
		{"another statement is running", reading, 1, false},
		{"schema", execWay("CREATE TABLE IF NOT EXISTS u(x)"), 0, false},
		{"schema and rows", execWay("BEGIN; DROP TABLE u; "+remoteRow, "COMMIT"), 1, false},
		{"virtual tables", execWay("BEGIN; CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES(1, 2, 3); "+remoteRow, "COMMIT"), 1, false},
		{"a virtual table", execWay("INSERT INTO r VALUES(2, 3, 4)"), 0, false},
		{"many pages", execWay("INSERT INTO t(b) VALUES(zeroblob(3000000))"), 1, false},
		{"DELETE and VACUUM", func(ctx context.Context, c *sql.Conn) error {
			if err := execWay("DELETE FROM t WHERE length(b)>1000000")(ctx, c); !vfs.IsNotDurable(err) {
				return err
			}
			return execWay("VACUUM")(ctx, c)
		}, -1, false},
	}
}

// releaseWays commit with a RELEASE, of which a rollback journal mode can't tell what became.
func releaseWays() []remoteWay {
	release := execWay("SAVEPOINT s", remoteRow, " -- to the end\n/* of it */ release s")
	return []remoteWay{
		{"RELEASE", release, 1, false},
		{"RELEASE and a context", cancellable(release), 1, true},
	}
}

// remoteModes are what the result of a commit may go by.
var remoteModes = []struct {
	name, params string
	rollback     bool
}{
	{"wal", "_journal_mode=WAL", false},
	{"full", "_journal_mode=WAL&_synchronous=FULL", false},
	{"app", "_journal_mode=WAL&_checkpoint=app", false},
	{"wal exclusive", "_journal_mode=WAL&_locking_mode=EXCLUSIVE", false},
	{"shared", "_journal_mode=WAL&cache=shared", false},
	{"delete", "_journal_mode=DELETE", true},
	{"truncate", "_journal_mode=TRUNCATE", true},
	{"persist", "_journal_mode=PERSIST", true},
	{"memory", "_journal_mode=MEMORY", true},
	{"off", "_journal_mode=OFF", true},
	{"delete exclusive", "_journal_mode=DELETE&_locking_mode=EXCLUSIVE", true},
	{"delete shared", "_journal_mode=DELETE&cache=shared", true},
}

// openIn opens the database in a mode of its own.
func (b *badPlace) openIn(params string) *sql.DB {
	b.t.Helper()
	db, err := sql.Open(b.driver, "file:"+b.path+"?_busy_timeout=60000&_replica="+b.replica+"&"+params)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { db.Close() }) // closed already unless the test has failed
	return db
}

func connOf(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// value is what a query returns on a connection.
func value(t *testing.T, c *sql.Conn, query string) (v string) {
	t.Helper()
	if err := c.QueryRowContext(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// In an outage no way to commit returns nil in any mode; all that the error says is true, and nothing else has happened to the database
// or the connection.
func TestRemoteCommitInAnOutageIsAnError(t *testing.T) {
	told := 0
	for _, mode := range remoteModes {
		t.Run(mode.name, func(t *testing.T) {
			b := newBadPlace(t)
			b.driver = hasty
			create(t, b.path, 4096)
			db := b.openIn(mode.params + "&_durability=remote&_durability_timeout=15ms")
			c := connOf(t, db)
			flush(t, db)
			b.faults.SetRules(faultstore.When(faultstore.Always(), faultstore.Fail(errReset)))
			ways := remoteWays()
			if !mode.rollback && !strings.Contains(mode.params, "shared") {
				ways = append(ways, releaseWays()...)
			}
			for _, w := range ways {
				before, _ := count(t, c)
				err := w.commit(context.Background(), c) // which can't end: go-sqlite3 has a shorter way then
				if !vfs.IsNotDurable(err) || errors.Is(err, errEarly) || errors.Is(err, vfs.ErrNotDurable) == w.asText {
					t.Errorf("%s: %v", w.name, err)
					continue
				}
				told++
				if n, _ := count(t, c); n-before != w.rows {
					t.Errorf("%s: %d rows were committed, want %d", w.name, n-before, w.rows)
				}
				if got := value(t, c, "PRAGMA integrity_check"); got != "ok" {
					t.Errorf("%s: integrity_check says %s", w.name, got)
				}
				if _, err := c.ExecContext(t.Context(), "ROLLBACK"); err == nil {
					t.Errorf("%s: a transaction was left open", w.name)
				}
			}
			if got := value(t, c, "SELECT count(*)||' '||total(x0) FROM r"); got != "2 5.0" {
				t.Errorf("the virtual table has %s", got)
			}
			b.calm()
			if _, err := c.ExecContext(t.Context(), "PRAGMA seawal_durability_timeout=0"); err != nil {
				t.Error(err)
			}
			for range 2 { // what was owed to the statements before is not this one's
				if _, err := c.ExecContext(t.Context(), remoteRow); err != nil {
					t.Errorf("with the store back: %v", err)
				}
			}
			c.Close()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			b.same(b.path, b.good().restore(restore.Newest()))
		})
	}
	reliability.Record(t, reliability.Fault{
		Group: reliability.Durable, Name: "A commit with durability=remote in an outage, in every way and mode",
		How: "the store refuses everything, each commit waits 15 ms: 23 ways to commit, 12 modes of journal, locks and cache",
	}, told, 0)
}

// count is the number of rows of t, and of all changes on the connection.
func count(t *testing.T, c *sql.Conn) (rows, changes int) {
	t.Helper()
	if err := c.QueryRowContext(t.Context(), "SELECT count(*), total_changes() FROM t").Scan(&rows, &changes); err != nil {
		t.Fatal(err)
	}
	return rows, changes
}

// A RELEASE in a rollback journal mode, and a transaction over several databases there, are refused before they are committed.
func TestRemoteCommitThatCouldNotTellIsRefused(t *testing.T) {
	p := newPlace(t)
	other := place{t, filepath.Join(t.TempDir(), "other.db"), p.replica + "-other"}
	create(t, p.path, 4096)
	create(t, other.path, 4096)
	db := p.open("_journal_mode=DELETE&_durability=remote")
	db2 := other.open("_journal_mode=DELETE&_durability=remote")
	defer db2.Close()
	defer db.Close()
	if err := db2.Ping(); err != nil {
		t.Fatal(err)
	}
	c := connOf(t, db)
	if err := execWay("ATTACH '"+other.path+"' AS other")(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, q := range [][]string{
		{"SAVEPOINT s", remoteRow, "RELEASE s"},
		{"BEGIN", remoteRow, "INSERT INTO other.t(b) VALUES(1)", "COMMIT"},
	} {
		if err := execWay(q...)(t.Context(), c); !errors.Is(err, vfs.ErrUntold) || errors.Is(err, errEarly) {
			t.Errorf("%v: %v", q, err)
		}
		_, _ = c.ExecContext(t.Context(), "ROLLBACK") // of the savepoint; the others are over
		for _, table := range []string{"main.t", "other.t"} {
			if got := value(t, c, "SELECT count(*) FROM "+table); got != "0" {
				t.Errorf("%v: %s has %s rows", q, table, got)
			}
		}
	}
	if err := execWay(remoteRow)(t.Context(), c); err != nil {
		t.Error(err)
	}
	if err := execWay("INSERT INTO other.t(b) VALUES(1)")(t.Context(), c); err != nil {
		t.Error(err)
	}
}

// The error is one value for errors.Is, whether go-sqlite3 or seawal makes it, and says what has happened.
func TestErrNotDurable(t *testing.T) {
	ours := vfs.NotDurable(context.DeadlineExceeded)
	if !errors.Is(ours, vfs.ErrNotDurable) || !errors.Is(ours, context.DeadlineExceeded) || !vfs.IsNotDurable(fmt.Errorf("order 7: %w", ours)) {
		t.Errorf("%v is no ErrNotDurable, or has lost its reason", ours)
	}
	if !strings.Contains(ours.Error(), "committed locally, replication unknown: context deadline exceeded") {
		t.Errorf("it says %q", ours)
	}
	var e sqlite3.Error
	if !errors.As(vfs.ErrNotDurable, &e) || e.ExtendedCode != vfs.CodeNotDurable || e.Code != 28 {
		t.Errorf("%#v", vfs.ErrNotDurable)
	}
	for _, err := range []error{nil, vfs.ErrUntold, sqlite3.ErrBusy, sqlite3.ErrError, context.Canceled} {
		if vfs.IsNotDurable(err) {
			t.Errorf("%v is none", err)
		}
	}
}
