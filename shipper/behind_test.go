package shipper

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/replica"
	"seawal/store"
	"seawal/store/faultstore"
)

// lost is a world whose database lost what came after the replica's transaction 4, of 6.
func lost(t *testing.T) *world {
	w := shipped(t, true)
	w.m.set(w.want[replica.Pos{Timeline: 1, Tx: 4}])
	w.cfg.Judgement = Judgement{Loss: LossOfPower}
	return w
}

// Behind, and nobody writes: nothing is shipped, nobody waits, and the next open is told to roll it forward.
func TestBehindWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := lost(t)
		before := w.objects()
		f := w.faulty()
		w.start()
		_, err := w.sh.Position(t.Context())
		var b *BehindError
		if !errors.As(err, &b) || b.Local.Tx != 4 || b.Replica.Tx != 6 || !strings.Contains(err.Error(), "open it again") {
			t.Errorf("position: %v", err)
		}
		if err := w.sh.Flush(t.Context()); !errors.Is(err, ErrBehind) {
			t.Errorf("flush: %v", err)
		}
		if st := w.sh.Status(); st.Mode != ModeBehind || !errors.Is(st.Err, ErrBehind) || st.Attached {
			t.Errorf("status %+v", st)
		}
		calls := len(f.Calls())
		time.Sleep(time.Hour)
		if n := len(f.Calls()) - calls; n != 0 {
			t.Errorf("%d requests while nothing happens", n)
		}
		w.stop()
		if after := w.objects(); after != before {
			t.Errorf("objects before:\n%s\nafter:\n%s", before, after)
		}
		j := Judge(w.cfg.DBPath, w.sh.cfg.StateDir, nil)
		if at, sum, ok := j.foundAt(); j.Loss != LossOfPower || !ok || at.Tx != 4 || sum != w.m.pages.total(w.sh.hasher) {
			t.Errorf("the next open would judge %+v", j)
		}
		w.cfg.Judgement = j
		w.start() // not rolled forward: the same again
		synctest.Wait()
		if st := w.sh.Status(); st.Mode != ModeBehind {
			t.Errorf("status %+v", st)
		}
		w.stop()
	})
}

// As soon as it is written it goes on from where it is, commit by commit, and what it lost stays on the old timeline.
func TestBehindAndWritten(t *testing.T) {
	for _, kind := range []CommitKind{CommitFrames, CommitRange, CommitGap} {
		bubble(t, func(t *testing.T) {
			w := lost(t)
			w.start()
			synctest.Wait()
			w.src.commit(kind, w.tx(2))
			w.src.commit(CommitFrames, w.tx(1))
			w.flush()
			w.commit(1)
			w.flush()
			st := w.sh.Status()
			if st.Durable != (replica.Pos{Timeline: 2, Tx: 7}) || !strings.Contains(st.Notice, "opened timeline 2 at 1/4") && kind != CommitGap || st.Mode != ModeShipping || st.Err != nil {
				t.Errorf("status %+v", st)
			}
			w.stop()
			txs := w.verify()
			if kind != CommitGap && len(txs) != 7 {
				t.Errorf("%d points, want 7", len(txs))
			}
			w.verifyAt(replica.Pos{Timeline: 1, Tx: 6})
			if j := Judge(w.cfg.DBPath, w.sh.cfg.StateDir, nil); j.Loss != LossNone {
				t.Errorf("it is still taken for behind: %+v", j)
			}
			w.follow()
		})
	}
}

// The store was away when the database was opened, and the application wrote before anybody knew.
func TestWrittenBeforeTheStoreSaysBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := lost(t)
		f := w.faulty(faultstore.When(faultstore.Between(0, 1<<30), faultstore.Fail(store.Permanent(errReset))))
		w.start()
		w.commit(2)
		w.commit(1)
		time.Sleep(time.Minute)
		f.SetRules()
		w.flush()
		if st := w.sh.Status(); st.Durable != (replica.Pos{Timeline: 2, Tx: 6}) || !strings.Contains(st.Notice, "timeline 2 at 1/4") {
			t.Errorf("status %+v", st)
		}
		w.stop()
		w.verify()
		w.verifyAt(replica.Pos{Timeline: 1, Tx: 6})
	})
}

// The store goes away between the two: what was committed waits, and is shipped then.
func TestBehindAndWrittenWhileTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := lost(t)
		f := w.faulty()
		w.start()
		synctest.Wait()
		f.SetRules(faultstore.When(faultstore.Between(0, 5), faultstore.Fail(store.Permanent(errReset))), faultstore.When(faultstore.Between(0, 3), faultstore.LostAck(errReset)))
		w.commit(2)
		w.commit(1)
		w.flush()
		if st := w.sh.Status(); st.Durable != (replica.Pos{Timeline: 2, Tx: 6}) {
			t.Errorf("status %+v", st)
		}
		w.stop()
		w.verify()
	})
}

// verifyAt replays the history of a position, which has to be what it was.
func (w *world) verifyAt(pos replica.Pos) {
	w.t.Helper()
	r, err := w.replayTo(context.Background(), pos)
	if err != nil {
		w.t.Fatal(err)
	}
	if !r.pages.equal(w.want[pos]) {
		w.t.Fatalf("%v is not what it was", pos)
	}
}
