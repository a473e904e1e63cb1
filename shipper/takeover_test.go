package shipper

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

// isFenced commits on a host whose replica was taken over, and sees that this isn't confirmed, by the very next segment; and ends
// its process. The error has to name what took over.
func (w *world) isFenced(names string) {
	w.t.Helper()
	durable, before := w.sh.Durable(), w.objects()
	w.src.commit(CommitFrames, w.tx(2))
	err := w.sh.Flush(context.Background())
	if !errors.Is(err, ErrFenced) || !strings.Contains(err.Error(), names) || !w.sh.Status().Fenced {
		w.t.Fatalf("a commit after the takeover: %v; want ErrFenced, and %q in it", err, names)
	}
	if now := w.sh.Durable(); now != durable {
		w.t.Fatalf("durable %v, was %v before the takeover", now, durable)
	}
	if now := w.objects(); now != before {
		w.t.Fatalf("objects:\n%s\nwere\n%s", now, before)
	}
	if err := w.kill(); !errors.Is(err, ErrFenced) {
		w.t.Fatalf("close: %v", err)
	}
}

// beforeCreate has something happen before an object is created whose name matches a pattern.
func beforeCreate(pattern string, do func()) faultstore.Rule {
	return faultstore.When(faultstore.And(faultstore.NameMatch(pattern), faultstore.OnOp(store.OpCreate),
		faultstore.PredicateFunc(func(faultstore.Call) bool { do(); return true })), faultstore.Pass())
}

// hosts are two machines with one replica and without a common identity: the second one has a copy of the database, from a restore.
// The first one has a process.
func hosts(t *testing.T) (a, b *world) {
	t.Helper()
	a = shipped(t, true)
	b = a.twinWorld(t.TempDir())
	b.loseFolder()
	a.start()
	a.position()
	return a, b
}

// A replica is taken over while its writer is alive: that one has nothing confirmed from then on, not even its next segment.
func TestTakeoverFencesAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		old  func(a *world) // what the old writer does before
		at   replica.Pos    // where the new timeline leaves the old one
		end  uint64         // of the old one
	}{
		{name: "at the end", old: func(*world) {}, at: replica.Pos{Timeline: 1, Tx: 6}, end: 6},
		{name: "from an older copy", old: func(a *world) { a.commit(1); a.flush(); a.commit(1); a.flush() }, at: replica.Pos{Timeline: 1, Tx: 6}, end: 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := hosts(t)
				c.old(a)
				b.start()
				b.commit(1)
				b.flush()
				cl := a.closeAt(segment.LogName(1, c.end+1))
				if cl == nil || cl.Next != 2 || cl.Writer != b.sh.writer || cl.Replica != b.sh.id || cl.Parent != 1 || cl.ParentTx != c.at.Tx {
					t.Errorf("the close: %+v", cl)
				}
				a.isFenced("timeline 2")
				if a.verifyAt(replica.Pos{Timeline: 1, Tx: c.end}); b.sh.Durable().Timeline != 2 {
					t.Errorf("the new writer: %+v", b.sh.Status())
				}
				b.stop()
				b.verify()
				b.follow()
				reliability.Record(t, tookOver, 1, 0)
			})
		})
	}
}

// tookOver counts as lost what was confirmed to a writer after its replica was taken over: isFenced ends the test with the first such commit.
var tookOver = reliability.Fault{Group: reliability.Durable, Name: "a replica is taken over while its writer is alive",
	How: "another host opens a copy of the database, at the newest point or an older one, while the old writer is idle or ships without a pause, or is killed half way"}

// The old writer ships while it is being taken over: it is read on to its end, and what it had confirmed by then is
// on its timeline. From the moment at which the new one is confirmed it has nothing confirmed any more.
func TestTakeoverOfABusyWriter(t *testing.T) {
	for _, faster := range []int{1, closeTries - 1, closeTries + 5} {
		bubble(t, func(t *testing.T) {
			a, b := hosts(t)
			f := b.faulty()
			n := 0
			f.SetRules(beforeCreate(segment.LogPrefix(1)+"*", func() {
				if n++; n <= faster {
					a.commit(1)
					a.flush()
				}
			}))
			b.start()
			b.commit(1)
			b.flush()
			if n <= faster {
				t.Fatalf("%d tries to close", n)
			}
			end := uint64(6 + faster)
			if cl := a.closeAt(segment.LogName(1, end+1)); cl == nil || cl.Next != 2 || cl.ParentTx != 6 {
				t.Errorf("the close behind %d: %+v", end, cl)
			}
			a.isFenced("timeline 2")
			a.verifyAt(replica.Pos{Timeline: 1, Tx: end})
			b.stop()
			b.verify()
			reliability.Record(t, tookOver, 1, 0)
		})
	}
}

// Who takes over is killed when the old timeline is closed, and before the new one is there. Whoever comes next goes on.
func TestTakeoverHalfDone(t *testing.T) {
	for _, c := range []struct {
		name string
		next func(a, b *world) (on *world)
	}{
		{"the taker again", func(a, b *world) *world { return b }},
		{"the taker, which has lost its folder", func(a, b *world) *world { b.loseFolder(); return b }},
		{"the old writer", func(a, b *world) *world { return a }},
		{"the old writer, whose log is gone", func(a, b *world) *world { a.m.checkpoint(true); return a }},
		{"the old writer, which went on, and whose log is gone", func(a, b *world) *world { a.offline(a.tx(3)); a.m.checkpoint(true); return a }},
		{"the old writer, with pages of another size", func(a, b *world) *world { a.vacuum(1024, 0); return a }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := hosts(t)
				f := b.faulty()
				f.SetRules(faultstore.When(faultstore.And(faultstore.NameMatch(segment.TimelineName(2)), faultstore.OnOp(store.OpCreate)), faultstore.Fail(errReset)))
				b.start()
				b.commit(1)
				time.Sleep(time.Minute)
				if b.closeAt(segment.LogName(1, 7)) == nil {
					t.Fatal("timeline 1 isn't closed")
				}
				_ = b.kill() // nothing of it is shipped
				f.SetRules()
				a.isFenced("timeline 2")
				w := c.next(a, b)
				w.follow()
				if st := w.sh.Status(); st.Durable.Timeline != 2 || st.Err != nil || st.Notice == "" {
					t.Errorf("status %+v", st)
				}
				a.verifyAt(replica.Pos{Timeline: 1, Tx: 6})
				w.follow()
				if d := w.sh.Durable(); d.Timeline != 2 {
					t.Errorf("opened once more: %v", d)
				}
				reliability.Record(t, tookOver, 1, 0)
			})
		})
	}
}

// A close that a killed process had sent arrives when the old writer ships again: it is fenced, and nobody is at a dead end.
func TestLateClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := hosts(t)
		late := segment.Close{
			Header: segment.Header{PageSize: testPage, Timeline: 1, First: 7, Replica: a.sh.id, Writer: segment.NewID()}, Next: 2, Parent: 1, ParentTx: 6, Time: 1,
		}
		if err := replica.CloseTimeline(t.Context(), a.store, late); err != nil {
			t.Fatal(err)
		}
		a.isFenced("timeline 2")
		// Behind a segment it closes nothing.
		b.follow()
		late.Timeline, late.Next, late.First = 2, 3, 7
		if err := replica.CloseTimeline(t.Context(), a.store, late); !errors.Is(err, store.ErrExist) {
			t.Errorf("behind a segment: %v", err)
		}
		b.follow()
		if d := b.sh.Durable(); d.Timeline != 2 {
			t.Errorf("durable %v", d)
		}
	})
}

// Two take over at once. One of them goes on; the other one is fenced, and whatever it is told is durable is.
func TestTwoTakersAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := hosts(t)
		c := a.twinWorld(t.TempDir())
		c.loseFolder()
		f := b.faulty()
		f.SetRules(beforeCreate(segment.TimelineName(2), func() {
			c.start()
			c.commit(2)
			c.flush()
		}))
		b.start()
		b.commit(1)
		if err := b.sh.Flush(t.Context()); !errors.Is(err, ErrFenced) {
			t.Errorf("the slower one: %v", err)
		}
		_ = b.kill() // fenced
		a.isFenced("timeline 2")
		c.stop()
		c.verify()
		if d := c.sh.Durable(); d.Timeline != 2 {
			t.Errorf("the faster one is at %v", d)
		}
	})
}

// A timeline begins with a snapshot, which is under way when it is taken over. When it arrives before the new one has looked, the old
// writer may have it confirmed; else not.
func TestTakeoverOfAFirstSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := newWorld(t, t.TempDir())
		a.offline(a.txOn(12, 30))
		b := a.twinWorld(t.TempDir())
		f := a.faulty()
		proceed := make(chan struct{})
		f.SetRules(beforeCreate(segment.SnapshotPrefix(1)+"*", func() { <-proceed }))
		a.start()
		synctest.Wait()
		b.start()
		b.flush()
		if d := b.sh.Durable(); d.Timeline != 2 {
			t.Fatalf("the new writer is at %v", d)
		}
		close(proceed)
		if err := a.sh.Flush(t.Context()); !errors.Is(err, ErrFenced) {
			t.Errorf("the old writer: %v", err)
		}
		if d := a.sh.Durable(); d.Tx != 0 {
			t.Errorf("the old writer's snapshot is confirmed: %v", d)
		}
		_ = a.kill() // fenced
		b.stop()
		b.verify()
	})
}
