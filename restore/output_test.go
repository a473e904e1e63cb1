//go:build unix

package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"seawal/internal/pagesum"
)

func TestOutput(t *testing.T) {
	table := []struct {
		name    string
		before  map[string]string
		options Options
		err     error // nil: restored, and nothing else is left
		skipped bool
	}{
		{name: "nothing there"},
		{name: "database there", before: map[string]string{"app.db": "old"}, err: ErrExists},
		{name: "empty database there", before: map[string]string{"app.db": ""}, err: ErrExists},
		{name: "database there, if missing", before: map[string]string{"app.db": "old"}, options: Options{IfMissing: true}, skipped: true},
		{name: "nothing there, if missing", options: Options{IfMissing: true}},
		{name: "log without its database", before: map[string]string{"app.db-wal": "log"}, err: ErrExists},
		{name: "log without its database, if missing", before: map[string]string{"app.db-wal": "log"}, options: Options{IfMissing: true}, err: ErrExists},
		{name: "journal without its database", before: map[string]string{"app.db-journal": "log"}, err: ErrExists},
		{name: "force, nothing there", options: Options{Force: true}},
		{name: "force", before: map[string]string{"app.db": "old"}, options: Options{Force: true}},
		{name: "force, with all that SQLite leaves", before: map[string]string{
			"app.db": "old", "app.db-wal": "log", "app.db-shm": "index", "app.db-journal": "journal",
		}, options: Options{Force: true}},
		{name: "force, log without its database", before: map[string]string{"app.db-wal": "log"}, options: Options{Force: true}},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			m := small(t)
			dir := files(t, c.before)
			c.options.Output = filepath.Join(dir, "app.db")
			skip, cerr := c.options.CheckOutput()
			r, err := Run(context.Background(), m.store, c.options)
			if !errors.Is(err, c.err) || !errors.Is(cerr, c.err) {
				t.Fatalf("error %v, CheckOutput %v, want %v", err, cerr, c.err)
			}
			if r.Skipped != c.skipped || skip != c.skipped {
				t.Errorf("skipped %v, CheckOutput %v, want %v", r.Skipped, skip, c.skipped)
			}
			want := c.before
			if c.err == nil && !c.skipped {
				want = map[string]string{"app.db": string(m.state)}
			}
			checkFiles(t, dir, want)
		})
	}
}

func TestOutputThatCannotBe(t *testing.T) {
	m := small(t)
	dir := files(t, map[string]string{"file": "x"})
	table := []struct{ name, output, want string }{
		{"folder", dir, "is a folder"},
		{"no folder for it", filepath.Join(dir, "none", "app.db"), "no such file or directory"},
		{"file in the place of its folder", filepath.Join(dir, "file", "app.db"), "not a directory"},
		{"device", os.DevNull, "not a regular file"},
		{"none", "", "no output given"},
		{"name too long", filepath.Join(dir, strings.Repeat("x", 250)), "file name too long"},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			_, err := Run(context.Background(), m.store, Options{Output: c.output, Force: true})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			checkFiles(t, dir, map[string]string{"file": "x"})
		})
	}
}

// TestUnwritableFolder runs as somebody whom permissions stop.
func TestUnwritableFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("permissions don't stop root")
	}
	m := small(t)
	dir := files(t, map[string]string{"app.db": "old"})
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := Run(context.Background(), m.store, Options{Output: filepath.Join(dir, "app.db"), Force: true})
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("error %v, want a permission error", err)
	}
	checkFiles(t, dir, map[string]string{"app.db": "old"})
}

func TestDiskFull(t *testing.T) {
	m := newModel(t, 22, 4096)
	for range 300 {
		m.log(m.commit(1))
	}
	m.log(m.commitState(1, make([]byte, 1<<20)))
	dir := smallDisk(t, "256k")
	if err := os.WriteFile(filepath.Join(dir, "app.db"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, target := range []Target{Newest(), AtTx(301)} {
		_, err := Run(context.Background(), m.store, Options{Output: filepath.Join(dir, "app.db"), Force: true, Target: target})
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("error %v, want %v", err, syscall.ENOSPC)
		}
		checkFiles(t, dir, map[string]string{"app.db": "old"})
	}
}

func TestModeOfOutput(t *testing.T) {
	m := small(t)
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	dir := files(t, map[string]string{"private.db": "old", "shared.db": "old"}) // 0600
	if err := os.Chmod(filepath.Join(dir, "shared.db"), 0o664); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"new.db": 0o600, "private.db": 0o600, "shared.db": 0o664} {
		path := filepath.Join(dir, name)
		if _, err := Run(context.Background(), m.store, Options{Output: path, Force: true}); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(path)
		if err != nil || fi.Mode() != want {
			t.Errorf("%s has mode %v, error %v, want %v", name, fi.Mode(), err, want)
		}
	}
}

// TestOutputIsALink: the file that it points to is replaced, not the link.
func TestOutputIsALink(t *testing.T) {
	m := small(t)
	dir := files(t, map[string]string{"app.db": "old", "app.db-wal": "log"})
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(filepath.Join(dir, "app.db"), link); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), m.store, Options{Output: link, Force: true}); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, dir, map[string]string{"app.db": string(m.state)})
	checkState(t, link, m.state)
}

// TestForceKeepsWhatItMovedAside: the last step fails, so log and journal are
// where they were.
func TestForceKeepsWhatItMovedAside(t *testing.T) {
	before := map[string]string{"app.db": "old", "app.db-wal": "log", "app.db-journal": "journal"}
	dir := files(t, before)
	out, _, err := openOutput(filepath.Join(dir, "app.db"), false, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.publish(filepath.Join(dir, "not there")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want one of the rename", err)
	}
	checkFiles(t, dir, before)
}

// TestOutputAppearsMeanwhile: another process was faster; its file stays.
func TestOutputAppearsMeanwhile(t *testing.T) {
	m := small(t)
	path := filepath.Join(t.TempDir(), "app.db")
	appear := func(done, total int64) {
		if err := os.WriteFile(path, []byte("new"), 0o600); err != nil {
			t.Error(err)
		}
	}
	_, err := Run(context.Background(), m.store, Options{Output: path, Progress: appear})
	if !errors.Is(err, ErrExists) {
		t.Errorf("error %v, want ErrExists", err)
	}
	checkFiles(t, filepath.Dir(path), map[string]string{"app.db": "new"})
}

// TestDatabaseInUse: another process holds SQLite's lock on the database.
func TestDatabaseInUse(t *testing.T) {
	m := small(t)
	dir := files(t, map[string]string{"app.db": "old"})
	path := filepath.Join(dir, "app.db")
	holder := exec.Command(os.Args[0], "-test.run=^TestHoldLock$")
	holder.Env = append(os.Environ(), "RESTORE_TEST_LOCK="+path)
	stdin, err1 := holder.StdinPipe()
	stdout, err2 := holder.StdoutPipe()
	if err := errors.Join(err1, err2, holder.Start()); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 1)); err != nil { // the lock is held
		t.Fatal(err)
	}
	_, err := Run(context.Background(), m.store, Options{Output: path, Force: true})
	if !errors.Is(err, ErrInUse) {
		t.Errorf("error %v, want ErrInUse", err)
	}
	checkFiles(t, dir, map[string]string{"app.db": "old"})
	stdin.Close()
	holder.Wait() // ends as a test does; its result is of no interest
	if _, err := Run(context.Background(), m.store, Options{Output: path, Force: true}); err != nil {
		t.Errorf("after the process has gone: %v", err)
	}
}

// TestHoldLock is the other process of TestDatabaseInUse: it takes a reader's
// lock and holds it until its input ends.
func TestHoldLock(t *testing.T) {
	path := os.Getenv("RESTORE_TEST_LOCK")
	if path == "" {
		t.Skip("part of TestDatabaseInUse")
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	lock := syscall.Flock_t{Type: syscall.F_RDLCK, Whence: io.SeekStart, Start: pagesum.PendingByte + 2, Len: 510}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
		t.Fatal(err)
	}
	fmt.Print("locked")
	io.Copy(io.Discard, os.Stdin)
	f.Close()
}
