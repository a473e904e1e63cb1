// Package machine says when this machine was started. A loss of power is the only thing that takes from a file what a process
// has written to it, and between the writing and the loss lies the start of a machine: what was written since can't be the work of one.
package machine

import (
	"path/filepath"
	"sync"
)

// Boot is the last start of the machine. The zero Boot says that the system doesn't tell.
type Boot struct {
	ID   string // differs from that of every other start; "": not known
	Time int64  // unix nanoseconds, by the clock as it is set now; 0: not known
}

// Known says whether all of it is known.
func (b Boot) Known() bool { return b.ID != "" && b.Time != 0 }

// pretended holds the Boots of Pretend, by path.
var pretended sync.Map

// Last is the last start of the machine that has the file at path.
func Last(path string) Boot {
	if b, ok := pretended.Load(key(path)); ok {
		return b.(Boot)
	}
	return read()
}

// Pretend makes b what Last says of the file at path, for tests: a machine can't be started again for one.
func Pretend(path string, b Boot) { pretended.Store(key(path), b) }

// key is one name for all that lead to a folder: the file itself may not exist.
func key(path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		dir = filepath.Dir(path)
	}
	return filepath.Join(dir, filepath.Base(path))
}
