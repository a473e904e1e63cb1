package sftp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// staleAge is how long a temporary file of others must not have been written to before it is removed. To be wrong is harmless:
// the Create that loses its file fails, and is repeated.
const staleAge = time.Hour

// hiddenFolder, in the root, holds what isn't whole yet. No object has a name in it, since a component never begins
// with a dot.
const hiddenFolder = ".seawal-tmp"

// Create implements store.Store.
func (s *files) Create(ctx context.Context, name string, body store.Body) error {
	err := transfer.Begin(ctx, store.ValidateName(name))
	if err == nil {
		err = s.with(ctx, func(c *session) error { return s.create(ctx, c, s.path(name), body) })
	}
	if err != nil {
		return s.wrap(ctx, store.OpCreate, name, err)
	}
	if s.firstSeen().Name == "" {
		if o, err := s.Stat(ctx, name); err == nil {
			s.see(o)
		}
	}
	return nil
}

func (s *files) create(ctx context.Context, c *session, final string, body store.Body) error {
	w, err := s.begin(ctx, c, final)
	if err != nil {
		return err
	}
	defer w.closeAll()
	if err := w.fill(ctx, body); err != nil {
		s.remove(c, w.tmp).drop()
		return err
	}
	return w.publish(ctx)
}

// writing is an object that is being created.
type writing struct {
	*files
	c          *session
	final, tmp string
	file       *sftp.File // tmp
	folder     *sftp.File // of final; nil when the server doesn't open folders
	size       atomic.Int64
}

// begin makes what is needed to write, in one round trip once the folders are known, and looks whether the name is free.
func (s *files) begin(ctx context.Context, c *session, final string) (_ *writing, err error) {
	for _, extension := range []string{"hardlink@openssh.com", "fsync@openssh.com"} {
		if _, ok := c.sftp.HasExtension(extension); !ok {
			return nil, store.Permanent(fmt.Errorf("the server lets %s only read, or doesn't offer %s, without which objects can't be created safely; use one that does, such as OpenSSH's", s.user, extension))
		}
	}
	hidden, dir := s.path(hiddenFolder), path.Dir(final)
	if !s.isSafe(hidden) || !s.isSafe(dir) {
		if err := s.isThere(ctx, c); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{hidden, dir} {
		if err := s.makeFolder(ctx, c, d); err != nil {
			return nil, err
		}
	}
	s.removeLeft(c)
	w := &writing{files: s, c: c, final: final, tmp: path.Join(hidden, "create-"+rand.Text())}
	found := start(c, func() (bool, error) { return isFile(c.sftp.Stat(final)) }, nil)
	folder := start(c, func() (*sftp.File, error) { return c.sftp.Open(dir) }, closeFile)
	file := start(c, func() (*sftp.File, error) {
		return c.sftp.OpenFile(w.tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	}, func(f *sftp.File) {
		f.Close()
		s.remove(c, w.tmp).drop()
	})

	taken, takenErr := found.wait(ctx, s.patience)
	var folderErr, fileErr error
	w.folder, folderErr = folder.wait(ctx, s.patience)
	w.file, fileErr = file.wait(ctx, s.patience)
	defer func() {
		if err != nil {
			w.closeAll()
			if w.file != nil {
				s.remove(c, w.tmp).drop()
			}
		}
	}()
	if fileErr != nil && !isAnswer(fileErr) {
		s.remember(w.tmp)
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case takenErr != nil:
		return nil, takenErr
	case errors.Is(folderErr, fs.ErrNotExist):
		s.forget(dir)
		return nil, fmt.Errorf("%w: folder %s was there and is gone", store.ErrGone, dir)
	case errors.Is(fileErr, fs.ErrNotExist):
		// The disk was unmounted, or the replica emptied: to go on in what is there now would leave a replica with a hole in it.
		return nil, fmt.Errorf("%w: %s was there and is gone: mount or put back what was in %s", store.ErrGone, hidden, s.root)
	case folderErr != nil && !isAnswer(folderErr):
		return nil, folderErr
	case taken:
		return nil, w.exists(ctx)
	case fileErr != nil:
		return nil, writeError(fileErr)
	}
	s.swept.Do(func() { s.sweep(ctx, w) })
	return w, nil
}

// isFile says that there is a file, whichever way Stat says so. A folder of that name is an error.
func isFile(fi fs.FileInfo, err error) (bool, error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case fi.IsDir():
		return false, store.Permanent(errors.New("a folder has this name"))
	}
	return true, nil
}

// exists says that the name is taken, once it is sure to stay so: whoever made the object may have been killed before
// the folder was synced, and who reads the object back will rely on it.
func (w *writing) exists(ctx context.Context) error {
	if err := w.sync(ctx, w.c, w.folder); err != nil {
		return err
	}
	return store.ErrExist
}

// fill writes the body and puts it on the server's disk.
func (w *writing) fill(ctx context.Context, body store.Body) error {
	in, err := body()
	if err != nil {
		return &transfer.BodyError{Err: err}
	}
	defer in.Close() // it was read to its end, or failed already
	first, whole, err := transfer.First(in)
	if err != nil {
		return err
	}
	if whole {
		_, err = w.write(ctx, transfer.Part{Content: first})
	} else {
		_, err = transfer.Upload(ctx, in, first, w.write)
	}
	if err != nil {
		return writeError(err)
	}
	if err := tell(ctx, w.c, max(w.patience, transfer.UploadTimeout(w.size.Load())), w.file.Sync); err != nil {
		return writeError(fmt.Errorf("sync: %w", err))
	}
	return nil
}

// write is a transfer.Put.
func (w *writing) write(ctx context.Context, p transfer.Part) (string, error) {
	w.size.Add(int64(len(p.Content)))
	return "", tell(ctx, w.c, w.patience, func() error {
		_, err := w.file.WriteAt(p.Content, p.Offset)
		return err
	})
}

// publish gives the temporary file its name, unless that is taken.
func (w *writing) publish(ctx context.Context) error {
	err := tell(ctx, w.c, w.patience, func() error { return w.c.sftp.Link(w.tmp, w.final) })
	removed := w.remove(w.c, w.tmp) // meanwhile; what can't be removed is remembered, and no error
	if err != nil {
		removed.drop()
	}
	switch {
	case err == nil:
		err = w.sync(ctx, w.c, w.folder)
		removed.wait(ctx, w.patience)
		return err
	case errors.Is(err, fs.ErrNotExist):
		w.forget(path.Dir(w.final))
		return fmt.Errorf("%s or the folder of %s was there and is gone", w.tmp, w.final)
	case errors.Is(err, fs.ErrPermission):
		return store.Permanent(fmt.Errorf("no permission to make a hard link in %s, or its file system has none; choose a folder on another: %w", path.Dir(w.final), err))
	case !isFailure(err):
		return err
	}
	taken, serr := ask(ctx, w.c, w.patience, func() (bool, error) { return isFile(w.c.sftp.Stat(w.final)) })
	switch {
	case serr != nil:
		return serr
	case taken:
		return w.exists(ctx)
	}
	return fmt.Errorf("the server could not link %s to its name; is its disk or a quota full, or a file system without hard links? %w", w.tmp, err)
}

// sync puts the entries of a folder on the server's disk. A file system that can't has nothing better to offer.
func (s *files) sync(ctx context.Context, c *session, folder *sftp.File) error {
	if folder == nil {
		return nil
	}
	err := tell(ctx, c, s.patience, folder.Sync)
	if isUnsupported(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sync the folder: %w", err)
	}
	return nil
}

// syncFolder is sync for a folder that isn't open.
func (s *files) syncFolder(ctx context.Context, c *session, dir string) error {
	folder, err := start(c, func() (*sftp.File, error) { return c.sftp.Open(dir) }, closeFile).wait(ctx, s.patience)
	if err != nil {
		if isAnswer(err) && !errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("sync the folder: %w", err)
	}
	defer closeLater(c, folder)
	return s.sync(ctx, c, folder)
}

// makeFolder makes dir and what is missing above it. When it returns nil, the entries of dir and of every folder above it, up to
// the root's own, are on disk. A folder that was there already is synced once in the life of the store, because another
// process may have been killed between making and syncing it.
func (s *files) makeFolder(ctx context.Context, c *session, dir string) error {
	if s.isSafe(dir) {
		return nil
	}
	mkdir := func() error { return tell(ctx, c, s.patience, func() error { return c.sftp.Mkdir(dir) }) }
	err := mkdir()
	if errors.Is(err, fs.ErrNotExist) && path.Dir(dir) != dir {
		if err := s.makeFolder(ctx, c, path.Dir(dir)); err != nil {
			return err
		}
		err = mkdir()
	}
	made := err == nil
	if err != nil {
		fi, serr := ask(ctx, c, s.patience, func() (fs.FileInfo, error) { return c.sftp.Stat(dir) })
		switch {
		case errors.Is(serr, fs.ErrNotExist):
			return fmt.Errorf("make folder %s: %w", dir, writeError(err))
		case serr != nil:
			return serr
		case !fi.IsDir():
			return notAFolder(dir)
		}
	}
	if dir != s.root && strings.HasPrefix(dir, strings.TrimSuffix(s.root, "/")+"/") {
		if err := s.makeFolder(ctx, c, path.Dir(dir)); err != nil {
			return err
		}
	}
	if err := s.syncFolder(ctx, c, path.Dir(dir)); err != nil && (made || !errors.Is(err, fs.ErrPermission)) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.safe[dir] = true
	return nil
}

func (s *files) isSafe(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.safe[dir]
}

func (s *files) forget(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.safe, dir)
}

// remove removes a temporary file of ours, or remembers it for later.
func (s *files) remove(c *session, tmp string) *step[struct{}] {
	return start(c, func() (struct{}, error) {
		err := c.sftp.Remove(tmp)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.remember(tmp)
		}
		return struct{}{}, err
	}, nil)
}

func (s *files) remember(tmp string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left[tmp] = true
}

// removeLeft tries again to remove what broken connections have left.
func (s *files) removeLeft(c *session) {
	s.mu.Lock()
	left := s.left
	s.left = map[string]bool{}
	s.mu.Unlock()
	for tmp := range left {
		s.remove(c, tmp).drop()
	}
}

// sweep removes the temporary files of processes that were killed. It is best effort: what it leaves costs space, nothing
// else, and the next process tries again. The age is told by the server's own clock, which has just given w's file its time.
func (s *files) sweep(ctx context.Context, w *writing) {
	fi, err := ask(ctx, w.c, s.patience, w.file.Stat)
	if err != nil {
		return
	}
	old := fi.ModTime().Add(-staleAge)
	_ = s.eachIn(ctx, w.c, path.Dir(w.tmp), func(e dirEntry) error {
		if strings.HasPrefix(e.name, "create-") && e.isRegular() && e.modified.Before(old) {
			start(w.c, func() (struct{}, error) {
				return struct{}{}, w.c.sftp.Remove(path.Join(path.Dir(w.tmp), e.name))
			}, nil).drop()
		}
		return nil
	})
}

// closeAll closes what is open on the server, without waiting.
func (w *writing) closeAll() {
	for _, f := range []*sftp.File{w.file, w.folder} {
		if f != nil {
			closeLater(w.c, f)
		}
	}
}

func closeLater(c *session, f *sftp.File) {
	start(c, func() (struct{}, error) { return struct{}{}, f.Close() }, nil).drop()
}
