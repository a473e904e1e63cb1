package shipper

import (
	"errors"
	"strings"
	"testing"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// shippedTwice is shipped with a second timeline.
func shippedTwice(t *testing.T) *world {
	t.Helper()
	w := shipped(t, true)
	w.loseFolder()
	w.follow()
	return w
}

// A document of the replica is damaged or gone, and the segments tell what it said: the database goes on where it was, Status names the
// object, and one that is gone is made again.
func TestDamagedDocument(t *testing.T) {
	for _, object := range []string{segment.ReplicaName, segment.TimelineName(1), segment.TimelineName(2)} {
		for name, change := range map[string]func([]byte) []byte{
			"missing":   nil,
			"empty":     func([]byte) []byte { return nil },
			"cut short": func(b []byte) []byte { return b[:len(b)/2] },
			"another parent": func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `"parent_tx": 6`, `"parent_tx": 5`, 1))
			},
			"another id": func(b []byte) []byte {
				i := strings.Index(string(b), `"id"`) + strings.Index(string(b), `"writer"`) + 1 // one of them is not there
				b[i+14] ^= 1
				return b
			},
		} {
			if name == "another parent" && object != segment.TimelineName(2) {
				continue
			}
			for between, f := range map[string]func(w *world){
				"nothing": func(*world) {}, "ahead without its log": func(w *world) { w.offline(w.tx(2)); w.m.checkpoint(true) }, "the folder is lost too": (*world).loseFolder,
			} {
				t.Run(strings.Join([]string{object, name, between}, "/"), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						w := shippedTwice(t)
						before, timeline := w.objects(), uint32(2)
						if f(w); between == "the folder is lost too" {
							timeline = 3
						}
						if name == "missing" {
							w.damageObject(object, nil)
						} else {
							w.damageObject(object, change)
						}
						w.start()
						w.flush()
						st := w.sh.Status()
						if st.Durable.Timeline != timeline || st.Err != nil || st.Snapshots > 0 {
							t.Errorf("status %+v, want timeline %d", st, timeline)
						}
						if between == "nothing" && !strings.Contains(st.Notice, object) {
							t.Errorf("notice %q, want %s in it", st.Notice, object)
						}
						w.stop()
						w.follow()
						w.verifyAt(replica.Pos{Timeline: 2, Tx: 7})
						w.keeps(before)
						if r, err := replica.ReadReplica(t.Context(), w.store); err != nil || r.Damage != nil && name == "missing" {
							t.Errorf("%+v, %v", r, err)
						}
					})
				})
			}
		}
	}
}

// Where the segments don't tell, a new timeline leaves the newest one that is known, loudly.
func TestLostTimeline(t *testing.T) {
	for _, of := range []string{"with nothing on it", "whose segments are damaged, too", "likewise, and the database's log is gone"} {
		bubble(t, func(t *testing.T) {
			w := shippedTwice(t)
			hurt := func(b []byte) []byte { return b[:len(b)/2] }
			w.damageObject(segment.TimelineName(2), hurt)
			w.damageObject(segment.LogName(2, 7), hurt)
			if of == "with nothing on it" {
				w.damageObject(segment.LogName(2, 7), nil)
			}
			if of == "likewise, and the database's log is gone" {
				w.offline(w.tx(2))
				w.m.checkpoint(true)
			}
			before := w.objects()
			w.follow()
			st := w.sh.Status()
			if st.Durable.Timeline != 3 || st.Err != nil || !strings.Contains(st.Notice, segment.TimelineName(2)) || !strings.Contains(st.Notice, "opened timeline 3 at 1/6") {
				t.Errorf("%s: status %+v", of, st)
			}
			w.verifyAt(replica.Pos{Timeline: 1, Tx: 6})
			w.keeps(before)
			w.follow()
		})
	}
}

// A replica.json that nothing is beside: nobody can tell whose it is.
func TestLostReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		if err := w.store.Create(t.Context(), segment.ReplicaName, store.BytesBody([]byte("{"))); err != nil {
			t.Fatal(err)
		}
		w.start()
		w.commit(3)
		time.Sleep(time.Minute)
		if st := w.sh.Status(); st.Err == nil || !strings.Contains(st.Err.Error(), "replica.json is corrupt") || !strings.Contains(st.Err.Error(), "remove it") {
			t.Errorf("status %+v", st)
		}
		if err := w.store.Delete(t.Context(), segment.ReplicaName); err != nil {
			t.Fatal(err)
		}
		w.flush()
		w.stop()
		w.verify()
	})
}

// A timeline that begins with a snapshot says nowhere else which one it left: its timeline.json isn't made again without that, since there may be a copy of it.
func TestTimelineWithoutItsParent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := shipped(t, true)
		w.vacuum(1024, 0)
		w.start()
		w.position()
		w.flush()
		w.stop()
		name := segment.TimelineName(2)
		w.damageObject(name, nil)
		for range 2 {
			w.start()
			w.position()
			w.commit(2)
			w.flush()
			st := w.sh.Status()
			if st.Err != nil || st.Durable.Timeline != 2 || !strings.Contains(st.Notice, name) || !strings.Contains(st.Notice, "--timeline") {
				t.Errorf("status %+v", st)
			}
			w.stop()
			w.verifyAt(st.Durable)
			if _, err := replica.ReadTimeline(t.Context(), w.store, 2); !errors.Is(err, store.ErrNotExist) {
				t.Errorf("%s is there: %v", name, err)
			}
		}
	})
}

// A timeline.json is gone, and nothing is left that tells who opened it. That is in nobody's way: who knows the end of the replica goes on from it, and
// who doesn't begins the next timeline.
func TestTimelineOfNobody(t *testing.T) {
	for timeline, between := range map[uint32]func(w *world){1: func(*world) {}, 2: (*world).loseFolder} {
		bubble(t, func(t *testing.T) {
			w := shipped(t, true)
			between(w)
			for _, object := range strings.Fields(w.objects()) {
				if strings.HasPrefix(object, segment.LogPrefix(1)) || strings.HasPrefix(object, segment.SnapshotPrefix(1)) {
					w.damageObject(object, func(b []byte) []byte { return b[:len(b)/2] })
				}
			}
			w.damageObject(segment.TimelineName(1), nil)
			w.start()
			defer func() { _ = w.kill() }()
			time.Sleep(time.Minute)
			if st := w.sh.Status(); st.Err != nil || st.Durable.Timeline != timeline {
				t.Fatalf("status %+v, want timeline %d", st, timeline)
			}
			w.commit(2)
			w.flush()
			w.stop()
		})
	}
}

// A database that a replica is not of writes nothing to it, also when one of its documents is gone.
func TestNothingIsMendedOfAnothersReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		other := shippedTwice(t)
		other.damageObject(segment.ReplicaName, nil)
		other.damageObject(segment.TimelineName(2), nil)
		before := other.objects()
		w := shipped(t, true)
		w.loseFolder()
		w.m.set(nil)
		w.offline(w.txOn(12, 40)) // pages of its own
		w.store = other.store
		w.start()
		if err := w.sh.Flush(t.Context()); !errors.Is(err, ErrOtherDatabase) {
			t.Errorf("flush: %v", err)
		}
		_ = w.kill() // it failed
		if after := w.objects(); after != before {
			t.Errorf("objects:\n%s\nwere\n%s", after, before)
		}
	})
}
