package vfs

import (
	"database/sql/driver"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/vfstest"
)

// checkpointPragma runs a checkpoint and says whether locks kept it from its end.
func checkpointPragma(conn *sqlite3.SQLiteConn, mode string) (busy bool, err error) {
	rows, err := conn.Query("PRAGMA wal_checkpoint("+mode+")", nil)
	if err != nil {
		return false, err
	}
	row := make([]driver.Value, 3)
	err = rows.Next(row)
	return row[0] != int64(0), errors.Join(err, rows.Close())
}

// One connection writes, with no busy timeout, and nobody but the checkpointer can be in its way. It must not be told: whoever has begun
// to read gets no second try from a busy timeout either.
func TestWriterIsNeverToldOfTheCheckpointer(t *testing.T) {
	for name, write := range map[string]string{
		"a statement":      "INSERT INTO t(b) VALUES(randomblob(100))",
		"a transaction":    "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES(randomblob(100)); COMMIT",
		"read, then write": "BEGIN; SELECT a FROM t; INSERT INTO t(b) VALUES(randomblob(100)); COMMIT",
	} {
		t.Run(name, func(t *testing.T) {
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 64<<20)
			app := c.open("_journal_mode=WAL&_synchronous=NORMAL&_busy_timeout=0")
			exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
			ours := c.open("_busy_timeout=0&seawal_role=checkpoint")
			stop := make(chan struct{})
			var all sync.WaitGroup
			all.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if _, err := checkpointPragma(ours, "RESTART"); err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
			for began := time.Now(); time.Since(began) < time.Second; {
				if _, err := app.Exec(write+"; DELETE FROM t WHERE a%10<>0", nil); err != nil {
					t.Error(err)
					break
				}
				c.drain()
			}
			close(stop)
			all.Wait()
			_, _ = app.Exec("ROLLBACK", nil)
			for _, conn := range []*sqlite3.SQLiteConn{ours, app} {
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A transaction that finds all of the log in the file starts it again when it commits, and takes another read lock for that. The
// checkpointer, which waits for the transaction, isn't waited for.
func TestWriterThatStartsTheLogAgainDoesNotWaitForTheCheckpointer(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 64<<20)
	app := c.open("_journal_mode=WAL&_busy_timeout=0")
	other := c.open("_busy_timeout=0")
	exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	ours := c.open("_busy_timeout=0&seawal_role=checkpoint")
	const tries = 100
	for i := 0; ; i++ {
		exec(t, app, "INSERT INTO t(b) VALUES(1)")
		c.drain()
		exec(t, ours, "PRAGMA wal_checkpoint(PASSIVE)")
		exec(t, app, "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES(2)")
		refused := make(chan bool)
		go func() {
			busy, err := checkpointPragma(ours, "RESTART")
			if err != nil {
				t.Error(err)
			}
			refused <- busy
		}()
		isDone, busy := false, false
		for !isDone { // until the checkpointer has its first lock, and is about to ask for the writer's
			inHand, err := checkpointPragma(other, "PASSIVE")
			if err != nil {
				t.Fatal(err)
			}
			if inHand {
				break
			}
			select {
			case busy = <-refused: // the other one was in its way
				isDone = true
			default:
			}
		}
		exec(t, app, "COMMIT")
		if !isDone {
			busy = <-refused
		}
		if !busy {
			break
		}
		if i == tries {
			t.Fatalf("in %d tries the checkpointer gave up before the transaction that it waited for was over", tries)
		}
	}
	for _, conn := range []*sqlite3.SQLiteConn{ours, other, app} {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// With what is to be read back of our own transactions the log isn't started again for now, and writers aren't held for that.
func TestCheckpointerDoesNotWaitForWhatOneProcessLeftInTheLog(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	app := c.open("_journal_mode=WAL")
	exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	c.drain()
	exec(t, app, "INSERT INTO t(b) VALUES(randomblob(500000))") // more than a transaction may have of the ring
	ours := c.open("_busy_timeout=0&seawal_role=checkpoint")
	const patience = 100 * time.Millisecond // FINISH_WAIT_MS
	least := time.Hour
	for range 50 {
		began := time.Now()
		if busy, err := checkpointPragma(ours, "RESTART"); err != nil || !busy {
			t.Fatalf("the log isn't held back: %v, %v", busy, err)
		}
		if least = min(least, time.Since(began)); least < patience {
			break
		}
	}
	if least >= patience {
		t.Errorf("writers were held for %v", least)
	}
	last, _ := c.tap.mark()
	c.drain()
	exec(t, app, "INSERT INTO t(b) VALUES(1)")
	if log, _ := c.tap.mark(); log.Salt == last.Salt {
		t.Error("all was read, and the log goes on")
	}
	for _, conn := range []*sqlite3.SQLiteConn{ours, app} {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The size at which the log is to be started again whatever it takes is the same for each generation of it, also when that is less
// than what comes between two looks.
func TestEachLogIsStartedAgainAtTheSameSize(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 64<<20)
	app := c.open("_journal_mode=WAL")
	exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	ckpt := &checkpointer{tap: c.tap, finishBytes: 1024, finishAt: 1024, stop: make(chan struct{}), leave: make(chan struct{}, 1)}
	ckpt.conn = c.open("_busy_timeout=0&seawal_role=checkpoint")
	last, _ := c.tap.mark()
	for i, size := range []int{100_000, 80_000, 60_000, 40_000, 20_000} {
		exec(t, app, "INSERT INTO t(b) VALUES(randomblob(?))", int64(size))
		c.drain()
		ckpt.finished, ckpt.held = time.Now(), time.Hour // it would take writers too long
		if err := ckpt.checkpoint(); err != nil {
			t.Fatal(err)
		}
		exec(t, app, "INSERT INTO t(b) VALUES(1)")
		c.drain()
		if log, _ := c.tap.mark(); log.Salt == last.Salt {
			t.Errorf("log %d goes on at %d frames", i, log.Frame)
		} else {
			last = log
		}
	}
	for _, conn := range []*sqlite3.SQLiteConn{ckpt.conn, app} {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whoever wants the database to itself waits for one pass of the checkpointer, not for all that it was at.
func TestCheckpointerLeavesBetweenTwoPasses(t *testing.T) {
	tr := traced(t)
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), tr.Name(), 64<<20)
	app := c.open("_journal_mode=WAL")
	exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	reader := c.open("")
	exec(t, reader, "BEGIN; SELECT * FROM t; SELECT * FROM sqlite_schema")
	exec(t, app, "INSERT INTO t(b) VALUES(randomblob(1000000))") // it stays behind the reader
	c.drain()
	ckpt := &checkpointer{tap: c.tap, finishBytes: 1024, finishAt: 1024, stop: make(chan struct{}), leave: make(chan struct{}, 1)}
	ckpt.conn = c.open("_busy_timeout=0&seawal_role=checkpoint")
	syncs := func() int {
		count := tr.Fail(vfstest.Rule{Op: vfstest.Sync, Kind: vfstest.Main, Sticky: true, Apply: vfstest.Pass})
		if err := ckpt.checkpoint(); err != nil {
			t.Error(err)
		}
		return count.End()
	}
	poke(ckpt.leave)
	if n := syncs(); n != 1 || !ckpt.finished.IsZero() {
		t.Errorf("%d passes, finished at %v", n, ckpt.finished)
	}
	<-ckpt.leave
	ckpt.finishAt = 1024
	if n := syncs(); n < 2 || ckpt.finished.IsZero() {
		t.Errorf("%d passes, finished at %v, when nobody waits", n, ckpt.finished)
	}
	exec(t, reader, "COMMIT")
	for _, conn := range []*sqlite3.SQLiteConn{ckpt.conn, reader, app} {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
