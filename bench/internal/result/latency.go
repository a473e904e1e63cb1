package result

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the longest duration that is told apart; what takes longer counts as this.
const longest = 10 * time.Minute

// Latency is a distribution of durations: an HDR histogram in nanoseconds with three significant
// digits. It is not safe for concurrent use. Its JSON is the list of the bars that aren't empty,
// [nanoseconds, count], so that distributions of several processes can be merged without loss.
type Latency struct {
	h *hdrhistogram.Histogram
}

// NewLatency returns an empty distribution.
func NewLatency() *Latency {
	return &Latency{h: hdrhistogram.New(1, int64(longest), 3)}
}

// Record adds one duration.
func (l *Latency) Record(d time.Duration) { l.add(int64(d), 1) }

func (l *Latency) add(ns, n int64) {
	// The only error is a value out of range, which the clamp excludes.
	_ = l.h.RecordValues(min(max(ns, 0), int64(longest)), n)
}

// Merge adds the durations of o, which may be nil.
func (l *Latency) Merge(o *Latency) {
	if o != nil {
		l.h.Merge(o.h)
	}
}

// Count is the number of durations; 0 for a nil Latency.
func (l *Latency) Count() int64 {
	if l == nil {
		return 0
	}
	return l.h.TotalCount()
}

// At returns the quantile q (0 to 1): 0.99 is p99, 1 the maximum. It is zero for an empty distribution.
func (l *Latency) At(q float64) time.Duration {
	if l.Count() == 0 {
		return 0
	}
	return time.Duration(l.h.ValueAtQuantile(q * 100))
}

// MarshalJSON implements json.Marshaler.
func (l *Latency) MarshalJSON() ([]byte, error) {
	bars := [][2]int64{}
	for _, b := range l.h.Distribution() {
		if b.Count > 0 {
			bars = append(bars, [2]int64{b.From, b.Count})
		}
	}
	return json.Marshal(bars)
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *Latency) UnmarshalJSON(b []byte) error {
	var bars [][2]int64
	if err := json.Unmarshal(b, &bars); err != nil {
		return fmt.Errorf("reading a distribution: %w", err)
	}
	l.h = NewLatency().h
	for _, bar := range bars {
		if bar[1] < 0 {
			return fmt.Errorf("reading a distribution: %d durations of %d ns", bar[1], bar[0])
		}
		l.add(bar[0], bar[1])
	}
	return nil
}
