package shipper

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store/storetest"
)

// shipped makes a world with a replica of some transactions, and stops its process.
// The log is kept, as after a crash, or copied to the file and dropped.
func shipped(t *testing.T, keepLog bool) *world {
	t.Helper()
	w := newWorld(t, t.TempDir())
	w.offline(w.txOn(12, 30))
	w.start()
	w.position()
	for range 5 {
		w.commit(2)
		w.flush()
	}
	w.stop()
	if !keepLog {
		w.m.checkpoint(true)
	}
	return w
}

// attached is a world that was shipped, with its log, and goes on: a process has found where it is.
func attached(t *testing.T) *world {
	t.Helper()
	w := shipped(t, true)
	w.start()
	w.position()
	return w
}

// bubble runs a test with a fake clock.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	emptyPools()
	defer emptyPools() // the next test may have no bubble, and compress
	synctest.Test(t, f)
}

// emptyPools comes before and after a test with a fake clock: pooled compressors hold a channel, which belongs to the bubble that made
// it, and whoever takes one from the pool elsewhere ends the whole test binary. Two collections empty every sync.Pool.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

// follow starts a process, commits once, and verifies everything.
func (w *world) follow() []segment.Tx {
	w.t.Helper()
	w.start()
	w.position()
	w.commit(1)
	w.flush()
	w.stop()
	return w.verify()
}

// Each row of the table in doc.go that goes well: the transactions and the timeline that it ends with.
func TestAttach(t *testing.T) {
	for _, c := range []struct {
		name     string
		keepLog  bool
		between  func(w *world)
		timeline uint32
		txs      uint64   // last transaction; 6 are there before
		spans    []uint64 // of the ones behind
	}{
		{"same point, proven by the log", true, func(*world) {}, 1, 7, []uint64{1}},
		{"same point, proven by reading", false, func(*world) {}, 1, 7, []uint64{1}},
		{"ahead, the log has all", true, func(w *world) { w.offline(w.tx(2), w.tx(3)) }, 1, 9, []uint64{1, 1, 1}},
		{"ahead, the log began anew behind the replica's point", false, func(w *world) { w.offline(w.tx(2), w.tx(3)) }, 1, 9, []uint64{1, 1, 1}},
		{"ahead, the log is gone", true, func(w *world) {
			w.offline(w.tx(2), w.tx(3))
			w.m.checkpoint(true)
		}, 1, 8, []uint64{1, 1}},
		{"ahead, the log was restarted with more", true, func(w *world) {
			w.offline(w.tx(2), w.tx(3))
			w.m.checkpoint(false)
			w.offline(w.tx(1))
		}, 1, 8, []uint64{1, 1}},
		{"folder lost, same point", true, (*world).loseFolder, 2, 7, []uint64{1}},
		{"folder lost, ahead in the log", true, func(w *world) {
			w.loseFolder()
			w.offline(w.tx(2), w.tx(3))
		}, 2, 9, []uint64{1, 1, 1}},
		{"folder lost, ahead, the log is gone", true, func(w *world) {
			w.loseFolder()
			w.offline(w.tx(2))
			w.m.checkpoint(true)
			w.cfg.Adopt = w.sh.id // nothing proves that it is ours
		}, 2, 8, []uint64{1, 1}},
		{"brought back to an earlier point", true, func(w *world) {
			w.loseFolder()
			w.m.set(w.want[replica.Pos{Timeline: 1, Tx: 3}])
		}, 2, 4, []uint64{1}},
		{"brought back to an earlier point and written", true, func(w *world) {
			w.loseFolder()
			w.m.set(w.want[replica.Pos{Timeline: 1, Tx: 3}])
			w.offline(w.tx(2), w.tx(3))
		}, 2, 6, []uint64{1, 1, 1}},
		{"lost its newest transactions and went on in the same log", true, func(w *world) {
			w.losePower(4)
			w.offline(w.tx(2), w.tx(1))
		}, 2, 7, []uint64{1, 1, 1}},
		{"likewise, and a checkpoint brought it into the file", true, func(w *world) {
			w.losePower(4)
			w.offline(w.tx(2), w.tx(1))
			w.m.backfill()
		}, 2, 7, []uint64{1, 1, 1}},
		{"lost its newest transactions and went on", true, func(w *world) {
			w.m.set(w.want[replica.Pos{Timeline: 1, Tx: 4}])
			w.offline(w.tx(2))
		}, 2, 6, []uint64{1, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := shipped(t, c.keepLog)
				c.between(w)
				txs := w.follow()
				st := w.sh.Status()
				if want := (replica.Pos{Timeline: c.timeline, Tx: c.txs}); st.Durable != want {
					t.Errorf("durable %v, want %v", st.Durable, want)
				}
				if st.Snapshots != 0 {
					t.Errorf("%d snapshots were shipped again", st.Snapshots)
				}
				behind := txs[len(txs)-len(c.spans):]
				for i, s := range c.spans {
					if behind[i].Span != s {
						t.Errorf("transaction %d stands for %d commits, want %d", behind[i].Number, behind[i].Span, s)
					}
				}
			})
		})
	}
}

// Each row that must not go on: the error, and that the replica stays as it is.
func TestAttachRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		between func(w *world)
		want    error
		text    string
	}{
		{"another database", func(w *world) {
			w.loseFolder()
			w.m.set(nil)
			w.offline(w.txOn(12, 40))
		}, ErrOtherDatabase, "use another URL"},
		{"empty database", func(w *world) {
			w.loseFolder()
			w.m.set(nil)
		}, ErrOtherDatabase, "run restore"},
		{"other page size, and the folder is lost", func(w *world) {
			w.loseFolder()
			w.vacuum(1024, 0)
		}, ErrOtherDatabase, "1024"},
		{"newer timeline", func(w *world) {
			tl := replica.Timeline{Timeline: 2, Parent: 1, ParentTx: 6, Writer: segment.NewID(), Reason: "test", Created: time.Now()}
			if err := replica.CreateTimeline(context.Background(), w.store, tl); err != nil {
				w.t.Fatal(err)
			}
		}, ErrFenced, "timeline 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := shipped(t, true)
				c.between(w)
				before := w.objects()
				w.start()
				_, err := w.sh.Position(t.Context())
				if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
					t.Errorf("position: %v, want %v with %q", err, c.want, c.text)
				}
				if st := w.sh.Status(); st.Mode != ModeStopped || !errors.Is(st.Err, c.want) {
					t.Errorf("status %+v", st)
				}
				if len(w.m.state()) > 0 {
					w.commit(1)
					synctest.Wait()
					if w.released() != 1 {
						t.Error("a commit that nobody will ship is held back")
					}
				}
				_ = w.kill() // reports what the test wanted
				if after := w.objects(); after != before {
					t.Errorf("objects before:\n%s\nafter:\n%s", before, after)
				}
			})
		})
	}
}

func (w *world) objects() string {
	w.t.Helper()
	var all []string
	for o, err := range w.store.List(context.Background(), "", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, o.Name)
	}
	return strings.Join(all, "\n")
}

// keeps fails unless all objects of a listing are still there.
func (w *world) keeps(before string) {
	w.t.Helper()
	after := strings.Split(w.objects(), "\n")
	for _, o := range strings.Split(before, "\n") {
		if !slices.Contains(after, o) {
			w.t.Fatalf("%s is not there any more", o)
		}
	}
}

// A file that was closed cleanly isn't read again.
func TestAttachByStat(t *testing.T) {
	if statFile(t.TempDir()) == nil {
		t.Skip("no proof by stat on this system")
	}
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.m.rollback = true
		w.offline(w.txOn(12, 30))
		w.start()
		w.flush()
		w.stop()
		// What is there now would be refused, if anybody looked.
		w.m.pages = image{make([]byte, testPage)}
		w.start()
		if pos := w.position(); pos != (replica.Pos{Timeline: 1, Tx: 1}) {
			t.Errorf("at %v", pos)
		}
		w.stop()
	})
}

// An empty database waits for its first commit, which is transaction 1.
func TestAttachEmpty(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.start()
		if pos := w.position(); pos != (replica.Pos{Timeline: 1}) {
			t.Errorf("position of an empty database %v", pos)
		}
		w.flush()
		if m := w.sh.Status().Mode; m != ModeEmpty {
			t.Errorf("mode %v", m)
		}
		w.commit(3)
		w.flush()
		if pos := w.position(); pos != (replica.Pos{Timeline: 1, Tx: 1}) {
			t.Errorf("first commit is %v", pos)
		}
		w.commit(3)
		w.stop()
		w.verify()
	})
}

func TestCloseOfEmptyDatabase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.start()
		synctest.Wait()
		w.stop()
		if got := w.objects(); got != "" {
			t.Errorf("objects: %s", got)
		}
	})
}

// The second process waits until the first one is gone.
func TestTwoProcessesOneDatabase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		first := w.sh
		w.start()
		synctest.Wait()
		if st := w.sh.Status(); st.Mode != ModeStandby || st.Err != nil {
			t.Errorf("second process: %+v", st)
		}
		w.src.commit(CommitFrames, w.tx(1)) // what it commits is the first one's to ship
		time.Sleep(time.Minute)
		if w.released() != 1 {
			t.Error("a process that doesn't ship holds commits back")
		}
		if err := first.Close(t.Context()); err != nil {
			t.Error(err)
		}
		w.commit(1)
		w.flush()
		w.stop()
		w.verify()
	})
}

// A folder whose files were damaged counts as lost: nothing is lost with it.
func TestDamagedStateFolder(t *testing.T) {
	for _, name := range []string{stateFile, pagesFile} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := shipped(t, true)
				w.damage(name)
				w.follow()
			})
		})
	}
}

// After a crash the table comes from the last save and what was shipped since.
func TestTableAfterManySegments(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.store = storetest.NewMemory()
		w.cfg.BatchBytes = 1 // a segment for each commit
		w.offline(w.txOn(4, 10))
		w.start()
		w.position()
		for range saveEvery + 10 {
			w.commit(1)
			w.flush()
		}
		st, table, err := loadState(w.sh.cfg.StateDir)
		if err != nil || st == nil || table == nil {
			t.Fatalf("state %+v, table %v, %v", st, table, err)
		}
		if want := uint64(saveEvery + 1); st.Position.Tx != want || st.Clean != nil {
			t.Errorf("saved at %v, want transaction %d", st.Position, want)
		}
		_ = w.kill() // all is durable
		w.follow()
	})
}

// Pages that a database without a log grows by, and that nobody wrote, are zeros.
func TestGrowthWithHoles(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.m.rollback, w.m.holes = true, true
		w.start()
		for size := 3; size < 30; size += 3 {
			w.src.commit(CommitFrames, w.txOn(size, 1))
			w.flush()
		}
		w.stop()
		w.verify()
	})
}

// Commits that were left in the log before the first snapshot, and commits after it, may be captured as one range: those
// after it are shipped one by one all the same.
func TestRangeThatBeginsBeforeTheSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.offline(w.tx(3))
		w.src, w.states = newFakeSource(w.m), make(map[uint64]image)
		w.src.commit(CommitRange, w.tx(3), w.tx(1))
		committed := make(chan struct{})
		w.src.onRead = func() { // by the look for the first page
			w.src.onRead = func() { // by the snapshot
				w.src.commit(CommitRange, w.tx(2))
				w.src.commit(CommitRange, w.tx(1))
				w.src.commit(CommitRange, w.tx(4))
				w.src.mergeRanges()
				close(committed)
			}
		}
		cfg := w.cfg
		cfg.Source, cfg.Open = w.src, w.open
		var err error
		if w.sh, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		w.sh.Start()
		<-committed
		w.flush()
		if txs := w.verify(); len(txs) != 4 {
			t.Errorf("the snapshot and three commits have %d points", len(txs))
		}
		w.stop()
	})
}
