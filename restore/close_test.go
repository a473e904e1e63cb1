package restore

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"seawal/internal/replica"
	"seawal/internal/segment"
)

// close ends the log of a timeline behind transaction last.
func (m *model) close(timeline uint32, last uint64) string {
	m.t.Helper()
	c := segment.Close{
		Header: segment.Header{PageSize: m.pageSize, Timeline: timeline, First: last + 1, Replica: m.id, Writer: segment.NewID()},
		Next:   timeline + 1, Parent: timeline, ParentTx: last, Time: epoch.UnixNano(),
	}
	m.ok(replica.CloseTimeline(context.Background(), m.store, c))
	return segment.LogName(timeline, last+1)
}

// A timeline that was closed is restored, listed and planned as one that was not, wherever the close lies.
func TestClosedTimeline(t *testing.T) {
	for name, close := range map[string]func(m *model) (timeline uint32){
		"the newest one, and the next was never opened": func(m *model) uint32 {
			m.close(1, 8)
			return 0
		},
		"one that was left at its end": func(m *model) uint32 {
			m.close(1, 8)
			m.fork(1, 8)
			m.commits(3)
			return 0
		},
		"one that was left before its end": func(m *model) uint32 {
			m.close(1, 8)
			m.fork(1, 5)
			m.commits(3)
			return 0
		},
		"the older one is asked for": func(m *model) uint32 {
			m.close(1, 8)
			m.fork(1, 5)
			m.commits(3)
			return 1
		},
		"before its first snapshot": func(m *model) uint32 {
			m.fork(0, 0)
			m.close(2, 0)
			m.snapshot(m.commit(3))
			m.commits(3)
			m.close(2, 6)
			m.fork(2, 6)
			m.commits(2)
			return 0
		},
	} {
		for _, near := range []bool{false, true} { // with a snapshot less is listed
			t.Run(fmt.Sprint(name, near), func(t *testing.T) {
				m, ctx := newModel(t, 7, 512), context.Background()
				txs := m.commits(8)
				if near {
					m.snapshot(txs[3])
				}
				var isClose []string
				timeline := close(m)
				for o, err := range m.store.List(ctx, "", "") {
					m.ok(err)
					_, is, err := replica.ReadClose(ctx, m.store, o)
					m.ok(err)
					if is {
						isClose = append(isClose, o.Name)
					}
				}
				if len(isClose) == 0 {
					t.Fatal("nothing is closed")
				}
				look := func() (string, []Step) {
					l, err := List(ctx, m.store, timeline)
					m.ok(err)
					if timeline == 0 {
						checkListing(t, m, l)
					}
					p, err := NewPlan(ctx, m.store, timeline, Newest())
					m.ok(err)
					return digest(l), p.Steps
				}
				list, steps := look()
				for _, name := range isClose {
					m.damage(name, remove)
				}
				listWithout, stepsWithout := look()
				if d := cmp.Diff(listWithout, list); d != "" {
					t.Errorf("listing (-without the close +with it):\n%s", d)
				}
				if d := cmp.Diff(stepsWithout, steps, cmpopts.IgnoreUnexported(Step{})); d != "" {
					t.Errorf("plan (-without the close +with it):\n%s", d)
				}
			})
		}
	}
}

// A segment that was cut to the size of a close isn't taken for one: what is missing is named.
func TestSegmentAsShortAsAClose(t *testing.T) {
	m := newModel(t, 8, 512)
	m.commits(4)
	name := segment.LogName(1, 4)
	m.damage(name, func(b []byte) []byte { return b[:segment.CloseSize] })
	_, err := NewPlan(context.Background(), m.store, 0, Newest())
	var bad *ObjectError
	if !errors.As(err, &bad) || bad.Object != name || bad.Newest == nil || bad.Newest.Pos.Tx != 3 {
		t.Errorf("%v, want an error that names %s", err, name)
	}
}
