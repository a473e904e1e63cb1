//go:build unix

package shipper

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func newWakes(t *testing.T, dir string) (*Shipper, *hearing) {
	t.Helper()
	h, err := newHearing(filepath.Join(dir, wakeFile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listeners.remove(filepath.Join(dir, wakeFile))
		h.file.Close()
	})
	return &Shipper{cfg: Config{StateDir: dir}}, h
}

func TestWishesAreHeard(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("listening", func(t *testing.T) {
		here, elsewhere := t.TempDir(), t.TempDir()
		s, h := newWakes(t, here)
		_, other := newWakes(t, elsewhere)
		for _, tt := range []struct {
			name       string
			wishes     []wish
			tell, ship bool
		}{
			{name: "tell", wishes: []wish{wishTell}, tell: true},
			{name: "ship", wishes: []wish{wishShip}, ship: true},
			{name: "the same again", wishes: []wish{wishShip, wishShip}, ship: true},
			{name: "both", wishes: []wish{wishShip, wishTell}, tell: true, ship: true},
		} {
			for _, w := range tt.wishes {
				s.sendWake(w)
			}
			var tell, ship bool
			for tell != tt.tell || ship != tt.ship { // hangs when a wish is lost
				<-h.heard
				t1, s1 := h.look()
				tell, ship = tell || t1, ship || s1
			}
		}
		if tell, ship := other.look(); tell || ship {
			t.Error("the wish was heard by the process of another database")
		}
	})
}

// Whoever reads every file of a directory must not wait for anybody, nor fail.
func TestWakeFileIsAPlainFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, wakeFile)
	if err := syscall.Mkfifo(path, 0o600); err != nil { // as earlier versions had one
		t.Fatal(err)
	}
	s := &Shipper{cfg: Config{StateDir: dir}}
	s.sendWake(wishShip) // nothing is written, and nobody waits
	_, _ = newWakes(t, dir)
	if fi, err := os.Lstat(path); err != nil || !fi.Mode().IsRegular() {
		t.Errorf("the wake file is %v, %v", fi.Mode(), err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(dir, "elsewhere")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	s.sendWake(wishShip)
	if fi, err := os.Stat(target); err != nil || fi.Size() > 0 {
		t.Errorf("a symbolic link in the state directory was followed: %v", err)
	}
}
