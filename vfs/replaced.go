//go:build cgo

package vfs

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/mattn/go-sqlite3"

	"seawal/shipper"
)

// checkFile says, with ErrReplaced, what became of a database file that is not at its path any more, or that lost its
// content. SQLite keeps the file that it opened: what the application commits goes there, where nobody finds
// it again. The database that had the name is over, and so is its replication.
func (s *source) checkFile() error {
	fi, err := os.Stat(s.path)
	switch {
	case !s.tap.moved():
		if err != nil || fi.Size() > 0 || !s.hadPages.Load() {
			return nil
		}
		return fmt.Errorf("%w: another process has cut %s to nothing; what came before is in the replica: close the database, remove the empty file and its -wal, "+
			"and open it with _restore=if-missing, or with _recreated=new-timeline to begin anew", shipper.ErrReplaced, s.path)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s was deleted; the open connections write to the deleted file, and that is shipped no more: close the database, remove its -wal, "+
			"and open it with _restore=if-missing, or with _recreated=new-timeline to begin anew", shipper.ErrReplaced, s.path)
	}
	return fmt.Errorf("%w: %s is another file now; the open connections write to the old one, and that is shipped no more: close the database, remove its -wal and -shm, "+
		"which belong to the old file, and open it again to ship the new one as a difference", shipper.ErrReplaced, s.path)
}

// checkPath says, with ErrReplaced, that the name by which the database was opened leads to another file now: a link was changed, or the process
// has another working directory. SQLite would open that one.
func (d *database) checkPath(name string) error {
	path, err := fullPathname(d.vfsName, name)
	if err == nil && path == d.path {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %s, by which %s was opened, leads nowhere now: %w; close the database, and open it by its full path", shipper.ErrReplaced, name, d.path, err)
	}
	return fmt.Errorf("%w: %s leads to %s now (a link was changed, or the working directory), and the open connections have %s; "+
		"close the database and open it again, or open it by its full path", shipper.ErrReplaced, name, path, d.path)
}

// checkCaptured makes sure that what a connection of the application writes is captured.
func (d *database) checkCaptured(conn *sqlite3.SQLiteConn) error {
	rows, err := conn.Query("PRAGMA seawal_handle", nil)
	if err != nil {
		return fmt.Errorf("see whether a connection to %s is captured: %w", d.path, err)
	}
	defer rows.Close()
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil || fmt.Sprint(row[0]) != strconv.FormatUint(d.handle, 10) {
		return fmt.Errorf("%w: SQLite has opened another file than %s", shipper.ErrReplaced, d.path)
	}
	return nil
}

// replaced is the error for a new connection, whose file is not the one that was opened: its commits belong to
// another database.
func (d *database) replaced() error {
	r, err := d.running()
	if err != nil {
		return err
	}
	return r.endIfReplaced()
}

// endIfReplaced ends shipping when the file is not what was opened. It is cheap: one or two looks at the file system.
func (r *run) endIfReplaced() error {
	err := r.replicas[0].source.checkFile()
	if err != nil {
		r.endAll(err)
	}
	return err
}

// endAll ends shipping, once what is captured is shipped.
func (r *run) endAll(err error) {
	for _, l := range r.replicas {
		l.shipper.End(err)
	}
}
