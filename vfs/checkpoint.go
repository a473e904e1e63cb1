package vfs

import (
	"database/sql/driver"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/killpoint"
	"seawal/internal/wal"
)

// checkpointFrames is how many frames the log grows before the next checkpoint
// is tried: SQLite's own default for wal_autocheckpoint.
const checkpointFrames = 1000

// maxPasses bounds the passes over the backlog before the writer is held for its tail.
const maxPasses = 4

// checkpointer runs checkpoints on a connection of its own, so that no commit pays for one.
// A PASSIVE checkpoint never stops a writer, but under constant writing it
// never reaches the end of the log either, which then only grows. So when the log is larger than finishBytes, passes
// over the backlog bring the rest down to a short tail, and a FULL checkpoint
// does that with the writer held: its next transaction starts the log again. Where other processes have written, it may be one of
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
	finishAt int64  // size of the log at which the next finish is tried, bytes
	foreign  uint64 // times that other processes were found to have committed, by the last finish
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
	if size < c.finishBytes {
		c.finishAt = c.finishBytes // the log was started again
	}
	finish := size >= c.finishAt
	if finish {
		// Readers of an old state keep the log from being started again. Writers aren't held for that with
		// every pass: the next try comes when there is half as much to gain again.
		c.finishAt = size + c.finishBytes/2
	}
	killpoint.Hit("vfs/checkpoint-before")
	for range maxPasses {
		logged, copied, err := c.pass("PASSIVE")
		killpoint.Hit("vfs/checkpoint-pass")
		if err != nil || !finish || logged <= copied {
			return err
		}
		if logged-copied <= checkpointFrames {
			break
		}
	}
	mode := "FULL"
	if st.foreign != c.foreign {
		mode = "TRUNCATE"
		c.waitUntilRead()
	}
	c.foreign = st.foreign
	killpoint.Hit("vfs/checkpoint-finish")
	_, _, err := c.pass(mode)
	killpoint.Hit("vfs/checkpoint-finished")
	return err
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

// pass runs one checkpoint and returns the frames in the log and how many of
// them are in the database file.
func (c *checkpointer) pass(mode string) (logged, copied int64, err error) {
	rows, err := c.conn.Query("PRAGMA wal_checkpoint("+mode+")", []driver.Value{})
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	row := make([]driver.Value, 3)
	if err := rows.Next(row); err != nil {
		if err == io.EOF {
			return 0, 0, nil
		}
		return 0, 0, err
	}
	logged, _ = row[1].(int64)
	copied, _ = row[2].(int64)
	return logged, copied, nil
}
