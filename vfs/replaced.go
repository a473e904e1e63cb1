package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

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
			"and open it with _restore=if-missing", shipper.ErrReplaced, s.path)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s was deleted; the open connections write to the deleted file, and that is shipped no more: close the database, remove its -wal, "+
			"and open it with _restore=if-missing", shipper.ErrReplaced, s.path)
	}
	return fmt.Errorf("%w: %s is another file now; the open connections write to the old one, and that is shipped no more: close the database, remove its -wal and -shm, "+
		"which belong to the old file, and open it again to ship the new one as a difference", shipper.ErrReplaced, s.path)
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
		for _, l := range r.replicas {
			l.shipper.End(err)
		}
	}
	return err
}
