package vfs_test

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"seawal/compaction"
	"seawal/restore"
	"seawal/store"
)

// A replica is merged, again and again, while an application ships to it: every point stays what it was, and processes that
// begin later, with and without the state directory, go on with it.
func TestCompactedWhileShipping(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	st, err := store.Open(t.Context(), p.replica)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	later := func() time.Time { return time.Now().Add(48 * time.Hour) } // every slot is over
	merged, snapshots := 0, 0
	compact := func() {
		r, err := compaction.Run(t.Context(), st, compaction.Options{Now: later, TempDir: t.TempDir(), Memory: 64 << 10})
		if err != nil && !errors.Is(err, restore.ErrNoReplica) {
			t.Error(err)
		}
		merged += len(r.Merged)
		if r.Snapshot != nil {
			snapshots++
		}
	}
	for life := range 3 {
		s := p.begin("_ship_interval=5ms")
		if life > 0 {
			s.flush() // without the state directory nothing but the point itself proves that the replica is this database's
		}
		s.exec("CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)")
		var stop atomic.Bool
		var beside sync.WaitGroup
		beside.Go(func() {
			for !stop.Load() {
				compact()
			}
		})
		end := func() { stop.Store(true); beside.Wait() }
		t.Cleanup(end) // when the test ends early
		for n := range 120 {
			s.exec("INSERT INTO t(b) VALUES(randomblob(3000))")
			if n%40 == 39 {
				s.exec("DELETE FROM t WHERE a%3=0")
				s.note()
			}
			if n%10 == 0 {
				s.flush()
			}
		}
		s.note()
		s.flush()
		end()
		timeline := uint32(1 + life/2) // without the state directory it goes on on a timeline of its own
		if st := mustStatus(t, s.db); st.Durable.Timeline != timeline || st.Resyncs > 0 || st.Snapshots > 0 && life > 0 {
			t.Errorf("%+v", st)
		}
		s.end() // compares every point that was noted
		compact()
		if life == 1 {
			if err := os.RemoveAll(p.path + "-seawal"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if merged < 10 || snapshots == 0 {
		t.Errorf("%d segments were merged, %d snapshots made", merged, snapshots)
	}
	plan, err := restore.NewPlan(t.Context(), st, 0, restore.Newest())
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Steps) > 60 { // of some three hundred
		t.Errorf("the newest point takes %d objects: %+v", len(plan.Steps), plan.Steps)
	}
}
