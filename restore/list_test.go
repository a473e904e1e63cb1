package restore

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"seawal/internal/segment"
)

// digest writes a listing in a few words.
func digest(l *Listing) string {
	var b strings.Builder
	for _, r := range l.Ranges {
		fmt.Fprintf(&b, "range %v..%v %d\n", r.First.Pos, r.Last.Pos, r.Points)
	}
	for _, s := range l.Snapshots {
		fmt.Fprintf(&b, "snapshot %v\n", s.Pos)
	}
	span := func(what string, all []Span) {
		for _, s := range all {
			next := "none"
			if s.Next != nil {
				next = s.Next.Pos.String()
			}
			fmt.Fprintf(&b, "%s %d-%d next %s\n", what, s.First, s.Last, next)
		}
	}
	span("squashed", l.Squashed)
	span("gap", l.Gaps)
	for _, p := range l.TimesGoBack {
		fmt.Fprintf(&b, "times go back %v\n", p.Pos)
	}
	for _, u := range l.Unreadable {
		fmt.Fprintf(&b, "unreadable %s\n", u.Object)
	}
	return b.String()
}

func TestList(t *testing.T) {
	table := []struct {
		name  string
		build func(m *model)
		want  string
	}{
		{"nothing yet", func(m *model) {}, ""},
		{"log", func(m *model) { m.commits(5) }, "range 1/1..1/5 5\n"},
		{"snapshot and log", func(m *model) {
			txs := m.commits(5)
			m.snapshot(txs[2])
			m.damage(segment.LogName(1, 1), remove)
		}, "range 1/3..1/5 3\nsnapshot 1/3\n"},
		{"squashed in the log", func(m *model) {
			m.log(m.commit(1), m.commit(3), m.commit(1), m.commit(2))
		}, "range 1/1..1/7 4\nsquashed 2-3 next 1/4\nsquashed 6-6 next 1/7\n"},
		{"begins squashed", func(m *model) { m.log(m.commit(3), m.commit(1)) }, "range 1/3..1/4 2\nsquashed 1-2 next 1/3\n"},
		{"squashed by merging", func(m *model) {
			txs := m.commits(6)
			m.merge(1, txs[1:4]...)
			for n := uint64(2); n <= 4; n++ {
				m.damage(segment.LogName(1, n), remove)
			}
		}, "range 1/1..1/1 1\nrange 1/4..1/6 3\nsquashed 2-3 next 1/4\n"},
		{"gap in front of a snapshot", func(m *model) {
			txs := m.commits(8)
			m.snapshot(txs[5])
			m.damage(segment.LogName(1, 4), remove)
		}, "range 1/1..1/3 3\nrange 1/6..1/8 3\nsnapshot 1/6\ngap 4-5 next 1/6\n"},
		{"gap to the end", func(m *model) {
			m.commits(8)
			m.damage(segment.LogName(1, 7), remove)
		}, "range 1/1..1/6 6\ngap 7-8 next none\n"},
		{"damaged footer", func(m *model) {
			m.commits(4)
			m.damage(segment.LogName(1, 3), cut)
		}, "range 1/1..1/2 2\ngap 3-4 next none\nunreadable " + segment.LogName(1, 3) + "\n"},
		{"clock set back", func(m *model) {
			m.clock = func(tx uint64) int64 { return []int64{0, 1, 2, 9, 3, 4, 10}[tx] * 1e9 }
			m.commits(6)
		}, "range 1/1..1/6 6\ntimes go back 1/4\ntimes go back 1/5\n"},
		{"timeline that left its parent inside a segment", func(m *model) {
			var txs []*modelTx
			for range 6 {
				txs = append(txs, m.commit(1))
			}
			m.log(txs...)
			m.fork(1, 4)
			m.commits(2)
		}, "range 1/1..2/6 6\n"},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			m := newModel(t, 41, 512)
			c.build(m)
			l, err := List(context.Background(), m.store, 0)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, digest(l)); diff != "" {
				t.Errorf("listing (-want +got):\n%s", diff)
			}
			if _, err := json.Marshal(l); err != nil {
				t.Error(err)
			}
			checkListing(t, m, l)
		})
	}
}

// checkListing holds a listing to its word: its points restore, and at the times
// that it gives them, and what it calls lost or squashed doesn't.
func checkListing(t *testing.T, m *model, l *Listing) {
	t.Helper()
	for _, r := range l.Ranges {
		for _, p := range []Point{r.First, r.Last} {
			if p.Time.IsZero() {
				t.Errorf("point %v has no time", p)
			}
			plan, err := NewPlan(context.Background(), m.store, 0, AtTx(p.Pos.Tx))
			if err != nil || plan.Target.Pos != p.Pos || !plan.Target.Time.Equal(p.Time) {
				t.Errorf("point %v: plan for %+v, error %v", p, plan, err)
			}
			if len(l.TimesGoBack)+len(l.Gaps) > 0 {
				continue
			}
			if plan, err := NewPlan(context.Background(), m.store, 0, AtTime(p.Time)); err != nil || plan.Target.Pos != p.Pos {
				t.Errorf("time of point %v: plan for %+v, error %v", p, plan, err)
			}
		}
	}
	for _, s := range append(append([]Span{}, l.Squashed...), l.Gaps...) {
		for tx := s.First; tx <= s.Last; tx++ {
			if _, _, err := restoreTo(t, m, Options{Target: AtTx(tx)}); err == nil {
				t.Errorf("transaction %d restores, the listing says no", tx)
			}
		}
	}
}
