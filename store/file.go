package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"seawal/internal/fsops"
)

// hiddenFolder, in the root, holds what isn't whole yet. No object has a name in
// it, since a component never begins with a dot.
const hiddenFolder = ".seawal-tmp"

// copyBytes is how much of a body is in memory while it is written.
const copyBytes = 256 << 10

// fileStore keeps each object as one file below root, at the path that is its
// name, in folders that are made as needed and stay when they are empty.
//
// Create writes a temporary file in hiddenFolder, syncs it, and gives it its
// name with link(2), which fails when the name is taken and is atomic on
// every file system, NFS included; rename(2) would overwrite. Then it syncs the
// folder. Where links are not supported (FAT, some FUSE and SMB mounts), it is a
// rename(2) that the kernel refuses when the name is taken. Where the file system
// knows neither (FUSE again, old kernels), Create holds an exclusive lock, which
// the kernel drops when the process dies, while it looks whether the name is free
// and renames: see claim in file_lock_unix.go. Without locks it is refused.
//
// Everything below root must be one file system.
type fileStore struct {
	root   string // absolute
	now    func() time.Time
	link   func(oldpath, newpath string) error // fsops.Link
	rename func(oldpath, newpath string) error // fsops.RenameExclusive
	window int                                 // listWindow

	clean sync.Once // removes what killed processes left in hiddenFolder

	mu     sync.Mutex
	synced map[string]bool // folders whose own entry is known to be on disk; under mu
	anchor anchor          // by which the place is known again; under mu
}

var _ Store = (*fileStore)(nil)

func openFileURL(_ context.Context, u *url.URL) (Store, error) {
	switch {
	case u.Host != "" && u.Host != "localhost":
		return nil, Permanent(fmt.Errorf("%q is taken for a host; a folder is written with three slashes: file:///%s%s", u.Host, u.Host, u.Path))
	case u.User != nil || u.RawQuery != "":
		return nil, Permanent(errors.New("a file URL takes neither user nor parameters; percent-encode ? as %3F"))
	case u.Path == "":
		return nil, Permanent(errors.New("it names no folder; write file:///path"))
	}
	return OpenFolder(filepath.FromSlash(u.Path))
}

// OpenFolder opens the store on a folder, which Open does for file:///path. The
// folder need not exist: until the first Create makes it the store is empty.
// Objects and folders are for their owner alone, as a replica is as confidential as its database.
//
// Several processes may use one folder at once, on several hosts too if the file
// system is shared and its link(2) is atomic, as NFS's is.
func OpenFolder(path string) (Store, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find folder %s: %w", path, err)
	}
	fi, err := os.Stat(root)
	switch {
	case err == nil && !fi.IsDir():
		return nil, Permanent(fmt.Errorf("%s is a file, not a folder; choose another path or move it away", root))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, folderError(root, err)
	}
	return newFileStore(root), nil
}

func newFileStore(root string) *fileStore {
	return &fileStore{root: root, now: time.Now, link: fsops.Link, rename: fsops.RenameExclusive, window: listWindow, synced: map[string]bool{}}
}

func (s *fileStore) path(name string) string { return filepath.Join(s.root, filepath.FromSlash(name)) }

// Create implements Store.
func (s *fileStore) Create(ctx context.Context, name string, body Body) error {
	if err := s.create(ctx, name, body); err != nil {
		return s.wrap(OpCreate, name, err)
	}
	s.settle(name)
	return nil
}

func (s *fileStore) create(ctx context.Context, name string, body Body) error {
	if err := begin(ctx, ValidateName(name)); err != nil {
		return err
	}
	final := s.path(name)
	if err := s.isThere(false); err != nil {
		return err
	}
	if taken, err := s.taken(final); taken || err != nil {
		return err
	}
	hidden := filepath.Join(s.root, hiddenFolder)
	if err := s.enter(hidden); err != nil {
		return err
	}
	s.clean.Do(func() { removeStale(hidden, s.now()) })
	tmp, err := writeTemporary(ctx, hidden, body)
	if err != nil {
		return err
	}
	defer os.Remove(tmp) // what can't be removed is stale, and removed by a later process
	if err := s.makeFolder(filepath.Dir(final)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.publish(tmp, final)
}

// taken says that final exists, by the error ErrExist. The folder is synced
// before it says so: whoever made the object may have been killed between link
// and sync, and who reads the object back will rely on it.
func (s *fileStore) taken(final string) (bool, error) {
	fi, err := os.Lstat(final)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case errors.Is(err, syscall.ENOTDIR):
		return false, Permanent(fmt.Errorf("a folder of its path is a file: %w", err))
	case err != nil:
		return false, err
	case fi.IsDir():
		return false, Permanent(fmt.Errorf("%s is a folder", final))
	}
	if err := s.makeFolder(filepath.Dir(final)); err != nil {
		return true, err
	}
	if err := fsops.SyncDir(filepath.Dir(final)); err != nil {
		return true, err
	}
	return true, ErrExist
}

// publish gives the temporary file its name, unless that is taken.
func (s *fileStore) publish(tmp, final string) error {
	err := s.link(tmp, final)
	if linkUnsupported(err) {
		if err = s.rename(tmp, final); linkUnsupported(err) {
			err = s.claim(tmp, final)
		}
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		if taken, err := s.taken(final); taken || err != nil {
			return err
		}
		return fmt.Errorf("%s was there and is not any more", final)
	case errors.Is(err, syscall.EXDEV):
		return Permanent(fmt.Errorf("%w; everything in %s must be on one file system", err, s.root))
	case err != nil:
		return err
	}
	return fsops.SyncDir(filepath.Dir(final))
}

// linkUnsupported says that the file system knows no hard links: EPERM is what
// link(2) documents for it, the others are what FUSE and SMB answer.
func linkUnsupported(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported)
}

// writeTemporary writes the body into a new file in folder, and returns its path
// once it is on disk.
func writeTemporary(ctx context.Context, folder string, body Body) (tmp string, err error) {
	f, err := os.OpenFile(filepath.Join(folder, "create-"+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(f.Name()) // best effort, as in create
		}
	}()
	lockTemporary(f)
	r, err := body()
	if err != nil {
		return "", &bodyError{err}
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, &bodyReader{ctx, r}, make([]byte, copyBytes))
	if cerr := r.Close(); err == nil && cerr != nil {
		err = &bodyError{cerr}
	}
	if err != nil {
		return "", err
	}
	return f.Name(), fsops.Sync(f)
}

// bodyError is an error of the caller's, not of the folder.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// bodyReader is a ctxReader that marks the errors of a body.
type bodyReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *bodyReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF { // a wrapped io.EOF is an error, as it is to io.Copy
		err = &bodyError{err}
	}
	return n, err
}

// makeFolder makes dir and what is missing above it. When it returns nil, the
// entries of dir and of every folder above it, up to the root's own, are on disk.
// A folder that was there already is synced once in the life of the store,
// because another process may have been killed between making and syncing it.
func (s *fileStore) makeFolder(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.makeFolder(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		// Above a read-only mount or folder Mkdir of what exists may say EROFS or EACCES.
		if fi, serr := os.Stat(dir); serr != nil || !fi.IsDir() {
			return err
		}
	}
	s.mu.Lock()
	known := s.synced[dir]
	s.mu.Unlock()
	if known && !made {
		return nil
	}
	if dir != s.root && len(dir) > len(s.root) {
		if err := s.makeFolder(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	if err := fsops.SyncDir(filepath.Dir(dir)); err != nil && (made || !errors.Is(err, fs.ErrPermission)) {
		return err
	}
	s.mu.Lock()
	s.synced[dir] = true
	s.mu.Unlock()
	return nil
}

// A temporary file younger than freshAge is not stale, though nobody may have
// locked it: it may have been made this moment. staleAge is the age that counts
// where locks can't tell. To be wrong is harmless: the Create that loses its file
// fails, and is repeated.
const (
	freshAge = time.Minute
	staleAge = time.Hour
)

// removeStale removes the temporary files of processes that were killed. It is
// best effort: what it leaves costs space, nothing else, and the next process
// tries again.
func removeStale(folder string, now time.Time) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if e.Name() != lockName && stale(path, now) {
			os.Remove(path)
		}
	}
}

func olderThan(path string, age time.Duration, now time.Time) bool {
	fi, err := os.Lstat(path)
	return err == nil && now.Sub(fi.ModTime()) > age
}

// Read implements Store.
func (s *fileStore) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := s.read(ctx, name, off, n)
	if err != nil {
		return nil, s.wrap(OpRead, name, s.gone(err))
	}
	s.settle(name)
	return r, nil
}

func (s *fileStore) read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := begin(ctx, ValidateName(name), ValidateRange(off, n)); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, s.absent(err)
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = ErrNotExist
	}
	if err == nil {
		_, err = f.Seek(min(off, fi.Size()), io.SeekStart) // file systems refuse offsets that no file of theirs can have
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if n < 0 {
		n = fi.Size() - off
	}
	if n <= 0 && off > fi.Size() {
		n = 1 // never there: the reader says io.ErrUnexpectedEOF
	}
	return RangeReader(readCloser{&ctxReader{ctx, f}, f}, n), nil
}

// Stat implements Store.
func (s *fileStore) Stat(ctx context.Context, name string) (Object, error) {
	if err := begin(ctx, ValidateName(name)); err != nil {
		return Object{}, s.wrap(OpStat, name, err)
	}
	fi, err := os.Stat(s.path(name))
	switch {
	case err != nil:
		return Object{}, s.wrap(OpStat, name, s.gone(s.absent(err)))
	case !fi.Mode().IsRegular():
		return Object{}, s.wrap(OpStat, name, ErrNotExist)
	}
	return Object{Name: name, Size: fi.Size()}, nil
}

// Delete implements Store. The folders stay: removing them would race with a Create.
func (s *fileStore) Delete(ctx context.Context, name string) error {
	if _, err := s.Stat(ctx, name); err != nil {
		if errors.Is(err, ErrNotExist) {
			return nil
		}
		return err
	}
	s.weigh(name)
	err := fsops.Remove(s.path(name))
	if err == nil {
		err = fsops.SyncDir(filepath.Dir(s.path(name)))
	}
	if err = s.absent(err); err != nil && !errors.Is(err, ErrNotExist) {
		return s.wrap(OpDelete, name, err)
	}
	return nil
}

// Close implements Store; nothing is held.
func (s *fileStore) Close() error { return nil }

// begin is what every method checks before it asks anything of the storage.
func begin(ctx context.Context, checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// ctxReader fails once ctx has ended.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// readCloser reads from one and closes the other.
type readCloser struct {
	io.Reader
	io.Closer
}
