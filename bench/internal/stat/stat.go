// Package stat holds the few statistics that the benchmark reports: medians, quartiles, ratios of
// pairs, and an interval for a median that assumes nothing about the distribution.
package stat

import (
	"math"
	"slices"
)

// Summary describes a sample. All fields but N are NaN when it is empty.
type Summary struct {
	N                        int
	Min, Q1, Median, Q3, Max float64

	// Low and High hold the true median with at least 95 % confidence (ranks of a binomial
	// distribution). With fewer than six values no two of them do: then they are Min and Max.
	Low, High float64
}

// Summarize describes values, which it leaves alone. NaNs and infinities don't count:
// they stand for what was not measured.
func Summarize(values []float64) Summary {
	v := make([]float64, 0, len(values))
	for _, x := range values {
		if !math.IsNaN(x) && !math.IsInf(x, 0) {
			v = append(v, x)
		}
	}
	if len(v) == 0 {
		nan := math.NaN()
		return Summary{Min: nan, Q1: nan, Median: nan, Q3: nan, Max: nan, Low: nan, High: nan}
	}
	slices.Sort(v)
	lo, hi := medianRanks(len(v))
	return Summary{
		N: len(v), Min: v[0], Max: v[len(v)-1],
		Q1: quantile(v, 0.25), Median: quantile(v, 0.5), Q3: quantile(v, 0.75),
		Low: v[lo], High: v[hi],
	}
}

// Median is Summarize(values).Median.
func Median(values []float64) float64 { return Summarize(values).Median }

// Ratios divides pairwise, as far as both go. A pair that has no ratio gives NaN.
func Ratios(num, den []float64) []float64 {
	out := make([]float64, min(len(num), len(den)))
	for i := range out {
		if den[i] == 0 {
			out[i] = math.NaN()
			continue
		}
		out[i] = num[i] / den[i]
	}
	return out
}

// quantile interpolates linearly between the values next to rank q*(n-1) of a sorted sample.
func quantile(sorted []float64, q float64) float64 {
	pos := q * float64(len(sorted)-1)
	i := int(pos)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	frac := pos - float64(i)
	return sorted[i] + frac*(sorted[i+1]-sorted[i])
}

// confidence of the interval in a Summary.
const confidence = 0.95

// medianRanks returns the innermost symmetric pair of ranks, counted from 0, between which the
// true median lies with the confidence wanted. The number of values below the median
// is binomial(n, 1/2), so the interval misses with twice the lower tail.
func medianRanks(n int) (lo, hi int) {
	tail := 0.0
	p := math.Pow(0.5, float64(n)) // probability of exactly k values below
	for k := 0; k < n/2; k++ {
		tail += p
		if 2*tail > 1-confidence {
			break
		}
		lo = k
		p *= float64(n-k) / float64(k+1)
	}
	return lo, n - 1 - lo
}
