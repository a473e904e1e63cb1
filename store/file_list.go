package store

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"seawal/store/internal/tree"
)

// listWindow is how many entries of one folder List holds: 16,384 are about 1 MB, and
// more than four hours of commits at one segment a second.
const listWindow = 16384

// List implements Store.
func (s *fileStore) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		l := tree.Lister{Prefix: prefix, After: after, Window: s.window, Read: func(rel string, each func(tree.Entry) error) error {
			return s.readFolder(ctx, rel, each)
		}}
		err := begin(ctx, ValidatePrefix(prefix), ValidatePrefix(after))
		if err == nil {
			err = s.isThere(false)
		}
		if err == nil {
			err = l.List(func(e tree.Entry) error {
				o, err := s.Stat(ctx, e.Key)
				switch {
				case errors.Is(err, ErrNotExist):
					return nil // deleted meanwhile
				case err != nil:
					return err
				case !yield(o, nil):
					return tree.ErrStop
				}
				return nil
			})
		}
		if err != nil {
			yield(Object{}, s.wrap(OpList, prefix, err))
		}
	}
}

// readFolder is a tree.Folder.
func (s *fileStore) readFolder(ctx context.Context, rel string, each func(tree.Entry) error) error {
	dir, err := os.Open(s.path(rel))
	if err != nil {
		if err = s.absent(err); errors.Is(err, ErrNotExist) {
			err = s.isThere(false) // unmounted between two folders, the listing would end too early and look whole
		}
		return err
	}
	defer dir.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		entries, err := dir.ReadDir(1024)
		for _, e := range entries {
			key, err := s.key(rel, e)
			if err == nil && key != "" {
				err = each(tree.Entry{Key: key})
			}
			if err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// key is the key of a directory entry, or empty for what is no object of ours:
// hidden files, odd names, sockets. A symbolic link counts as what it points to.
func (s *fileStore) key(rel string, e fs.DirEntry) (string, error) {
	key := rel + e.Name()
	if ValidateName(key) != nil {
		return "", nil
	}
	mode := e.Type()
	if mode&fs.ModeSymlink != 0 {
		fi, err := os.Stat(filepath.Join(s.path(rel), e.Name()))
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
