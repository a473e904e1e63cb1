package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"seawal/bench/internal/design"
	"seawal/bench/internal/result"
	"seawal/bench/internal/stat"
)

// palette gives each design its series number, the same in all charts.
type palette map[string]int

// series is how many the style sheet knows; further ones begin again.
const series = 12

func newPalette(f *result.File) palette {
	p := palette{}
	for _, w := range f.Workloads {
		for _, d := range w.Designs {
			if _, ok := p[d]; !ok {
				p[d] = len(p) % series
			}
		}
	}
	return p
}

// overview shows one ratio a workload, with its interval, around the line at 1.
func overview(f *result.File, p palette) template.HTML {
	type row struct {
		title string
		ratio stat.Summary
	}
	var rows []row
	lo, hi := 0.8, 1.25
	for i := range f.Workloads {
		w := &f.Workloads[i]
		if r := ratio(w, ours, design.Plain, result.Run.Rate); r.N > 0 && r.Median > 0 && !paced(w) {
			rows = append(rows, row{w.Title, r})
			lo, hi = min(lo, r.Low*0.95), max(hi, r.High*1.05)
		}
	}
	if len(rows) == 0 {
		return ""
	}
	pl := newPlot(ratioAxis("to plain SQLite", lo, hi), axis{})
	pl.left = 200
	pl.height = float64(len(rows))*20 + marginTop + marginBottom
	pl.grid()
	one := pl.px(1)
	pl.add(`<line x1="%.1f" y1="%d" x2="%.1f" y2="%.1f" class="one"/>`, one, marginTop, one, pl.height-marginBottom)
	for i, r := range rows {
		y := float64(i)*20 + marginTop + 10
		pl.text(pl.left-8, y+4, "tick end", clip(r.title, 46))
		pl.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="span s%d"/>`, pl.px(r.ratio.Low), y, pl.px(r.ratio.High), y, p[ours])
		pl.dot(p[ours], pl.px(r.ratio.Median), y, 4.5, fmt.Sprintf("%s: %s %s", r.title, times(r.ratio.Median), between(r.ratio.Low, r.ratio.High, times, r.ratio.N)))
	}
	return pl.svg("Throughput of seawal with a replica relative to plain SQLite, one line a workload")
}

// clip shortens a label that has no room.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// paced reports whether the rate of a workload was given rather than reached, or is no figure of it.
func paced(w *result.Workload) bool {
	return w.Name == "trickle" || w.Name == "mixed" || w.Name == "outage" || ofMany(w)
}

// ofMany reports whether the workload is many databases in one process.
func ofMany(w *result.Workload) bool { return strings.HasPrefix(w.Name, "databases-") }

// bars shows the rate of each design: the median as a bar, each measurement as a dot.
func bars(w *result.Workload, p palette, title string, rate func(result.Run) float64) template.HTML {
	top := 0.0
	for _, r := range w.Runs {
		top = max(top, rate(r))
	}
	if top == 0 {
		return ""
	}
	pl := newPlot(axis{lo: 0, hi: float64(len(w.Designs)), title: title}, linear("", 0, top, number))
	pl.grid()
	bottom := pl.py(0)
	for i, d := range w.Designs {
		values := each(w.Of(d), rate)
		if len(values) == 0 {
			continue
		}
		left, right, y := pl.px(float64(i)+0.15), pl.px(float64(i)+0.85), pl.py(stat.Median(values))
		pl.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="bar s%d"><title>%s: %s</title></rect>`,
			left, y, right-left, bottom-y, p[d], design.Title(d), number(stat.Median(values)))
		for k, v := range values {
			x := left + (right-left)*(float64(k)+1)/(float64(len(values))+1)
			pl.dot(p[d], x, pl.py(v), 2.2, fmt.Sprintf("%s, measurement %d: %s", design.Title(d), k+1, number(v)))
		}
		pl.text((left+right)/2, bottom+17, "tick middle", clip(design.Title(d), max(8, 66/len(w.Designs))))
	}
	return pl.svg(w.Title + ": " + title)
}

// quantiles shows a distribution by the number of nines, so that what one operation in a
// thousand takes has as much room as what one in ten does.
func quantiles(w *result.Workload, p palette, title string, of func(result.Run) *result.Latency) template.HTML {
	merged := map[string]*result.Latency{}
	lo, hi, nines := math.Inf(1), 0.0, 0.0
	for _, d := range w.Designs {
		l := result.NewLatency()
		for _, r := range w.Of(d) {
			l.Merge(of(r))
		}
		if l.Count() < 2 {
			continue
		}
		merged[d] = l
		lo, hi = min(lo, max(l.At(0).Seconds(), 1e-7)), max(hi, l.At(1).Seconds())
		nines = max(nines, math.Log10(float64(l.Count())))
	}
	if len(merged) == 0 {
		return ""
	}
	x := axis{title: title, hi: min(nines, 6)}
	for _, t := range []tick{{0, "0 %"}, {math.Log10(2), "50 %"}, {1, "90 %"}, {2, "99 %"}, {3, "99.9 %"}, {4, "99.99 %"}, {5, "99.999 %"}} {
		if t.at <= x.hi {
			x.ticks = append(x.ticks, t)
		}
	}
	pl := newPlot(x, logarithmic("", lo, hi, seconds))
	pl.grid()
	for _, d := range w.Designs {
		l, ok := merged[d]
		if !ok {
			continue
		}
		var xs, ys []float64
		for n := 0.0; n <= min(x.hi, math.Log10(float64(l.Count()))); n += 0.04 {
			xs, ys = append(xs, n), append(ys, l.At(1-math.Pow(10, -n)).Seconds())
		}
		pl.curve(p[d], design.Title(d), xs, ys)
	}
	return pl.svg(w.Title + ": " + title)
}

// overTime shows a value of the middle pair while the operations ran.
func overTime(w *result.Workload, p palette, title string, label func(float64) string, of func(result.Run) []result.Point) template.HTML {
	lines := map[string][]result.Point{}
	end, top := 0.0, 0.0
	for _, d := range w.Designs {
		runs := w.Of(d)
		if len(runs) == 0 {
			continue
		}
		pts := slices.Clone(of(runs[len(runs)/2]))
		if len(pts) < 2 {
			continue
		}
		// Samples of the lag come in the order in which they ended.
		slices.SortFunc(pts, func(a, b result.Point) int { return sign(a.At - b.At) })
		lines[d] = pts
		end = max(end, pts[len(pts)-1].At)
		for _, pt := range pts {
			top = max(top, pt.Value)
		}
	}
	if len(lines) == 0 || top == 0 {
		return ""
	}
	pl := newPlot(linear(title, 0, end, fromZero(seconds)), linear("", 0, top, fromZero(label)))
	pl.grid()
	for _, d := range w.Designs {
		var xs, ys []float64
		for _, pt := range lines[d] {
			xs, ys = append(xs, pt.At), append(ys, pt.Value)
		}
		if len(xs) > 0 {
			pl.curve(p[d], design.Title(d), xs, ys)
		}
	}
	return pl.svg(w.Title + ": " + title)
}

// mebibytes converts a curve, so that its axis has round ticks.
func mebibytes(points []result.Point) []result.Point {
	out := slices.Clone(points)
	for i := range out {
		out[i].Value /= 1 << 20
	}
	return out
}

// fromZero labels an axis that begins at zero, which is not "nothing measured" there.
func fromZero(label func(float64) string) func(float64) string {
	return func(v float64) string {
		if v == 0 {
			return "0"
		}
		return label(v)
	}
}

func sign(x float64) int {
	switch {
	case x < 0:
		return -1
	case x > 0:
		return 1
	}
	return 0
}
