package shipper

import (
	"path/filepath"
	"testing"
	"time"

	"seawal/store"
	"seawal/store/storetest"
)

// Where a segment is shipped now and then, a restart after a crash has few of them to read.
func TestStateIsSavedWhileLittleIsShipped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.offline(w.txOn(4, 10))
		w.start()
		w.position()
		for range 100 {
			w.commit(1)
			w.flush()
			time.Sleep(time.Second) // of the bubble's clock
		}
		behind := w.sh.Durable().Tx
		st, table, err := loadState(w.sh.cfg.StateDir)
		if err != nil || st == nil || table == nil {
			t.Fatalf("state %+v, table %v, %v", st, table, err)
		}
		if behind -= st.Position.Tx; behind > 40 {
			t.Errorf("a crash leaves %d segments to read, the state is at %v", behind, st.Position)
		}
		_ = w.kill() // all is durable
		w.follow()
	})
}

// A replica that is met at another URL has the page checksums of the old one: its log isn't read again.
func TestTableComesFromTheOldURL(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		var counts store.Counts
		w.store = store.Count(storetest.NewMemory(), &counts)
		w.cfg.BatchBytes = 1 // a segment for each commit
		w.cfg.StateDir = filepath.Join(t.TempDir(), "old")
		w.offline(w.txOn(4, 10))
		w.start()
		w.position()
		for range 50 {
			w.commit(1)
			w.flush()
		}
		w.stop()
		w.cfg.StateDir, w.cfg.OtherDirs = filepath.Join(t.TempDir(), "new"), []string{w.cfg.StateDir}
		before := counts.Usage().Read.Requests
		w.start()
		w.position()
		w.commit(1)
		w.flush()
		if n := counts.Usage().Read.Requests - before; n > 10 {
			t.Errorf("%d reads", n)
		}
		if pos := w.sh.Status().Durable; pos.Timeline != 1 {
			t.Errorf("it went on at %v", pos)
		}
		w.stop()
		w.follow()
	})
}
