package report

import (
	"math"

	"seawal/bench/internal/design"
	"seawal/bench/internal/result"
	"seawal/bench/internal/stat"
)

// bound is what a figure has to keep. The zero bound asks for nothing.
type bound struct {
	value  float64
	atMost bool
	set    bool
}

func atLeast(v float64) bound { return bound{value: v, set: true} }
func atMost(v float64) bound  { return bound{value: v, atMost: true, set: true} }

func (b bound) keeps(x float64) bool {
	if b.atMost {
		return x <= b.value
	}
	return x >= b.value
}

// Verdict on one bound.
type Verdict string

// The verdicts. A target without measurements is neither met nor missed.
const (
	Met         Verdict = "met"
	Missed      Verdict = "missed"
	NotMeasured Verdict = "not measured"
	NotAsked    Verdict = ""
)

func (b bound) verdict(s stat.Summary) Verdict {
	switch {
	case !b.set:
		return NotAsked
	case s.N == 0 || math.IsNaN(s.Median):
		return NotMeasured
	case b.keeps(s.Median):
		return Met
	}
	return Missed
}

// target is a promise about a figure of a design: the floor has to hold before
// a version goes out, the goal is what we work towards.
type target struct {
	name     string
	workload string
	design   string
	base     string // design that it is compared with; "" for an absolute figure
	measure  func(w *result.Workload, t target) stat.Summary
	show     func(float64) string
	floor    bound
	goal     bound
}

const (
	ours   = "seawal-file"
	ours10 = "seawal-10ms"

	ringBytes   = 16 << 20 // the default
	memoryAbove = ringBytes + 48<<20
)

// targets in the order of the report.
func targets() []target {
	t := []target{
		{"single-row commits: throughput", "single", ours, design.Plain, rates, times, atLeast(1.05), atLeast(1.25)},
		{"single-row commits: p99", "single", ours, design.Plain, ratios(quantile(0.99)), times, atMost(1.10), atMost(1.0)},
		{"single-row commits: p99.9", "single", ours, design.Plain, ratios(quantile(0.999)), times, atMost(0.5), atMost(0.3)},
		{"single-row commits: CPU", "single", ours, design.Plain, ratios(result.Run.CPU), times, atMost(1.5), atMost(1.25)},
		{"100-row transactions: throughput", "batch", ours, design.Plain, rates, times, atLeast(1.15), atLeast(1.5)},
		{"random updates: throughput", "random", ours, design.Plain, rates, times, bound{}, atLeast(1.25)},
		{"bulk load: throughput", "bulk", ours, design.Plain, rates, times, bound{}, atLeast(0.95)},
		{"reads while writing: throughput", "mixed", ours, design.Plain, ratios(result.Run.ReadRate), times, bound{}, atLeast(1.0)},
		{"point reads: throughput", "reads", ours, design.Plain, rates, times, atLeast(0.98), bound{}},
		{"memory above plain: single-row commits", "single", ours, design.Plain, memory, size, atMost(memoryAbove), bound{}},
		{"memory above plain: random updates", "random", ours, design.Plain, memory, size, atMost(memoryAbove), bound{}},
		{"restore: database a second", "restore", ours, "", figure("mb_per_s"), megabytes, atLeast(250), bound{}},
		{"attached storage, 2 ms: throughput", "slow2", ours, design.Plain, rates, times, bound{}, atLeast(2)},
		{"attached storage, 10 ms: throughput", "slow10", ours, design.Plain, rates, times, bound{}, atLeast(2)},
		{"lag p99, shipping every 10 ms", "trickle", ours10, "", lag(0.99), seconds, bound{}, atMost(0.05)},
		{"outage: p99 to before", "outage", "seawal-outage", "", outageLatency, times, bound{}, atMost(1.25)},
		{"1,000 idle databases: memory", "databases-1000", ours, "", figure("idle_memory_bytes"), size, bound{}, atMost(150 << 20)},
		{"1,000 idle databases: memory above plain", "databases-1000", ours, design.Plain, idleMemory, size, bound{}, atMost(150 << 20)},
		{"1,000 idle databases: CPU, percent of a core", "databases-1000", ours, "", figure("idle_cpu_percent"), number, bound{}, atMost(1)},
		{"1,000 idle databases: requests", "databases-1000", ours, "", figure("idle_requests"), number, bound{}, atMost(0)},
	}
	return append(t, againstPeer()...)
}

// againstPeer are the targets beside a replicator that runs as a process of its own.
func againstPeer() []target {
	var t []target
	for _, w := range []struct{ name, title string }{{"single", "single-row commits"}, {"batch", "100-row transactions"}, {"random", "random updates"}} {
		t = append(t, target{"against Litestream, " + w.title + ": throughput", w.name, ours, design.Peer, rates, times, bound{}, atLeast(1)})
	}
	return append(t,
		target{"against Litestream, 200 commits a second: CPU", "trickle", ours, design.Peer, ratios(result.Run.CPU), times, bound{}, atMost(0.6)},
		target{"against Litestream, 200 commits a second: lag p99", "trickle", ours, design.Peer, ratios(lagQuantile(0.99)), times, bound{}, atMost(0.5)},
		target{"against Litestream, web application: bytes shipped", "web", ours, design.Peer, ratios(shippedPerOp), times, bound{}, atMost(0.25)},
	)
}

func rates(w *result.Workload, t target) stat.Summary {
	return ratio(w, t.design, t.base, result.Run.Rate)
}

func ratios(f func(result.Run) float64) func(*result.Workload, target) stat.Summary {
	return func(w *result.Workload, t target) stat.Summary { return ratio(w, t.design, t.base, f) }
}

func figure(name string) func(*result.Workload, target) stat.Summary {
	return func(w *result.Workload, t target) stat.Summary { return figuresOf(w, t.design, t.design).named(name) }
}

func lag(q float64) func(*result.Workload, target) stat.Summary {
	return func(w *result.Workload, t target) stat.Summary {
		return stat.Summarize(each(w.Of(t.design), lagQuantile(q)))
	}
}

// memory is the process's own memory above plain. The checksum table, eight bytes a page, is
// allowed for by the databases being small beside the bound.
func memory(w *result.Workload, t target) stat.Summary {
	return difference(w, t.design, t.base, func(r result.Run) float64 { return float64(r.PeakAnon) })
}

// idleMemory is what the replicas of idle databases take, without what SQLite's connections do.
func idleMemory(w *result.Workload, t target) stat.Summary {
	return difference(w, t.design, t.base, func(r result.Run) float64 { return r.Figures["idle_memory_bytes"] })
}

func shippedPerOp(r result.Run) float64 { return float64(r.Shipped) / float64(max(r.Ops, 1)) }

// outageLatency is the p99 during an outage to the p99 before it.
func outageLatency(w *result.Workload, t target) stat.Summary {
	return stat.Summarize(each(w.Of(t.design), func(r result.Run) float64 {
		return r.Figures["p99_outage_ms"] / r.Figures["p99_before_ms"]
	}))
}

func megabytes(x float64) string { return number(x) + " MB/s" }

// outcome is a target with what was measured.
type outcome struct {
	target
	measured      stat.Summary
	floorV, goalV Verdict
}

// outcomes judges the targets whose workloads are in f.
func outcomes(f *result.File) []outcome {
	var out []outcome
	for _, t := range targets() {
		w := f.Workload(t.workload)
		if w == nil {
			continue
		}
		o := outcome{target: t, measured: t.measure(w, t)}
		o.floorV, o.goalV = t.floor.verdict(o.measured), t.goal.verdict(o.measured)
		out = append(out, o)
	}
	return out
}

// text of a bound: "≥ 1.25x".
func (t target) text(b bound) string {
	switch {
	case !b.set:
		return ""
	case b.atMost && b.value == 0:
		return "none"
	case b.atMost:
		return "≤ " + t.show(b.value)
	}
	return "≥ " + t.show(b.value)
}
