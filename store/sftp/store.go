package sftp

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"
	"time"

	"github.com/pkg/sftp"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// files is the store on the files below a folder of a server. Each object is the file at the path that is its name, in folders that
// are made as needed and stay when they are empty.
type files struct {
	target
	life context.Context // ends with Close
	end  context.CancelFunc
	wg   sync.WaitGroup // all goroutines

	patience        time.Duration // how long a server may be silent while it is asked for something
	keepalive, idle time.Duration // see keepaliveEvery, idleFor
	window          int           // see listWindow

	swept sync.Once // removes what killed processes left in the hidden folder

	mu      sync.Mutex
	current *session        // nil or broken: none; under mu
	dialing *dialing        // nil: nobody is making one; under mu
	closed  bool            // under mu
	safe    map[string]bool // folders whose own entry is known to be on disk; under mu
	seen    store.Object    // the first object that was read or created, see isThere; under mu
	left    map[string]bool // temporary files of ours that are still to be removed; under mu
}

var _ store.Store = (*files)(nil)

func (s *files) path(name string) string { return path.Join(s.root, name) }

// Read implements store.Store.
func (s *files) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	err := transfer.Begin(ctx, store.ValidateName(name), store.ValidateRange(off, n))
	var r io.ReadCloser
	if err == nil {
		r, err = s.read(ctx, name, off, n)
	}
	if err != nil {
		return nil, s.wrap(ctx, store.OpRead, name, err)
	}
	if seen := s.firstSeen().Name; seen == "" || seen == name {
		if o, err := s.Stat(ctx, name); err == nil {
			s.see(o)
		}
	}
	return r, nil
}

func (s *files) read(ctx context.Context, name string, off, n int64) (_ io.ReadCloser, err error) {
	c, err := s.session(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.release(c)
		}
	}()
	file, err := start(c, func() (*sftp.File, error) { return c.sftp.Open(s.path(name)) }, closeFile).wait(ctx, s.patience)
	if err != nil {
		return nil, absent(err)
	}
	defer func() {
		if err != nil {
			closeLater(c, file)
		}
	}()
	fi, err := ask(ctx, c, s.patience, file.Stat)
	if err == nil && !fi.Mode().IsRegular() {
		err = store.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = fi.Size() - off
	}
	if n <= 0 && off > fi.Size() {
		n = 1 // never there: the reader says io.ErrUnexpectedEOF
	}
	return store.RangeReader(newReader(ctx, s, c, file, name, off, min(max(n, 0), fi.Size()-off)), n), nil
}

func closeFile(f *sftp.File) { f.Close() } // nobody is there to be told

// Stat implements store.Store.
func (s *files) Stat(ctx context.Context, name string) (store.Object, error) {
	err := transfer.Begin(ctx, store.ValidateName(name))
	var fi fs.FileInfo
	if err == nil {
		err = s.with(ctx, func(c *session) (err error) {
			fi, err = s.stat(ctx, c, name)
			return err
		})
	}
	if err != nil {
		return store.Object{}, s.wrap(ctx, store.OpStat, name, err)
	}
	return store.Object{Name: name, Size: fi.Size()}, nil
}

func (s *files) stat(ctx context.Context, c *session, name string) (fs.FileInfo, error) {
	fi, err := ask(ctx, c, s.patience, func() (fs.FileInfo, error) { return c.sftp.Stat(s.path(name)) })
	if err == nil && !fi.Mode().IsRegular() {
		err = store.ErrNotExist
	}
	return fi, absent(err)
}

// with lends the connection to f.
func (s *files) with(ctx context.Context, f func(*session) error) error {
	c, err := s.session(ctx)
	if err != nil {
		return err
	}
	defer s.release(c)
	return f(c)
}

// Delete implements store.Store. The folders stay: removing them would race with a Create.
func (s *files) Delete(ctx context.Context, name string) error {
	err := transfer.Begin(ctx, store.ValidateName(name))
	if err == nil {
		s.unsee(name)
		err = s.with(ctx, func(c *session) error { return s.delete(ctx, c, name) })
	}
	if err != nil && !errors.Is(err, store.ErrNotExist) {
		return s.wrap(ctx, store.OpDelete, name, err)
	}
	return nil
}

func (s *files) delete(ctx context.Context, c *session, name string) error {
	if _, err := s.stat(ctx, c, name); err != nil {
		return err
	}
	if err := tell(ctx, c, s.patience, func() error { return c.sftp.Remove(s.path(name)) }); err != nil {
		return absent(err)
	}
	return s.syncFolder(ctx, c, path.Dir(s.path(name)))
}

// Close implements store.Store. Steps that nobody waits for any more end with the connection.
func (s *files) Close() error {
	s.mu.Lock()
	c := s.current
	s.closed, s.current = true, nil
	s.mu.Unlock()
	s.end()
	if c != nil {
		c.fail(errClosed)
	}
	s.wg.Wait()
	return nil
}
