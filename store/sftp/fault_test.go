package sftp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"seawal/internal/testserver"
	"seawal/internal/testserver/proxy"
	"seawal/store"
	"seawal/store/sftp"
)

// proxied returns the store on a folder, behind a proxy.
func proxied(t *testing.T, o sftp.Options) (s store.Store, p *proxy.TCP, dir string) {
	t.Helper()
	server := testserver.SFTP(t)
	p = proxy.NewTCP(t, server.Addr)
	server.Knows(t, p.Addr())
	folder := fmt.Sprintf("proxied-%d", folders.Add(1))
	return sftp.OpenWith(t, server.URL(p.Addr(), folder), o), p, filepath.Join(server.Dir, folder)
}

// temporaries lists what the hidden folder has.
func temporaries(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, sftp.HiddenFolder))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A connection that breaks is made again, and what it left on the server is removed.
func TestBrokenConnection(t *testing.T) {
	for name, fault := range map[string]func(*proxy.TCP){"cut": (*proxy.TCP).Cut, "refused": (*proxy.TCP).Refuse} {
		t.Run(name, func(t *testing.T) {
			s, p, dir := proxied(t, sftp.Options{})
			if err := put(t, s, "a"); err != nil {
				t.Fatal(err)
			}
			err := s.Create(t.Context(), "b", func() (io.ReadCloser, error) {
				fault(p)
				return io.NopCloser(strings.NewReader("content")), nil
			})
			if err == nil || errors.Is(err, store.ErrExist) || store.IsPermanent(err) {
				t.Fatalf("while the connection breaks: %v; want an error that is worth another attempt", err)
			}
			p.Pass(t)
			if err := store.Retry(s, store.RetryPolicy{}).Create(t.Context(), "b", store.BytesBody([]byte("content"))); err != nil {
				t.Fatal(err)
			}
			s.Close() // waits for what is still being removed
			if left := temporaries(t, dir); len(left) > 0 {
				t.Errorf("left on the server: %q", left)
			}
		})
	}
}

// A server that falls silent is given up, and a call that is cancelled meanwhile returns at once.
func TestSilence(t *testing.T) {
	for name, call := range map[string]func(context.Context, store.Store) error{
		"create": func(ctx context.Context, s store.Store) error { return s.Create(ctx, "b", store.BytesBody(nil)) },
		"stat":   func(ctx context.Context, s store.Store) error { _, err := s.Stat(ctx, "a"); return err },
		"delete": func(ctx context.Context, s store.Store) error { return s.Delete(ctx, "a") },
		"read": func(ctx context.Context, s store.Store) error {
			r, err := s.Read(ctx, "a", 0, -1)
			if err == nil {
				r.Close()
			}
			return err
		},
		"list": func(ctx context.Context, s store.Store) error {
			for _, err := range s.List(ctx, "", "") {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, p, _ := proxied(t, sftp.Options{Patience: time.Second})
			patient := store.Retry(s, store.RetryPolicy{})
			if err := put(t, patient, "a"); err != nil {
				t.Fatal(err)
			}
			p.Hang()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			if err := call(ctx, s); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			if err := call(t.Context(), s); err == nil || store.IsPermanent(err) || !strings.Contains(err.Error(), "gone silent") {
				t.Errorf("silent: %v", err)
			}
			p.Pass(t)
			if err := call(t.Context(), patient); err != nil && !errors.Is(err, store.ErrExist) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// A reader that is under way when the server falls silent, or the connection breaks, says so, and Retry goes on where it was.
func TestReadThroughFaults(t *testing.T) {
	s, p, _ := proxied(t, sftp.Options{Patience: time.Second})
	patient := store.Retry(s, store.RetryPolicy{})
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	if err := patient.Create(t.Context(), "a", store.BytesBody(content)); err != nil {
		t.Fatal(err)
	}
	r, err := patient.Read(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	for i, fault := range []func(){p.Cut, func() { p.Hang(); time.AfterFunc(2*time.Second, func() { p.Pass(t) }) }, func() {}} {
		if _, err := io.CopyN(&got, r, 1<<20); err != nil {
			t.Fatalf("megabyte %d: %v", i, err)
		}
		fault()
	}
	if _, err := io.Copy(&got, r); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), content) {
		t.Errorf("%d bytes, not the %d written", got.Len(), len(content))
	}
}

// An idle connection is given back: it makes no traffic. A silent one is noticed though nobody asks for anything.
func TestIdleConnection(t *testing.T) {
	s, _, _ := proxied(t, sftp.Options{Keepalive: 10 * time.Millisecond, Idle: 50 * time.Millisecond})
	for range 2 {
		if err := put(t, s, "a"); err != nil && !errors.Is(err, store.ErrExist) {
			t.Fatal(err)
		}
		for sftp.Connected(s) {
			wait(t)
		}
	}
	s, p, _ := proxied(t, sftp.Options{Keepalive: 10 * time.Millisecond, Patience: time.Second})
	if err := put(t, store.Retry(s, store.RetryPolicy{}), "a"); err != nil {
		t.Fatal(err)
	}
	p.Hang()
	for sftp.Connected(s) {
		wait(t)
	}
}

// wait lets a moment pass, or ends the test when it has taken too long.
func wait(t *testing.T) {
	t.Helper()
	select {
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	case <-time.After(time.Millisecond):
	}
}

// What killed processes have left is removed, once it is old.
func TestSweep(t *testing.T) {
	s, _, dir := proxied(t, sftp.Options{})
	hidden := filepath.Join(dir, sftp.HiddenFolder)
	if err := os.MkdirAll(hidden, 0o700); err != nil {
		t.Fatal(err)
	}
	old := write(t, filepath.Join(hidden, "create-OLD"), "x")
	write(t, filepath.Join(hidden, "create-NEW"), "x")
	foreign := write(t, filepath.Join(hidden, "of-others"), "x")
	for _, f := range []string{old, foreign} {
		if err := os.Chtimes(f, time.Now(), time.Now().Add(-2*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}
	for slices.Contains(temporaries(t, dir), "create-OLD") {
		wait(t)
	}
	if left := temporaries(t, dir); !slices.Equal(left, []string{"create-NEW", "of-others"}) {
		t.Errorf("left: %q", left)
	}
}

// The disk was unmounted: what is there now is not the replica, and nothing is written into it.
func TestFolderIsGone(t *testing.T) {
	s, _, dir := proxied(t, sftp.Options{})
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "b"); err == nil || !strings.Contains(err.Error(), "was there and is gone") {
		t.Errorf("gone: %v", err)
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "b"); err != nil && !strings.Contains(err.Error(), "was there and is gone") {
		t.Errorf("back: %v", err)
	}
	if err := put(t, s, "c"); err != nil {
		t.Errorf("back: %v", err)
	}
}

// The disk is unmounted while it is listed, or before: what is missing then isn't absent, and the listing is no whole one.
func TestFolderIsGoneWhileItIsListed(t *testing.T) {
	s, _, dir := proxied(t, sftp.Options{})
	for _, name := range []string{"replica.json", "a/1", "b/1"} {
		if err := put(t, s, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range []string{"", "a/1"} {
		var err error
		if at == "" {
			err = os.Rename(dir, dir+"-away")
		}
		for o, lerr := range s.List(t.Context(), "", "") {
			if err = errors.Join(err, lerr); o.Name == at && lerr == nil {
				err = errors.Join(err, os.Rename(dir, dir+"-away"))
			}
		}
		if !errors.Is(err, store.ErrGone) {
			t.Errorf("gone at %q: %v, want %v", at, err, store.ErrGone)
		}
		if err := os.Rename(dir+"-away", dir); err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, err := range s.List(t.Context(), "", "") {
			if n++; err != nil {
				t.Errorf("back: %v", err)
			}
		}
		if n != 3 {
			t.Errorf("back: %d objects", n)
		}
	}
}

// The same for a process that has only read so far: it has yet to make its folders.
func TestFolderIsGoneBeforeTheFirstCreate(t *testing.T) {
	server := testserver.SFTP(t)
	folder := fmt.Sprintf("gone-%d", folders.Add(1))
	url, dir := server.URL(server.Addr, folder), filepath.Join(server.Dir, folder)
	if err := put(t, sftp.OpenWith(t, url, sftp.Options{}), "a"); err != nil {
		t.Fatal(err)
	}
	s := sftp.OpenWith(t, url, sftp.Options{})
	r, err := s.Read(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "b"); !errors.Is(err, store.ErrGone) {
		t.Errorf("gone: %v, want %v", err, store.ErrGone)
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Errorf("the mount point has %v, %v", made, err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+"-away", dir)); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "b"); err != nil {
		t.Errorf("back: %v", err)
	}
}

// A folder that is larger than what is held of it at once is listed in windows; a symbolic link counts as what it points to.
func TestListWindows(t *testing.T) {
	s, _, dir := proxied(t, sftp.Options{Window: 7})
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprintf("log/%02d", i))
		if err := put(t, s, want[i]); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "log", "Not-Ours"), "x")
	if err := os.Symlink(filepath.Join(dir, "log", "00"), filepath.Join(dir, "log", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir+"-nowhere", filepath.Join(dir, "log", "nowhere")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for o, err := range s.List(t.Context(), "log/", "log/03") {
		if err != nil || o.Size != 7 {
			t.Fatalf("%+v, %v", o, err)
		}
		got = append(got, o.Name)
	}
	if want = append(want[4:], "log/link"); !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
}

// Close leaves nothing running, though calls were cancelled in the middle.
func TestCloseLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	server := testserver.SFTP(t)
	s := sftp.OpenWith(t, server.URL(server.Addr, fmt.Sprintf("leak-%d", folders.Add(1))), sftp.Options{})
	if err := s.Create(t.Context(), "big", store.BytesBody(make([]byte, 1<<20))); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel)
		_, _ = s.Stat(ctx, "big")
		_ = s.Create(ctx, fmt.Sprint("x", i), store.BytesBody(make([]byte, 1<<20)))
		if r, err := s.Read(ctx, "big", 0, -1); err == nil {
			r.Close()
		}
		cancel()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
	if err := put(t, s, "late"); !store.IsPermanent(err) {
		t.Errorf("after Close: %v", err)
	}
}

// Whatever a server sends as names of a folder is read or refused, in bounded time.
func FuzzNames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x81\xa4"))
	f.Add([]byte("\x00\x00\x00\x01\xff\xff\xff\xff\x00\x00\x00\x01a\x00\x00\x00\x00\x80\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := sftp.Names(b)
		if n > len(b)/12 || err != nil && n != 0 {
			t.Errorf("%d entries of %d bytes, error %v", n, len(b), err)
		}
	})
}
