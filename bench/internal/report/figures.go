// Package report turns results into tables for a terminal, verdicts on the targets, and one HTML page.
package report

import (
	"time"

	"seawal/bench/internal/result"
	"seawal/bench/internal/stat"
)

// figures are the numbers of one design under one workload, over its pairs. Durations are in seconds.
type figures struct {
	design string
	runs   []result.Run

	rate  stat.Summary // operations a second
	ratio stat.Summary // of the rates of pairs, to the first design
	reads stat.Summary // reads a second beside the writer

	p50, p99, p999 stat.Summary // of each run's latencies
	worst          time.Duration

	cpu     stat.Summary // an operation, all processes, user and system
	user    stat.Summary // the application's share in it
	system  stat.Summary // likewise
	sidecar stat.Summary // the share of a process beside the application
	rss     stat.Summary // peak, bytes
	anon    stat.Summary // peak, bytes
	wal     stat.Summary // peak, bytes
	drain   stat.Summary

	shipped, objects, requests stat.Summary // an operation
	lag                        *result.Latency
	latency                    *result.Latency // of all runs
}

// figuresOf sums up a design. base is the design that the ratios are to.
func figuresOf(w *result.Workload, design, base string) figures {
	runs := w.Of(design)
	over := func(f func(result.Run) float64) stat.Summary { return stat.Summarize(each(runs, f)) }
	perOp := func(n func(result.Run) int64) stat.Summary {
		return over(func(r result.Run) float64 { return float64(n(r)) / float64(max(r.Ops, 1)) })
	}
	fig := figures{
		design: design, runs: runs,
		rate:     over(result.Run.Rate),
		ratio:    ratio(w, design, base, result.Run.Rate),
		reads:    over(result.Run.ReadRate),
		p50:      over(quantile(0.5)),
		p99:      over(quantile(0.99)),
		p999:     over(quantile(0.999)),
		cpu:      over(result.Run.CPU),
		user:     over(func(r result.Run) float64 { return r.User / float64(max(r.Ops, 1)) }),
		system:   over(func(r result.Run) float64 { return r.System / float64(max(r.Ops, 1)) }),
		sidecar:  over(func(r result.Run) float64 { return (r.Sidecar.User + r.Sidecar.System) / float64(max(r.Ops, 1)) }),
		rss:      over(func(r result.Run) float64 { return float64(r.PeakRSS + r.Sidecar.PeakRSS) }),
		anon:     over(func(r result.Run) float64 { return float64(r.PeakAnon) }),
		wal:      over(func(r result.Run) float64 { return float64(r.PeakWAL) }),
		drain:    over(func(r result.Run) float64 { return r.Drain }),
		shipped:  perOp(func(r result.Run) int64 { return r.Shipped }),
		objects:  perOp(func(r result.Run) int64 { return r.Objects }),
		requests: perOp(func(r result.Run) int64 { return r.Requests }),
		lag:      result.NewLatency(),
		latency:  result.NewLatency(),
	}
	for _, r := range runs {
		fig.latency.Merge(r.Latency)
		fig.lag.Merge(r.Lag)
	}
	fig.worst = fig.latency.At(1)
	return fig
}

// replicates reports whether anything was shipped.
func (f figures) replicates() bool { return f.lag.Count() > 0 || f.shipped.Median > 0 }

// named returns a figure that only this workload has.
func (f figures) named(name string) stat.Summary {
	var v []float64
	for _, r := range f.runs {
		if x, ok := r.Figures[name]; ok {
			v = append(v, x)
		}
	}
	return stat.Summarize(v)
}

func each(runs []result.Run, f func(result.Run) float64) []float64 {
	v := make([]float64, len(runs))
	for i, r := range runs {
		v[i] = f(r)
	}
	return v
}

// quantile of the latencies of a run, in seconds.
func quantile(q float64) func(result.Run) float64 {
	return func(r result.Run) float64 { return r.Latency.At(q).Seconds() }
}

// lagQuantile is quantile of the lag.
func lagQuantile(q float64) func(result.Run) float64 {
	return func(r result.Run) float64 { return r.Lag.At(q).Seconds() }
}

// ratio is what a figure of one design is to that of another, pair by pair.
func ratio(w *result.Workload, design, base string, f func(result.Run) float64) stat.Summary {
	a, b := w.Paired(design, base)
	return stat.Summarize(stat.Ratios(each(a, f), each(b, f)))
}

// difference is likewise what one has more than the other.
func difference(w *result.Workload, design, base string, f func(result.Run) float64) stat.Summary {
	a, b := w.Paired(design, base)
	v := each(a, f)
	for i, x := range each(b, f) {
		v[i] -= x
	}
	return stat.Summarize(v)
}
