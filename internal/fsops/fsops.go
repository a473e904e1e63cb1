// Package fsops has the file operations whose order decides what a loss of power leaves: fsync of a file and of a directory,
// and what gives a file its name. Go code that keeps something on disk calls these and not package os, so that tests see the order
// and can say what each moment of it would have left (package powertest). Without a test that watches they are the calls of package os.
package fsops

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Op is a file operation.
type Op uint8

// The operations. Each is told when it has succeeded.
const (
	OpSync    Op = iota + 1 // the content of a file is on stable storage
	OpSyncDir               // the names in a directory are
	OpRename                // a file has another name, which another file may have had
	OpLink                  // a file has one more name
	OpRemove                // a file has a name less
)

// Event is one operation that was done.
type Event struct {
	Op   Op
	Path string // of the file or directory, absolute if the caller's was
	To   string // the new name, of OpRename and OpLink
}

// Sync brings the content of a file to stable storage.
func Sync(f *os.File) error {
	err := f.Sync()
	if err == nil {
		tell(Event{Op: OpSync, Path: f.Name()})
	}
	return err
}

// SyncDir brings the names in a directory to stable storage. A file system that can't do that has nothing better to offer: it is no error.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	if err = errors.Join(err, d.Close()); err == nil {
		tell(Event{Op: OpSyncDir, Path: dir})
	}
	return err
}

// Rename gives a file another name, and takes that from the file which has it.
func Rename(from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		tell(Event{Op: OpRename, Path: from, To: to})
	}
	return err
}

// RenameExclusive gives a file another name, unless a file has that (fs.ErrExist). The error is errors.ErrUnsupported where the
// system or the file system can't do that in one step.
func RenameExclusive(from, to string) error {
	err := renameExclusive(from, to)
	if err == nil {
		tell(Event{Op: OpRename, Path: from, To: to})
	}
	return err
}

// Link gives a file one more name, unless a file has that.
func Link(from, to string) error {
	err := os.Link(from, to)
	if err == nil {
		tell(Event{Op: OpLink, Path: from, To: to})
	}
	return err
}

// Remove takes a name away.
func Remove(path string) error {
	err := os.Remove(path)
	if err == nil {
		tell(Event{Op: OpRemove, Path: path})
	}
	return err
}

var (
	watching atomic.Int32 // how many there are
	watchers sync.Map     // *watcher -> nothing
)

type watcher struct {
	dir string
	see func(Event)
}

// Watch has see called after each operation in a directory or below it, by the goroutine that did it, until stop. It is for tests.
func Watch(dir string, see func(Event)) (stop func()) {
	w := &watcher{filepath.Clean(dir), see}
	watchers.Store(w, nil)
	watching.Add(1)
	return func() {
		watchers.Delete(w)
		watching.Add(-1)
	}
}

func tell(e Event) {
	if watching.Load() == 0 {
		return
	}
	watchers.Range(func(key, _ any) bool {
		w := key.(*watcher)
		if p := filepath.Clean(e.Path); p == w.dir || strings.HasPrefix(p, w.dir+string(filepath.Separator)) {
			w.see(e)
		}
		return true
	})
}

func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "operation"
}

var opNames = [...]string{OpSync: "sync", OpSyncDir: "sync of the directory", OpRename: "rename", OpLink: "link", OpRemove: "remove"}
