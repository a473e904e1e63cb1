//go:build unix

package restore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"seawal/internal/pagesum"
)

// SQLite's locks on a database file: a connection that reads, or that has the database open in WAL mode, holds a lock on
// bytes of the shared range, and nobody gets one while another has the pending byte. An exclusive lock is on all of them.
const (
	lockedSize = 2 + 510 // pending and reserved byte, shared range

	// shmLocks are the locks of WAL mode, on bytes of the -shm file: writer, checkpointer, recovery, five readers, and
	// that of every process which has it mapped.
	shmLocks     = 120
	shmLocksSize = 9
)

// checkUnused says whether anybody has the database open. It leaves no trace.
func checkUnused(path string) error {
	if err := checkUsers(path, nil); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("look at output: %w", err)
	}
	defer f.Close() // nothing was written
	return locked(f, pagesum.PendingByte, lockedSize, getLock)
}

// locked takes an exclusive lock on a range of a file (setLock), or only asks whether that would be possible (getLock).
func locked(f *os.File, start, size int64, command int) error {
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: start, Len: size}
	err := withDescriptor(f, func(fd uintptr) error { return syscall.FcntlFlock(fd, command, &lock) })
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w: a process has %s open; stop it first", ErrInUse, f.Name())
	case err != nil:
		return nil // the file system has no locks, so SQLite has none on it
	case command == getLock && lock.Type != syscall.F_UNLCK && lock.Pid > 0:
		return fmt.Errorf("%w: process %d has %s open; stop it first", ErrInUse, lock.Pid, f.Name())
	case command == getLock && lock.Type != syscall.F_UNLCK:
		return fmt.Errorf("%w: a process has %s open; stop it first", ErrInUse, f.Name())
	}
	return nil
}

// withDescriptor calls do with the file's descriptor, without the change to blocking mode that File.Fd makes.
func withDescriptor(f *os.File, do func(fd uintptr) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := c.Control(func(fd uintptr) { err = do(fd) }); cerr != nil {
		return cerr
	}
	return err
}

// claim is a database that nobody else can use: it is locked as by SQLite for a transaction that nobody may see, in every
// journal mode. Whoever opens it meanwhile gets SQLITE_BUSY, and commits nothing.
type claim struct {
	path     string
	db       *os.File // nil: there is none at path
	shm      *os.File // nil: likewise
	writable bool     // db is open for writing, and its lock is held; else it was only looked at
}

// claimDatabase takes the database at path, if there is one. The error is ErrInUse when others have it.
func claimDatabase(path string) (c *claim, err error) {
	c = &claim{path: path}
	defer func() {
		if err != nil {
			c.release()
		}
	}()
	// Before it is opened here: closing it would drop the locks that another part of this very process has on it.
	if err := checkUsers(path, nil); err != nil {
		return c, err
	}
	if c.db, c.writable, err = claimFile(path, pagesum.PendingByte, lockedSize); err != nil {
		return c, err
	}
	if c.shm, _, err = claimFile(path+"-shm", shmLocks, shmLocksSize); err != nil {
		return c, err
	}
	return c, c.check()
}

// claimFile locks a range of a file; nil when there is no such file. One that can't be opened for writing is only looked at.
func claimFile(path string, start, size int64) (f *os.File, writable bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	command := setLock
	if errors.Is(err, fs.ErrPermission) {
		command = getLock
		f, err = os.Open(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look at output: %w", err)
	}
	if err := locked(f, start, size, command); err != nil {
		return nil, false, errors.Join(err, f.Close())
	}
	return f, command == setLock, nil
}

// check looks for others that have opened the claimed file, wherever it is now. They can't have got further than that.
func (c *claim) check() error {
	if c.db == nil {
		return nil
	}
	return checkUsers(c.path, c.db)
}

// release lets others at it again. The locks are given up and not only closed: a process that is just being forked has copies
// of the descriptors.
func (c *claim) release() {
	for _, f := range []*os.File{c.db, c.shm} {
		if f == nil {
			continue
		}
		all := syscall.Flock_t{Type: syscall.F_UNLCK, Whence: io.SeekStart}
		_ = withDescriptor(f, func(fd uintptr) error { return syscall.FcntlFlock(fd, setLock, &all) }) // closing does it, too
		f.Close()                                                                                      // nothing was written, or it was synced
	}
}

// takeOwner gives f the owner of the file that it will replace, as far as this process may: an application can't use
// what root has restored otherwise.
func takeOwner(f *os.File, replaced os.FileInfo) error {
	st, ok := replaced.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	if m, ok := mine.Sys().(*syscall.Stat_t); ok && m.Uid == st.Uid && m.Gid == st.Gid {
		return nil
	}
	if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
