package replica

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

func sameTable(a, b *pagesum.Table) bool {
	if a.Len() != b.Len() || a.Total() != b.Total() {
		return false
	}
	for p := uint32(1); p <= a.Len(); p++ {
		if a.Get(p) != b.Get(p) {
			return false
		}
	}
	return true
}

// branched is a replica with three timelines: 1 up to 60, 2 from 1/33 up to 80
// (with a snapshot in the middle of a log segment), 3 from 2/40.
func branched(t testing.TB) *source {
	src := newSource(t)
	src.log(1, 1)
	src.snapshot(src.pos)
	for src.pos.Tx < 60 {
		src.log(1+int(src.pos.Tx%5), 1)
	}
	src.snapshot(Pos{1, 20})
	src.fork(2, Pos{1, 33})
	for src.pos.Tx < 80 {
		src.log(7, 1)
	}
	src.snapshot(Pos{2, 50})
	src.fork(3, Pos{2, 40})
	src.log(3, 1)
	return src
}

func TestTableAtEveryPosition(t *testing.T) {
	src := branched(t)
	for pos, want := range src.tables {
		got, err := TableAt(context.Background(), src.s, pos, nil, Pos{})
		if pos.Timeline == 1 && pos.Tx == 0 {
			if !errors.Is(err, store.ErrNotExist) {
				t.Errorf("before the first snapshot: %v", err)
			}
			continue
		}
		if err != nil || !sameTable(got, want) {
			t.Errorf("%v: %v", pos, err)
		}
	}
}

func TestTableFromAnEarlierOne(t *testing.T) {
	src := branched(t)
	ctx := context.Background()
	for _, tc := range []struct {
		from, to Pos
		ok       bool
	}{
		{Pos{1, 0}, Pos{1, 60}, true},
		{Pos{1, 7}, Pos{1, 7}, true},
		{Pos{1, 7}, Pos{1, 8}, true},
		{Pos{1, 7}, Pos{2, 60}, true},
		{Pos{1, 33}, Pos{2, 34}, true},
		{Pos{2, 33}, Pos{2, 34}, true},
		{Pos{2, 36}, Pos{3, 43}, true},
		{Pos{1, 9}, Pos{3, 41}, true},
		{Pos{1, 34}, Pos{2, 60}, false}, // left behind by the fork
		{Pos{2, 41}, Pos{3, 43}, false},
		{Pos{2, 40}, Pos{1, 60}, false}, // a child
		{Pos{1, 8}, Pos{1, 7}, false},   // later
		{Pos{}, Pos{1, 7}, false},
	} {
		from := src.tables[tc.from]
		if from == nil {
			from = pagesum.New()
		}
		before := from.Clone()
		got, err := TableAt(ctx, src.s, tc.to, from, tc.from)
		if !sameTable(from, before) {
			t.Fatalf("%v to %v changed the table it started from", tc.from, tc.to)
		}
		if tc.ok != (err == nil) || tc.ok && !sameTable(got, src.tables[tc.to]) {
			t.Errorf("%v to %v: %v", tc.from, tc.to, err)
		}
	}
	if _, err := TableAt(ctx, src.s, Pos{1, 60}, pagesum.New(), Pos{1, 7}); !isCorrupt(err, "") {
		t.Errorf("from a table that is not that of the position: %v", err)
	}
}

func isCorrupt(err error, object string) bool {
	var c *segment.CorruptError
	return errors.As(err, &c) && strings.Contains(c.Object, object) && c.Object != ""
}

func TestTableAtNamesWhatIsWrong(t *testing.T) {
	ctx := context.Background()
	at := func(src *source, tx uint64) error {
		_, err := TableAt(ctx, src.s, Pos{1, tx}, nil, Pos{})
		return err
	}
	setup := func(t *testing.T) (src *source, snapshot, first, second, third string) {
		src = newSource(t)
		first = src.log(5, 1)
		snapshot = src.snapshot(Pos{1, 3})
		second = src.log(5, 1)
		third = src.log(5, 1)
		check(t, at(src, 15))
		return src, snapshot, first, second, third
	}
	var gap *GapError
	t.Run("behind the end", func(t *testing.T) {
		src, _, _, _, _ := setup(t)
		if err := at(src, 16); !errors.As(err, &gap) || *gap != (GapError{Timeline: 1, Missing: 16, Wanted: 16}) {
			t.Error(err)
		}
	})
	t.Run("segment missing", func(t *testing.T) {
		src, _, _, second, _ := setup(t)
		check(t, src.s.Delete(ctx, second))
		if err := at(src, 15); !errors.As(err, &gap) || *gap != (GapError{Timeline: 1, Missing: 6, Wanted: 15, Next: 11}) {
			t.Error(err)
		}
		check(t, at(src, 5))
	})
	t.Run("no snapshot", func(t *testing.T) {
		src, snapshot, _, _, _ := setup(t)
		check(t, src.s.Delete(ctx, snapshot))
		if err := at(src, 15); !errors.Is(err, store.ErrNotExist) || !strings.Contains(err.Error(), "1/15") {
			t.Error(err)
		}
	})
	t.Run("no timeline", func(t *testing.T) {
		src, _, _, _, _ := setup(t)
		if _, err := TableAt(ctx, src.s, Pos{4, 1}, nil, Pos{}); !errors.Is(err, store.ErrNotExist) || !strings.Contains(err.Error(), "00000004/timeline.json") {
			t.Error(err)
		}
	})
	t.Run("cut short", func(t *testing.T) {
		src, snapshot, _, second, _ := setup(t)
		src.change(second, func(b []byte) []byte { return b[:len(b)-1] })
		if err := at(src, 15); !errors.Is(err, segment.ErrTorn) || !strings.Contains(err.Error(), second) {
			t.Error(err)
		}
		src.change(snapshot, func(b []byte) []byte { return b[:len(b)-1] })
		if err := at(src, 4); !errors.Is(err, segment.ErrTorn) || !strings.Contains(err.Error(), snapshot) {
			t.Error(err)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		src, _, first, second, _ := setup(t)
		src.change(second, func(b []byte) []byte { b[len(b)/2]++; return b })
		if err := at(src, 15); !isCorrupt(err, second) {
			t.Error(err)
		}
		src.change(first, func(b []byte) []byte { b[segment.HeaderSize+3]++; return b })
		if err := at(src, 5); !isCorrupt(err, first) {
			t.Error(err)
		}
	})
	t.Run("under another name", func(t *testing.T) {
		src, _, _, second, third := setup(t)
		b, err := readAll(ctx, src.s, third)
		check(t, err)
		src.change(second, func([]byte) []byte { return b })
		if err := at(src, 15); !isCorrupt(err, second) {
			t.Error(err)
		}
	})
	t.Run("of another database", func(t *testing.T) {
		src, _, _, second, _ := setup(t)
		other, _, _, _, _ := setup(t)
		other.rand.Uint64()
		other.pos = Pos{1, 5}
		other.images[other.pos] = [][]byte{other.page()}
		other.tables[other.pos] = pagesum.New()
		check(t, other.s.Delete(ctx, second))
		b, err := readAll(ctx, other.s, other.log(5, 1))
		check(t, err)
		src.change(second, func([]byte) []byte { return b })
		if err := at(src, 15); !isCorrupt(err, second) {
			t.Error(err)
		}
	})
	t.Run("store fails in the middle", func(t *testing.T) {
		src, _, _, second, _ := setup(t)
		broken := errors.New("connection reset")
		src.s = faultstore.Wrap(src.s, faultstore.Options{}, faultstore.When(faultstore.NameMatch(second), faultstore.Fail(broken)))
		if err := at(src, 15); !errors.Is(err, broken) || !strings.Contains(err.Error(), second) {
			t.Error(err)
		}
		src.s = faultstore.Wrap(src.s, faultstore.Options{}, faultstore.When(faultstore.OnOp(store.OpList), faultstore.Fail(broken)))
		if err := at(src, 15); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
}

func TestSquashedTransactionsHaveNoPointBetween(t *testing.T) {
	src := newSource(t)
	src.log(3, 1)
	src.snapshot(src.pos)
	src.log(1, 10)
	src.log(2, 1)
	for _, tx := range []uint64{3, 13, 14, 15} {
		got, err := TableAt(context.Background(), src.s, Pos{1, tx}, nil, Pos{})
		if err != nil || !sameTable(got, src.tables[Pos{1, tx}]) {
			t.Errorf("transaction %d: %v", tx, err)
		}
	}
	for _, tx := range []uint64{4, 12} {
		if _, err := TableAt(context.Background(), src.s, Pos{1, tx}, nil, Pos{}); !errors.Is(err, ErrNoPoint) {
			t.Errorf("transaction %d: %v", tx, err)
		}
	}
	if _, err := TableAt(context.Background(), src.s, Pos{1, 14}, src.tables[Pos{1, 3}], Pos{1, 5}); !errors.Is(err, ErrNoPoint) {
		t.Errorf("from between: %v", err)
	}
}

// Names tell only where segments begin. That one is missing shows by where its neighbours end and begin, wherever the
// walk sets out: at a snapshot, inside a segment, right behind one, or right in front of the gap.
func TestGapIsFoundFromEverywhere(t *testing.T) {
	src := newSource(t)
	src.log(2, 1)
	src.snapshot(src.pos)
	src.log(400, 1) // 3 to 402: longer than the first window
	gone := src.log(5, 1)
	src.log(5, 1)
	src.snapshot(Pos{1, 300})
	ctx := context.Background()
	check(t, src.s.Delete(ctx, gone))
	want := GapError{Timeline: 1, Missing: 403, Wanted: 410, Next: 408}
	for _, from := range []uint64{0, 2, 3, 200, 401, 402} {
		var table *pagesum.Table
		if from > 0 {
			table = src.tables[Pos{1, from}]
		}
		_, err := TableAt(ctx, src.s, Pos{1, 410}, table, Pos{1, from})
		var gap *GapError
		if !errors.As(err, &gap) || *gap != want || !strings.Contains(err.Error(), gone) {
			t.Errorf("from %d: %v", from, err)
		}
	}
	for _, tx := range []uint64{300, 301, 402} {
		got, err := TableAt(ctx, src.s, Pos{1, tx}, nil, Pos{})
		if err != nil || !sameTable(got, src.tables[Pos{1, tx}]) {
			t.Errorf("transaction %d: %v", tx, err)
		}
	}
	// Behind the gap nothing is missing.
	got, err := TableAt(ctx, src.s, Pos{1, 412}, src.tables[Pos{1, 407}], Pos{1, 407})
	if err != nil || !sameTable(got, src.tables[Pos{1, 412}]) {
		t.Error(err)
	}
}

// A position at the end of a segment is reached without a look at the next one, and the other way round.
func TestTableReadsNoSegmentInVain(t *testing.T) {
	src := newSource(t)
	src.log(3, 1)
	src.snapshot(src.pos)
	src.log(3, 1)
	src.log(3, 1)
	src.log(3, 1)
	var counts store.Counts
	src.s = store.Count(src.s, &counts)
	if _, err := TableAt(context.Background(), src.s, Pos{1, 9}, src.tables[Pos{1, 6}], Pos{1, 6}); err != nil {
		t.Fatal(err)
	}
	if u := counts.Usage(); u.List.Requests != 1 || u.Read.Requests != 2 { // timeline.json and one segment
		t.Errorf("%d lists and %d reads", u.List.Requests, u.Read.Requests)
	}
}

// The segment behind a snapshot may begin far in front of it.
func TestSnapshotInsideALongSegment(t *testing.T) {
	src := newSource(t)
	src.log(3, 1)
	src.snapshot(src.pos)
	src.log(1000, 1)
	src.log(1, 1)
	src.snapshot(Pos{1, 900})
	var counts store.Counts
	src.s = store.Count(src.s, &counts)
	got, err := TableAt(context.Background(), src.s, Pos{1, 1004}, nil, Pos{})
	if err != nil || !sameTable(got, src.tables[Pos{1, 1004}]) {
		t.Fatal(err)
	}
	if u := counts.Usage(); u.List.Requests > 5 || u.Read.Requests > 7 { // 2 and 2 of them to hold the snapshot against the log
		t.Errorf("%d lists and %d reads", u.List.Requests, u.Read.Requests)
	}
}

func TestLineage(t *testing.T) {
	src := branched(t)
	ctx := context.Background()
	legs, err := Lineage(ctx, src.s, Pos{3, 42})
	if err != nil || len(legs) != 3 || legs[0] != (Leg{1, 0, 33}) || legs[1] != (Leg{2, 33, 40}) || legs[2] != (Leg{3, 40, 42}) {
		t.Errorf("%v, %v", legs, err)
	}
	// A timeline that left its parent before the parent had a transaction of its own.
	src.fork(4, Pos{2, 33})
	src.open(Timeline{Timeline: 5, Parent: 2, ParentTx: 20})
	for pos, want := range map[Pos]Leg{{4, 33}: {1, 0, 33}, {5, 20}: {1, 0, 20}} {
		if legs, err = Lineage(ctx, src.s, pos); err != nil || len(legs) != 3 || legs[0] != want {
			t.Errorf("%v: %v, %v", pos, legs, err)
		}
		got, err := TableAt(ctx, src.s, pos, nil, Pos{})
		if err != nil || !sameTable(got, src.tables[Pos{1, pos.Tx}]) {
			t.Errorf("%v: %v", pos, err)
		}
	}
}

func TestObjectReaderIsAReaderAt(t *testing.T) {
	src := newSource(t)
	ctx := context.Background()
	content := src.page()
	check(t, src.s.Create(ctx, "x", store.BytesBody(content)))
	for _, ahead := range []int64{0, 100, math.MaxInt32} {
		r := &objectReader{ctx: ctx, s: src.s, o: store.Object{Name: "x", Size: int64(len(content))}, ahead: ahead}
		for range 300 {
			off, n := src.rand.IntN(len(content)+10), src.rand.IntN(len(content))
			b := make([]byte, n)
			k, err := r.ReadAt(b, int64(off))
			want := content[min(off, len(content)):min(off+n, len(content))]
			if string(b[:k]) != string(want) || (err == io.EOF) != (len(want) < n) {
				t.Fatalf("%d bytes at %d: %d, %v", n, off, k, err)
			}
		}
	}
}
