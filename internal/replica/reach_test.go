package replica

import (
	"context"
	"errors"
	"testing"

	"seawal/internal/segment"
	"seawal/store/faultstore"
)

// How far a replica can be read whose object is gone or damaged, for every object that it has.
func TestReach(t *testing.T) {
	build := func() (*source, []string) {
		src := newSource(t)
		var names []string
		add := func(name string) { names = append(names, name) }
		add(src.log(2, 1)) // 1 and 2, before the first snapshot
		add(src.snapshot(src.pos))
		add(src.log(3, 1)) // 3 to 5
		add(src.log(4, 1)) // 6 to 9
		add(src.snapshot(Pos{1, 5}))
		src.fork(2, Pos{1, 8}) // inside that segment
		add(src.log(2, 1))     // 9 and 10
		add(src.log(2, 1))     // 11 and 12
		return src, names
	}
	want := map[int]Pos{0: {2, 12}, 1: {2, 12}, 2: {2, 12}, 3: {1, 5}, 4: {2, 12}, 5: {1, 8}, 6: {2, 10}}
	for name, change := range map[string]func([]byte) []byte{
		"missing":      nil,
		"cut short":    func(b []byte) []byte { return b[:len(b)-1] },
		"other header": func(b []byte) []byte { b[20]++; return b },
		"other index":  func(b []byte) []byte { b[len(b)-250]++; return b },
	} {
		for i := range want {
			src, names := build()
			if change == nil {
				check(t, src.s.Delete(context.Background(), names[i]))
			} else {
				src.change(names[i], change)
			}
			r, err := ReachOf(context.Background(), src.s, 2)
			if err != nil {
				t.Errorf("%s, object %d: %v", name, i, err)
				continue
			}
			at := want[i]
			if i == 3 && name == "other index" {
				at = Pos{2, 12} // what it has up to the fork is intact, and nobody reads on
			}
			broken := at != Pos{2, 12} && !(name == "missing" && i == 6) // that the last one is missing nobody can know
			if r.At != at || (r.Broken != nil) != broken || broken && !IsDamage(r.Broken) || !sameTable(r.Table, src.tables[r.At]) {
				t.Errorf("%s, object %d: reaches %v, want %v; %v", name, i, r.At, at, r.Broken)
			}
			if r.At == (Pos{1, 8}) && r.Info.Place.Frame != 0 {
				t.Errorf("the place of a transaction inside a segment is %+v", r.Info.Place)
			}
			if r.At.Tx == 12 && (r.Info.Last != 12 || r.Info.Place.Frame != 12) {
				t.Errorf("info %+v", r.Info)
			}
		}
	}
	src, names := build()
	for _, i := range []int{1, 4} {
		src.change(names[i], func(b []byte) []byte { return b[:10] })
	}
	if r, err := ReachOf(context.Background(), src.s, 2); err != nil || !r.At.IsZero() || !errors.Is(r.Broken, segment.ErrTorn) {
		t.Errorf("without a snapshot: %+v, %v", r, err)
	}
	src, _ = build()
	lost := errors.New("connection reset")
	src.s = faultstore.Wrap(src.s, faultstore.Options{}, faultstore.When(faultstore.NameMatch("*/log/*"), faultstore.Fail(lost)))
	if _, err := ReachOf(context.Background(), src.s, 2); !errors.Is(err, lost) {
		t.Errorf("the store is away: %v", err)
	}
}
