//go:build unix

package shipper

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock is held by the one process that ships a database. The kernel drops it when
// the process dies.
type lock struct{ f *os.File }

// takeLock returns ErrLocked when another process, or another Shipper, has it.
func takeLock(path string) (*lock, error) {
	f, err := openStateFile(path, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close() // nothing was written
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: it holds %s", ErrLocked, path)
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &lock{f}, nil
}

// showStandby lets the process that ships see that this one stands by, until release.
func showStandby(path string) (*lock, error) {
	f, err := openStateFile(path, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("show that this process stands by: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err != nil {
		f.Close() // nothing was written
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &lock{f}, nil
}

// hasStandby says whether another process stands by.
func hasStandby(path string) bool {
	l, err := takeLock(path)
	if err == nil {
		l.release()
	}
	return errors.Is(err, ErrLocked)
}

// isUnlinked says that the file of the lock was removed.
func (l *lock) isUnlinked() bool {
	fi, err := l.f.Stat()
	if err != nil {
		return false
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}

func (l *lock) release() { l.f.Close() } // nothing was written
