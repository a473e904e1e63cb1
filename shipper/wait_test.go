package shipper

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/replica"
	"seawal/store"
	"seawal/store/faultstore"
)

// Wait rides the cadence, Flush and WaitTicket don't wait for it.
func TestCadence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		time.Sleep(10 * time.Second) // idle

		begin := time.Now()
		w.commit(1)
		w.wait()
		if d := time.Since(begin); d > 50*time.Millisecond {
			t.Errorf("first commit after idle took %v", d)
		}
		begin = time.Now()
		w.commit(1)
		w.wait()
		if d := time.Since(begin); d < 900*time.Millisecond || d > 1100*time.Millisecond {
			t.Errorf("the next one took %v, the interval is a second", d)
		}
		begin = time.Now()
		w.commit(1)
		w.flush()
		if d := time.Since(begin); d > 20*time.Millisecond {
			t.Errorf("flush took %v", d)
		}
		begin = time.Now()
		w.commit(1)
		ticket, _ := w.src.Last()
		if err := w.sh.WaitTicket(t.Context(), ticket, true); err != nil || time.Since(begin) > 20*time.Millisecond {
			t.Errorf("WaitTicket took %v: %v", time.Since(begin), err)
		}
		w.stop()
		w.verify()
	})
}

// wait waits with Wait for the newest commit.
func (w *world) wait() {
	w.t.Helper()
	if err := w.sh.Wait(context.Background(), w.position()); err != nil {
		w.t.Fatal(err)
	}
}

// Commits that wait at the same time share uploads.
func TestGroupCommit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		w.faulty(faultstore.When(faultstore.OnOp(store.OpCreate), faultstore.Slow(50*time.Millisecond)))
		w.start()
		w.position()
		var all sync.WaitGroup
		begin := time.Now()
		for range 100 {
			w.commit(1)
			ticket, _ := w.src.Last()
			all.Go(func() {
				if err := w.sh.WaitTicket(context.Background(), ticket, true); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(time.Millisecond)
		}
		all.Wait()
		if n, d := w.sh.Status().Segments, time.Since(begin); n > 5 || d > 200*time.Millisecond {
			t.Errorf("100 commits in 100 ms took %d segments and %v", n, d)
		}
		w.stop()
		w.verify()
	})
}

// An idle database costs no request, no timer and no look at the source.
func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		f := w.faulty()
		w.cfg.NoLook = true
		w.start()
		w.commit(1)
		w.flush()
		time.Sleep(10 * time.Second)
		w.src.mu.Lock()
		nexts := w.src.nexts
		w.src.mu.Unlock()
		calls := len(f.Calls())
		time.Sleep(24 * time.Hour)
		w.src.mu.Lock()
		if w.src.nexts != nexts || len(f.Calls()) != calls {
			t.Errorf("a day of idle cost %d looks and %d requests", w.src.nexts-nexts, len(f.Calls())-calls)
		}
		w.src.mu.Unlock()
		w.stop()
	})
}

// Who waits gets the context's error, and learns that the commit is there.
func TestWaitersEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		down := new(faultstore.Toggle)
		down.On()
		w.faulty(faultstore.When(down, faultstore.Hang()))
		w.start()
		w.commit(1)
		for name, wait := range map[string]func(context.Context) error{
			"Position":   func(ctx context.Context) error { _, err := w.sh.Position(ctx); return err },
			"Wait":       func(ctx context.Context) error { return w.sh.Wait(ctx, replica.Pos{Timeline: 1, Tx: 7}) },
			"Flush":      w.sh.Flush,
			"WaitTicket": func(ctx context.Context) error { return w.sh.WaitTicket(ctx, 1, true) },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
		}
		if d := w.sh.Durable(); !d.IsZero() {
			t.Errorf("durable at %v before the replica answered", d)
		}
		var u *UnshippedError
		if err := w.kill(); !errors.As(err, &u) || u.Commits != 1 || !u.First.IsZero() {
			t.Errorf("close: %v", err)
		}
		if err := w.sh.Flush(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("flush after close: %v", err)
		}
	})
}

func TestWaitForOtherTimelines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		w.loseFolder() // timeline 2
		w.start()
		w.position()
		if err := w.sh.Wait(t.Context(), replica.Pos{Timeline: 1, Tx: 3}); err != nil {
			t.Errorf("a position of the parent: %v", err)
		}
		if err := w.sh.Wait(t.Context(), replica.Pos{Timeline: 3, Tx: 3}); err == nil {
			t.Error("a position of a timeline that doesn't exist is durable")
		}
		w.stop()
	})
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a Shipper without a source")
	}
	w := newWorld(t, t.TempDir())
	cfg := w.cfg
	cfg.Source, cfg.Open, cfg.Interval = newFakeSource(w.m), w.open, -1
	if _, err := New(cfg); err == nil {
		t.Error("a negative interval")
	}
}

func TestCloseWithoutStart(t *testing.T) {
	w := newWorld(t, t.TempDir())
	cfg := w.cfg
	cfg.Source, cfg.Open = newFakeSource(w.m), w.open
	sh, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := sh.Close(t.Context()); err != nil {
		t.Error(err)
	}
	sh.Start() // does nothing
	if err := sh.Flush(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("flush: %v", err)
	}
}

// A commit before the replica answered has an age in Status.
func TestLagBeforeAttach(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		down := new(faultstore.Toggle)
		down.On()
		w.faulty(faultstore.When(down, faultstore.Fail(errReset)))
		w.start()
		w.commit(1)
		for range 10 {
			time.Sleep(10 * time.Second)
			w.commit(1)
		}
		synctest.Wait()
		if st := w.sh.Status(); st.Lag < 90*time.Second || st.LagTx != 11 {
			t.Errorf("status %+v", st)
		}
		down.Off()
		w.stop()
		w.verify()
	})
}

// The last commit and Close come right after the drain goroutine has looked for commits: it is shipped all the same.
func TestCommitRightBeforeClose(t *testing.T) {
	for _, name := range []string{"shipping", "empty"} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var w *world
				if name == "empty" {
					w = newWorld(t, t.TempDir())
				} else {
					w = shipped(t, true)
				}
				w.start()
				closed := make(chan error, 1)
				late := func() {
					w.src.commit(CommitFrames, w.tx(1))
					go func() { closed <- w.sh.Close(context.Background()) }()
					for !w.sh.isClosing() {
						time.Sleep(time.Millisecond)
					}
				}
				if name == "shipping" {
					w.position()
				}
				w.src.mu.Lock()
				if name == "empty" {
					w.src.onNone = late
				} else {
					w.src.onEmpty = late
				}
				w.src.mu.Unlock()
				w.sh.poke()
				if err := <-closed; err != nil {
					t.Errorf("close: %v", err)
				}
				w.verify()
			})
		})
	}
}
