package shipper

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/store"
	"seawal/store/faultstore"
)

// rewrite commits to some pages again and again, and only the outcome is known: count commits, to at most pages pages.
func (w *world) rewrite(count, pages int) {
	txs := make([]tx, count)
	for i := range txs {
		data := fmt.Appendf(nil, "%0*d", testPage, w.rnd.Uint64())
		txs[i] = tx{changes: []change{{uint32(1 + i%pages), data}}, pageCount: uint32(len(w.m.state()))}
	}
	w.src.commit(CommitGap, txs...)
	w.note()
}

// After 1,000 commits of which the log has nothing any more, a difference reads the pages that these wrote, and not the database: also when
// it has to begin with what the replica has, since the batch before it broke.
func TestDifferenceReadsWhatWasWritten(t *testing.T) {
	const size, wrote = 600, 10
	for name, breaks := range map[string]bool{"a gap": false, "a broken batch": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, t.TempDir())
				w.offline(w.txOn(size, 1))
				w.start()
				w.flush()
				synctest.Wait()
				w.src.mu.Lock()
				w.src.reads = 0
				if breaks {
					w.src.denyRead = errReset
				}
				w.src.mu.Unlock()
				w.rewrite(1000, wrote)
				w.m.backfill() // so that every page is read in the file
				w.flush()
				if st := w.sh.Status(); st.Resyncs == 0 || st.ResyncPages > 4*wrote {
					t.Errorf("%d differences have read %d pages", st.Resyncs, st.ResyncPages)
				}
				if w.src.mu.Lock(); w.src.reads == 0 || w.src.reads > 4*wrote {
					t.Errorf("%d pages of %d were read, of which the commits wrote %d", w.src.reads, size, wrote)
				}
				w.src.mu.Unlock()
				w.stop()
				w.verify()
			})
		})
	}
}

// A database that is written faster than the store takes it: one difference follows the other, and Status says that it won't end. Once the
// store is fast enough, there are no more of them.
func TestStorm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.cfg.BatchBytes = 1 // a batch is full with the first commit, as with any large enough one
		w.offline(w.txOn(50, 100))
		slow := new(faultstore.Toggle)
		w.faulty(faultstore.When(faultstore.And(slow, faultstore.OnOp(store.OpCreate)), faultstore.Slow(10*time.Second)))
		w.start()
		w.flush()
		slow.On()
		pace := func(kind CommitKind, d time.Duration) {
			for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(500 * time.Millisecond) {
				w.src.commit(kind, w.txOn(50, 3))
			}
		}
		pace(CommitGap, 2*time.Minute)
		st := w.sh.Status()
		if st.Resyncs < 2*stormAfter || st.Health.Word != WordBehind || !strings.Contains(st.Health.Sentence, "doesn't end") {
			t.Errorf("%d differences: %+v", st.Resyncs, st.Health)
		}
		slow.Off()
		pace(CommitFrames, 30*time.Second)
		before := w.sh.Status()
		pace(CommitFrames, 30*time.Second)
		after := w.sh.Status()
		if after.Resyncs != before.Resyncs || after.Health.Word != WordOK || after.Storm != "" {
			t.Errorf("%d differences, then %d: %+v, %q", before.Resyncs, after.Resyncs, after.Health, after.Storm)
		}
		w.flush()
		w.stop()
		w.verify()
	})
}
