//go:build !unix || solaris || illumos || aix

package store

import (
	"errors"
	"fmt"
	"os"
	"time"
)

const lockName = "lock"

// claim has no lock to use here, so a folder without links can't be a store.
func (s *fileStore) claim(_, final string) error {
	return Permanent(fmt.Errorf("link %s: %w (choose a folder on a file system with hard links)", final, errors.ErrUnsupported))
}

func lockTemporary(*os.File) {}

func stale(path string, now time.Time) bool { return olderThan(path, staleAge, now) }
