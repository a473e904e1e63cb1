package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// absent turns "no such file" into ErrNotExist. A component of the path that is a
// file means the same, unless it is the root itself or lies above it.
func (s *fileStore) absent(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotExist
	case errors.Is(err, syscall.ENOTDIR):
		if fi, serr := os.Stat(s.root); serr == nil && fi.IsDir() {
			return ErrNotExist
		}
	}
	return err
}

// wrap says what was tried on which object, and for the errors of a folder what to do.
func (s *fileStore) wrap(op Op, name string, err error) error {
	if errors.Is(err, ErrName) {
		return err
	}
	var body *bodyError
	if !errors.As(err, &body) {
		err = folderError(s.root, err)
	}
	return fmt.Errorf("%s %s in %s: %w", op, name, s.root, err)
}

// folderError adds the way out to an error of the file system, and marks what no
// repetition will mend. A full disk is not marked: it may be emptied without
// anybody thinking of us, and shipping should go on by itself then.
func folderError(root string, err error) error {
	way, permanent := "", true
	switch {
	case errors.Is(err, fs.ErrPermission):
		way = "let the user that this process runs as read and write " + root
	case errors.Is(err, syscall.EROFS):
		way = "the file system is read-only: remount it or choose another folder"
	case errors.Is(err, syscall.ENOTDIR):
		way = "something on the way to " + root + " is a file: choose another folder or move it away"
	case errors.Is(err, syscall.ENAMETOOLONG):
		way = "choose a shorter path than " + root
	case errors.Is(err, syscall.ELOOP):
		way = "its symbolic links run in a circle"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		way, permanent = "the disk or the quota is full: make room on the file system of "+root, false
	default:
		return err
	}
	err = fmt.Errorf("%w (%s)", err, way)
	if permanent {
		err = Permanent(err)
	}
	return err
}
