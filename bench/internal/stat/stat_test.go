package stat

import (
	"math"
	"slices"
	"testing"
)

func TestSummarize(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values []float64
		want   Summary
	}{
		{"one", []float64{3}, Summary{1, 3, 3, 3, 3, 3, 3, 3}},
		{"two", []float64{4, 2}, Summary{2, 2, 2.5, 3, 3.5, 4, 2, 4}},
		{"odd", []float64{5, 1, 3}, Summary{3, 1, 2, 3, 4, 5, 1, 5}},
		{"nine", []float64{9, 8, 7, 6, 5, 4, 3, 2, 1}, Summary{9, 1, 3, 5, 7, 9, 2, 8}},
		{"not measured", []float64{math.NaN(), 2, math.Inf(1)}, Summary{1, 2, 2, 2, 2, 2, 2, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := slices.Clone(tc.values)
			if got := Summarize(tc.values); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if len(in) > 1 && !math.IsNaN(in[0]) && !slices.Equal(in, tc.values) {
				t.Error("the values were reordered")
			}
		})
	}
	if got := Summarize(nil); got.N != 0 || !math.IsNaN(got.Median) {
		t.Errorf("empty sample: %+v", got)
	}
}

func TestRatios(t *testing.T) {
	got := Ratios([]float64{2, 3, 4, 9}, []float64{1, 0, 8})
	if len(got) != 3 || got[0] != 2 || !math.IsNaN(got[1]) || got[2] != 0.5 {
		t.Errorf("got %v", got)
	}
}

// The ranks are the ones in tables of the sign test at 95 %.
func TestMedianRanks(t *testing.T) {
	for _, tc := range []struct{ n, lo int }{{1, 0}, {5, 0}, {6, 0}, {8, 0}, {9, 1}, {11, 1}, {12, 2}, {15, 3}, {20, 5}, {25, 7}} {
		lo, hi := medianRanks(tc.n)
		if lo != tc.lo || hi != tc.n-1-tc.lo {
			t.Errorf("n=%d: ranks %d and %d, want %d and %d", tc.n, lo, hi, tc.lo, tc.n-1-tc.lo)
		}
	}
}
