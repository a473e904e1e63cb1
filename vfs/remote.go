//go:build cgo

package vfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"seawal/internal/wal"
)

// interruptPoll is how often a waiting commit looks whether it was cancelled:
// sqlite3_interrupt sets a flag and wakes nobody.
const interruptPoll = 5 * time.Millisecond

// untoldPause is how often at most the log says that a commit isn't known to be durable: in an outage all of them are.
const untoldPause = time.Second

var (
	errInterrupted = errors.New("the statement was interrupted")
	errLogPinned   = errors.New("the WAL has grown to MaxWAL, and the connection that waits keeps it from being started again")
)

// remoteWait is a commit with durability=remote that waits, on the thread of its connection.
type remoteWait struct {
	ticket      uint64
	timeout     time.Duration // 0: no limit
	pinning     bool          // the connection keeps the WAL from being started again meanwhile
	interrupted func() bool
}

// waitRemote returns nil when the replica has the commit, and in every other case an ErrNotDurable.
func (d *database) waitRemote(w remoteWait) error {
	reason := d.remoteReason(w)
	if reason == nil {
		return nil
	}
	err := &notDurable{reason: reason}
	if now, last := time.Now().UnixNano(), d.lastUntold.Load(); now-last >= int64(untoldPause) && d.lastUntold.CompareAndSwap(last, now) {
		d.cfg.logger().Warn("a commit with durability=remote returns before the replica has it", "database", d.path, "error", err)
	}
	return err
}

// remoteReason waits, and says why it gave up.
func (d *database) remoteReason(w remoteWait) error {
	r, err := d.running()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if w.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, w.timeout)
		defer cancel()
	}
	waited := make(chan error, 1)
	go func() { waited <- r.waitTicket(ctx, w.ticket) }()
	tick := time.NewTicker(interruptPoll)
	defer tick.Stop()
	for {
		var reason error
		select {
		case err := <-waited:
			return err
		case <-tick.C:
			switch {
			case w.interrupted():
				reason = errInterrupted
			case w.pinning && d.isLogAtMax():
				reason = errLogPinned
			}
		}
		if reason != nil {
			cancel()
			if err := <-waited; err == nil {
				return nil // it was in time
			}
			return reason
		}
	}
}

// isLogAtMax says whether the WAL is as large as it may get.
func (d *database) isLogAtMax() bool {
	st := d.tap.stats()
	return int64(st.walFrames)*int64(st.pageSize+wal.FrameHeaderSize) >= d.cfg.MaxWAL
}

// refusedRemote says why a transaction ends with ErrUntold.
func (d *database) refusedRemote(several bool) {
	reason := "it ends with RELEASE; use BEGIN and COMMIT, or WAL mode"
	if several {
		reason = "it changes several databases; use one transaction for each, or WAL mode"
	}
	d.cfg.logger().Warn("a transaction with durability=remote was refused: in a rollback journal mode nothing could tell that the replica hasn't got it",
		"database", d.path, "error", fmt.Errorf("%w: %s", ErrUntold, reason))
}
