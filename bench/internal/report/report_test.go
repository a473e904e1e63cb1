package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/machine"
	"seawal/bench/internal/result"
	"seawal/bench/internal/stat"
	"seawal/bench/internal/workload"
)

// run is a measurement with every figure set, the latencies around the one given.
func run(name string, pair int, rate float64, latency time.Duration) result.Run {
	r := result.Run{
		Design: name, Pair: pair, Ops: 1000, Seconds: 1000 / rate, Latency: result.NewLatency(),
		User: 0.02, System: 0.01, PeakRSS: 30 << 20, PeakAnon: 10 << 20, PeakWAL: 4 << 20,
		WAL: []result.Point{{At: 0, Value: 1 << 20}, {At: 0.5, Value: 4 << 20}},
	}
	for i := range 1000 {
		r.Latency.Record(latency + time.Duration(i*i)*latency/100_000)
	}
	if name != design.Plain {
		r.Lag = result.NewLatency()
		for i := range 40 {
			r.Lag.Record(time.Duration(i+1) * 25 * time.Millisecond)
			r.LagTime = append(r.LagTime, result.Point{At: float64(i) * 0.025, Value: float64(i+1) * 0.025})
		}
		r.PeakAnon, r.Shipped, r.Objects = 30<<20, 100_000, 2
	}
	return r
}

// sample is a file with pairs in which seawal is a quarter faster, a workload of named figures, one that failed.
func sample() *result.File {
	single := result.Workload{
		Name: "single", Title: "Single-row commits", Why: "Why <not>?", Unit: "commits", Ops: 1000,
		Designs: []string{design.Plain, ours}, Pairs: 9, Skipped: []string{"litestream: not on PATH"},
	}
	for i := range 9 {
		rate := 10_000 + 100*float64(i)
		single.Runs = append(single.Runs, run(design.Plain, i, rate, 20*time.Microsecond), run(ours, i, 1.25*rate, 15*time.Microsecond))
	}
	restore := result.Workload{Name: "restore", Title: "Restore", Unit: "bytes", Designs: []string{ours}, Runs: []result.Run{
		{Design: ours, Ops: 1 << 30, Seconds: 4, Figures: map[string]float64{"mb_per_s": 200, "database_bytes": 1 << 30}},
	}}
	failed := result.Workload{Name: "bulk", Title: "Bulk load", Unit: "rows", Designs: []string{design.Plain, ours}, Runs: []result.Run{
		{Design: ours, Error: "disk <full>"},
	}}
	return &result.File{Format: result.FormatVersion, Started: time.Unix(0, 0), Environment: machine.Machine{Litestream: "v0.5.18"}, Flags: []string{"-quick"}, Workloads: []result.Workload{single, restore, failed}}
}

func TestHTMLStandsAlone(t *testing.T) {
	var buf bytes.Buffer
	if err := HTML(&buf, sample()); err != nil {
		t.Fatal(err)
	}
	page := buf.String()
	for _, bad := range []string{"http://", "https://", "<script", "@import", "url(", "<link", "ZgotmplZ", "NaN", "Inf", "%!"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page contains %q", bad)
		}
	}
	for _, want := range []string{
		"prefers-color-scheme: dark", `id="single"`, `id="restore"`, `id="targets"`, "1.25x", "✓", "plain go-sqlite3",
		"Why &lt;not&gt;?", "disk &lt;full&gt;", "litestream: not on PATH", "200 MB/s", ">speed<", "Litestream v0.5.18",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	// Ratio of throughput, throughput, latency, log, lag twice; restore has its bars.
	if got := strings.Count(page, `role="img"`); got != 7 {
		t.Errorf("%d plots", got)
	}
	for _, id := range regexp.MustCompile(`href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(page, `id="`+id[1]+`"`) {
			t.Errorf("a link to %q leads nowhere", id[1])
		}
	}
}

// The designs of a workload are told from each other by their colours.
func TestColoursDiffer(t *testing.T) {
	f := &result.File{}
	for _, s := range workload.All() {
		f.Workloads = append(f.Workloads, result.Workload{Name: s.Name, Designs: s.Designs})
	}
	p := newPalette(f)
	for _, w := range f.Workloads {
		used := map[int]string{}
		for _, d := range w.Designs {
			if other, ok := used[p[d]]; ok {
				t.Errorf("%s: %s and %s look alike", w.Name, other, d)
			}
			used[p[d]] = d
		}
	}
}

// Every plot is well-formed, and everything in it lies within it.
func TestPlotsAreWellFormed(t *testing.T) {
	var buf bytes.Buffer
	if err := HTML(&buf, sample()); err != nil {
		t.Fatal(err)
	}
	svgs := regexp.MustCompile(`(?s)<svg viewBox="0 0 \d+ \d+" role="img".*?</svg>`).FindAllString(buf.String(), -1)
	if len(svgs) == 0 {
		t.Fatal("no plots")
	}
	for _, svg := range svgs {
		dec := xml.NewDecoder(strings.NewReader(svg))
		for {
			_, err := dec.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, svg)
			}
		}
		for _, pts := range regexp.MustCompile(`points="([^"]*)"`).FindAllStringSubmatch(svg, -1) {
			if len(strings.Fields(pts[1])) < 2 {
				t.Errorf("a curve of %q", pts[1])
			}
			if strings.Contains(pts[1], "-") {
				t.Errorf("a curve leaves the plot: %s", pts[1])
			}
		}
	}
}

func TestEmptyResultsMakeAPage(t *testing.T) {
	for _, f := range []*result.File{
		{},
		{Workloads: []result.Workload{{Name: "single", Title: "x"}}},
		{Workloads: []result.Workload{{Name: "single", Designs: []string{design.Plain, ours}}}},
	} {
		var buf bytes.Buffer
		if err := HTML(&buf, f); err != nil {
			t.Error(err)
		}
		if strings.Contains(buf.String(), "NaN") {
			t.Error("NaN in the page")
		}
		for i := range f.Workloads {
			Workload(&buf, f, &f.Workloads[i])
		}
		Targets(&buf, f)
	}
}

func TestVerdicts(t *testing.T) {
	byName := map[string]outcome{}
	for _, o := range outcomes(sample()) {
		byName[o.name] = o
	}
	for _, tc := range []struct {
		name        string
		floor, goal Verdict
	}{
		{"single-row commits: throughput", Met, Met},
		{"single-row commits: p99", Met, Met},
		{"single-row commits: p99.9", Missed, Missed}, // 0.75x
		{"memory above plain: single-row commits", Met, NotAsked},
		{"restore: database a second", Missed, NotAsked},
		{"bulk load: throughput", NotAsked, NotMeasured},
		{"against Litestream, single-row commits: throughput", NotAsked, NotMeasured},
	} {
		o, ok := byName[tc.name]
		if !ok {
			t.Errorf("no target %q", tc.name)
			continue
		}
		if o.floorV != tc.floor || o.goalV != tc.goal {
			t.Errorf("%s: %v: floor %q, goal %q; want %q, %q", tc.name, o.measured.Median, o.floorV, o.goalV, tc.floor, tc.goal)
		}
	}
	if _, ok := byName["random updates: throughput"]; ok {
		t.Error("a verdict on a workload that was not run")
	}
}

func TestBound(t *testing.T) {
	one := func(x float64) stat.Summary { return stat.Summarize([]float64{x}) }
	for _, tc := range []struct {
		b    bound
		x    float64
		want Verdict
	}{
		{atLeast(1.25), 1.25, Met}, {atLeast(1.25), 1.24, Missed},
		{atMost(1), 1, Met}, {atMost(1), 1.01, Missed},
		{atMost(0), 0, Met}, {atMost(0), math.NaN(), NotMeasured}, {bound{}, 1, NotAsked},
	} {
		if got := tc.b.verdict(one(tc.x)); got != tc.want {
			t.Errorf("%+v of %v: %q", tc.b, tc.x, got)
		}
	}
}

func TestTableColumnsLineUp(t *testing.T) {
	f := sample()
	var buf bytes.Buffer
	Workload(&buf, f, &f.Workloads[0])
	lines := strings.Split(buf.String(), "\n")
	var head string
	for i, l := range lines {
		if strings.Contains(l, "to plain") {
			head = l
			end := strings.Index(head, "to plain") + len("to plain")
			for _, row := range lines[i+1 : i+3] {
				r := []rune(row)
				if len(r) < end || r[end-1] != 'x' {
					t.Errorf("the ratio doesn't end below its head:\n%s\n%s", head, row)
				}
			}
		}
	}
	if head == "" || !strings.Contains(buf.String(), "1.25x") {
		t.Errorf("table:\n%s", buf.String())
	}
}

func TestUnits(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{number(0), "0"}, {number(0.1234), "0.123"}, {number(12.345), "12.3"}, {number(1234), "1,230"}, {number(1234567), "1,230,000"},
		{number(-4321), "-4,320"}, {number(999.9), "1000"}, {number(math.NaN()), missing},
		{seconds(1.5e-6), "1.5 µs"}, {seconds(0.0123), "12.3 ms"}, {seconds(75), "75 s"}, {seconds(0), missing},
		{size(512), "512 B"}, {size(1536), "1.5 KiB"}, {size(64 << 20), "64 MiB"}, {size(3 << 30), "3 GiB"},
		{times(1.256), "1.26x"}, {times(math.Inf(1)), missing},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestAxes(t *testing.T) {
	a := linear("", 0, 47, number)
	if a.hi < 47 || len(a.ticks) < 3 || len(a.ticks) > 8 {
		t.Errorf("linear: %+v", a)
	}
	l := logarithmic("", 1e-6, 1e-2, seconds)
	if len(l.ticks) != 5 || math.Abs(l.place(1e-4)-0.5) > 1e-9 {
		t.Errorf("logarithmic: %+v", l)
	}
	for _, v := range []float64{-1, 0, 1e-9, 1, math.Inf(1)} {
		if p := l.place(v); p < 0 || p > 1 {
			t.Errorf("%v is placed at %v", v, p)
		}
	}
	for _, a := range []axis{linear("", 5, 5, number), logarithmic("", 0, 0, number)} {
		if p := a.place(7); math.IsNaN(p) || len(a.ticks) == 0 {
			t.Errorf("an axis without extent: %+v", a)
		}
	}
}
