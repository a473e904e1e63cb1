package vfs_test

import (
	"context"
	"database/sql"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"seawal/store"
)

// The lock of open file descriptions, which conflicts with the process's own locks too, and where SQLite has them.
const (
	ofdGetLock  = 36 // F_OFD_GETLK
	sharedFirst = 1<<30 + 2
	sharedSize  = 510
)

// lockWatch is a store that looks, whenever a snapshot is read for a roll-forward, whether a database is locked against everybody.
type lockWatch struct {
	store.Store
	path string
}

var lockSeen = struct {
	sync.Mutex
	free, locked int
	open         []*os.File // closing one would drop the lock that is looked for
}{}

func init() {
	store.Register("lockwatch", func(ctx context.Context, u *url.URL) (store.Store, error) {
		s, err := store.Open(ctx, "file://"+u.Path)
		return lockWatch{s, strings.TrimSuffix(u.Path, "/replica") + "/app.db"}, err
	})
}

func (w lockWatch) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	// The shipper reads it too, later, without a lock.
	copies, err := filepath.Glob(w.path + "-seawal/*/.rollforward.db.restore-*") // the scheme is another one than before
	if err != nil {
		return nil, err
	}
	if len(copies) > 0 && strings.Contains(name, "/snapshot/") {
		f, err := os.Open(w.path)
		if err != nil {
			return nil, err
		}
		lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart, Start: sharedFirst, Len: sharedSize}
		if err := syscall.FcntlFlock(f.Fd(), ofdGetLock, &lock); err != nil {
			return nil, err
		}
		lockSeen.Lock()
		lockSeen.open = append(lockSeen.open, f)
		if lock.Type == syscall.F_WRLCK {
			lockSeen.locked++
		} else {
			lockSeen.free++
		}
		lockSeen.Unlock()
	}
	return w.Store.Read(ctx, name, off, n)
}

// While the copy is restored that a database is rolled forward from, nobody else may come to write it.
func TestRollForwardHoldsItsLock(t *testing.T) {
	p, disks := aged(t, "DELETE")
	p.put(disks[4])
	p.reboot()
	q := p
	q.replica = strings.Replace(p.replica, "file://", "lockwatch://", 1)
	db := q.open("_journal_mode=DELETE")
	defer db.Close()
	if got := one(t, db, "SELECT count(*) FROM t"); got != "8" {
		t.Errorf("%s rows, want 8", got)
	}
	lockSeen.Lock()
	defer lockSeen.Unlock()
	for _, f := range lockSeen.open {
		f.Close()
	}
	if lockSeen.locked == 0 || lockSeen.free != 0 {
		t.Errorf("while the snapshot was read, the database was locked %d times and free %d times", lockSeen.locked, lockSeen.free)
	}
}

// A connection that the process has through the plain driver keeps its lock while the file is looked at. Without it another
// process could write what it is reading.
func TestRollForwardLeavesOtherLocksAlone(t *testing.T) {
	p, disks := aged(t, "DELETE")
	p.put(disks[len(disks)-1]) // nothing was lost, but who knows
	p.reboot()
	other, err := sql.Open("sqlite3", "file:"+p.path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() // nothing was written
	one(t, tx, "SELECT count(*) FROM t")
	db := p.open("_journal_mode=DELETE")
	defer db.Close()
	flush(t, db)
	f, err := os.Open(p.path)
	if err != nil {
		t.Fatal(err)
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: sharedFirst, Len: sharedSize}
	if err := syscall.FcntlFlock(f.Fd(), ofdGetLock, &lock); err != nil {
		t.Fatal(err)
	}
	if lock.Type != syscall.F_RDLCK {
		t.Errorf("the reader has lost its lock: %+v", lock)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
