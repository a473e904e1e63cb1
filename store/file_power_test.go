package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/fsops"
	"seawal/internal/fsops/powertest"
	"seawal/store"
)

// A loss of power at any moment of a Create leaves the object whole, or nothing; once Create has returned the object is there, and so is all above it.
func TestFileStoreLosesPower(t *testing.T) {
	for name, o := range map[string]store.FolderOptions{"links": {}, "no links": {Link: noLinks}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := store.OpenFolderWith(dir+"/made/for/it", o)
			content := map[string]string{"replica.json": "one", "00000001/log/0000000000000001": "two", "00000001/log/0000000000000002": "three"}
			at := func(object string) string { return filepath.Join(dir, "made/for/it", object) }
			disk := powertest.Watch(t, dir, func(l powertest.Left) string {
				for object, want := range content {
					if got, exists, whole := l.Content(at(object)); exists && (!whole || string(got) != want) {
						return fmt.Sprintf("%s is there and has %q, whole: %v", object, got, whole)
					}
				}
				return ""
			})
			for object, want := range content {
				create(t, s, object, want)
				if got, exists, whole := disk.Settled().Content(at(object)); !exists || !whole || string(got) != want {
					t.Errorf("%s was created, and a loss of power leaves %q, exists: %v", object, got, exists)
				}
			}
		})
	}
}

// What Create finds there is on stable storage when it says so: the process that made it may have been killed before it could see to that.
func TestFileStoreSettlesWhatIsTaken(t *testing.T) {
	dir := t.TempDir()
	disk := powertest.Watch(t, dir, nil)
	path := filepath.Join(dir, "replica", "replica.json")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(path)
	if err == nil {
		_, err = f.WriteString("of another process")
	}
	if err := errors.Join(err, fsops.Sync(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	s := openFolder(t, filepath.Dir(path))
	if err := s.Create(t.Context(), "replica.json", store.BytesBody([]byte("ours"))); !errors.Is(err, store.ErrExist) {
		t.Fatalf("create: %v", err)
	}
	if _, exists, whole := disk.Settled().Content(path); !exists || !whole {
		t.Error("the object was said to exist, and a loss of power takes it away")
	}
}

// What was deleted stays deleted.
func TestFileStoreDeletesForGood(t *testing.T) {
	dir := t.TempDir()
	s := openFolder(t, dir)
	create(t, s, "log/a", "x")
	disk := powertest.Watch(t, dir, nil)
	if err := s.Delete(t.Context(), "log/a"); err != nil {
		t.Fatal(err)
	}
	if _, exists, _ := disk.Settled().Content(filepath.Join(dir, "log/a")); exists {
		t.Error("the object was deleted, and a loss of power brings it back")
	}
}

// An error of the disk is one of Create's, wherever it comes: nothing is said to be stored then, and no temporary file is left.
func TestFileStoreFolderThatCannotBeSynced(t *testing.T) {
	dir := t.TempDir()
	s := store.OpenFolderWith(dir, store.FolderOptions{Link: func(old, new string) error {
		if err := os.Link(old, new); err != nil {
			return err
		}
		return os.RemoveAll(filepath.Dir(new)) // as of a disk that is unmounted: the directory can't be opened to sync it
	}})
	if err := s.Create(t.Context(), "log/a", store.BytesBody([]byte("x"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("create: %v; the directory of the object is gone", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, store.HiddenFolder, "create-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %s, %v", strings.Join(left, " "), err)
	}
}

// A replica that was copied back has directories that nobody has synced: what is created in it from then on is there to stay all the same.
func TestFileStoreSettlesWhatWasCopiedBack(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "replica")
	s := openFolder(t, root)
	create(t, s, "replica.json", "one")
	create(t, s, "log/a", "two")
	disk := powertest.Watch(t, dir, nil)
	err := os.Rename(root, root+".away")
	if err := errors.Join(err, fsops.SyncDir(dir), os.CopyFS(root, os.DirFS(root+".away"))); err != nil {
		t.Fatal(err)
	}
	create(t, s, "log/b", "three")
	if _, exists, whole := disk.Settled().Content(filepath.Join(root, "log/b")); !exists || !whole {
		t.Error("the object was created, and a loss of power takes it away")
	}
}
