package powertest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"seawal/internal/fsops"
	"seawal/internal/fsops/powertest"
)

// save writes a file in place of another one, leaving out the steps that are named.
func save(t *testing.T, dir, leaveOut string) {
	t.Helper()
	path := filepath.Join(dir, "file")
	f, err := os.Create(path + ".new")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	_, err = f.WriteString("new")
	must(err)
	if leaveOut != "sync" {
		must(fsops.Sync(f))
	}
	must(f.Close())
	must(fsops.Rename(path+".new", path))
	if leaveOut != "sync of the directory" {
		must(fsops.SyncDir(dir))
	}
}

// A file that is replaced step by step is the old one or the new one at every moment, and the new one in the end. Each step that is left out shows.
func TestDiskSeesWhatIsLeftOut(t *testing.T) {
	for _, c := range []struct{ leaveOut, want string }{
		{"", ""},
		{"sync", "not whole"},
		{"sync of the directory", "old in the end"},
	} {
		t.Run("without "+c.leaveOut, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "file")
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			states, wrong := map[string]bool{}, ""
			d := powertest.Watch(t, dir, func(l powertest.Left) string {
				content, exists, whole := l.Content(path)
				states[string(content)] = true
				if !exists || !whole {
					wrong = "not whole"
				}
				return ""
			})
			save(t, dir, c.leaveOut)
			if content, _, whole := d.Settled().Content(path); whole && string(content) != "new" {
				wrong = fmt.Sprintf("%s in the end", content)
			}
			if wrong != c.want {
				t.Errorf("found %q, want %q", wrong, c.want)
			}
			if c.want == "" && (len(states) != 2 || !states["old"] || !states["new"]) {
				t.Errorf("it looked at %v, and both contents are possible on the way", states)
			}
		})
	}
}

// Two names that were given since the last sync may be there in either order.
func TestDiskTriesEveryOrder(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, path := range []string{a, b} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[[2]bool]bool{}
	powertest.Watch(t, dir, func(l powertest.Left) string {
		_, isA, _ := l.Content(a)
		_, isB, _ := l.Content(b)
		seen[[2]bool{isA, isB}] = true
		return ""
	})
	for _, path := range []string{a, b} {
		if err := fsops.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 4 {
		t.Errorf("it looked at %v", seen)
	}
}

// What is in a directory that nobody has synced into the one above it is not there.
func TestDiskKnowsDirectories(t *testing.T) {
	dir := t.TempDir()
	d := powertest.Watch(t, dir, nil)
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	save(t, sub, "")
	if _, exists, _ := d.Settled().Content(filepath.Join(sub, "file")); exists {
		t.Error("a file outlives its directory")
	}
	if err := fsops.SyncDir(dir); err != nil {
		t.Fatal(err)
	}
	if _, exists, whole := d.Settled().Content(filepath.Join(sub, "file")); !exists || !whole {
		t.Errorf("all is synced: exists %v, whole %v", exists, whole)
	}
}
