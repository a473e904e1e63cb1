package machine

import (
	"os"
	"syscall"
)

// DataSync is the call that SQLite makes.
func DataSync(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
