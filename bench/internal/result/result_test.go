package result

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func TestLatencyQuantiles(t *testing.T) {
	l := NewLatency()
	for i := range 1000 {
		l.Record(time.Duration(i+1) * time.Microsecond)
	}
	for _, tc := range []struct {
		q    float64
		want time.Duration
	}{{0.5, 500 * time.Microsecond}, {0.99, 990 * time.Microsecond}, {1, time.Millisecond}} {
		got := l.At(tc.q)
		if diff := (got - tc.want).Abs(); diff > tc.want/500 {
			t.Errorf("q=%v: %v, want %v within 0.2%%", tc.q, got, tc.want)
		}
	}
	l.Record(time.Hour)
	if got := l.At(1); got < longest-time.Second {
		t.Errorf("a duration beyond the range counts as %v", got)
	}
	var none *Latency
	if none.At(0.5) != 0 || none.Count() != 0 {
		t.Error("a nil distribution is not empty")
	}
}

func TestLatencySurvivesJSON(t *testing.T) {
	l := NewLatency()
	for i := range 5000 {
		l.Record(time.Duration(i*i) * 37)
	}
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var got Latency
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	for _, q := range []float64{0, 0.1, 0.5, 0.99, 0.999, 1} {
		if got.At(q) != l.At(q) {
			t.Errorf("q=%v: %v, was %v", q, got.At(q), l.At(q))
		}
	}
	got.Merge(l)
	if got.Count() != 10000 {
		t.Errorf("merged: %d durations", got.Count())
	}
	for _, bad := range []string{`{}`, `[[1]`, `[[5,-1]]`} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestPaired(t *testing.T) {
	w := Workload{Runs: []Run{
		{Design: "a", Pair: 0, Ops: 1}, {Design: "b", Pair: 0, Ops: 2},
		{Design: "b", Pair: 1, Ops: 3}, {Design: "a", Pair: 1, Error: "failed"},
		{Design: "a", Pair: 2, Ops: 4}, {Design: "b", Pair: 2, Ops: 5},
		{Design: "a", Pair: 3, Ops: 6},
	}}
	as, bs := w.Paired("a", "b")
	if len(as) != 2 || len(bs) != 2 || as[1].Ops != 4 || bs[1].Ops != 5 {
		t.Errorf("pairs %+v and %+v", as, bs)
	}
}

func TestFileRoundTrip(t *testing.T) {
	f := &File{Format: FormatVersion, Workloads: []Workload{{Name: "w", Runs: []Run{{Design: "a", Ops: 10, Seconds: 2, Latency: NewLatency()}}}}}
	var buf bytes.Buffer
	if err := f.Write(&buf); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&buf)
	if err != nil {
		t.Fatal(err)
	}
	if w := got.Workload("w"); w == nil || w.Runs[0].Rate() != 5 {
		t.Errorf("read back: %+v", got)
	}
	if _, err := Read(bytes.NewBufferString(`{"format":99}`)); err == nil {
		t.Error("a later format was accepted")
	}
}
