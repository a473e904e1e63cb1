package vfs

import (
	"bytes"
	"database/sql/driver"
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"github.com/mattn/go-sqlite3"
	"pgregory.net/rapid"
)

// seen is a state of the database, and the ticket of the last commit in it.
type seen struct {
	ticket uint64
	pages  map[uint32][]byte
}

// written is a database that is changed in every way, by us and by others, and what was seen of it.
type written struct {
	*capture
	app    *sqlite3.SQLiteConn
	states []seen
	known  int // answers that weren't "any page"
}

// look holds what the tap says was written since each state against what differs now.
func (w *written) look(what string) {
	w.t.Helper()
	w.tap.poll() // or BeginRead takes its time to find what others have done
	w.readAll()
	ticket, _ := w.tap.last()
	now := seen{ticket, maps.Clone(w.pages)}
	for _, then := range w.states {
		set := w.tap.written(then.ticket)
		if set == nil {
			continue
		}
		w.known++
		in := map[uint32]bool{}
		for n := set.Next(0); n != 0 && n <= w.count; n = set.Next(n) {
			in[n] = true
		}
		for n := uint32(1); n <= w.count; n++ {
			if !in[n] && !bytes.Equal(then.pages[n], now.pages[n]) {
				w.t.Fatalf("after %s: page %d of %d has changed between tickets %d and %d, and isn't among the %d that were written",
					what, n, w.count, then.ticket, ticket, len(in))
			}
		}
	}
	w.states = append(w.states, now)
}

// forget lets go of the states before one of those that were seen.
func (w *written) forget(n int) {
	w.states = w.states[n:]
	w.tap.forget(w.states[0].ticket)
}

// try is exec for what may be refused.
func (w *written) try(c *sqlite3.SQLiteConn, sql string) { _, _ = c.Exec(sql, []driver.Value{}) }

const (
	someRows  = "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT randomblob(300) FROM n"
	otherRows = "UPDATE t SET b=randomblob(300) WHERE a%%%d=0"
)

// step changes the database somehow.
func (w *written) step(rt *rapid.T) string {
	n := rapid.IntRange(1, 40).Draw(rt, "n")
	rows, other := fmt.Sprintf(someRows, n), fmt.Sprintf(otherRows, n)
	op := rapid.SampledFrom([]string{
		"rows", "other rows", "spill", "rolled back", "cut off", "vacuum", "mode", "exclusive", "foreign", "foreign", "foreign restart",
		"checkpoint", "forget", "forget", "forget in a transaction", "closed and opened", "page size",
	}).Draw(rt, "op")
	switch op {
	case "rows":
		exec(w.t, w.app, rows)
	case "other rows":
		exec(w.t, w.app, other)
	case "spill":
		exec(w.t, w.app, "PRAGMA cache_size=5; BEGIN; "+fmt.Sprintf(someRows, 100)+"; "+other+"; COMMIT; PRAGMA cache_size=200")
	case "rolled back":
		exec(w.t, w.app, "PRAGMA cache_size=5; BEGIN; "+fmt.Sprintf(someRows, 100)+"; "+other+"; ROLLBACK; PRAGMA cache_size=200")
	case "cut off":
		exec(w.t, w.app, fmt.Sprintf("DELETE FROM t WHERE a>%d; ", n)+rows)
	case "vacuum":
		exec(w.t, w.app, "VACUUM")
	case "page size":
		w.away()
		w.try(w.app, fmt.Sprintf("PRAGMA journal_mode=DELETE; PRAGMA page_size=%d; VACUUM", 512<<(n%3)))
	case "mode":
		w.away()
		exec(w.t, w.app, "PRAGMA journal_mode="+[]string{"WAL", "DELETE", "PERSIST", "TRUNCATE", "MEMORY"}[n%5])
	case "exclusive":
		w.away()
		exec(w.t, w.app, "PRAGMA locking_mode=EXCLUSIVE; "+rows)
		w.tap.forget(w.states[0].ticket)
		exec(w.t, w.app, other+"; PRAGMA locking_mode=NORMAL; SELECT count(*) FROM t")
	case "foreign", "foreign restart":
		other, err := (&sqlite3.SQLiteDriver{}).Open(fileURI(w.path))
		if err != nil {
			w.t.Fatal(err)
		}
		if op == "foreign restart" {
			w.try(other.(*sqlite3.SQLiteConn), "PRAGMA wal_checkpoint(RESTART)")
		}
		exec(w.t, other.(*sqlite3.SQLiteConn), rows)
		if err := other.Close(); err != nil {
			w.t.Fatal(err)
		}
	case "checkpoint":
		w.try(w.app, "PRAGMA wal_checkpoint("+[]string{"PASSIVE", "RESTART", "TRUNCATE"}[n%3]+")")
	case "forget":
		w.forget(rapid.IntRange(0, len(w.states)-1).Draw(rt, "state"))
	case "forget in a transaction":
		// Most of its pages are in the file or the log by then, and aren't written again.
		exec(w.t, w.app, "PRAGMA cache_size=5; BEGIN; UPDATE t SET b=randomblob(300)")
		w.forget(len(w.states) - 1)
		exec(w.t, w.app, "COMMIT; PRAGMA cache_size=200")
	case "closed and opened":
		if err := w.app.Close(); err != nil {
			w.t.Fatal(err)
		}
		w.app = w.open("")
	}
	return op
}

// away closes our own connection, which the application would wait for.
func (w *written) away() {
	if err := w.src.close(); err != nil {
		w.t.Fatal(err)
	}
}

// Whatever is done to a database, and whoever does it: every page that differs between two states is among those that are said to have been
// written between them. A page that is missing there would be missing from a difference, and so from the replica.
func TestWrittenCoversWhatDiffers(t *testing.T) {
	dir, runs, known := t.TempDir(), 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		w := &written{capture: newCapture(t, filepath.Join(dir, fmt.Sprint(runs)+".db"), "", 64<<10)}
		w.app = w.open("_journal_mode=WAL&_synchronous=OFF&_busy_timeout=5000")
		defer func() { w.app.Close() }()
		exec(t, w.app, "PRAGMA page_size=512; PRAGMA auto_vacuum=FULL; CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
		exec(t, w.app, fmt.Sprintf(someRows, 20))
		w.look("the beginning")
		for range rapid.IntRange(1, 5).Draw(rt, "steps") {
			w.look(w.step(rt))
			if rapid.Bool().Draw(rt, "shipped") {
				w.drain()
			}
		}
		known += w.known
	})
	if known < runs {
		t.Errorf("in %d runs a set was known %d times", runs, known)
	}
}

// What is forgotten is forgotten: the set doesn't grow with the life of the database, and begins with the oldest ticket that is of use.
func TestWrittenIsForgotten(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	app := c.open("_journal_mode=WAL")
	defer app.Close()
	exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	count := func(since uint64) (n int) {
		set := c.tap.written(since)
		if set == nil {
			return -1
		}
		for page := set.Next(0); page != 0 && page <= c.count; page = set.Next(page) {
			n++
		}
		return n
	}
	exec(t, app, fmt.Sprintf(someRows, 2000))
	c.drain()
	all := count(0)
	if all < 150 {
		t.Fatalf("%d pages were written by a transaction of 600 KB", all)
	}
	for range 3 { // the first time they only change places
		exec(t, app, "UPDATE t SET b=randomblob(300) WHERE a=1")
		c.drain()
		c.tap.forget(c.ticket)
	}
	exec(t, app, "UPDATE t SET b=randomblob(300) WHERE a=2000")
	c.drain()
	if n := count(c.ticket - 1); n < 1 || n > 4 {
		t.Errorf("%d pages were written by two updates of a row", n)
	}
	exec(t, app, "UPDATE t SET b=randomblob(300) WHERE a=1")
	c.drain()
	c.tap.forget(c.ticket - 1)
	if n := count(c.ticket - 1); n < 1 || n > 6 {
		t.Errorf("%d pages were written since the ticket up to which all was forgotten", n)
	}
	if n := count(0); n != -1 {
		t.Errorf("of all commits %d pages are known, after those before the last one were forgotten", n)
	}
}
