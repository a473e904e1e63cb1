package shipper

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

// resizedTo wants a timeline of the page size that left its parent at at, with one snapshot of its own, and says the rest of the status.
func (w *world) resizedTo(timeline uint32, size int, at replica.Pos) Status {
	w.t.Helper()
	t, err := replica.ReadTimeline(context.Background(), w.store, timeline)
	if err != nil {
		w.t.Fatal(err)
	}
	if t.PageSize != size || t.Parent != at.Timeline || t.ParentTx != at.Tx || !strings.Contains(t.Reason, "page size changed from") {
		w.t.Fatalf("timeline %+v, want one with pages of %d that leaves %v", t, size, at)
	}
	if n := strings.Count(w.objects(), segment.SnapshotPrefix(timeline)); n != 1 {
		w.t.Fatalf("%d snapshots on timeline %d:\n%s", n, timeline, w.objects())
	}
	return w.sh.Status()
}

// A VACUUM changes the page size while the database is shipped: a new timeline begins with a snapshot, and numbers go on.
func TestPageSizeChanges(t *testing.T) {
	for _, kind := range []CommitKind{CommitFrames, CommitGap} {
		bubble(t, func(t *testing.T) {
			w := attached(t)
			w.commit(3)
			w.vacuum(1024, kind)
			pos := w.position()
			w.wait()
			if d := w.sh.Durable(); d.Tx != pos.Tx || d.Tx != 8 {
				t.Errorf("durable %v after a wait for %v, want transaction 8", d, pos)
			}
			w.commit(2)
			w.flush()
			st := w.resizedTo(2, 1024, replica.Pos{Timeline: 1, Tx: 7})
			if st.Durable != (replica.Pos{Timeline: 2, Tx: 9}) || !strings.Contains(st.Notice, "opened timeline 2 at 1/7") || st.Mode != ModeShipping || st.Resyncs != 0 {
				t.Errorf("status %+v", st)
			}
			w.stop()
			w.verify()
			w.start() // goes on where it stopped
			w.position()
			w.commit(1)
			w.vacuum(512, kind)
			w.commit(1)
			w.flush()
			w.resizedTo(3, 512, replica.Pos{Timeline: 2, Tx: 10})
			w.stop()
			w.verify()
		})
	}
}

// Closed right after it: nobody waits for what has been shipped already.
func TestCloseRightAfterThePageSizeChanged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		synctest.Wait()
		w.vacuum(1024, CommitFrames)
		begin := time.Now()
		w.stop()
		if d := time.Since(begin); d > time.Second {
			t.Errorf("closing took %v", d)
		}
		w.verify()
	})
}

// Back to the old size before anybody looked: a difference says it all.
func TestPageSizeChangesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		synctest.Wait()
		w.vacuum(2048, CommitFrames)
		w.vacuum(testPage, CommitFrames)
		w.commit(1)
		w.flush()
		if st := w.sh.Status(); st.Durable != (replica.Pos{Timeline: 1, Tx: 9}) || st.Resyncs == 0 {
			t.Errorf("status %+v", st)
		}
		w.stop()
		w.verify()
	})
}

// The page size changed while no process looked, with what was committed before it shipped or not.
func TestPageSizeChangedWhileNobodyLooked(t *testing.T) {
	for _, before := range []func(w *world){
		func(*world) {},
		func(w *world) { w.offline(w.tx(2)) },
		func(w *world) { w.vacuum(2048, 0) },
	} {
		bubble(t, func(t *testing.T) {
			w := shipped(t, false)
			before(w)
			w.vacuum(1024, 0)
			w.follow()
			if st := w.resizedTo(2, 1024, replica.Pos{Timeline: 1, Tx: 6}); st.Durable != (replica.Pos{Timeline: 2, Tx: 8}) {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// A process that dies at any request to the store between the commit and what follows it, with the request applied
// or not: the next one goes on, on the timeline that the first one opened, if it did.
func TestKilledWhileThePageSizeChanges(t *testing.T) {
	for _, applied := range []bool{false, true} {
		for n := range 8 {
			bubble(t, func(t *testing.T) {
				w := shipped(t, true)
				f := w.faulty()
				w.start()
				w.commit(1)
				w.flush()
				w.commit(1)
				w.flush()
				rules := []faultstore.Rule{faultstore.When(faultstore.Between(n, 1000), faultstore.Fail(errReset))}
				if applied {
					rules = append([]faultstore.Rule{faultstore.When(faultstore.OnIndex(n), faultstore.LostAck(errReset))}, rules...)
				}
				f.SetRules(rules...)
				w.commit(1)
				w.vacuum(1024, CommitFrames)
				time.Sleep(time.Minute)
				_ = w.kill() // reports what is not shipped
				f.SetRules()
				w.follow()
				all, err := replica.Timelines(t.Context(), w.store)
				if err != nil || len(all) != 2 {
					t.Errorf("after %d calls: %d timelines, %v", n, len(all), err)
				}
			})
		}
	}
}

// The store is away while it happens, and answers again: each request fails some times, or its acknowledgement is lost.
func TestPageSizeChangesWhileTheStoreIsAway(t *testing.T) {
	for _, e := range []faultstore.Effect{faultstore.Fail(errReset), faultstore.LostAck(errReset), faultstore.Fail(store.Permanent(errReset)), faultstore.LostAck(store.Permanent(errReset))} {
		for n := range 6 {
			bubble(t, func(t *testing.T) {
				w := shipped(t, true)
				f := w.faulty()
				w.start()
				w.commit(1)
				w.flush()
				f.SetRules(faultstore.When(faultstore.Between(n, n+3), e))
				w.commit(1)
				w.vacuum(1024, CommitFrames)
				w.commit(1)
				time.Sleep(time.Minute)
				w.commit(1)
				w.flush()
				if st := w.resizedTo(2, 1024, replica.Pos{Timeline: 1, Tx: 8}); st.Durable != (replica.Pos{Timeline: 2, Tx: 11}) {
					t.Errorf("status %+v", st)
				}
				w.stop()
				w.verify()
			})
		}
	}
}

// Another writer opens the next timeline first: fenced.
func TestFencedWhileThePageSizeChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		synctest.Wait()
		tl := replica.Timeline{Timeline: 2, Parent: 1, ParentTx: 6, Writer: segment.NewID(), Reason: "test", Created: time.Now()}
		if err := replica.CreateTimeline(context.Background(), w.store, tl); err != nil {
			t.Fatal(err)
		}
		w.vacuum(1024, CommitFrames)
		if err := w.sh.Flush(t.Context()); !errors.Is(err, ErrFenced) {
			t.Errorf("flush: %v", err)
		}
		_ = w.kill() // reports what the test wanted
	})
}
