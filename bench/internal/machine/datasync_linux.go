package machine

import (
	"os"
	"syscall"
)

// datasync is the call that SQLite makes.
func datasync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
