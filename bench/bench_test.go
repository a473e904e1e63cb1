package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/workload"
)

// operationsPerMeasurement is enough for a p99 and for some checkpoints.
const operationsPerMeasurement = 5000

// BenchmarkWorkload is for benchstat: one line for each workload and design, whose names are
// key=value. It measures in this process, without pairs: compare commits with it, not designs.
// README.md has the commands.
func BenchmarkWorkload(b *testing.B) {
	dir := b.TempDir()
	for _, s := range workload.All() {
		if !s.Calibrated() {
			continue
		}
		for _, d := range s.Designs {
			b.Run(fmt.Sprintf("workload=%s/design=%s", s.Name, d), func(b *testing.B) {
				if _, err := design.Lookup(d); err != nil {
					b.Skip(err)
				}
				benchmark(b, workload.Job{Workload: s.Name, Design: d, Dir: dir, Quick: true, Ops: operationsPerMeasurement, Limit: time.Minute})
			})
		}
	}
}

// benchmark does whole measurements and reports their means. The time of a measurement is
// no figure: opening, warming up and shipping the rest are in it, so ns/op is replaced.
func benchmark(b *testing.B, j workload.Job) {
	sums := map[string]float64{}
	n := 0.0
	for b.Loop() {
		j.Seed++
		r, err := workload.Do(context.Background(), j)
		if err != nil {
			b.Fatal(err)
		}
		n++
		sums["ns/op"] += r.Seconds * 1e9 / float64(r.Ops)
		sums["cpu-ns/op"] += r.CPU() * 1e9
		sums["p99-ns"] += float64(r.Latency.At(0.99))
		sums["peak-B"] += float64(r.PeakAnon)
		if r.Lag.Count() > 0 {
			sums["shipped-B/op"] += float64(r.Shipped) / float64(r.Ops)
			sums["lag-p99-ns"] += float64(r.Lag.At(0.99))
		}
	}
	for unit, sum := range sums {
		b.ReportMetric(sum/n, unit)
	}
}

// TestMain is the child of the tests that measure in processes of their own.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childArg {
		os.Exit(child(os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

func TestFlags(t *testing.T) {
	for _, tc := range []struct {
		args    []string
		want    func(options) bool
		wantErr bool
	}{
		{nil, func(o options) bool { return o.seconds == fullSeconds && o.budget == fullBudget }, false},
		{[]string{"-quick"}, func(o options) bool { return o.seconds == quickSeconds && o.budget == quickBudget }, false},
		{[]string{"-run", "single", "-pairs", "3"}, func(o options) bool { return o.budget == 0 && o.pairs == 3 }, false},
		{[]string{"-run", "("}, nil, true},
		{[]string{"-pairs", "-1"}, nil, true},
		{[]string{"single"}, nil, true},
	} {
		o, err := parseFlags(tc.args)
		if (err != nil) != tc.wantErr {
			t.Errorf("%q: %v", tc.args, err)
		} else if err == nil && !tc.want(o) {
			t.Errorf("%q: %+v", tc.args, o)
		}
	}
}

func TestChoose(t *testing.T) {
	o, err := parseFlags([]string{"-quick", "-run", "^(single|page-1024)$"})
	if err != nil {
		t.Fatal(err)
	}
	specs := choose(o)
	if len(specs) != 2 || specs[1].Pairs != 1 {
		t.Errorf("a quick run measures what is named: %+v", specs)
	}
	o, err = parseFlags([]string{"-quick"})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range choose(o) {
		if s.Pairs == 0 || s.Pairs != s.QuickPairs {
			t.Errorf("%s: %d pairs", s.Name, s.Pairs)
		}
	}
}

// A run ends within what is promised, 10 minutes and one, even if all designs are there: what is never cut short and one pair of each of
// the others fit into its time.
func TestRunsFitTheirTime(t *testing.T) {
	for _, tc := range []struct {
		args    []string
		promise time.Duration
	}{{nil, 10 * time.Minute}, {[]string{"-quick"}, time.Minute}} {
		o, err := parseFlags(tc.args)
		if err != nil {
			t.Fatal(err)
		}
		var groups []group
		least := 0.0
		for _, s := range choose(o) {
			g := group{spec: s, designs: s.Designs}
			groups = append(groups, g)
			if g.flexible(o.quick) {
				least += g.estimatePairs(o.seconds, 1)
			} else {
				least += g.estimate(o.seconds)
			}
		}
		all, flexible := estimates(groups, o)
		t.Logf("%q: estimated %.0f s, %.0f s of it flexible, at least %.0f s, of %v", tc.args, all, flexible, least, o.budget)
		if least > tc.promise.Seconds() || all > 2*o.budget.Seconds() {
			t.Errorf("%q takes too long", tc.args)
		}
	}
}

func TestOrderAlternates(t *testing.T) {
	g := group{designs: []string{"a", "b", "c"}}
	if got := fmt.Sprint(g.inPair(0), g.inPair(1), g.inPair(2)); got != "[a b c] [c b a] [a b c]" {
		t.Error(got)
	}
}

// A peer has fewer pairs, and goes first as well as last.
func TestPeerIsInHalfOfManyPairs(t *testing.T) {
	g := group{spec: workload.Spec{Pairs: workload.ManyPairs}, designs: []string{"a", design.Peer}}
	var first, last int
	for pair := range g.spec.Pairs {
		switch designs := g.inPair(pair); {
		case len(designs) == 1:
		case designs[0] == design.Peer:
			first++
		default:
			last++
		}
	}
	if first != 2 || last != 3 {
		t.Errorf("first %d times, last %d times", first, last)
	}
	if g.spec.Pairs = 3; len(g.inPair(1)) != 2 {
		t.Error("left out of few pairs")
	}
}

// A design alone is not measured where it was to be compared.
func TestNothingToCompareWith(t *testing.T) {
	s, err := workload.Find("stores")
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range design.Clouds {
		t.Setenv(variable, "")
	}
	if g := available(s); len(g.designs) > 0 || len(g.skipped) != len(s.Designs)-1 || g.estimate(1) != 0 {
		t.Errorf("%+v", g)
	}
}

func TestSeedsDiffer(t *testing.T) {
	seen := map[uint64]string{}
	for _, s := range workload.All() {
		for pair := -1; pair < 20; pair++ {
			id := fmt.Sprint(s.Name, pair)
			if other, ok := seen[seed(s.Name, pair)]; ok {
				t.Errorf("%s and %s have one seed", id, other)
			}
			seen[seed(s.Name, pair)] = id
		}
	}
}

func TestRoundKeepsTwoDigits(t *testing.T) {
	for x, want := range map[float64]int64{0: 1, 7.9: 7, 12.4: 12, 1234: 1200, 98765: 99000} {
		if got := round(x); got != want {
			t.Errorf("%v: %d, want %d", x, got, want)
		}
	}
}

// The whole program, as small as it gets: pairs in child processes, files with all of it.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	o, err := parseFlags([]string{"-quick", "-run", "^single$", "-pairs", "2", "-seconds", "0.02", "-dir", dir,
		"-json", filepath.Join(dir, "r.json"), "-html", filepath.Join(dir, "r.html")})
	if err != nil {
		t.Fatal(err)
	}
	if err := run(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	f, err := readFile(filepath.Join(dir, "r.json"))
	if err != nil {
		t.Fatal(err)
	}
	w := f.Workload("single")
	if w == nil || len(w.Of(design.Plain)) != 2 || len(w.Of("seawal-file")) != 2 {
		t.Fatalf("%+v", w)
	}
	for _, r := range w.Of("seawal-file") {
		// A busy machine may end the operations early, at their time limit.
		if r.Ops == 0 || r.Shipped == 0 || r.Objects == 0 || r.Requests == 0 || r.Lag.Count() == 0 || r.User == 0 {
			t.Errorf("a run without figures: %+v", r)
		}
	}
	if a, b := w.Of(design.Plain)[1], w.Of("seawal-file")[1]; a.Order < b.Order {
		t.Error("the order did not alternate")
	}
	left, err := filepath.Glob(filepath.Join(dir, "seawal-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	page, err := os.Stat(filepath.Join(dir, "r.html"))
	if err != nil || page.Size() < 10_000 {
		t.Errorf("report: %v, %v", page, err)
	}
}

// A measurement that fails is reported with its reason, and does not take the run down.
func TestFailedMeasurement(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m := &measurer{exe: exe}
	r, err := m.measure(context.Background(), workload.Job{Workload: "single", Design: design.Plain, Dir: "/no/such/folder", Ops: 1, Limit: time.Second})
	if err != nil || r.Error == "" {
		t.Errorf("%+v, %v", r, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.measure(ctx, workload.Job{Workload: "single", Design: design.Plain, Dir: t.TempDir(), Ops: 1, Limit: time.Second}); err == nil {
		t.Error("an interrupted run went on")
	}
}
