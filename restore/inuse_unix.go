//go:build unix

package restore

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// SQLite's locks on a database file: a connection that reads, or that has the
// database open in WAL mode, holds a lock on bytes of this range.
const (
	sharedFirst = 1<<30 + 2
	sharedSize  = 510
)

// checkUnused says whether another process has the database open. A process
// must not ask this about a database of its own: closing the file would drop its locks.
func checkUnused(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("look at output: %w", err)
	}
	defer f.Close() // nothing was written
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: sharedFirst, Len: sharedSize}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_GETLK, &lock); err != nil {
		return nil // the file system has no locks, so SQLite has none on it
	}
	if lock.Type != syscall.F_UNLCK {
		return fmt.Errorf("%w: process %d has %s open; stop it first", ErrInUse, lock.Pid, path)
	}
	return nil
}
