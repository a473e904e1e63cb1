package restore

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"seawal/internal/segment"
)

// twoTimelines is a replica with a timeline 2 that left the first one at 1/5; it ends with 2/8.
func twoTimelines(t *testing.T) *model {
	t.Helper()
	m := newModel(t, 14, 512)
	txs := m.commits(9)
	m.snapshot(txs[1])
	m.fork(1, 5)
	m.commits(3)
	return m
}

// A document that is damaged or gone is told by the segments: everything can be restored, and the result names it.
func TestDamagedDocument(t *testing.T) {
	for _, object := range []string{segment.ReplicaName, segment.TimelineName(1), segment.TimelineName(2)} {
		for how, change := range map[string]func([]byte) []byte{
			"missing": remove, "cut short": cut, "cut to nothing": func([]byte) []byte { return []byte{} }, "flipped": flip(40),
		} {
			t.Run(object+"/"+how, func(t *testing.T) {
				m := twoTimelines(t)
				m.damage(object, change)
				for _, o := range []Options{{}, {Target: AtTx(4)}, {Timeline: 1}} {
					o.Check = CheckFull
					path, r, err := restoreTo(t, m, o)
					if err != nil {
						t.Fatal(err)
					}
					checkState(t, path, m.at(r.Point.Pos).state)
					needed := o.Timeline != 1 || object != segment.TimelineName(2)
					if named := slices.ContainsFunc(r.Avoided, func(a Avoided) bool { return a.Object == object }); named != needed {
						t.Errorf("avoided %+v: want %s in it: %v", r.Avoided, object, needed)
					}
				}
				l, err := List(context.Background(), m.store, 0)
				if err != nil || len(l.Timelines) != 2 || l.Last.Pos != (Pos{Timeline: 2, Tx: 8}) || len(l.Gaps) > 0 {
					t.Errorf("listing %+v, %v", l, err)
				}
				if len(l.Unreadable) != 1 || l.Unreadable[0].Object != object {
					t.Errorf("unreadable %+v, want %s", l.Unreadable, object)
				}
			})
		}
	}
}

// Where the segments don't tell, either, the error names the object, the reason, and the newest point without it.
func TestLostTimeline(t *testing.T) {
	for how, change := range map[string]func([]byte) []byte{"cut short": cut, "cut to nothing": func([]byte) []byte { return []byte{} }} {
		t.Run(how, func(t *testing.T) {
			m := twoTimelines(t)
			m.fork(2, 7) // and nothing was shipped on it
			object := segment.TimelineName(3)
			m.damage(object, change)
			wantLost := func(err error) {
				t.Helper()
				var o *ObjectError
				if !errors.As(err, &o) || o.Object != object || o.Reason() != "corrupt" || o.Newest == nil || o.Newest.Pos != (Pos{Timeline: 2, Tx: 8}) {
					t.Errorf("%v; want an ObjectError for %s, with 2/8", err, object)
				}
			}
			path, _, err := restoreTo(t, m, Options{})
			wantLost(err)
			checkFolder(t, filepath.Dir(path))
			_, err = List(context.Background(), m.store, 0)
			wantLost(err)
			_, err = NewPlan(context.Background(), m.store, 3, AtTx(7))
			wantLost(err)
			if path, _, err = restoreTo(t, m, Options{Timeline: 2, Check: CheckFull}); err != nil {
				t.Fatal(err)
			}
			checkState(t, path, m.at(Pos{Timeline: 2, Tx: 8}).state)
		})
	}
}

// A replica.json that can't be read beside nothing else.
func TestLostReplica(t *testing.T) {
	m := newModel(t, 15, 512)
	m.damage(segment.ReplicaName, cut)
	_, _, err := restoreTo(t, m, Options{})
	var o *ObjectError
	if !errors.As(err, &o) || o.Object != segment.ReplicaName || o.Newest != nil {
		t.Errorf("%v; want an ObjectError for %s", err, segment.ReplicaName)
	}
}
