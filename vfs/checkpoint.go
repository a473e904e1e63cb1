//go:build cgo

package vfs

import (
	"database/sql/driver"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/killpoint"
	"seawal/internal/wal"
)

// checkpointFrames is how many frames the log grows before the next checkpoint
// is considered: SQLite's own default for wal_autocheckpoint.
const checkpointFrames = 1000

const (
	// maxPasses bounds the passes over the backlog before the writer is held for its tail.
	maxPasses = 8

	// shortTail is the backlog, in frames, that isn't worth another pass: copying it takes less than the two fsyncs
	// of any checkpoint. One of more than longTail isn't worth holding a writer for, unless the log has to be started again.
	shortTail, longTail = 64, 256

	// maxFinishes is how often in a row the log is tried to be started again, when a writer was in the way that had begun to read.
	maxFinishes = 3

	// heldPart is the part of the time that writers may be held to start the log again: a 32nd.
	heldPart = 32
)

// checkpointer runs checkpoints on a connection of its own, so that no commit pays for one.
// A PASSIVE checkpoint never stops a writer, but under constant writing it
// never reaches the end of the log either, which then only grows. Passes over the backlog bring the rest down to a short tail, and a
// RESTART checkpoint does that with the writer held: its next transaction starts the log again.
//
// A short log is what everybody wants: it is written over pages that the system has in memory already, and whoever reads looks
// through less of it. Starting it again costs the writers two fsyncs. So that is done as often as it takes a
// small part of their time, and when the log is larger than finishBytes, whatever it takes.
//
// Where other processes have written, it may be one of
// those that comes next, and a stand-by doesn't start the log again; nor would a commit of ours that comes later find
// all of the log in the file. Then a TRUNCATE checkpoint starts it again itself. (Whoever writes to the empty log
// may give it salts at random, so that nothing proves that there was no other log in between: what is
// committed until the next look at it is shipped as a difference.)
type checkpointer struct {
	tap         tap
	dial        func() (*sqlite3.SQLiteConn, error)
	finishBytes int64
	log         *slog.Logger

	asked chan struct{} // capacity 1: the log has grown
	leave chan struct{} // capacity 1: the connection is to be closed until the next checkpoint
	stop  chan struct{}
	done  chan struct{} // closed when run has returned

	// Of run.
	conn     *sqlite3.SQLiteConn
	salt     [2]uint32     // generation of the log that the next two are about
	passed   int64         // size of the log at the last pass, bytes
	finishAt int64         // size of the log at which the next finish is tried whatever it takes, bytes
	finished time.Time     // when the last finish ended
	held     time.Duration // how long it took
	foreign  uint64        // times that other processes were found to have committed, by the last finish
}

func newCheckpointer(t tap, dial func() (*sqlite3.SQLiteConn, error), finishBytes int64, log *slog.Logger) *checkpointer {
	c := &checkpointer{
		tap: t, dial: dial, finishBytes: finishBytes, finishAt: finishBytes, log: log,
		asked: make(chan struct{}, 1), leave: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	t.ask(checkpointFrames)
	go c.run()
	return c
}

// end stops the checkpointer. Its connection, which may be the last one that is left, stays open
// until it is known whether the log is to be kept.
func (c *checkpointer) end() {
	close(c.stop)
	<-c.done
	c.tap.ask(0)
}

// close closes its connection, after end.
func (c *checkpointer) close() error { return c.closeConn() }

func (c *checkpointer) closeConn() error {
	if c.conn == nil {
		return nil
	}
	conn := c.conn
	c.conn = nil
	return conn.Close()
}

func (c *checkpointer) run() {
	defer close(c.done)
	for {
		select {
		case <-c.stop:
			return
		case <-c.leave:
			if err := c.closeConn(); err != nil {
				c.log.Warn("closing the connection for checkpoints", "error", err)
			}
			continue
		case <-c.asked:
		}
		if err := c.checkpoint(); err != nil && !isBusy(err) {
			c.log.Warn("checkpoint failed; the log grows until one succeeds", "error", err)
			_ = c.closeConn() // the next one opens another, which may be allowed more
		}
		c.tap.ask(checkpointFrames)
	}
}

func (c *checkpointer) checkpoint() error {
	if c.conn == nil {
		conn, err := c.dial()
		if err != nil {
			return fmt.Errorf("opening a connection for checkpoints: %w", err)
		}
		c.conn = conn
	}
	st := c.tap.stats()
	if st.unproven {
		// As long as nobody has written of the log to the file, the shipper can tell that both follow on the replica.
		return nil
	}
	size := int64(st.walFrames) * int64(st.pageSize+wal.FrameHeaderSize)
	if log, _ := c.tap.mark(); log.Salt != c.salt { // it was started again
		c.salt, c.passed, c.finishAt = log.Salt, 0, c.finishBytes
	}
	must := size >= c.finishAt
	finish := must
	if st.foreign == c.foreign {
		must = must && !st.held // it can't be started again
		finish = must || !st.held && time.Since(c.finished) >= heldPart*c.held
	}
	if !finish && size-c.passed < c.finishBytes/4 {
		return nil
	}
	c.passed = size
	if must {
		// Readers of an old state keep the log from being started again. Writers aren't held for that with
		// every pass: the next try comes when there is half as much to gain again.
		c.finishAt = size + c.finishBytes/2
	}
	killpoint.Hit("vfs/checkpoint-before")
	began := time.Now()
	tail, err := c.passes(finish)
	switch {
	case err != nil || !finish || c.isWanted():
		return err
	case tail > longTail && !must:
		// The disk is hardly faster than the writer. It is tried again when that has had its time.
		c.finished, c.held = time.Now(), max(c.held, time.Since(began)/maxPasses)
		return nil
	}
	return c.finish()
}

// passes brings the backlog into the file, with PASSIVE checkpoints that hold nobody: one, or, before a finish, until it is short.
// It returns, before a finish, what is left of it, in frames.
func (c *checkpointer) passes(finish bool) (tail int64, err error) {
	last := int64(math.MaxInt64)
	for range maxPasses {
		_, copied, err := c.pass("PASSIVE")
		killpoint.Hit("vfs/checkpoint-pass")
		if err != nil || !finish {
			return 0, err
		}
		// SQLite syncs the file at the end of the log only. What the passes leave to that, writers would wait for.
		if _, err := c.conn.Exec("PRAGMA seawal_sync", nil); err != nil {
			return 0, fmt.Errorf("syncing the database: %w", err)
		}
		tail = int64(c.tap.stats().walFrames) - copied
		if tail <= shortTail || tail > last-last/4 || c.isWanted() {
			break
		}
		last = tail
	}
	return tail, nil
}

// finish brings the rest of the log into the file with writers held, so that the next one starts the log again.
func (c *checkpointer) finish() error {
	mode, st := "RESTART", c.tap.stats()
	if st.foreign != c.foreign {
		mode = "TRUNCATE"
		c.waitUntilRead()
	} else if st.held {
		return nil // it can't be started again
	}
	c.foreign = st.foreign
	killpoint.Hit("vfs/checkpoint-finish")
	began := time.Now()
	defer func() {
		c.finished = time.Now()
		c.held = c.finished.Sub(began)
	}()
	for range maxFinishes {
		busy, _, err := c.pass(mode)
		killpoint.Hit("vfs/checkpoint-finished")
		gaveUp := st.gaveUp
		st = c.tap.stats()
		if err != nil || !busy || st.gaveUp == gaveUp || c.isWanted() {
			return err
		}
	}
	return nil
}

// isWanted says that the application waits for the connection to be closed, or for the end, which isn't kept waiting for more than a pass.
func (c *checkpointer) isWanted() bool {
	select {
	case <-c.stop:
		return true
	default:
		return len(c.leave) > 0
	}
}

// readPatience is how long a checkpoint that is to start the log again waits for what other processes have
// committed to be read back. Nothing is locked meanwhile; what is committed in that time has to be read within FINISH_WAIT_MS.
const readPatience = 2 * time.Second

func (c *checkpointer) waitUntilRead() {
	patience := time.NewTimer(readPatience)
	defer patience.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for c.tap.poll(); c.tap.stats().held; {
		select {
		case <-look.C:
		case <-patience.C:
			return
		case <-c.stop:
			return
		}
	}
}

// pass runs one checkpoint. busy says that locks of others kept it from its end; copied is the number of frames of the log that are in
// the database file.
func (c *checkpointer) pass(mode string) (busy bool, copied int64, err error) {
	rows, err := c.conn.Query("PRAGMA wal_checkpoint("+mode+")", []driver.Value{})
	if err != nil {
		return false, 0, err
	}
	defer rows.Close()
	row := make([]driver.Value, 3)
	if err := rows.Next(row); err != nil {
		if err == io.EOF {
			return false, 0, nil
		}
		return false, 0, err
	}
	refused, _ := row[0].(int64)
	copied, _ = row[2].(int64)
	return refused != 0, copied, nil
}
