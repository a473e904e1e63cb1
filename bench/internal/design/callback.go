package design

import (
	"context"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"github.com/psanford/sqlite3vfs"

	"seawal/bench/internal/machine"
)

// Exclusive is the name of plain SQLite as a VFS without shared memory leaves it.
const Exclusive = "exclusive"

// callbackVFS is the name of the VFS in Go.
const callbackVFS = "bench-go"

// registerCallback registers it once it is needed: nothing of it is in the way of other designs.
var registerCallback = sync.OnceValue(func() error { return sqlite3vfs.RegisterVFS(callbackVFS, goVFS{}) })

func init() {
	for _, d := range []struct{ name, title, vfs string }{
		{Exclusive, "plain, EXCLUSIVE, no mmap", ""},
		{"go-vfs", "VFS in Go, EXCLUSIVE, no mmap", callbackVFS},
	} {
		Register(Design{Name: d.name, Title: d.title, Open: func(ctx context.Context, db Database) (Session, error) {
			return openExclusive(ctx, db, d.vfs)
		}})
	}
}

// openExclusive opens a database as it has to be opened on a VFS without shared memory: by one connection, for itself. That is
// also without mmap, which such a VFS doesn't have; the plain one beside it is measured under the same conditions.
func openExclusive(ctx context.Context, d Database, vfs string) (Session, error) {
	// go-sqlite3 sets the journal mode first, which is too early.
	params := url.Values{"_locking_mode": {"EXCLUSIVE"}, "_journal_mode": nil}
	if vfs != "" {
		if d.VFS != "" {
			return nil, errors.New("the VFS in Go lies over nothing else")
		}
		if err := registerCallback(); err != nil {
			return nil, err
		}
		params.Set("vfs", vfs)
	}
	db, err := openPool(ctx, "sqlite3", d.dsn(params))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "PRAGMA journal_mode=WAL"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return pool{db}, nil
}

// goVFS passes everything on to the operating system, as the least that a VFS in Go can do: what it costs is the way from C to
// Go and back at every call.
type goVFS struct{}

var _ sqlite3vfs.VFS = goVFS{}

func (goVFS) Open(name string, flags sqlite3vfs.OpenFlag) (sqlite3vfs.File, sqlite3vfs.OpenFlag, error) {
	how := os.O_RDWR
	if flags&sqlite3vfs.OpenReadOnly != 0 {
		how = os.O_RDONLY
	}
	if flags&sqlite3vfs.OpenCreate != 0 {
		how |= os.O_CREATE
	}
	f, err := os.OpenFile(name, how, 0o600)
	if err != nil {
		return nil, 0, sqlite3vfs.CantOpenError
	}
	return goFile{f}, flags, nil
}

func (goVFS) Delete(name string, _ bool) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sqlite3vfs.IOError
	}
	return nil
}

func (goVFS) Access(name string, _ sqlite3vfs.AccessFlag) (bool, error) {
	_, err := os.Stat(name)
	return err == nil, nil
}

func (goVFS) FullPathname(name string) string {
	if p, err := filepath.Abs(name); err == nil {
		return p
	}
	return name
}

// goFile is an open file. Its locks exclude nobody: a measurement has one connection.
type goFile struct{ f *os.File }

var _ sqlite3vfs.File = goFile{}

func (g goFile) Close() error { return g.f.Close() }

func (g goFile) ReadAt(p []byte, off int64) (int, error)  { return g.f.ReadAt(p, off) }
func (g goFile) WriteAt(p []byte, off int64) (int, error) { return g.f.WriteAt(p, off) }
func (g goFile) Truncate(size int64) error                { return g.f.Truncate(size) }
func (g goFile) Sync(sqlite3vfs.SyncType) error           { return machine.DataSync(g.f) }
func (g goFile) Lock(sqlite3vfs.LockType) error           { return nil }
func (g goFile) Unlock(sqlite3vfs.LockType) error         { return nil }
func (g goFile) CheckReservedLock() (bool, error)         { return false, nil }
func (g goFile) SectorSize() int64                        { return 4096 }

func (g goFile) FileSize() (int64, error) {
	fi, err := g.f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (g goFile) DeviceCharacteristics() sqlite3vfs.DeviceCharacteristic {
	return sqlite3vfs.IocapPowersafeOverwrite // as the unix VFS says
}
