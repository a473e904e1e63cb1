package vfs_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"seawal/internal/reliability"
	"seawal/internal/vfstest"
	"seawal/restore"
	"seawal/store"
)

// keepOlder remembers the state folder as it is now.
func (h *powerHistory) keepOlder() {
	dir := filepath.Join(h.root, "older")
	if err := os.RemoveAll(dir); err != nil {
		h.t.Fatal(err)
	}
	if err := copyFolder(dir, h.path+"-seawal"); err == nil {
		h.older = dir
	}
}

// copyFolder copies a folder in which files may come and go meanwhile.
func copyFolder(to, from string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, os.ErrNotExist) && path != from {
				return nil
			}
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if !d.Type().IsRegular() { // by a pipe processes wake each other
			return nil
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
}

// lose ends a life: what the disk holds, and the replica, become the next one.
func (h *powerHistory) lose(db *sql.DB, life int) {
	t := h.t
	t.Helper()
	from := h.place
	h.begin(life + 1)
	// The process goes on shipping what it has captured while it is copied. The state folder comes first: the replica has at least
	// what the folder says is there, as when both end at one moment.
	stateErr := copyFolder(h.path+"-seawal", from.path+"-seawal")
	if err := copyFolder(strings.TrimPrefix(h.replica, "file://"), strings.TrimPrefix(from.replica, "file://")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if stateErr == nil {
		h.stateFolder()
	} else if !errors.Is(stateErr, os.ErrNotExist) {
		t.Fatal(stateErr)
	}
	files := h.power.Survivors(h.r)
	for _, suffix := range []string{"", "-journal", "-wal"} {
		b, ok := files[from.path+suffix]
		if _, err := os.Stat(from.path + suffix); !ok && suffix == "" && err == nil {
			b, ok = readFile(t, from.path), true // the power failed before anybody opened it
		}
		if !ok {
			continue
		}
		if err := os.WriteFile(h.path+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.sameFile()
	h.reboot()
	_ = db.Close() // the process is gone
	h.power.Reset()
	h.losses++
	h.lost = h.left()
	if h.driver != "sqlite3" {
		h.checkReplica()
	}
}

// fileLines are what state.json says of the database file, and of its log.
var fileLines = map[string]*regexp.Regexp{
	"":     regexp.MustCompile(`"file": {\s*"dev": \d+,\s*"inode": \d+\s*}`),
	"-wal": regexp.MustCompile(`"log": {\s*"dev": \d+,\s*"inode": \d+\s*}`),
}

// sameFile makes the files of this life those that the state folder knows: a machine that is started again has the
// inodes that it had.
func (h *powerHistory) sameFile() {
	err := filepath.WalkDir(h.path+"-seawal", func(name string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != "state.json" {
			return err
		}
		b := readFile(h.t, name)
		for suffix, key := range map[string]string{"": "file", "-wal": "log"} {
			if fi, err := os.Stat(h.path + suffix); err == nil { // else it is gone
				b = fileLines[suffix].ReplaceAll(b, fmt.Appendf(nil, "%q: {%s}", key, inode(fi)))
			}
		}
		return os.WriteFile(name, b, 0o600)
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
}

// stateFolder makes the state folder one that a power failure could leave: files of Go's are synced before they are
// renamed, but a folder may be restored from a backup, and a disk may be worse than it says.
func (h *powerHistory) stateFolder() {
	dir := h.path + "-seawal"
	damage := h.r.IntN(8)
	if h.refused {
		damage, h.refused = 0, false // the way out that the error names
	}
	h.intact = h.intact && damage > 3
	switch {
	case damage == 0:
		if err := os.RemoveAll(dir); err != nil {
			h.t.Fatal(err)
		}
		return
	case damage == 1 && h.older != "":
		if err := errors.Join(os.RemoveAll(dir), copyFolder(dir, h.older)); err != nil {
			h.t.Fatal(err)
		}
	case damage <= 3:
		name := filepath.Join(dir, []string{"state.json", "pages"}[h.r.IntN(2)])
		b := readFile(h.t, name)
		if n := h.r.IntN(len(b) + 1); damage == 2 {
			b = b[:n]
		} else {
			clear(b[n:])
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
}

// left opens a copy of what is left by plain SQLite. It returns the number of the last transaction.
func (h *powerHistory) left() int {
	t := h.t
	t.Helper()
	dir := h.scratch()
	for _, suffix := range []string{"", "-journal", "-wal"} {
		if b, err := os.ReadFile(h.path + suffix); err == nil {
			if err := os.WriteFile(filepath.Join(dir, "app.db"+suffix), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	at, err := h.sound(filepath.Join(dir, "app.db"))
	if len(h.states) == 0 && err == nil {
		return 0 // it never was opened
	}
	i := slices.Index(slices.Concat(h.states, h.inDoubt), at)
	switch {
	case err != nil:
		h.fail("what is left: %v", err)
	case i < 0:
		h.fail("what is left is no state that the database had")
	}
	if want := h.mode.kept(len(h.states)-1, h.floor); i >= 0 && i < want {
		h.fail("transaction %d is left; %d were acknowledged, %d must be there", i, len(h.states)-1, want)
	}
	return i
}

// scratch is an empty directory, until the next call.
func (h *powerHistory) scratch() string {
	h.t.Helper()
	dir := filepath.Join(h.root, "scratch")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700)); err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// sound checks a database file with plain SQLite, and says what it holds.
func (h *powerHistory) sound(path string) (state, error) {
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(h.t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		return 0, fmt.Errorf("integrity_check: %q, %v", verdict, err)
	}
	return h.look(db)
}

// fail ends the test, unless it is about what is lost when a disk lies.
func (h *powerHistory) fail(format string, args ...any) {
	h.t.Helper()
	if h.onLoss != nil {
		h.onLoss()
		return
	}
	h.t.Fatalf(format, args...)
}

// checkReplica restores what is in the replica alone.
func (h *powerHistory) checkReplica() {
	t := h.t
	t.Helper()
	if _, err := os.Stat(filepath.Join(strings.TrimPrefix(h.replica, "file://"), "replica.json")); err != nil {
		if len(h.confirmed) > 0 {
			t.Fatalf("%d points were confirmed: %v", len(h.confirmed), err)
		}
		return
	}
	s, err := store.Open(t.Context(), h.replica)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// Each point is restored in a directory of its own: to put one in the place of another, all open files of the machine would be
	// looked through for it.
	out := filepath.Join(h.scratch(), "restored.db")
	_, err = restore.Run(t.Context(), s, restore.Options{Output: out, Target: restore.Newest(), Check: restore.CheckFull})
	switch {
	case errors.Is(err, restore.ErrNoPoint) && len(h.confirmed) == 0:
		return
	case err != nil:
		t.Fatal(err)
	}
	if at := state(fingerprintFile(t, out)); !h.ever[at] && len(h.states) > 0 {
		t.Fatal("the replica ends in a state that the database never had")
	}
	for pos, want := range h.confirmed {
		if pos != h.newest && h.r.IntN(4) > 0 {
			continue
		}
		out := filepath.Join(h.scratch(), "restored.db")
		_, err := restore.Run(t.Context(), s, restore.Options{Output: out, Timeline: pos.Timeline, Target: restore.AtTx(pos.Tx), Check: restore.CheckFull})
		if err != nil {
			t.Fatalf("%v was confirmed: %v", pos, err)
		}
		if at := state(fingerprintFile(t, out)); at != want {
			t.Fatalf("%v was confirmed, and restores something else", pos)
		}
	}
}

// end is the last life: power stays on, and the replica becomes the file.
func (h *powerHistory) end() {
	t := h.t
	t.Helper()
	db := h.open(h.driver)
	mirror := h.arrive(db)
	h.write(db, mirror, powerLosses)
	if err := mirror.Close(); err != nil {
		t.Error(err)
	}
	if h.driver != "sqlite3" && !h.refused {
		h.confirm(db)
	}
	err := db.Close()
	if h.refused {
		h.refused = false
		if err := os.RemoveAll(h.path + "-seawal"); err != nil { // the way out that the error names
			t.Fatal(err)
		}
		h.lost = len(h.states) - 1
		h.power.Reset()
		h.end()
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if h.driver != "sqlite3" {
		h.same(h.path, h.restore(restore.Newest()))
		h.checkReplica()
	}
	h.power.Reset()
}

func (h *powerHistory) run() {
	h.t.Helper()
	for life := range powerLosses {
		h.live(life)
	}
	h.end()
}

// number is an environment variable.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// The power fails at a random change of a file, and what wasn't synced is lost, torn, or came in another order. The
// database is what SQLite promises, and the replica holds what was confirmed; the two go on together.
//
//	SEED=17 HISTORIES=1 go test ./vfs -run 'TestPowerLoss$'    one history again (the shipper's timing differs: repeat it)
//	SEED=1000 HISTORIES=500 go test ./vfs -run 'TestPowerLoss$' -timeout 1h
func TestPowerLoss(t *testing.T) {
	first, n := number(t, "SEED", 0), number(t, "HISTORIES", powerHistories)
	for seed := first; seed < first+n; seed++ {
		mode := powerModes[seed%uint64(len(powerModes))]
		t.Run(fmt.Sprintf("seed=%d %s %s", seed, mode.journal, mode.sync), func(t *testing.T) {
			t.Parallel()
			h := newPowerHistory(t, seed, mode, powerDriver)
			h.run()
			reliability.Record(t, reliability.Fault{
				Group: reliability.Power,
				Name:  "the power fails at a random change of a file",
				How: "of the writes, truncations and removals that were not synced any part survives, in any order, torn within a write; the state folder too may be older, cut, or gone; " +
					"acknowledged transactions, what Wait confirmed, and the replica are looked for afterwards",
				AtLeast: powerLosses,
			}, h.losses, 0)
			t.Logf("%d losses of power, %d times rolled forward, %d points confirmed", h.losses, h.rolled, len(h.confirmed))
		})
	}
}

// The same with plain SQLite: the VFS asks for no more than SQLite promises.
func TestPowerLossOfPlainSQLite(t *testing.T) {
	for seed := range uint64(len(powerModes)) {
		mode := powerModes[seed]
		t.Run(fmt.Sprintf("seed=%d %s %s", seed, mode.journal, mode.sync), func(t *testing.T) {
			t.Parallel()
			newPowerHistory(t, seed, mode, "sqlite3").run()
		})
	}
}

// A disk that says it has synced and has not loses what was acknowledged: the test sees that.
func TestPowerLossWithoutSync(t *testing.T) {
	found := 0
	for seed := range uint64(6) {
		h := newPowerHistory(t, 1000+seed, powerMode{"WAL", "FULL", keepsAll}, "sqlite3")
		tr, err := vfstest.Register(h.power.Name()+"-lies", h.power.Name(), vfstest.Options{})
		if err != nil {
			t.Fatal(err)
		}
		tr.Record(vfstest.RecordNothing)
		f := tr.Fail(vfstest.Rule{Op: vfstest.Sync, Sticky: true, Apply: vfstest.Nothing})
		h.vfsName = tr.Name()
		h.onLoss = func() { found++ }
		h.live(0)
		f.End()
	}
	if found == 0 {
		t.Error("nothing was lost by a disk that lies")
	}
}
