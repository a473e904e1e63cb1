package fsops

import (
	"os"

	"golang.org/x/sys/unix"
)

func renameExclusive(from, to string) error {
	for {
		switch err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err {
		case nil:
			return nil
		case unix.EINTR:
		case unix.EINVAL:
			// A file system that doesn't know the flag.
			return &os.LinkError{Op: "renameat2", Old: from, New: to, Err: unix.ENOTSUP}
		default:
			return &os.LinkError{Op: "renameat2", Old: from, New: to, Err: err}
		}
	}
}
