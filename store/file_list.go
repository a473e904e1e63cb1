package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// listWindow is how many entries of one folder List holds. A bigger folder is
// read again for each further window: its entries come in no order, and a sorted
// listing in bounded memory has to find the next smallest ones. 16,384 entries
// are about 1 MB, and more than four hours of commits at one segment a second.
const listWindow = 16384

// List implements Store.
func (s *fileStore) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		l := &lister{s: s, ctx: ctx, prefix: prefix, after: after, yield: yield, window: s.window}
		err := begin(ctx, ValidatePrefix(prefix), ValidatePrefix(after))
		if err == nil {
			err = l.folder(prefix[:strings.LastIndexByte(prefix, '/')+1])
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(Object{}, s.wrap(OpList, prefix, err))
		}
	}
}

// errStop says that the consumer has had enough.
var errStop = errors.New("stop")

type lister struct {
	s             *fileStore
	ctx           context.Context
	prefix, after string
	yield         func(Object, error) bool
	window        int // entries held at once, per folder on the way down
}

// A key is the full name of a file, or of a folder with a slash behind it. In
// the order of keys a folder stands where its objects stand in the order of
// names: "a-b" < "a/c" < "a0", though "a" < "a-b".
func isFolder(key string) bool { return strings.HasSuffix(key, "/") }

// wanted says that key, or for a folder something in it, may be part of the listing.
func (l *lister) wanted(key string) bool {
	if isFolder(key) {
		return (strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key)) &&
			(key > l.after || strings.HasPrefix(l.after, key))
	}
	return strings.HasPrefix(key, l.prefix) && key > l.after
}

// folder yields what is below rel, which is empty for the root or ends with a slash.
func (l *lister) folder(rel string) error {
	last := "" // greatest key of the windows before
	for {
		keys, more, err := l.next(rel, last)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if isFolder(key) {
				err = l.folder(key)
			} else {
				err = l.object(key)
			}
			if err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
		last = keys[len(keys)-1]
	}
}

// object yields one object; one that was deleted meanwhile is left out.
func (l *lister) object(name string) error {
	o, err := l.s.Stat(l.ctx, name)
	switch {
	case errors.Is(err, ErrNotExist):
		return nil
	case err != nil:
		return err
	case !l.yield(o, nil):
		return errStop
	}
	return nil
}

// next returns the smallest wanted keys of a folder behind last, ascending, and
// whether there are more.
func (l *lister) next(rel, last string) (keys []string, more bool, err error) {
	dir, err := os.Open(l.s.path(rel))
	if err != nil {
		if err = l.s.absent(err); errors.Is(err, ErrNotExist) {
			err = nil
		}
		return nil, false, err
	}
	defer dir.Close()
	for {
		if err := l.ctx.Err(); err != nil {
			return nil, false, err
		}
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			key, err := l.key(rel, e)
			if err != nil {
				return nil, false, err
			}
			if key == "" || key <= last || !l.wanted(key) {
				continue
			}
			if more && key > keys[l.window-1] {
				continue // a window of smaller ones is known
			}
			keys = append(keys, key)
		}
		if len(keys) >= 2*l.window {
			keys, more = l.smallest(keys), true
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false, err
		}
	}
	if len(keys) > l.window {
		return l.smallest(keys), true, nil
	}
	slices.Sort(keys)
	return keys, more, nil
}

// smallest sorts keys and keeps the first window of them.
func (l *lister) smallest(keys []string) []string {
	slices.Sort(keys)
	clear(keys[l.window:])
	return keys[:l.window]
}

// key is the key of a directory entry, or empty for what is no object of ours:
// hidden files, odd names, sockets. A symbolic link counts as what it points to.
func (l *lister) key(rel string, e fs.DirEntry) (string, error) {
	key := rel + e.Name()
	if ValidateName(key) != nil {
		return "", nil
	}
	mode := e.Type()
	if mode&fs.ModeSymlink != 0 {
		fi, err := os.Stat(filepath.Join(l.s.path(rel), e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		mode = fi.Mode().Type()
	}
	switch {
	case mode.IsDir():
		return key + "/", nil
	case mode.IsRegular():
		return key, nil
	}
	return "", nil
}
