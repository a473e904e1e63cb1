//go:build cgo

package vfs

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"os"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/killpoint"
	"seawal/shipper"
)

// What becomes of the WAL at a close that could not ship everything is told at the head of shipper/leavelog.go. This is the part of it
// that needs SQLite: the checkpoint, and locks against everybody else.

// bringLogIn brings the whole WAL into the database file, through a connection of the run that closes. It says whether the WAL is to be
// moved away then. Where it can't be, it stays beside the file, as after a kill.
func (d *database) bringLogIn(r *run) bool {
	if fi, err := os.Stat(d.path + "-wal"); err != nil || fi.Size() == 0 || d.tap.moved() || r.checkLog() != nil || d.isReadOnly() {
		return false
	}
	for _, l := range r.replicas {
		if !l.shipper.LogIsPlaced() {
			d.cfg.logger().Info("the log stays beside the database: nothing but the two together tells what the replica lacks", "database", d.path)
			return false
		}
	}
	killpoint.Hit("vfs/close-log-placed")
	whole, err := d.checkpointAll(r)
	if err != nil {
		d.cfg.logger().Warn("bringing the log into the database at the end; it stays beside it", "database", d.path, "error", err)
	}
	killpoint.Hit("vfs/close-log-brought-in")
	return whole && err == nil
}

// checkpointAll says whether the whole WAL is in the file, and synced. Readers of other processes may keep a part of it out.
func (d *database) checkpointAll(r *run) (whole bool, err error) {
	var conn *sqlite3.SQLiteConn
	if r.ckpt != nil {
		conn = r.ckpt.conn
	}
	if conn == nil {
		if conn, err = d.dialCheckpointer(); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
	}
	if whole, err = isCheckpointed(conn); err != nil || !whole {
		return false, err
	}
	_, err = conn.Exec("PRAGMA seawal_sync", nil)
	return true, err
}

func isCheckpointed(conn *sqlite3.SQLiteConn) (whole bool, err error) {
	rows, err := conn.Query("PRAGMA wal_checkpoint(PASSIVE)", []driver.Value{})
	if err != nil {
		return false, err
	}
	defer rows.Close()
	row := make([]driver.Value, 3) // busy, frames in the log, frames of it in the file
	if err := rows.Next(row); err != nil {
		return false, err
	}
	return row[0] == int64(0) && row[1] == row[2], nil
}

func (d *database) isReadOnly() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mode == "ro"
}

// keepLog moves the WAL into the state directory once no connection is left. While others use the database it is theirs, and stays.
func (d *database) keepLog() error {
	f, err := claimFile(d.path, d.cfg.VFS)
	if err != nil {
		return nil
	}
	size, err := f.Size()
	if err == nil {
		err = shipper.KeepLog(d.path, f, size)
	}
	killpoint.Hit("vfs/close-log-kept")
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("moving the log of %s away, which is in the file: %w", d.path, err)
	}
	return nil
}

// restoreLog moves the WAL that keepLog has moved back beside the database, before anybody opens that. text is what it did instead.
func restoreLog(path string, t target) (restored bool, text string, err error) {
	if !shipper.HasKeptLog(path) || t.query.Get("immutable") != "" {
		return false, "", nil
	}
	f, err := claimFile(path, t.cfg.VFS)
	if err != nil {
		t.cfg.logger().Warn("the log that was kept at the last close can't be brought back while others use the database", "database", path, "error", err)
		return false, "", nil
	}
	size, err := f.Size()
	if err == nil {
		text, err = shipper.RestoreLog(path, f, size)
	}
	killpoint.Hit("vfs/open-log-restored")
	if err = errors.Join(err, f.Close()); err != nil {
		return false, "", fmt.Errorf("bringing the log of %s back from %s: %w; to go on without the points of its transactions, move that away", path, shipper.KeptLog(path), err)
	}
	if text != "" {
		t.cfg.logger().Warn(text, "database", path)
	}
	return text == "", text, nil
}
