package store_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"seawal/store"
	"seawal/store/storetest"
)

func TestFileStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := store.Open(t.Context(), "file://"+t.TempDir()+"/not/there/yet")
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// noLinks is os.Link on a file system without hard links.
func noLinks(_, newpath string) error {
	return &os.LinkError{Op: "link", New: newpath, Err: syscall.EPERM}
}

// noRename is a rename that could not overwrite, on a file system that has none.
func noRename(_, newpath string) error {
	return &os.LinkError{Op: "rename", New: newpath, Err: syscall.ENOTSUP}
}

// withoutLinks are the ways to create a name only once where there are no hard links.
var withoutLinks = map[string]store.FolderOptions{
	"rename": {Link: noLinks}, "lock": {Link: noLinks, Rename: noRename},
}

func TestFileStoreWithoutLinks(t *testing.T) {
	for name, o := range withoutLinks {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) store.Store { return store.OpenFolderWith(t.TempDir(), o) })
		})
	}
}

// TestStack runs the suite through every decorator at once.
func TestStack(t *testing.T) {
	b := newBudget(t, store.Limits{Concurrent: 4, BytesPerSecond: 1 << 40, RequestsPerSecond: 1e9})
	storetest.Run(t, func(t *testing.T) store.Store {
		return store.Stack(storetest.NewMemory(), store.StackOptions{Budget: b, Counts: new(store.Counts)})
	})
}

func openFolder(t *testing.T, path string) store.Store {
	t.Helper()
	s, err := store.OpenFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s store.Store, name, content string) {
	t.Helper()
	if err := s.Create(t.Context(), name, store.BytesBody([]byte(content))); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, s store.Store, prefix, after string) (names []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	return names
}

// TestFileStoreRaceOfHandles races creates through stores of their own, as processes would.
func TestFileStoreRaceOfHandles(t *testing.T) {
	ways := maps.Clone(withoutLinks)
	ways["link"] = store.FolderOptions{}
	for name, o := range ways {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "new")
			for round := range 10 {
				var wg sync.WaitGroup
				errs := make([]error, 20)
				for i := range errs {
					s := store.OpenFolderWith(root, o)
					wg.Go(func() {
						errs[i] = s.Create(t.Context(), fmt.Sprintf("f%d/x", round), store.BytesBody([]byte{byte(i)}))
					})
				}
				wg.Wait()
				winner := slices.Index(errs, nil)
				if winner < 0 {
					t.Fatalf("nobody won: %v", errs)
				}
				for i, err := range errs {
					if i != winner && !errors.Is(err, store.ErrExist) {
						t.Errorf("round %d, loser %d: %v; want ErrExist", round, i, err)
					}
				}
				if b := readAll(t, openFolder(t, root), fmt.Sprintf("f%d/x", round)); b[0] != byte(winner) {
					t.Errorf("round %d: won by %d, content of %d", round, winner, b[0])
				}
			}
			if left := hidden(t, root); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// hidden returns the temporary files below root.
func hidden(t *testing.T, root string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, store.HiddenFolder))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestFileStoreStaleTemporaries: a killed process left a file; another process
// is still writing one.
func TestFileStoreStaleTemporaries(t *testing.T) {
	root := t.TempDir()
	create(t, openFolder(t, root), "first", "x")
	stale := filepath.Join(root, store.HiddenFolder, "create-of-a-killed-process")
	if err := os.WriteFile(stale, []byte("half"), 0o666); err != nil {
		t.Fatal(err)
	}
	create(t, openFolder(t, root), "zeroth", "x")
	if left := hidden(t, root); len(left) != 1 {
		t.Errorf("hidden: %q; want the file, which is too new to be called stale", left)
	}
	later := store.FolderOptions{Now: func() time.Time { return time.Now().Add(2 * time.Minute) }}
	other, third := store.OpenFolderWith(root, later), store.OpenFolderWith(root, later)
	err := other.Create(t.Context(), "second", func() (io.ReadCloser, error) {
		// other has cleaned up and opened its temporary file; now third starts.
		create(t, third, "third", "x")
		if left := hidden(t, root); len(left) != 1 {
			t.Errorf("hidden: %q; want only the file being written", left)
		}
		return io.NopCloser(strings.NewReader("content")), nil
	})
	if err != nil {
		t.Errorf("create beside a process that cleans up: %v", err)
	}
	if left := hidden(t, root); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if got := list(t, third, "", ""); !slices.Equal(got, []string{"first", "second", "third", "zeroth"}) {
		t.Errorf("list: %q", got)
	}
}

// TestFileStoreListWindows lists a folder through windows smaller than it.
func TestFileStoreListWindows(t *testing.T) {
	root := t.TempDir()
	var want []string
	s := openFolder(t, root)
	for i := range 40 {
		name := fmt.Sprintf("d/%02d", (i*17)%40)
		if i%3 == 0 {
			name += "/x"
		}
		create(t, s, name, "x")
		want = append(want, name)
	}
	slices.Sort(want)
	for _, window := range []int{1, 2, 3, 19, 20, 39, 40, 41} {
		s := store.OpenFolderWith(root, store.FolderOptions{Window: window})
		if got := list(t, s, "", ""); !slices.Equal(got, want) {
			t.Errorf("window %d: %q\nwant %q", window, got, want)
		}
		if got := list(t, s, "d/1", want[15]); !slices.Equal(got, want[16:20]) {
			t.Errorf("window %d, from %s: %q\nwant %q", window, want[15], got, want[16:20])
		}
	}
}

// TestFileStoreStrangers: what is in the folder and is no object of ours.
func TestFileStoreStrangers(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	s := openFolder(t, root)
	create(t, s, "a/x", "mine")
	create(t, openFolder(t, elsewhere), "y", "moved to another disk")
	for _, name := range []string{".DS_Store", "a/.nfs0001", "a/README", "a/x y", "a/x~", "lost+found/z"} {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, nil, 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(os.Symlink("nowhere", filepath.Join(root, "a", "dangling")), os.Symlink(elsewhere, filepath.Join(root, "b")),
		syscall.Mkfifo(filepath.Join(root, "a", "pipe"), 0o666), os.Mkdir(filepath.Join(root, "empty"), 0o777))
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, s, "", ""); !slices.Equal(got, []string{"a/x", "b/y"}) {
		t.Errorf("list: %q; want the object, and the one behind a link to a folder", got)
	}
	if got := readAll(t, s, "b/y"); string(got) != "moved to another disk" {
		t.Errorf("behind the link: %q", got)
	}
	if err := os.Symlink(".", filepath.Join(root, "loop")); err != nil {
		t.Fatal(err)
	}
	for _, err = range s.List(t.Context(), "loop/", "") {
	}
	if !errors.Is(err, syscall.ELOOP) || !strings.Contains(err.Error(), "circle") {
		t.Errorf("a link to its own folder: %v; want ELOOP and what it means", err)
	}
}

// TestFileStoreNameAndFolder: a bucket holds "a" and "a/b", a folder cannot.
func TestFileStoreNameAndFolder(t *testing.T) {
	s := openFolder(t, t.TempDir())
	create(t, s, "a", "x")
	create(t, s, "b/c", "x")
	for _, name := range []string{"a/b", "b"} {
		if err := s.Create(t.Context(), name, store.BytesBody(nil)); !store.IsPermanent(err) {
			t.Errorf("create %s: %v; want a Permanent error", name, err)
		}
	}
	if got := list(t, s, "", ""); !slices.Equal(got, []string{"a", "b/c"}) {
		t.Errorf("list: %q", got)
	}
}

// TestFileStoreVanished: the disk is unmounted under a running process, which
// must not go on in the empty mount point.
func TestFileStoreVanished(t *testing.T) {
	root := filepath.Join(t.TempDir(), "mnt", "replica")
	s := openFolder(t, root)
	create(t, s, "a/1", "x")
	aside := root + "-unmounted"
	if err := os.Rename(root, aside); err != nil {
		t.Fatal(err)
	}
	err := s.Create(t.Context(), "a/2", store.BytesBody(nil))
	if err == nil || store.IsPermanent(err) || !strings.Contains(err.Error(), root) {
		t.Errorf("create in a vanished folder: %v; want an error that names it and may go away", err)
	}
	if _, err := os.Stat(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder was made again: %v", err)
	}
	if err := os.Rename(aside, root); err != nil {
		t.Fatal(err)
	}
	create(t, s, "a/2", "x")
	if got := list(t, s, "", ""); !slices.Equal(got, []string{"a/1", "a/2"}) {
		t.Errorf("list: %q", got)
	}
}

// TestFileStoreErrors: the errors name the folder and the way out.
func TestFileStoreErrors(t *testing.T) {
	for _, tt := range []struct {
		errno     syscall.Errno
		text      string
		permanent bool
	}{
		{syscall.EACCES, "let the user that this process runs as read and write", true},
		{syscall.EROFS, "read-only", true},
		{syscall.ENOSPC, "make room", false},
		{syscall.EDQUOT, "make room", false},
		{syscall.EXDEV, "must be on one file system", true},
		{syscall.ENAMETOOLONG, "shorter path", true},
		{syscall.EIO, "input/output error", false},
	} {
		root := t.TempDir()
		s := store.OpenFolderWith(root, store.FolderOptions{Link: func(_, newpath string) error {
			return &os.LinkError{Op: "link", New: newpath, Err: tt.errno}
		}})
		err := s.Create(t.Context(), "a/x", store.BytesBody([]byte("x")))
		if !errors.Is(err, tt.errno) || store.IsPermanent(err) != tt.permanent ||
			!strings.Contains(err.Error(), tt.text) || !strings.Contains(err.Error(), "create a/x in "+root) {
			t.Errorf("%v: %v (permanent: %v)\nwant %q in it", tt.errno, err, store.IsPermanent(err), tt.text)
		}
		if left := hidden(t, root); len(left) != 0 {
			t.Errorf("%v: left behind: %q", tt.errno, left)
		}
		if got := list(t, s, "", ""); len(got) != 0 {
			t.Errorf("%v: list: %q", tt.errno, got)
		}
	}
}

func TestFileStoreRootIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + "/below"} {
		if _, err := store.OpenFolder(p); !store.IsPermanent(err) || !strings.Contains(err.Error(), path) {
			t.Errorf("open %s: %v; want a Permanent error that names it", p, err)
		}
	}
	// It became a file after it was opened.
	late := filepath.Join(t.TempDir(), "late")
	s := openFolder(t, late)
	if err := os.WriteFile(late, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	_, statErr := s.Stat(t.Context(), "x")
	var listErr error
	for _, listErr = range s.List(t.Context(), "", "") {
	}
	for op, err := range map[string]error{"create": s.Create(t.Context(), "x", store.BytesBody(nil)), "stat": statErr, "list": listErr} {
		if !store.IsPermanent(err) || !strings.Contains(err.Error(), late) {
			t.Errorf("%s: %v; want a Permanent error that names the file", op, err)
		}
	}
}

func TestFileStoreReadOnlyFolder(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("permissions don't bind root; TestFileStoreErrors covers the message")
	}
	root := t.TempDir()
	if err := os.Chmod(root, 0o555); err != nil {
		t.Fatal(err)
	}
	err := openFolder(t, root).Create(t.Context(), "a", store.BytesBody(nil))
	if !errors.Is(err, fs.ErrPermission) || !store.IsPermanent(err) {
		t.Errorf("create in a read-only folder: %v; want a Permanent permission error", err)
	}
}

// TestFileStoreBodyErrorIsNotTheFolders: advice about the folder would mislead.
func TestFileStoreBodyErrorIsNotTheFolders(t *testing.T) {
	root := t.TempDir()
	denied := &fs.PathError{Op: "read", Path: "/some/other/file", Err: syscall.EACCES}
	err := openFolder(t, root).Create(t.Context(), "a", func() (io.ReadCloser, error) { return nil, denied })
	if !errors.Is(err, denied) || store.IsPermanent(err) || strings.Contains(err.Error(), "let the user") {
		t.Errorf("%v; want the body's error, without advice", err)
	}
}
