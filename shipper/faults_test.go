package shipper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

var errReset = errors.New("connection reset")

// damage overwrites a byte in a file of the state folder.
func (w *world) damage(name string) {
	w.t.Helper()
	path := filepath.Join(w.sh.cfg.StateDir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	b[len(b)/2] ^= 0x55
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// faulty puts faults in front of the store.
func (w *world) faulty(rules ...faultstore.Rule) *faultstore.Store {
	f := faultstore.Wrap(w.store, faultstore.Options{}, rules...)
	w.open = func(_ context.Context, onError func(store.Failure)) (store.Store, error) {
		return store.Stack(noClose{f}, store.StackOptions{Retry: store.RetryPolicy{OnError: onError}}), nil
	}
	return f
}

// Every acknowledgement gets lost once, and what was stored is recognised as ours.
func TestLostAcknowledgements(t *testing.T) {
	for _, part := range []string{segment.ReplicaName, "timeline.json", "/snapshot/", "/log/"} {
		t.Run(strings.Trim(part, "/"), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, t.TempDir())
				w.offline(w.txOn(5, 10))
				w.faulty(faultstore.When(faultstore.And(faultstore.OnOp(store.OpCreate), containing(part), faultstore.OnIndex(0)), faultstore.LostAck(errReset)))
				w.start()
				for range 3 {
					w.commit(2)
					w.flush()
				}
				w.stop()
				w.verify()
				if st := w.sh.Status(); st.Fenced || st.Durable.Timeline != 1 || st.Resyncs != 0 {
					t.Errorf("status %+v", st)
				}
			})
		})
	}
}

// containing matches calls for objects with part in their name.
func containing(part string) faultstore.Predicate {
	return faultstore.PredicateFunc(func(c faultstore.Call) bool { return strings.Contains(c.Name, part) })
}

// Another writer's segment under our name is not overwritten, and ends shipping.
func TestFencedBySegment(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		synctest.Wait()
		if err := w.store.Create(t.Context(), segment.LogName(1, 7), store.BytesBody(w.foreign(7))); err != nil {
			t.Fatal(err)
		}
		before := w.objects()
		waiting := make(chan error, 1)
		go func() { waiting <- w.sh.Wait(context.Background(), replica.Pos{Timeline: 1, Tx: 7}) }()
		w.commit(1)
		if err := w.sh.Flush(t.Context()); !errors.Is(err, ErrFenced) {
			t.Errorf("flush: %v", err)
		}
		if err := <-waiting; !errors.Is(err, ErrFenced) {
			t.Errorf("wait: %v", err)
		}
		if st := w.sh.Status(); !st.Fenced || st.Durable.Tx != 6 {
			t.Errorf("status %+v", st)
		}
		var u *UnshippedError
		if err := w.sh.Close(t.Context()); !errors.As(err, &u) || !errors.Is(err, ErrFenced) || u.Commits != 1 {
			t.Errorf("close: %v", err)
		}
		if w.objects() != before {
			t.Errorf("objects:\n%s", w.objects())
		}
	})
}

// foreign is a segment of another writer.
func (w *world) foreign(first uint64) []byte {
	w.t.Helper()
	out := &spool{limit: 1 << 20}
	enc, err := segment.NewEncoder(out, segment.Header{
		Kind: segment.Log, PageSize: testPage, Timeline: 1, First: first, Replica: w.sh.id, Writer: segment.NewID(),
	})
	if err == nil {
		err = errors.Join(enc.Begin(segment.Tx{Number: first, PageCount: 1}), enc.End(1))
	}
	if err == nil {
		_, err = enc.Close(w.sh.place)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return out.mem
}

// A writer that took over writes to a timeline of its own, and is found by looking.
func TestFencedByLooking(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		synctest.Wait()
		err := replica.CreateTimeline(context.Background(), w.store, replica.Timeline{Timeline: 2, Parent: 1, ParentTx: 6, Writer: segment.NewID()})
		if err != nil {
			t.Fatal(err)
		}
		w.commit(1)
		if err := w.sh.Flush(t.Context()); !errors.Is(err, ErrFenced) {
			t.Errorf("flush: %v", err)
		}
		_ = w.kill() // fenced
	})
}

// The store is down from the start, or in the middle: commits go on, memory is
// bounded, the error shows at once, and afterwards everything arrives.
func TestOutage(t *testing.T) {
	for _, from := range []string{"start", "middle"} {
		t.Run(from, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, t.TempDir())
				w.cfg.BatchBytes = 64 << 10
				w.offline(w.txOn(50, 100))
				down := new(faultstore.Toggle)
				w.faulty(faultstore.When(down, faultstore.Fail(errReset)))
				if from == "start" {
					down.On()
				}
				w.start()
				if from == "middle" {
					w.flush()
					down.On()
				}
				for range 600 {
					w.commit(20)
					time.Sleep(20 * time.Millisecond)
				}
				st := w.sh.Status()
				if !errors.Is(st.Err, errReset) || st.LagTx < 600 || st.Lag < 10*time.Second {
					t.Errorf("status %+v", st)
				}
				if st.LagBytes > 4*w.cfg.BatchBytes {
					t.Errorf("%d bytes are held in memory", st.LagBytes)
				}
				down.Off()
				w.flush()
				w.stop()
				w.verify()
				if err := w.sh.Status().Err; err != nil {
					t.Errorf("error is not over: %v", err)
				}
			})
		})
	}
}

// Close reports exactly what the replica does not have.
func TestCloseReports(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		down := new(faultstore.Toggle)
		w.faulty(faultstore.When(down, faultstore.Fail(errReset)))
		w.start()
		w.position()
		down.On()
		for range 3 {
			w.commit(2)
		}
		waiting := make(chan error, 1)
		go func() { waiting <- w.sh.WaitTicket(context.Background(), 3, true) }()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		err := w.sh.Close(ctx)
		var u *UnshippedError
		if !errors.As(err, &u) || !errors.Is(err, errReset) {
			t.Fatalf("close: %v", err)
		}
		if u.Commits != 3 || u.First != (replica.Pos{Timeline: 1, Tx: 7}) || u.Last != (replica.Pos{Timeline: 1, Tx: 9}) || u.Bytes <= 0 {
			t.Errorf("unshipped %+v", u)
		}
		if err := <-waiting; !errors.Is(err, ErrClosed) {
			t.Errorf("waiter: %v", err)
		}
		if err := w.sh.Close(t.Context()); err != nil {
			t.Errorf("second close: %v", err)
		}
		down.Off()
		w.follow()
	})
}

// A store that refuses for good is asked again: a person may mend it.
func TestPermanentError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		w.faulty(faultstore.When(faultstore.And(faultstore.OnOp(store.OpCreate), faultstore.OnIndex(0)), faultstore.Fail(store.Permanent(errReset))))
		w.start()
		w.commit(1)
		begin := time.Now()
		w.flush()
		if d := time.Since(begin); d < DefaultRetryWait {
			t.Errorf("after %v", d)
		}
		w.stop()
		w.verify()
	})
}

// The database can't be read when a difference is needed: tried again.
func TestReadFailsForAWhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		w.src.mu.Lock()
		w.src.deny = errors.New("locked exclusively")
		w.src.mu.Unlock()
		w.src.commit(CommitGap, w.tx(1), w.tx(3))
		time.Sleep(time.Minute)
		if st := w.sh.Status(); st.Err == nil || st.LagTx != 2 {
			t.Errorf("status %+v", st)
		}
		w.src.mu.Lock()
		w.src.deny = nil
		w.src.mu.Unlock()
		w.flush()
		if st := w.sh.Status(); st.Resyncs != 1 || st.ResyncReason == "" {
			t.Errorf("status %+v", st)
		}
		w.stop()
		txs := w.verify()
		if last := txs[len(txs)-1]; last.Span != 2 {
			t.Errorf("last transaction %+v", last)
		}
	})
}

// A transaction larger than a batch goes through a file; when that can't be
// written, the difference is shipped once it can.
func TestLargeTransaction(t *testing.T) {
	for _, broken := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			w := shipped(t, true)
			w.cfg.BatchBytes = 2000
			w.start()
			w.position()
			synctest.Wait()
			dir := w.sh.cfg.StateDir
			if broken {
				w.sh.cfg.StateDir = filepath.Join(dir, "nowhere")
			}
			big := w.txOn(3000, 3000)
			w.src.commit(CommitFrames, big)
			w.note()
			if broken {
				time.Sleep(time.Minute)
				if err := w.sh.Status().Err; !errors.Is(err, os.ErrNotExist) {
					t.Errorf("error %v", err)
				}
				if err := os.Mkdir(filepath.Join(dir, "nowhere"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			w.flush()
			w.stop()
			w.verify()
			left, err := filepath.Glob(filepath.Join(dir, "*", "spool-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// The checksums of what was encoded and did not land are not those of the replica's end, and
// must not be saved as if they were: the next process would go on from there.
func TestStateOfWhatDidNotLandIsNotSaved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		down := new(faultstore.Toggle)
		w.faulty(faultstore.When(down, faultstore.Fail(errReset)))
		w.start()
		w.position()
		down.On()
		w.commit(2)
		synctest.Wait()
		var u *UnshippedError
		if err := w.kill(); !errors.As(err, &u) {
			t.Fatalf("close: %v", err)
		}
		if w.sh.encoded == 0 {
			t.Fatal("the commit was not encoded: nothing is tested")
		}
		w.sh.saveClean(t.Context())
		w.m.checkpoint(true) // without its log the database is known by its checksums only
		down.Off()
		w.start()
		w.commit(1)
		w.flush()
		w.stop()
		w.verify()
	})
}

// A clock that is set back makes no transaction older than the one before it, in this process or the next, and
// is spoken of. Once it has caught up, times are exact again.
func TestClockIsSetBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		w.commit(1)
		w.flush()
		for i, skew := range []time.Duration{-time.Hour, -2 * time.Hour, -time.Minute} {
			w.src.skew = skew
			w.commit(1)
			w.src.commit(CommitRange, w.tx(1), w.tx(2))
			w.src.commit(CommitGap, w.tx(1))
			w.note()
			w.flush()
			if st := w.sh.Status(); i == 0 && (!strings.Contains(st.Notice, "difference") || st.Lag < 0) {
				t.Errorf("status %+v", st)
			}
			w.stop()
			w.start()
			w.position()
		}
		w.src.skew = -time.Hour
		w.commit(1)
		w.flush()
		if st := w.sh.Status(); !strings.Contains(st.Notice, "clock was set back by 1h0m0s") {
			t.Errorf("notice %q", st.Notice)
		}
		time.Sleep(2 * time.Hour)
		w.commit(1)
		w.flush()
		w.stop()
		txs := w.verify()
		if a, b := txs[len(txs)-2].Time, txs[len(txs)-1].Time; b != w.src.time || b <= a {
			t.Errorf("the clock has caught up, and the last time is %d after %d, not %d", b, a, w.src.time)
		}
	})
}

// The log can't be opened for a while, as when the process is out of descriptors: what it holds is waited for, and
// not given up for the difference.
func TestLogCanNotBeOpenedForAWhile(t *testing.T) {
	t.Run("for a range", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			w := attached(t)
			synctest.Wait()
			until := time.Now().Add(time.Minute)
			w.src.mu.Lock()
			w.src.denyLog = func(int) error {
				if time.Now().Before(until) {
					return syscall.EMFILE
				}
				return nil
			}
			w.src.mu.Unlock()
			w.src.commit(CommitRange, w.tx(1), w.tx(2), w.tx(1))
			time.Sleep(30 * time.Second)
			if st := w.sh.Status(); !errors.Is(st.Err, syscall.EMFILE) || st.LagTx != 3 {
				t.Errorf("status %+v", st)
			}
			w.note()
			w.flush()
			w.stop()
			w.mustHavePoints()
		})
	})
	for call := 1; call <= 5; call++ {
		t.Run(fmt.Sprintf("in attaching, call %d", call), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := shipped(t, true)
				w.offline(w.tx(1), w.tx(2), w.tx(1))
				w.deny = func(n int) error {
					if n == call {
						return syscall.EMFILE
					}
					return nil
				}
				w.start()
				w.position()
				w.flush()
				w.stop()
				w.mustHavePoints()
			})
		})
	}
}

// mustHavePoints verifies the replica, and that no difference was shipped.
func (w *world) mustHavePoints() {
	w.t.Helper()
	for _, tx := range w.verify() {
		if tx.Span != 1 {
			w.t.Fatalf("transaction %d is %d in one", tx.Number, tx.Span)
		}
	}
	if st := w.sh.Status(); st.Resyncs > 0 {
		w.t.Fatalf("a difference was shipped: %s", st.ResyncReason)
	}
}

// A database file that was written before the clock was set back has a time ahead of it: closing doesn't wait for that.
func TestFileOfTheFutureIsNotWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir, began := t.TempDir(), time.Now()
		got := statSettled("app.db", dir, func(path string) *fileStat {
			if path == "app.db" {
				return &fileStat{Ctime: began.Add(time.Hour).UnixNano()}
			}
			return &fileStat{Ctime: time.Now().UnixNano()}
		})
		if waited := time.Since(began); got != nil || waited > time.Minute {
			t.Errorf("%+v after %v", got, waited)
		}
	})
}
