// Package powertest says what a loss of power would leave of the files that Go code keeps: at each of its file operations
// (package fsops), every state that the disk may be in by then. It is for tests, of files that are a few megabytes at most.
//
// What is on stable storage is the least that POSIX promises: the content that a file had when it was last synced, and the names that a
// directory had when it was. Any of the names given or taken since may be there too, in whatever order they came; the content of a file that
// was never synced, or was written since, is anything.
package powertest

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"seawal/internal/fsops"
)

// Disk follows the operations in a directory.
type Disk struct {
	t     testing.TB
	dir   string
	check func(Left) string

	mu     sync.Mutex
	synced map[uint64][]byte // content by inode; one that isn't in it was never synced
	names  map[string]uint64 // on stable storage: directories too, which have all that they hold
	since  []change          // what is not yet, oldest first
	last   fsops.Event
}

// change is names that were given or taken at once; 0 is none.
type change map[string]uint64

// Left is one of the states that a loss of power may leave.
type Left struct {
	After fsops.Event // the last operation before it
	disk  *Disk
	names map[string]uint64
}

// Content is what a file has. exists is false when nothing has the name; a file whose content isn't on stable storage is not whole.
func (l Left) Content(path string) (content []byte, exists, whole bool) {
	for dir := filepath.Dir(path); len(dir) >= len(l.disk.dir); dir = filepath.Dir(dir) {
		if dir != l.disk.dir && l.names[dir] == 0 {
			return nil, false, false
		}
	}
	n := l.names[path]
	if n == 0 {
		return nil, false, false
	}
	content, whole = l.disk.synced[n]
	return content, true, whole
}

// Watch follows what is done in dir, all of which is on stable storage now, until the test ends. After every operation
// check gets each state that power could have failed into, and says what is wrong with it; "" is nothing.
func Watch(t testing.TB, dir string, check func(Left) string) *Disk {
	t.Helper()
	d := &Disk{t: t, dir: dir, check: check, synced: map[uint64][]byte{}, names: map[string]uint64{}}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			d.synced[inode(path)], err = os.ReadFile(path)
		}
		d.names[path] = inode(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fsops.Watch(dir, d.see))
	return d
}

// inode is that of a file or directory, 0 for none.
func inode(path string) uint64 {
	fi, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return fi.Sys().(*syscall.Stat_t).Ino
}

func (d *Disk) see(e fsops.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = e
	switch e.Op {
	case fsops.OpSync:
		content, err := os.ReadFile(e.Path)
		if err != nil {
			d.t.Errorf("%s was synced, and has another name by now: %v", e.Path, err)
			return
		}
		d.synced[inode(e.Path)] = content
	case fsops.OpSyncDir:
		d.settle(e.Path)
	case fsops.OpRename:
		d.since = append(d.since, change{e.Path: 0, e.To: inode(e.To)})
	case fsops.OpLink:
		d.since = append(d.since, change{e.To: inode(e.To)})
	case fsops.OpRemove:
		d.since = append(d.since, change{e.Path: 0})
	}
	d.look()
}

// settle puts the names of a directory on stable storage.
func (d *Disk) settle(dir string) {
	in := func(path string, _ uint64) bool { return filepath.Dir(path) == dir && path != d.dir }
	maps.DeleteFunc(d.names, in)
	for _, c := range d.since {
		maps.DeleteFunc(c, in)
	}
	d.since = slices.DeleteFunc(d.since, func(c change) bool { return len(c) == 0 })
	entries, err := os.ReadDir(dir)
	if err != nil {
		d.t.Error(err)
	}
	for _, e := range entries {
		if n := inode(filepath.Join(dir, e.Name())); n != 0 {
			d.names[filepath.Join(dir, e.Name())] = n
		}
	}
}

// look checks every state: with any of the changes since.
func (d *Disk) look() {
	if d.check == nil || d.t.Failed() {
		return
	}
	for some := range 1 << min(len(d.since), 10) {
		l := Left{After: d.last, disk: d, names: maps.Clone(d.names)}
		for i, c := range d.since {
			if some>>i&1 != 0 {
				maps.Copy(l.names, c)
			}
		}
		if wrong := d.check(l); wrong != "" {
			d.t.Errorf("a loss of power after %v of %s: %s", d.last.Op, filepath.Base(d.last.Path), wrong)
			return
		}
	}
}

// Settled is what a loss of power leaves at least, now.
func (d *Disk) Settled() Left {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Left{After: d.last, disk: d, names: maps.Clone(d.names)}
}
