package restore

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The locks belong to the open file, not to the process: they stand against SQLite in this process too, and don't fall when
// another descriptor of the file is closed. F_OFD_GETLK and F_OFD_SETLK of fcntl(2).
const (
	getLock = 36
	setLock = 37
)

// procDir is where the system lists the open files of processes.
var procDir = "/proc"

// A process that has been forked and isn't another program yet has copies of its parent's descriptors, for some milliseconds. Who is found is
// looked for again before it counts.
const (
	userLooks = 4
	userPause = 20 * time.Millisecond
)

// checkUsers is ErrInUse when somebody has a file open, and keeps it open: see findUser.
func checkUsers(path string, mine *os.File) error {
	for looks := 1; ; looks++ {
		pid := findUser(path, mine)
		if pid == "" {
			return nil
		}
		if looks == userLooks {
			return fmt.Errorf("%w: process %s has %s open; stop it first", ErrInUse, pid, path)
		}
		time.Sleep(userPause)
	}
}

// findUser looks for an open file in the processes whose files this one may see: its own, those of the same user, all
// for root. A connection in a rollback journal mode has no lock while it is idle, and shows nowhere else. The file is that at path, or
// mine if that isn't nil, whatever its name is; mine itself doesn't count. Where /proc isn't there nothing is found.
func findUser(path string, mine *os.File) (pid string) {
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
		return "" // nobody has what isn't there
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	dirs, _ := filepath.Glob(filepath.Join(procDir, "[0-9]*", "fd"))
	for _, dir := range dirs {
		names, err := readNames(dir)
		if err != nil {
			continue // it has ended, or isn't ours to see
		}
		for _, name := range names {
			fd := filepath.Join(dir, name)
			if pid := filepath.Base(filepath.Dir(dir)); fd != own && isFile(fd, fi, st.Ino) && !isBeingStarted(pid) {
				return pid
			}
		}
	}
	return ""
}

// forkNoExec is PF_FORKNOEXEC of the flags in /proc/<pid>/stat: forked, and not another program yet.
const forkNoExec = 0x40

// isBeingStarted says whether a process is one that this process has forked and that will be another program in a moment: a Go program
// has no other children without one of their own.
func isBeingStarted(pid string) bool {
	stat, err := os.ReadFile(filepath.Join(procDir, pid, "stat"))
	if err != nil {
		return true // it has ended
	}
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest) // from the third on: state, parent, group, session, terminal, its group, flags
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&forkNoExec != 0 && fields[1] == strconv.Itoa(os.Getpid())
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
