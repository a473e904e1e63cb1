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
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
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

func (l *lock) release() { l.f.Close() } // nothing was written
