package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"testing"

	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/storetest"
)

// sameTimelines wants what was found to lead where the documents did.
func sameTimelines(t *testing.T, what string, got, want []Timeline) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d timelines, want %d", what, len(got), len(want))
	}
	r := Replica{PageSize: testPageSize}
	for i, w := range want {
		g := got[i]
		if g.Timeline != w.Timeline || g.Parent != w.Parent || g.ParentTx != w.ParentTx || g.Writer != w.Writer || g.Lost {
			t.Fatalf("%s: %+v, want %+v", what, g, w)
		}
		end := Pos{Timeline: w.Timeline, Tx: math.MaxUint64}
		if a, b := PageSizeAt(r, got, end), PageSizeAt(r, want, end); a != b {
			t.Fatalf("%s: timeline %d has pages of %d bytes, want %d", what, w.Timeline, a, b)
		}
	}
}

// Whatever byte of a timeline.json is another one, wherever it ends, and when it is gone: the segments tell what it said.
func TestDamagedTimelineIsFound(t *testing.T) {
	src, ctx := branched(t), context.Background()
	want, err := Timelines(ctx, src.s)
	check(t, err)
	for n := uint32(1); n <= 3; n++ {
		name := segment.TimelineName(n)
		whole, err := readAll(ctx, src.s, name)
		check(t, err)
		seen := 0
		look := func(what string) {
			t.Helper()
			got, err := Timelines(ctx, src.s)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, what, err)
			}
			sameTimelines(t, name+", "+what, got, want)
			if got[n-1].Damage != nil {
				seen++
			}
			if _, err := Lineage(ctx, src.s, Pos{3, 42}); err != nil {
				t.Fatalf("%s, %s: %v", name, what, err)
			}
		}
		for i := range whole {
			src.change(name, func([]byte) []byte { b := bytes.Clone(whole); b[i] ^= 1; return b })
			look("a byte is another one")
			src.change(name, func([]byte) []byte { return whole[:i] })
			look("cut short")
		}
		if unseen := 2*len(whole) - seen; unseen > len("checksum")+2 { // the name of the field
			t.Errorf("%s: %d times nothing was noticed", name, unseen)
		}
		check(t, src.s.Delete(ctx, name))
		look("gone")
		got, err := TableAt(ctx, src.s, Pos{3, 42}, nil, Pos{})
		if err != nil || !sameTable(got, src.tables[Pos{3, 42}]) {
			t.Errorf("%s is gone: the table is another one, %v", name, err)
		}
		check(t, src.s.Create(ctx, name, store.BytesBody(whole)))
	}
}

// All of them at once: each one is found by way of its parents.
func TestAllTimelinesAreFound(t *testing.T) {
	src, ctx := branched(t), context.Background()
	want, err := Timelines(ctx, src.s)
	check(t, err)
	for n := uint32(1); n <= 3; n++ {
		src.change(segment.TimelineName(n), func([]byte) []byte { return nil })
	}
	got, err := Timelines(ctx, src.s)
	check(t, err)
	sameTimelines(t, "all empty", got, want)
	for pos, want := range src.tables {
		if pos.Tx == 0 {
			continue
		}
		got, err := TableAt(ctx, src.s, pos, nil, Pos{})
		if err != nil || !sameTable(got, want) {
			t.Errorf("%v: %v", pos, err)
		}
	}
}

// What can't be proven is lost, and said to be.
func TestTimelineThatIsNotFound(t *testing.T) {
	ctx := context.Background()
	for name, f := range map[string]func(src *source){
		"it has nothing":               func(src *source) { check(t, src.s.Delete(ctx, segment.LogName(3, 41))) },
		"its first segment is damaged": func(src *source) { src.change(segment.LogName(3, 41), func(b []byte) []byte { return b[:90] }) },
		"its parent's end is gone":     func(src *source) { check(t, src.s.Delete(ctx, segment.LogName(2, 34))) },
	} {
		src := branched(t)
		f(src)
		src.change(segment.TimelineName(3), func(b []byte) []byte { return b[:20] })
		all, err := Timelines(ctx, src.s)
		check(t, err)
		if tl := all[2]; len(all) != 3 || !tl.Lost || tl.Damage == nil || !strings.Contains(tl.Damage.Error(), segment.TimelineName(3)) {
			t.Errorf("%s: %+v", name, tl)
		}
		var c *CorruptError
		if _, err := Lineage(ctx, src.s, Pos{3, 42}); !errors.As(err, &c) || !IsDamage(err) || c.Object != segment.TimelineName(3) {
			t.Errorf("%s: lineage: %v", name, err)
		}
	}
}

// One that begins with a snapshot needs no parent.
func TestTimelineFoundFromItsSnapshot(t *testing.T) {
	src, ctx := branched(t), context.Background()
	src.open(Timeline{Timeline: 4})
	src.pos = Pos{4, 44}
	src.tables[src.pos], src.images[src.pos] = src.tables[Pos{3, 43}], src.images[Pos{3, 43}]
	src.snapshot(src.pos)
	src.log(2, 1)
	src.change(segment.TimelineName(4), func([]byte) []byte { return nil })
	all, err := Timelines(ctx, src.s)
	check(t, err)
	if tl := all[3]; tl.Lost || tl.Parent != 0 || tl.Writer != src.writer {
		t.Errorf("%+v", tl)
	}
	got, err := TableAt(ctx, src.s, Pos{4, 46}, nil, Pos{})
	if err != nil || !sameTable(got, src.tables[Pos{4, 46}]) {
		t.Error(err)
	}
}

// A replica.json is found in any segment.
func TestDamagedReplicaIsFound(t *testing.T) {
	src, ctx := branched(t), context.Background()
	want := someReplica()
	want.ID, want.PageSize = src.header(segment.Log, 1).Replica, testPageSize
	for _, f := range []func(){
		func() {},
		func() { put(t, src.s, segment.ReplicaName, "") },
		func() { src.change(segment.LogName(1, 1), func(b []byte) []byte { return b[:50] }) },
	} {
		f()
		got, err := ReadReplica(ctx, src.s)
		if err != nil || got.ID != want.ID || got.Key != testHasher.Key() || got.Format != FormatKeyed || got.PageSize != want.PageSize || got.Damage == nil || !strings.Contains(got.Damage.Error(), segment.ReplicaName) {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// What was lost is found with a few requests for each pair of timelines, however long they and their logs are.
func TestFoundTimelinesCost(t *testing.T) {
	src, ctx := newSource(t), context.Background()
	src.log(1, 1)
	src.snapshot(src.pos)
	for range 400 {
		src.log(1, 1)
	}
	const n = 12
	for i := uint32(2); i <= n; i++ {
		src.fork(i, src.pos)
		src.log(2, 1)
	}
	want, err := Timelines(ctx, src.s)
	check(t, err)
	for i := uint32(1); i <= n; i++ {
		check(t, src.s.Delete(ctx, segment.TimelineName(i)))
	}
	var counts store.Counts
	got, err := Timelines(ctx, store.Count(src.s, &counts))
	check(t, err)
	sameTimelines(t, "all gone", got, want)
	if u := counts.Usage(); u.List.Requests+u.Read.Requests+u.Stat.Requests > 6*n*n {
		t.Errorf("%d timelines took %d lists, %d reads and %d stats", n, u.List.Requests, u.Read.Requests, u.Stat.Requests)
	}
}

// Where there is no replica, what else there is isn't looked through for one: the folders of others, for a URL that lacks the name of its own.
func TestNoReplicaAmongOthersIsCheap(t *testing.T) {
	s, ctx := storetest.NewMemory(), context.Background()
	for i := range 50 {
		put(t, s, fmt.Sprintf("app/00000001/log/%016x", i+1), "")
	}
	l := &listed{Store: s}
	if _, err := ReadReplica(ctx, l); !errors.Is(err, store.ErrNotExist) || l.names > 0 {
		t.Errorf("%v, with %d names listed", err, l.names)
	}
}

// listed counts the names that were listed.
type listed struct {
	store.Store
	names int
}

func (l *listed) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for o, err := range l.Store.List(ctx, prefix, after) {
			l.names++
			if !yield(o, err) {
				return
			}
		}
	}
}
