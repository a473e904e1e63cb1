package sftp

import (
	"context"
	"errors"
	"io/fs"
	"iter"

	"seawal/store"
	"seawal/store/internal/transfer"
	"seawal/store/internal/tree"
)

// listWindow is how many entries of one folder List holds: about 10 MB, and 18 hours of commits at one segment a second. A
// larger folder is transferred again for each further window, so it is larger than that of a local folder.
const listWindow = 65536

// List implements store.Store.
func (s *files) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		l := tree.Lister{Prefix: prefix, After: after, Window: s.window, Read: func(rel string, each func(tree.Entry) error) error {
			return s.readFolder(ctx, rel, each)
		}}
		err := transfer.Begin(ctx, store.ValidatePrefix(prefix), store.ValidatePrefix(after))
		if err == nil {
			err = l.List(func(e tree.Entry) error {
				if err := ctx.Err(); err != nil {
					return err
				}
				if !yield(store.Object{Name: e.Key, Size: e.Size}, nil) {
					return tree.ErrStop
				}
				return nil
			})
		}
		if err != nil {
			yield(store.Object{}, s.wrap(ctx, store.OpList, prefix, err))
		}
	}
}

// readFolder is a tree.Folder. What is no object of ours is left out: hidden files, odd names, sockets. A symbolic link counts as what
// it points to.
func (s *files) readFolder(ctx context.Context, rel string, each func(tree.Entry) error) error {
	err := s.with(ctx, func(c *session) error {
		return s.eachIn(ctx, c, s.path(rel), func(e dirEntry) error {
			key := rel + e.name
			if store.ValidateName(key) != nil {
				return nil
			}
			if !e.isRegular() && !e.isFolder() {
				fi, err := ask(ctx, c, s.patience, func() (fs.FileInfo, error) { return c.sftp.Stat(s.path(key)) })
				switch {
				case errors.Is(err, fs.ErrNotExist):
					return nil
				case err != nil:
					return err
				}
				e.mode, e.size = kindOf(fi), fi.Size()
			}
			switch {
			case e.isFolder():
				return each(tree.Entry{Key: key + "/"})
			case e.isRegular():
				return each(tree.Entry{Key: key, Size: e.size})
			}
			return nil
		})
	})
	if errors.Is(err, fs.ErrNotExist) {
		// Unmounted between two folders, the listing would end too early and look whole.
		return s.with(ctx, func(c *session) error { return s.isThere(ctx, c) })
	}
	return err
}

// eachIn calls each for the entries of a folder of the server, in the order in which they come.
func (s *files) eachIn(ctx context.Context, c *session, dir string, each func(dirEntry) error) error {
	d, err := s.dirStream(ctx, c)
	if err != nil {
		return err
	}
	whole := false // the folder was read to its end, or there is none
	defer func() {
		if !whole || !s.keepDirStream(c, d) {
			start(c, func() (struct{}, error) { d.close(); return struct{}{}, nil }, nil).drop()
		}
	}()
	if err := tell(ctx, c, s.patience, func() error { return d.open(dir) }); err != nil {
		whole = errors.Is(err, fs.ErrNotExist)
		return err
	}
	for {
		entries, err := ask(ctx, c, s.patience, d.next)
		if err != nil || len(entries) == 0 {
			whole = err == nil
			return err
		}
		for _, e := range entries {
			if err := each(e); err != nil {
				return err
			}
		}
	}
}

// dirStream returns one that was kept, or a new one.
func (s *files) dirStream(ctx context.Context, c *session) (*dirStream, error) {
	s.mu.Lock()
	d := c.spare
	c.spare = nil
	s.mu.Unlock()
	if d != nil {
		return d, nil
	}
	return start(c, func() (*dirStream, error) { return newDirStream(c) }, (*dirStream).close).wait(ctx, s.patience)
}

// keepDirStream keeps one for the next folder, unless another is kept: it saves three round trips.
func (s *files) keepDirStream(c *session, d *dirStream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.spare != nil {
		return false
	}
	c.spare = d
	return true
}

// kindOf is the kind of file, as the protocol writes it.
func kindOf(fi fs.FileInfo) uint32 {
	switch {
	case fi.IsDir():
		return kindFolder
	case fi.Mode().IsRegular():
		return kindRegular
	}
	return 0
}
