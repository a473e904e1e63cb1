package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// Size of a plot in its own units, and the room around what is plotted.
const (
	plotWidth    = 460
	plotHeight   = 260
	marginLeft   = 64
	marginRight  = 26
	marginTop    = 10
	marginBottom = 42
)

// tick is a labelled place on an axis.
type tick struct {
	at    float64
	label string
}

// axis maps values to the unit interval.
type axis struct {
	title  string
	lo, hi float64
	log    bool
	ticks  []tick
}

// place is where v is: 0 at lo, 1 at hi. Values beyond are held at the ends.
func (a axis) place(v float64) float64 {
	lo, hi := a.lo, a.hi
	if a.log {
		lo, hi, v = math.Log10(lo), math.Log10(hi), math.Log10(max(v, a.lo))
	}
	if hi <= lo {
		return 0
	}
	return min(max((v-lo)/(hi-lo), 0), 1)
}

// linear is an axis from lo to at least hi, with about five round ticks.
func linear(title string, lo, hi float64, label func(float64) string) axis {
	if !(hi > lo) {
		hi = lo + 1
	}
	raw := (hi - lo) / 5
	unit := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * unit
	for _, m := range []float64{1, 2, 5} {
		if m*unit >= raw {
			step = m * unit
			break
		}
	}
	a := axis{title: title, lo: lo, hi: math.Ceil(hi/step) * step}
	for v := math.Ceil(lo/step) * step; v <= a.hi+step/1e6; v += step {
		a.ticks = append(a.ticks, tick{v, label(v)})
	}
	return a
}

// logarithmic is an axis whose ticks are powers of ten, with 2 and 5 between if there are few.
func logarithmic(title string, lo, hi float64, label func(float64) string) axis {
	if !(lo > 0) {
		lo = 1e-9
	}
	if !(hi > lo) {
		hi = lo * 10
	}
	a := axis{title: title, lo: lo, hi: hi, log: true}
	steps := []float64{1}
	if math.Log10(hi/lo) < 3 {
		steps = []float64{1, 2, 5}
	}
	for p := math.Floor(math.Log10(lo)); p <= math.Log10(hi); p++ {
		for _, m := range steps {
			if v := m * math.Pow(10, p); v >= lo*0.999 && v <= hi*1.001 {
				a.ticks = append(a.ticks, tick{v, label(v)})
			}
		}
	}
	return a
}

// ratioAxis is a logarithmic axis around 1, with the ticks that one thinks in.
func ratioAxis(title string, lo, hi float64) axis {
	a := axis{title: title, lo: lo, hi: hi, log: true}
	last := math.Inf(-1)
	for _, v := range []float64{0.01, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 10, 100} {
		// Labels need room: a tenth of the axis.
		if v >= lo && v <= hi && (v == 1 || a.place(v) > last+0.1) {
			a.ticks = append(a.ticks, tick{v, times(v)})
			last = a.place(v)
		}
	}
	return a
}

// plot is an SVG under construction.
type plot struct {
	x, y   axis
	height float64
	left   float64
	body   strings.Builder
}

func newPlot(x, y axis) *plot { return &plot{x: x, y: y, height: plotHeight, left: marginLeft} }

func (p *plot) px(v float64) float64 {
	return p.left + p.x.place(v)*(plotWidth-p.left-marginRight)
}

func (p *plot) py(v float64) float64 {
	return p.height - marginBottom - p.y.place(v)*(p.height-marginTop-marginBottom)
}

func (p *plot) add(format string, args ...any) { fmt.Fprintf(&p.body, format+"\n", args...) }

// text places text; class says how it is set.
func (p *plot) text(x, y float64, class, s string) {
	p.add(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, html.EscapeString(s))
}

// grid draws both axes.
func (p *plot) grid() {
	bottom := p.height - marginBottom
	for _, t := range p.y.ticks {
		y := p.py(t.at)
		p.add(`<line x1="%.1f" y1="%.1f" x2="%d" y2="%.1f" class="grid"/>`, p.left, y, plotWidth-marginRight, y)
		p.text(p.left-6, y+4, "tick end", t.label)
	}
	for _, t := range p.x.ticks {
		x := p.px(t.at)
		p.add(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="axis"/>`, x, bottom, x, bottom+4)
		p.text(x, bottom+17, "tick middle", t.label)
	}
	p.add(`<line x1="%.1f" y1="%.1f" x2="%d" y2="%.1f" class="axis"/>`, p.left, bottom, plotWidth-marginRight, bottom)
	p.text((p.left+plotWidth-marginRight)/2, p.height-6, "title middle", p.x.title)
}

// curve draws a line through points; dash tells it from others without colour.
func (p *plot) curve(series int, name string, xs, ys []float64) {
	var pts strings.Builder
	for i := range xs {
		fmt.Fprintf(&pts, "%.1f,%.1f ", p.px(xs[i]), p.py(ys[i]))
	}
	p.add(`<polyline points="%s" class="curve s%d"><title>%s</title></polyline>`, strings.TrimSpace(pts.String()), series, html.EscapeString(name))
}

// dot marks one value; what it is appears under the pointer.
func (p *plot) dot(series int, x, y, r float64, what string) {
	p.add(`<circle cx="%.1f" cy="%.1f" r="%.1f" class="dot s%d"><title>%s</title></circle>`, x, y, r, series, html.EscapeString(what))
}

// svg is the finished plot. label is what someone who can't see it is told.
func (p *plot) svg(label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %d %.0f" role="img" aria-label="%s">`+"\n%s</svg>",
		plotWidth, p.height, html.EscapeString(label), p.body.String()))
}
