//go:build unix && !solaris && !illumos && !aix

package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"seawal/internal/fsops"
)

// lockName is the file in hiddenFolder that claim locks. It stays there.
const lockName = "lock"

// claim is publish without links: under a lock that every process takes which
// uses this folder, see that final is free, and rename. The kernel drops the lock
// with the process, so nothing stale can be left. It is right only if all
// writers find links unsupported, as they do on one file system, and on a
// mount shared by hosts only if its locks are.
func (s *fileStore) claim(tmp, final string) error {
	f, err := os.OpenFile(filepath.Join(s.root, hiddenFolder, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // unlocks
	if err := flock(f, syscall.LOCK_EX); err != nil {
		return Permanent(fmt.Errorf("lock %s: %w (hard links are not supported either: choose a folder on another file system)", f.Name(), err))
	}
	_, err = os.Lstat(final)
	if errors.Is(err, fs.ErrNotExist) {
		return fsops.Rename(tmp, final)
	}
	if err == nil {
		err = fs.ErrExist
	}
	return err
}

// lockTemporary marks f as in use for as long as it is open. Without locks the
// age of the file has to do: see stale.
func lockTemporary(f *os.File) { _ = flock(f, syscall.LOCK_EX|syscall.LOCK_NB) }

// stale says that nobody writes the temporary file any more.
func stale(path string, now time.Time) bool {
	if !olderThan(path, freshAge, now) {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	switch err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		return true
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false
	}
	return olderThan(path, staleAge, now)
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
