package store_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"seawal/store"
)

// The folder of a store is another one, under the running process: a disk that was unmounted or emptied, or one that was mounted over it. Nothing
// is made there, and nothing is said to be absent, until what was there is back.
func TestFolderThatIsGone(t *testing.T) {
	mounted := func(content string) func(t *testing.T, root string) {
		return func(t *testing.T, root string) {
			other := openFolder(t, root)
			create(t, other, "replica.json", content)
			create(t, other, "00000001/log/1", "of others")
		}
	}
	for name, there := range map[string]func(t *testing.T, root string){
		"no folder":            func(*testing.T, string) {},
		"an empty folder":      func(t *testing.T, root string) { makeDir(t, root) },
		"another replica":      mounted("no"),
		"one of the same size": mounted("that"),
		"emptied in place":     nil,
	} {
		for _, has := range []string{"read", "written"} {
			t.Run(name+", what was "+has, func(t *testing.T) {
				root := filepath.Join(t.TempDir(), "mount")
				create(t, openFolder(t, root), "replica.json", "this")
				s := openFolder(t, root)
				if read(t, s, "replica.json"); has == "written" {
					create(t, s, "00000001/log/1", "one")
				}
				var back func()
				if away := root + "-away"; there == nil {
					makeDir(t, away)
					moveAll(t, root, away)
					back = func() { moveAll(t, away, root) }
				} else {
					move(t, root, away)
					there(t, root)
					back = func() { move(t, root, root+"-wrong"); move(t, away, root) }
					if name == "no folder" {
						back = func() { move(t, away, root) }
					}
				}
				before := tree(t, root)
				if err := s.Create(t.Context(), "00000001/log/2", store.BytesBody([]byte("two"))); !errors.Is(err, store.ErrGone) || store.IsPermanent(err) {
					t.Errorf("create: %v, want %v", err, store.ErrGone)
				}
				if there != nil {
					_, err := s.Stat(t.Context(), "00000001/log/2")
					if !errors.Is(err, store.ErrGone) {
						t.Errorf("stat: %v, want %v", err, store.ErrGone)
					}
					for _, err := range s.List(t.Context(), "", "") {
						if !errors.Is(err, store.ErrGone) {
							t.Errorf("list: %v, want %v", err, store.ErrGone)
						}
						break
					}
				}
				if after := tree(t, root); after != before {
					t.Errorf("the wrong place had\n%s\nand has\n%s", before, after)
				}
				back()
				create(t, s, "00000001/log/2", "two")
				if got := read(t, s, "00000001/log/2"); got != "two" {
					t.Errorf("read %q", got)
				}
			})
		}
	}
}

// The disk is unmounted between two folders of a listing: what it has not come to isn't absent, and the listing is no whole one.
func TestFolderThatGoesWhileItIsListed(t *testing.T) {
	root := filepath.Join(t.TempDir(), "mount")
	s := openFolder(t, root)
	for _, name := range []string{"replica.json", "a/1", "b/1"} {
		create(t, s, name, "content")
	}
	var failed error
	for o, err := range s.List(t.Context(), "", "") {
		if failed = err; o.Name == "a/1" {
			move(t, root, root+"-away")
		}
	}
	if !errors.Is(failed, store.ErrGone) {
		t.Errorf("list: %v, want %v", failed, store.ErrGone)
	}
	move(t, root+"-away", root)
	if names := list(t, s, "", ""); len(names) != 3 {
		t.Errorf("back: %q", names)
	}
}

// The folder for temporary files isn't the replica: that somebody removes it is no reason to stop.
func TestHiddenFolderIsRemoved(t *testing.T) {
	root := t.TempDir()
	s := openFolder(t, root)
	create(t, s, "replica.json", "this")
	if err := os.RemoveAll(filepath.Join(root, store.HiddenFolder)); err != nil {
		t.Fatal(err)
	}
	create(t, s, "00000001/log/1", "one")
}

func read(t *testing.T, s store.Store, name string) string {
	t.Helper()
	r, err := s.Read(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() // read only
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func makeDir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func moveAll(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		move(t, filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
	}
}

// tree is the names of everything below a folder.
func tree(t *testing.T, root string) (all string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		all += path + "\n"
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
