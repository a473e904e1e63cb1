// Package tree lists what lies in a tree of folders in the order of full names, as
// a bucket would, though the folders give their entries in no order and may not
// fit into memory.
package tree

import (
	"errors"
	"slices"
	"strings"
)

// Entry is a file or a folder.
type Entry struct {
	// Key is the full name of a file, or of a folder with a slash behind it. In
	// the order of keys a folder stands where its files stand in the order of
	// names: "a-b" < "a/c" < "a0", though "a" < "a-b".
	Key  string
	Size int64 // bytes of a file, if whoever reads the folder knows
}

// Folder calls each for every entry of a folder, in any order, and returns the
// first error of each or of its own. rel is empty for the root or ends with a
// slash, and begins the key of every entry. A folder that isn't there is empty.
type Folder func(rel string, each func(Entry) error) error

// ErrStop ends a List without an error when yield returns it.
var ErrStop = errors.New("stop")

// Lister says what to list.
type Lister struct {
	Read          Folder
	Prefix, After string // as in store.Store's List

	// Window is how many entries of a folder are held at once, on each level of the way
	// down. A larger folder is read again for each further window: a sorted listing in
	// bounded memory has to find the next smallest ones.
	Window int
}

// List yields the files whose keys begin with Prefix and are greater than After,
// ascending.
func (l *Lister) List(yield func(Entry) error) error {
	err := l.folder(l.Prefix[:strings.LastIndexByte(l.Prefix, '/')+1], yield)
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

func isFolder(key string) bool { return strings.HasSuffix(key, "/") }

// wanted says that key, or for a folder something in it, may be part of the listing.
func (l *Lister) wanted(key string) bool {
	if isFolder(key) {
		return (strings.HasPrefix(key, l.Prefix) || strings.HasPrefix(l.Prefix, key)) &&
			(key > l.After || strings.HasPrefix(l.After, key))
	}
	return strings.HasPrefix(key, l.Prefix) && key > l.After
}

// folder yields what is below rel.
func (l *Lister) folder(rel string, yield func(Entry) error) error {
	last := "" // greatest key of the windows before
	for {
		entries, more, err := l.next(rel, last)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if isFolder(e.Key) {
				err = l.folder(e.Key, yield)
			} else {
				err = yield(e)
			}
			if err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		last = entries[len(entries)-1].Key
	}
}

// next returns the smallest wanted entries of a folder behind last, ascending, and
// whether there are more.
func (l *Lister) next(rel, last string) (entries []Entry, more bool, err error) {
	err = l.Read(rel, func(e Entry) error {
		if e.Key <= last || !l.wanted(e.Key) {
			return nil
		}
		if more && e.Key > entries[l.Window-1].Key {
			return nil // a window of smaller ones is known
		}
		entries = append(entries, e)
		if len(entries) >= 2*l.Window {
			entries, more = l.smallest(entries), true
		}
		return nil
	})
	if err != nil {
		return nil, false, err
	}
	if len(entries) > l.Window {
		return l.smallest(entries), true, nil
	}
	sort(entries)
	return entries, more, nil
}

// smallest sorts entries and keeps the first window of them.
func (l *Lister) smallest(entries []Entry) []Entry {
	sort(entries)
	clear(entries[l.Window:])
	return entries[:l.Window]
}

func sort(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
}
