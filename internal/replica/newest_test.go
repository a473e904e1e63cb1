package replica

import (
	"context"
	"errors"
	"strings"
	"testing"

	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

func TestNewest(t *testing.T) {
	src := newSource(t)
	ctx := context.Background()
	none := func(timeline uint32, after Pos) {
		t.Helper()
		if n, _, err := Newest(ctx, src.s, timeline, after); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("newest of timeline %d behind %v is %v, %v", timeline, after, n, err)
		}
	}
	is := func(timeline uint32, after Pos, want string) {
		t.Helper()
		n, info, err := Newest(ctx, src.s, timeline, after)
		if err != nil || n.String() != want || info.Timeline != timeline || info.First != n.First || info.Kind != n.Kind || info.Writer != src.writer {
			t.Errorf("newest of timeline %d behind %v is %v, %v, want %s", timeline, after, n, err, want)
		}
	}
	none(1, Pos{})
	start := src.snapshot(src.pos)
	is(1, Pos{}, start)
	none(1, Pos{1, 0}) // a snapshot of transaction 0 reaches behind nothing
	first := src.log(4, 1)
	is(1, Pos{}, first)
	is(1, Pos{1, 0}, first)
	none(1, Pos{1, 4})
	src.snapshot(src.pos)
	is(1, Pos{}, first) // both end at 4
	inside := src.log(4, 1)
	src.snapshot(Pos{1, 6})
	is(1, Pos{1, 4}, inside)
	check(t, src.s.Create(ctx, segment.LogPrefix(1)+"zzz", store.BytesBody(nil)))
	is(1, Pos{}, inside)

	src.fork(2, src.pos)
	none(2, Pos{})
	ahead := src.snapshot(src.pos)
	is(2, Pos{}, ahead)
	is(2, Pos{2, 7}, ahead)
	none(2, Pos{2, 8})
	next := src.log(1, 1)
	is(2, Pos{2, 8}, next)
	is(1, Pos{}, inside)
	check(t, src.s.Delete(ctx, inside))
	is(1, Pos{}, segment.SnapshotName(1, 6)) // the log ends at 4 now, as only its footer tells
	is(1, Pos{1, 4}, segment.SnapshotName(1, 6))
	if _, _, err := Newest(ctx, src.s, 2, Pos{1, 8}); err == nil || errors.Is(err, store.ErrNotExist) {
		t.Errorf("behind a position of another timeline: %v", err)
	}
}

func TestNewestNamesABadObject(t *testing.T) {
	ctx := context.Background()
	for what, edit := range map[string]func(b []byte) []byte{
		"empty":     func([]byte) []byte { return nil },
		"cut short": func(b []byte) []byte { return b[:len(b)-3] },
		"damaged":   func(b []byte) []byte { b[len(b)-50]++; return b },
		"newer":     func(b []byte) []byte { b[len(b)-16] = 9; return b },
	} {
		t.Run(what, func(t *testing.T) {
			src := newSource(t)
			src.log(2, 1)
			name := src.log(2, 1)
			src.change(name, edit)
			_, _, err := Newest(ctx, src.s, 1, Pos{})
			var newer *segment.VersionError
			if !(isCorrupt(err, name) || errors.Is(err, segment.ErrTorn) || errors.As(err, &newer)) || !strings.Contains(err.Error(), name) {
				t.Error(err)
			}
		})
	}
}

// A segment that is merged away between the list and the read is looked for once more.
func TestNewestThatVanishes(t *testing.T) {
	src := newSource(t)
	src.log(2, 1)
	name := src.log(2, 1)
	src.s = faultstore.Wrap(src.s, faultstore.Options{}, faultstore.When(
		faultstore.And(faultstore.OnOp(store.OpRead), faultstore.OnIndex(0)), faultstore.Fail(store.ErrNotExist)))
	if n, _, err := Newest(context.Background(), src.s, 1, Pos{}); err != nil || n.String() != name {
		t.Errorf("%v, %v", n, err)
	}
}

func TestNewestOfThousandsIsCheap(t *testing.T) {
	src := newSource(t)
	for range 5000 {
		src.log(1, 1)
	}
	var counts store.Counts
	src.s = store.Count(src.s, &counts)
	n, info, err := Newest(context.Background(), src.s, 1, Pos{1, 4990})
	if err != nil || info.Last != 5000 {
		t.Fatal(n, err)
	}
	if u := counts.Usage(); u.List.Requests != 3 || u.Read.Requests != 1 || u.Read.Bytes != segment.FooterSize || u.Stat.Requests != 0 {
		t.Errorf("from a known position: %+v", u)
	}
	if n, info, err = Newest(context.Background(), src.s, 1, Pos{}); err != nil || info.Last != 5000 {
		t.Fatal(n, err)
	}
	if u := counts.Usage(); u.List.Requests > 3+5+3 || u.Read.Requests != 2 {
		t.Errorf("from nothing: %+v", u)
	}
}
