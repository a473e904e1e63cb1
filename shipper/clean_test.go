package shipper

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"seawal/store/faultstore"
)

// clean is the stat of the database file in the state, nil when the file alone doesn't prove anything.
func (w *world) clean() *fileStat {
	w.t.Helper()
	st, err := readState(w.sh.cfg.StateDir)
	if err != nil || st == nil {
		w.t.Fatalf("state: %+v, %v", st, err)
	}
	return st.Clean
}

// Whether the next start may take the file for what was shipped last: only if it is that, all of it, and nobody has written since. What a stat proves
// wrongly is missing from the replica for ever.
func TestCleanClose(t *testing.T) {
	if statFile(t.TempDir()) == nil {
		t.Skip("no proof by stat on this system")
	}
	for _, c := range []struct {
		name   string
		settle func(w *world) error
		clean  bool
		lacks  uint64 // commits that Close has to report
	}{
		{"the log is emptied into the file", func(w *world) error { w.m.checkpoint(true); return nil }, true, 0},
		{"the log can't be emptied", func(*world) error { return errReset }, false, 0},
		{"the log is copied, and stays", func(w *world) error { w.m.backfill(); return nil }, false, 0},
		{"a commit comes in between", func(w *world) error { w.commit(2); w.m.checkpoint(true); return nil }, false, 1},
		{"a commit comes and isn't captured", func(w *world) error { w.src.lose(w.tx(2)); w.m.checkpoint(true); return nil }, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := shipped(t, true)
				w.settle = func() error { return c.settle(w) }
				w.start()
				w.position()
				w.commit(2)
				w.flush()
				err := w.sh.Close(t.Context())
				var u *UnshippedError
				if errors.As(err, &u); (err != nil) != (c.lacks > 0) || c.lacks > 0 && (u == nil || u.Commits != c.lacks) {
					t.Errorf("close: %v; want %d commits to be reported", err, c.lacks)
				}
				if got := w.clean(); (got != nil) != c.clean {
					t.Errorf("the state has the stat %+v; to be noted: %v", got, c.clean)
				}
				w.settle = nil
				w.follow()
			})
		})
	}
}

// A log that was left beside the file, and is removed before the next start, takes commits with it that the replica has: the file
// alone is at an earlier point, whatever its stat says.
func TestLogRemovedAfterAClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, false)
		w.settle = func() error { return errReset }
		w.start()
		w.position()
		for range 3 {
			w.commit(2)
		}
		w.flush()
		w.stop()
		end := w.sh.Durable()
		w.m.set(w.m.file) // the log is gone; and the file was opened, or not
		w.settle = nil
		w.start()
		w.flush()
		if st := w.sh.Status(); st.Durable.Timeline != 2 || !strings.Contains(st.Notice, fmt.Sprintf("brought back from %v", end)) {
			t.Errorf("%v is durable, and the file has less: %+v", end, st)
		}
		w.stop()
	})
}

// A write within the same tick of the file system's clock doesn't show in the stat: it is trusted once the clock has moved on.
func TestStatIsTrustedOnceTheClockHasMoved(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dir := t.TempDir()
		for _, c := range []struct {
			name   string
			ticks  []int64 // of the clock, at each look; the last one stays
			file   []int64 // ctime of the file, likewise
			proven bool
		}{
			{"moved on", []int64{6}, []int64{5}, true},
			{"in the same tick, then it moves", []int64{5, 5, 6}, []int64{5}, true},
			{"it stands still", []int64{5}, []int64{5}, false},
			{"set back", []int64{4}, []int64{5}, false},
			{"written meanwhile", []int64{5, 6}, []int64{5, 6}, false},
			{"there is no file", []int64{6}, []int64{-1}, false},
		} {
			var seen int64 // the clock's last answer
			next := func(all *[]int64) int64 {
				v := (*all)[0]
				if len(*all) > 1 {
					*all = (*all)[1:]
				}
				return v
			}
			st := statSettled(filepath.Join(dir, "app.db"), dir, func(path string) *fileStat {
				if filepath.Base(path) == "app.db" {
					if at := next(&c.file); at > 0 {
						return &fileStat{Ctime: at}
					}
					return nil
				}
				seen = next(&c.ticks)
				return &fileStat{Ctime: seen}
			})
			if (st != nil) != c.proven || st != nil && seen <= st.Ctime {
				t.Errorf("%s: %+v, with the clock at %d", c.name, st, seen)
			}
		}
	})
}

// A state that is saved while shipping goes on says what landed, and nothing of what is under way: the next start would begin behind a hole.
func TestStateIsSavedOnceTheSegmentHasLanded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		down := new(faultstore.Toggle)
		f := w.faulty(faultstore.When(down, faultstore.Fail(errReset)))
		w.start()
		w.position()
		for range saveEvery - 1 {
			w.commit(1)
			w.flush()
		}
		durable, calls := w.sh.Durable(), len(f.Calls())
		down.On()
		w.commit(1)
		time.Sleep(time.Minute)
		if len(f.Calls()) == calls {
			t.Fatal("nobody has tried to ship the last segment")
		}
		_ = w.kill() // it never lands
		st, err := readState(w.sh.cfg.StateDir)
		if err != nil || st.Position.Compare(durable) > 0 {
			t.Errorf("the state says %+v, %v, and the replica ends with %v", st, err, durable)
		}
		down.Off()
		w.follow()
	})
}

// The same segment, when it lands: the state is saved with it, so that the next start after a kill has little to read.
func TestStateIsSavedWhileShipping(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		for range saveEvery {
			w.commit(1)
			w.flush()
		}
		durable := w.sh.Durable()
		st, err := readState(w.sh.cfg.StateDir) // before the end, which saves it too
		_ = w.kill()
		if err != nil || st.Position != durable || st.After == "" || loadTable(filepath.Join(w.sh.cfg.StateDir, pagesFile), st.After) == nil {
			t.Errorf("the state is %+v, %v, with %v durable", st, err, durable)
		}
		w.follow()
	})
}

// A commit that the source has counted and never hands over is not passed over in silence: what the others say of the
// database is not true without it. The difference has it, and says so.
func TestLostTicketIsMadeGoodByADifference(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		w.commit(2)
		w.flush()
		w.src.lose(w.tx(3))
		w.commit(1)
		w.flush()
		if st := w.sh.Status(); st.Resyncs != 1 || !strings.Contains(st.ResyncReason, "lost") {
			t.Errorf("status %+v", st)
		}
		w.stop()
		w.verify()
	})
}

// A page that a transaction writes and then cuts off, as VACUUM and auto_vacuum do, is no page of what it leaves. It is left out, and that
// is no reason to read the database.
func TestPageCutOffByItsOwnTransaction(t *testing.T) {
	for name, commit := range map[string]func(*world, tx){
		"frames": func(w *world, x tx) { w.src.commit(CommitFrames, x) },
		"range":  func(w *world, x tx) { w.src.commit(CommitRange, x) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := attached(t)
				x := w.tx(2)
				last := x.changes[len(x.changes)-1]
				x.changes = append([]change{{x.pageCount + 1, bytes.Clone(last.data)}, {x.pageCount - 1, bytes.Clone(last.data)}}, x.changes...)
				x.pageCount -= 2
				commit(w, x)
				w.note()
				w.flush()
				if st := w.sh.Status(); st.Resyncs != 0 {
					t.Errorf("it was shipped as a difference: %+v", st)
				}
				w.stop()
				w.verify()
			})
		})
	}
}
