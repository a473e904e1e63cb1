package restore

import (
	"testing"

	"seawal/store"
)

// TestManySegmentsAreNotOpened: what would be restored, and from where to where, is told by names; the footers of many segments are
// read only by who asks for it.
func TestManySegmentsAreNotOpened(t *testing.T) {
	const n = 2 * quickFooters
	m := newModel(t, 31, 512)
	m.snapshot(m.commits(1)[0])
	m.commits(n)
	counted := func(f func(s store.Store) (sampled bool, err error)) (sampled bool, reads int64) {
		t.Helper()
		var counts store.Counts
		sampled, err := f(store.Count(m.store, &counts))
		m.ok(err)
		return sampled, int64(counts.Usage().Read.Requests)
	}
	plan := func(s store.Store) (bool, error) {
		p, err := NewPlan(t.Context(), s, 0, Newest())
		if err == nil && (len(p.Steps) != n+1 || p.Target.Pos.Tx != n+1) {
			t.Errorf("%d steps to %v", len(p.Steps), p.Target)
		}
		return p.Sampled, err
	}
	list := func(s store.Store) (bool, error) {
		l, err := List(t.Context(), s, 0)
		if err == nil && (len(l.Ranges) != 1 || l.Last.Pos.Tx != n+1 || l.Objects != n+2) {
			t.Errorf("%d objects, ranges %+v", l.Objects, l.Ranges)
		}
		return l.Sampled, err
	}
	for name, f := range map[string]func(store.Store) (bool, error){"NewPlan": plan, "List": list} {
		if sampled, reads := counted(f); !sampled || reads > 12 {
			t.Errorf("%s of %d segments: sampled %v, %d reads", name, n, sampled, reads)
		}
	}
	for name, f := range map[string]func(store.Store) (bool, error){
		"ProvePlan": func(s store.Store) (bool, error) {
			p, err := ProvePlan(t.Context(), s, 0, Newest())
			return p.Sampled, err
		},
		"ListAll": func(s store.Store) (bool, error) {
			l, err := ListAll(t.Context(), s, 0)
			return l.Sampled, err
		},
	} {
		if sampled, reads := counted(f); sampled || reads < n {
			t.Errorf("%s of %d segments: sampled %v, %d reads", name, n, sampled, reads)
		}
	}
}
