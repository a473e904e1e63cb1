package shipper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"seawal/internal/fsops"
	"seawal/internal/fsops/powertest"
	"seawal/internal/segment"
	"seawal/store"
)

// createHook is a store that tells of each object before it is created.
type createHook struct {
	store.Store
	before func(name string)
}

func (h createHook) Create(ctx context.Context, name string, body store.Body) error {
	h.before(name)
	return h.Store.Create(ctx, name, body)
}

// A loss of power at any moment leaves a whole state, or none, and never one that is ahead of the replica. Before a replica is made the state
// that knows it for ours is there, and after a clean close the last one is.
func TestStateLosesPower(t *testing.T) {
	w := newWorld(t, t.TempDir())
	dir := w.m.path + StateSuffix
	path := filepath.Join(dir, stateFile)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.offline(w.txOn(12, 30))
	var last atomic.Uint64 // transaction that the replica has by now
	disk := powertest.Watch(t, filepath.Dir(w.m.path), func(l powertest.Left) string {
		raw, exists, whole := l.Content(path)
		var st state
		switch {
		case !exists:
			return ""
		case !whole:
			return "the state is not whole"
		case json.Unmarshal(raw, &st) != nil:
			return fmt.Sprintf("the state is %q", raw)
		case st.Position.Tx > last.Load():
			return fmt.Sprintf("the state is at %v, and the replica at %d", st.Position, last.Load())
		}
		return ""
	})
	w.store = createHook{w.store, func(name string) {
		if n, err := segment.ParseName(name); err == nil {
			last.Store(max(last.Load(), n.First)) // each segment has one transaction
		}
		if name != segment.ReplicaName {
			return
		}
		raw, _, whole := disk.Settled().Content(path)
		var st state
		if !whole || json.Unmarshal(raw, &st) != nil || st.Replica.IsZero() {
			t.Errorf("the replica is made, and a loss of power leaves the state %q, which doesn't know it", raw)
		}
	}}
	w.start()
	w.position()
	for range 5 {
		w.commit(2)
		w.flush()
	}
	w.stop()
	now, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if left, _, _ := disk.Settled().Content(path); string(left) != string(now) {
		t.Errorf("a loss of power after a clean close leaves the state %s, and it was %s", left, now)
	}
	if _, _, whole := disk.Settled().Content(filepath.Join(dir, pagesFile)); !whole {
		t.Error("a loss of power after a clean close leaves no page checksums")
	}
}

// The pages of a journal are on stable storage before the header that has SQLite play them back is written at all: a journal whose first byte
// isn't 0 is a whole one, or its pages would be written over the database whatever they are.
func TestJournalLosesPower(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db-journal")
	var seen []string // what was synced, each time
	disk := powertest.Watch(t, dir, func(l powertest.Left) string {
		if l.After.Op != fsops.OpSync {
			return ""
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		seen = append(seen, string(content))
		return ""
	})
	err := writeJournal(path, 1024, 3, []uint32{1, 3}, func(page uint32, p []byte) error {
		for i := range p {
			p[i] = byte(page)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	content, exists, whole := disk.Settled().Content(path)
	if !exists || !whole || !strings.HasPrefix(string(content), journalMagic) {
		t.Fatal("a loss of power leaves no journal")
	}
	if len(seen) != 2 || seen[0][0] != 0 || seen[0][journalSector:] != string(content[journalSector:]) {
		t.Errorf("%d syncs; want one of all pages without a header, and one with it", len(seen))
	}
}

// The log that SQLite has truncated, and did not sync, must not come back: its frames would be played over what the journal brings.
func TestEmptyLogLosesPower(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db-wal")
	if err := os.WriteFile(path, []byte("frames"), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := powertest.Watch(t, dir, nil)
	if err := settleEmptyLog(path); err == nil {
		t.Error("a log with frames in it passes for an empty one")
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := settleEmptyLog(path); err != nil {
		t.Fatal(err)
	}
	if content, _, _ := disk.Settled().Content(path); len(content) > 0 {
		t.Errorf("a loss of power brings %q back", content)
	}
}

// A journal that SQLite has played back and removed must not come back: it would be played back again, over what was committed since.
func TestPlayedBackJournalLosesPower(t *testing.T) {
	dir := t.TempDir()
	cfg := RollForwardConfig{DBPath: filepath.Join(dir, "app.db")}
	path := cfg.DBPath + "-journal"
	if err := os.WriteFile(path, []byte("pages"), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := powertest.Watch(t, dir, nil)
	cfg.Recover = func() error { return os.Remove(path) }
	if err := cfg.recover(); err != nil {
		t.Fatal(err)
	}
	if _, exists, _ := disk.Settled().Content(path); exists {
		t.Error("a loss of power brings the journal back")
	}
	cfg.Recover = func() error { return errReset }
	if err := cfg.recover(); !errors.Is(err, errReset) {
		t.Errorf("recovering: %v", err)
	}
}
