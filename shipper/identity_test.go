package shipper

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

// creating matches the create of replica.json.
func creating() faultstore.Predicate {
	return faultstore.And(faultstore.OnOp(store.OpCreate), faultstore.NameMatch(segment.ReplicaName))
}

// killedBeforeItsReplica is a world whose first process was killed when it had written down the id of its replica, and the
// create of that had the effect e.
func killedBeforeItsReplica(t *testing.T, e faultstore.Effect) (*world, *faultstore.Store) {
	t.Helper()
	w := newWorld(t, t.TempDir())
	w.offline(w.txOn(12, 30))
	f := w.faulty(faultstore.When(creating(), e))
	w.start()
	time.Sleep(time.Millisecond)
	_ = w.kill() // nothing is shipped
	st, err := readState(w.sh.cfg.StateDir)
	if err != nil || st == nil || !st.Position.IsZero() {
		t.Fatalf("state %+v, %v", st, err)
	}
	f.SetRules()
	return w, f
}

// A process was killed when its state directory named the replica that it was about to create. Whoever creates that in the end, the
// database goes on with it, in its first timeline.
func TestReplicaBegunByAKilledProcess(t *testing.T) {
	for name, next := range map[string]func(w *world, f *faultstore.Store){
		"never created": func(*world, *faultstore.Store) {},
		"created late, before the next process looks": func(w *world, f *faultstore.Store) { f.Deliver(t.Context()) },
		"created late, behind the look of the next process": func(w *world, f *faultstore.Store) {
			f.SetRules(faultstore.When(faultstore.And(creating(), faultstore.PredicateFunc(func(faultstore.Call) bool {
				f.Deliver(t.Context())
				return false
			})), faultstore.Pass()))
		},
		"created by way of another URL": func(w *world, f *faultstore.Store) {
			here := w.cfg.StateDir
			w.cfg.StateDir, w.cfg.OtherDirs = w.cfg.OtherDirs[0], []string{here}
			w.follow()
			w.cfg.StateDir, w.cfg.OtherDirs = here, []string{w.cfg.StateDir}
		},
		"created late while another URL is used for the first time": func(w *world, f *faultstore.Store) {
			w.cfg.StateDir, w.cfg.OtherDirs = w.cfg.OtherDirs[0], []string{w.m.path + StateSuffix}
			f.SetRules(faultstore.When(faultstore.And(creating(), faultstore.PredicateFunc(func(faultstore.Call) bool {
				f.Deliver(t.Context())
				return false
			})), faultstore.Pass()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w, f := killedBeforeItsReplica(t, faultstore.Late(errReset))
				w.cfg.StateDir, w.cfg.OtherDirs, w.cfg.Only = w.m.path+StateSuffix, []string{filepath.Join(t.TempDir(), "other")}, true
				next(w, f)
				for range 3 {
					w.follow()
				}
				if st := w.sh.Status(); st.Err != nil || st.Durable.Timeline != 1 {
					t.Errorf("status %+v", st)
				}
				reliability.Record(t, reliability.Fault{Group: reliability.Durable, Name: "kill -9 between the state directory and replica.json",
					How: "the create never arrives, arrives late at each moment, or another URL of the same store is used meanwhile, and the database goes on with its replica"}, 1, 0)
			})
		})
	}
}

// Somebody else's replica that comes in between is not taken for ours.
func TestReplicaBegunByAStranger(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, f := killedBeforeItsReplica(t, faultstore.Fail(errReset))
		f.SetRules(faultstore.When(faultstore.And(creating(), faultstore.PredicateFunc(func(faultstore.Call) bool {
			other := replica.Replica{ID: segment.NewID(), PageSize: testPage, Created: time.Now(), Name: "stranger.db"}
			if err := replica.CreateReplica(t.Context(), w.store, other); err != nil {
				t.Error(err)
			}
			return false
		})), faultstore.Pass()))
		w.start()
		if _, err := w.sh.Position(t.Context()); !errors.Is(err, ErrOtherDatabase) {
			t.Errorf("position: %v, want %v", err, ErrOtherDatabase)
		}
		_ = w.kill() // reports what the test wanted
	})
}

// A replica that was begun, and has nothing, is no reason to refuse an empty database: it lost its first commits with the power.
func TestReplicaBegunForAnEmptyDatabase(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w, f := killedBeforeItsReplica(t, faultstore.Late(errReset))
		f.Deliver(t.Context())
		w.m.set(nil)
		w.start()
		w.position()
		w.commit(3)
		w.flush()
		w.stop()
		w.verify()
		if st := w.sh.Status(); st.Err != nil || st.Durable != (replica.Pos{Timeline: 1, Tx: 1}) {
			t.Errorf("status %+v", st)
		}
	})
}
