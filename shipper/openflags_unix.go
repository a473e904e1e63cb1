//go:build unix

package shipper

import "syscall"

// Flags of os.OpenFile for a file in a directory that others may write to: not through a symbolic link, and without
// waiting for whoever is at the other end of a pipe.
const (
	noFollow    = syscall.O_NOFOLLOW
	nonBlocking = syscall.O_NONBLOCK
)
