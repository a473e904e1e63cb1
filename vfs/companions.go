//go:build cgo

package vfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"seawal/internal/wal"
	"seawal/shipper"
	"seawal/store"
)

// A database is more than its file: what is committed lies in -wal until a checkpoint, -shm tells the processes of each other, the state
// directory keeps two of them from shipping at once, and the locks on all of it keep others from deleting the log. SQLite doesn't notice when
// somebody takes one of them away, and goes on with what it had opened; what comes next is lost, or written by two at once. So
// each is looked at now and then.

// companionsEvery is the time between two looks at the files, locksEvery between two at the locks.
const (
	companionsEvery = 2 * time.Second
	locksEvery      = 5 * time.Second
)

// companions is what is known of the files beside a database.
type companions struct {
	filesDue time.Time
	locksDue time.Time
	cut      wal.Place             // place at which the log was found too short; zero: it wasn't
	unlocked bool                  // the locks were found gone
	folders  map[*link]os.FileInfo // the lock file of each state directory as it was first seen
	said     map[string]bool       // notices that were given
}

// checkCompanions looks at what belongs to the database beside its file. What can't be mended while it is open ends its replication, after what
// was captured; the rest is a notice. The caller serialises.
func (r *run) checkCompanions(now time.Time) {
	c := &r.companions
	if now.Before(c.filesDue) {
		return
	}
	c.filesDue = now.Add(companionsEvery)
	if err := r.checkLog(); err != nil {
		r.endAll(err)
		return
	}
	if r.replicas[0].source.tap.companions()&shmGone != 0 {
		r.notice("-shm", fmt.Sprintf("%s-shm was deleted or replaced while the database was open: another process that opens it doesn't see this one's locks, "+
			"and the two may write over each other; close the database in every process, and open it again", r.replicas[0].source.path))
	}
	for _, l := range r.replicas {
		r.checkFolder(l)
	}
	if now.Before(c.locksDue) {
		return
	}
	c.locksDue = now.Add(locksEvery)
	main, shm := r.replicas[0].source.tap.locked()
	lost := main != 0 && shm != 0 && locksLost(main, shm)
	if lost && c.unlocked {
		r.notice("locks", fmt.Sprintf("this process has lost its locks on %s: something in it has opened and closed the file itself (a backup by hand, a second SQLite library), "+
			"and that drops the locks of every connection. Another process that closes the database now deletes %[1]s-wal, with what is committed since the last checkpoint: "+
			"close the database and open it again, and read the file through SQLite only (VACUUM INTO, the backup API)", r.replicas[0].source.path))
	}
	c.unlocked = lost
}

// checkLog says, with ErrReplaced, what became of a log that is not what the connections have open.
func (r *run) checkLog() error {
	s := r.replicas[0].source
	found := s.tap.companions()
	switch {
	case found&walGone != 0:
		return fmt.Errorf("%w: %s-wal, its log, was deleted or replaced while it was open: what is committed since is in no file that can be found again, and is shipped no more; "+
			"close the database in every process, and compare it with a restore before it is used again", shipper.ErrReplaced, s.path)
	case found&walCut == 0:
		r.companions.cut = wal.Place{}
		return nil
	}
	log, _ := s.tap.mark()
	at := wal.Place{Salt: log.Salt, Frame: log.Frame}
	if at != r.companions.cut {
		r.companions.cut = at // another process may have started it again just now
		return nil
	}
	return fmt.Errorf("%w: %s-wal, its log, was cut short while it was open, and lacks what was committed; nothing more is shipped: "+
		"close the database in every process, and compare it with a restore before it is used again", shipper.ErrReplaced, s.path)
}

// checkFolder gives notice of a state directory that is not the one which this process has locked.
func (r *run) checkFolder(l *link) {
	lock := filepath.Join(l.folder, "lock")
	fi, err := os.Stat(lock)
	if r.companions.folders == nil {
		r.companions.folders = map[*link]os.FileInfo{}
	}
	was := r.companions.folders[l]
	switch {
	case was == nil && err == nil:
		r.companions.folders[l] = fi
	case was == nil, err != nil && !errors.Is(err, os.ErrNotExist), err == nil && os.SameFile(was, fi):
	default:
		r.notice(lock, fmt.Sprintf("the state directory %s was deleted or replaced while the database was open: this process goes on, and another one that opens the database "+
			"doesn't see that it does; open it in no other one, close it and open it again, and it goes on at the replica on a timeline of its own", l.folder))
	}
}

// notice tells of something once.
func (r *run) notice(about, text string) {
	if r.companions.said[about] {
		return
	}
	if r.companions.said == nil {
		r.companions.said = map[string]bool{}
	}
	r.companions.said[about] = true
	for _, l := range r.replicas {
		l.shipper.Notice(text)
	}
}

// procLocks is where Linux tells of the locks on files. It is read for all databases of the process at once.
var procLocks struct {
	sync.Mutex
	read time.Time
	held map[uint64]bool // inodes of files that this process has a POSIX lock on
}

// locksLost says that this process has no POSIX lock on the file with inode main, though it has one on shm: so the locks on main went when somebody closed
// a descriptor of it. A system that doesn't tell of locks shows none on shm either.
func locksLost(main, shm uint64) bool {
	procLocks.Lock()
	defer procLocks.Unlock()
	if time.Since(procLocks.read) > locksEvery/2 {
		raw, err := os.ReadFile("/proc/locks")
		if err != nil {
			return false
		}
		procLocks.read, procLocks.held = time.Now(), heldLocks(raw, os.Getpid())
	}
	return procLocks.held[shm] && !procLocks.held[main]
}

// heldLocks reads the inodes in lines like "1: POSIX  ADVISORY  READ  1234 08:01:131073 1073741826 1073742335".
func heldLocks(raw []byte, pid int) map[uint64]bool {
	held := map[uint64]bool{}
	own := strconv.Itoa(pid)
	for in := bufio.NewScanner(bytes.NewReader(raw)); in.Scan(); {
		f := strings.Fields(in.Text())
		if len(f) < 8 || f[1] != "POSIX" || f[4] != own {
			continue // of others, or one that waits ("->")
		}
		if i := strings.LastIndexByte(f[5], ':'); i >= 0 {
			if inode, err := strconv.ParseUint(f[5][i+1:], 10, 64); err == nil {
				held[inode] = true
			}
		}
	}
	return held
}

// checkLinks looks at a file that has more than one name. Each name has a log, a wal-index and a state directory of its own, and SQLite itself
// corrupts a database that is open under two. It is an error when another name is shipped to one of the replicas: the two would
// take it from each other. Else the text is for Stat.Notice; "" where there is one name.
func checkLinks(path string, urls []string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return "", nil // it will be made, or SQLite says what is wrong
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Nlink < 2 || !fi.Mode().IsRegular() {
		return "", nil
	}
	entries, _ := os.ReadDir(filepath.Dir(path)) // the others are elsewhere, then
	for _, e := range entries {
		other := filepath.Join(filepath.Dir(path), e.Name())
		if info, err := e.Info(); err != nil || other == path || !os.SameFile(info, fi) {
			continue
		}
		for _, url := range urls {
			if folderOf(stateFolder(other, url, 1)) == url {
				return "", fmt.Errorf("%w: %s and %s are one file (a hard link), and that is shipped to %s under the other name; open it by that name, or remove one of the two",
					ErrReplicaInUse, path, other, store.Redact(url))
			}
		}
	}
	return fmt.Sprintf("%s has %d names (hard links): each would have a log of its own, and SQLite corrupts a database that is open under two; remove the others, or never open them",
		path, st.Nlink), nil
}
