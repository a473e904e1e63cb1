package restore

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// The locks belong to the open file, not to the process: they stand against SQLite in this process too, and don't fall when
// another descriptor of the file is closed. F_OFD_GETLK and F_OFD_SETLK of fcntl(2).
const (
	getLock = 36
	setLock = 37
)

// procDir is where the system lists the open files of processes.
var procDir = "/proc"

// checkUsers looks for an open file in the processes whose files this one may see: its own, those of the same user, all
// for root. A connection in a rollback journal mode has no lock while it is idle, and shows nowhere else. The file is that at path, or
// mine if that isn't nil, whatever its name is; mine itself doesn't count. Where /proc isn't there nothing is found.
func checkUsers(path string, mine *os.File) error {
	fi, err := os.Stat(path)
	own := ""
	if mine != nil {
		fi, err = mine.Stat()
		_ = withDescriptor(mine, func(fd uintptr) error {
			own = filepath.Join(procDir, strconv.Itoa(os.Getpid()), "fd", strconv.Itoa(int(fd)))
			return nil
		})
	}
	if err != nil {
		return nil // nobody has what isn't there
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	dirs, _ := filepath.Glob(filepath.Join(procDir, "[0-9]*", "fd"))
	for _, dir := range dirs {
		names, err := readNames(dir)
		if err != nil {
			continue // it has ended, or isn't ours to see
		}
		for _, name := range names {
			fd := filepath.Join(dir, name)
			if fd != own && isFile(fd, fi, st.Ino) {
				return fmt.Errorf("%w: process %s has %s open; stop it first", ErrInUse, filepath.Base(filepath.Dir(dir)), path)
			}
		}
	}
	return nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close() // read only
	return d.Readdirnames(-1)
}

// isFile says whether a descriptor is of the file fi. Only one whose inode has the right number is asked for more: the file system of
// another may be one that doesn't answer.
func isFile(fd string, fi os.FileInfo, inode uint64) bool {
	to, err := os.Readlink(fd)
	if err != nil || !strings.HasPrefix(to, "/") {
		return false // a socket, a pipe
	}
	dir, name := filepath.Split(fd)
	info, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Clean(dir)), "fdinfo", name))
	if i := bytes.Index(info, []byte("\nino:")); err == nil && i >= 0 { // since Linux 5.14
		line, _, _ := strings.Cut(string(info[i+len("\nino:"):]), "\n")
		if n, err := strconv.ParseUint(strings.TrimSpace(line), 10, 64); err == nil && n != inode {
			return false
		}
	}
	other, err := os.Stat(fd)
	return err == nil && os.SameFile(fi, other)
}
