package replica

import (
	"context"
	"errors"
	"strings"
	"testing"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

// close ends the log of a timeline behind transaction last, for timeline next, which leaves it at parentTx.
func (src *source) close(timeline uint32, last uint64, next uint32, parentTx uint64) segment.Close {
	src.t.Helper()
	c := segment.Close{
		Header: segment.Header{Kind: segment.Closing, PageSize: testPageSize, Timeline: timeline, First: last + 1, Writer: src.writer},
		Next:   next, Parent: timeline, ParentTx: parentTx, Time: 1e18,
	}
	check(src.t, CloseTimeline(context.Background(), src.s, c))
	return c
}

// A close ends a timeline, and is no part of its history: whatever walks along it passes by.
func TestClosedTimeline(t *testing.T) {
	ctx, src := context.Background(), newSource(t)
	src.snapshot(src.pos)
	src.log(4, 1)
	last := src.log(3, 1)
	end := src.pos
	if e, err := EndOf(ctx, src.s, 1, Pos{}); err != nil || e.Close != nil {
		t.Errorf("before: %+v, %v", e, err)
	}
	want := src.close(1, 7, 2, 6)
	src.close(1, 7, 2, 6) // again: a lost acknowledgement
	for _, after := range []Pos{{}, {1, 4}} {
		e, err := EndOf(ctx, src.s, 1, after)
		if err != nil || e.Name.String() != last || e.Info.Last != 7 || e.Close == nil || *e.Close != want {
			t.Errorf("behind %v: %+v, %v", after, e, err)
		}
	}
	if e, err := EndOf(ctx, src.s, 1, end); !errors.Is(err, store.ErrNotExist) || e.Close == nil || *e.Close != want {
		t.Errorf("behind the end: %+v, %v", e, err)
	}
	walk := func() {
		t.Helper()
		for tx := range uint64(8) {
			table, err := TableAt(ctx, src.s, Pos{1, tx}, nil, Pos{})
			if err != nil || !sameTable(table, src.tables[Pos{1, tx}]) {
				t.Errorf("table at %d: %v", tx, err)
			}
		}
		if r, err := ReachOf(ctx, src.s, 1); err != nil || r.Broken != nil || r.At != end {
			t.Errorf("reaches %v; %v, %v", r.At, r.Broken, err)
		}
	}
	walk()
	var gap *GapError
	if _, err := TableAt(ctx, src.s, Pos{1, 8}, nil, Pos{}); !errors.As(err, &gap) || gap.Missing != 8 || gap.Next != 0 {
		t.Errorf("behind its end: %v", err)
	}

	// Who meets it in place of a segment learns what it says.
	o, err := src.s.Stat(ctx, segment.LogName(1, 8))
	check(t, err)
	var closed *ClosedError
	if _, _, err := Inspect(ctx, src.s, o); !errors.As(err, &closed) || closed.Close != want || IsDamage(err) {
		t.Errorf("inspected: %v", err)
	} else if s := err.Error(); !strings.Contains(s, "behind transaction 7 by timeline 2") || !strings.Contains(s, "goes on from 1/6") {
		t.Error(s)
	}
	// The store may fail meanwhile.
	f := faultstore.Wrap(src.s, faultstore.Options{}, faultstore.When(faultstore.NameMatch(segment.LogName(1, 8)), faultstore.Fail(errClosing)))
	if _, err := EndOf(ctx, f, 1, Pos{}); !errors.Is(err, errClosing) {
		t.Errorf("a close that can't be read: %v", err)
	}

	src.fork(2, Pos{1, 6})
	src.log(2, 1)
	walk()
	check(t, src.s.Delete(ctx, segment.TimelineName(2)))
	if all, err := Timelines(ctx, src.s); err != nil || len(all) != 2 || all[1].Parent != 1 || all[1].ParentTx != 6 {
		t.Errorf("a timeline.json that is gone: %+v, %v", all, err)
	}
}

var errClosing = errors.New("connection reset")

// A timeline that was closed before its first snapshot came, and got one all the same.
func TestClosedBeforeItsSnapshot(t *testing.T) {
	ctx, src := context.Background(), newSource(t)
	src.close(1, 0, 2, 0)
	src.pos = Pos{1, 2}
	src.images[src.pos], src.tables[src.pos] = nil, pagesum.New()
	src.snapshot(src.pos)
	src.log(3, 1)
	src.close(1, 5, 2, 5)
	check(t, src.s.Delete(ctx, segment.TimelineName(1)))
	all, err := Timelines(ctx, src.s)
	if err != nil || len(all) != 1 || all[0].Writer != src.writer || all[0].Lost {
		t.Errorf("timelines %+v, %v", all, err)
	}
	if table, err := TableAt(ctx, src.s, Pos{1, 5}, nil, Pos{}); err != nil || !sameTable(table, src.tables[src.pos]) {
		t.Errorf("table: %v", err)
	}
	if e, err := EndOf(ctx, src.s, 1, Pos{}); err != nil || e.Info.Last != 5 || e.Close == nil || e.Close.First != 6 {
		t.Errorf("end %+v, %v", e, err)
	}
}

// A segment that is as long as a close is one all the same: cut short, or damaged.
func TestNoClose(t *testing.T) {
	ctx, src := context.Background(), newSource(t)
	src.snapshot(src.pos)
	src.log(2, 1)
	name := src.log(2, 1)
	src.change(name, func(b []byte) []byte { return b[:segment.CloseSize] })
	if _, err := EndOf(ctx, src.s, 1, Pos{}); !IsDamage(err) {
		t.Errorf("cut short: %v", err)
	}
	if _, err := TableAt(ctx, src.s, Pos{1, 4}, nil, Pos{}); !IsDamage(err) {
		t.Errorf("cut short: %v", err)
	}
	c := src.close(1, 4, 2, 4)
	src.change(segment.LogName(1, 5), func(b []byte) []byte { b[len(b)/3]++; return b })
	if _, ok, err := ReadClose(ctx, src.s, store.Object{Name: segment.LogName(1, c.First), Size: segment.CloseSize}); ok || err != nil {
		t.Errorf("damaged: %v, %v", ok, err)
	}
}
