package shipper

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestPageSet(t *testing.T) {
	const last = 3 * PageSetWords * 64
	rapid.Check(t, func(t *rapid.T) {
		var set PageSet
		var want []uint32
		page := rapid.OneOf(rapid.Uint32Range(1, 200), rapid.Uint32Range(1, last))
		for _, n := range rapid.SliceOfN(page, 0, 30).Draw(t, "pages") {
			set.Add(n)
			want = append(want, n)
		}
		if rapid.Bool().Draw(t, "a chunk") {
			words := [PageSetWords]uint64{3: 1 << 5}
			set.AddChunk(2, &words)
			want = append(want, 2*PageSetWords*64+3*64+5)
		}
		for range rapid.IntRange(0, 2).Draw(t, "ends") {
			from := last - rapid.Uint32Range(0, 300).Draw(t, "from")
			set.AddFrom(from)
			for n := from; n <= last; n++ {
				want = append(want, n)
			}
		}
		slices.Sort(want)
		want = slices.Compact(want)
		var got []uint32
		for n := set.Next(0); n != 0 && n <= last; n = set.Next(n) {
			got = append(got, n)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
	var every *PageSet
	if n := every.Next(every.Next(0)); n != 2 {
		t.Errorf("of every page, the second one is %d", n)
	}
}
