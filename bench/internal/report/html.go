package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"

	"seawal/bench/internal/design"
	"seawal/bench/internal/result"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what the template is filled with.
type page struct {
	Style       template.CSS
	Environment [][2]string
	Warnings    []string
	Summary     string
	Elapsed     string
	Legend      []legend
	Overview    template.HTML
	Targets     []verdictRow
	Workloads   []section
}

type legend struct {
	Series int
	Title  string
}

// verdictRow is a line of the table of targets.
type verdictRow struct {
	Name, Measured, Spread      string
	Floor, Goal                 string
	FloorVerdict, GoalVerdict   Verdict
	FloorClass, GoalClass, Link string
}

// section is one workload.
type section struct {
	Name, Title, Why, Settings string
	Tables                     []grid
	Charts                     []chart
	Notes                      []string
}

// grid is a table by rows.
type grid struct {
	Heads []string
	Right []bool // the column is set flush right
	Rows  [][]string
}

type chart struct {
	Title string
	SVG   template.HTML
}

// HTML writes the report: one page that needs nothing else.
func HTML(w io.Writer, f *result.File) error {
	p := newPalette(f)
	pg := page{
		Style: template.CSS(pageStyle), Environment: environment(f), Warnings: warnings(f),
		Elapsed: seconds(f.Elapsed), Overview: overview(f, p), Legend: legends(f, p),
	}
	pg.Targets, pg.Summary = verdictRows(outcomes(f))
	for i := range f.Workloads {
		pg.Workloads = append(pg.Workloads, sectionOf(&f.Workloads[i], p))
	}
	var buf bytes.Buffer
	if err := pageTemplate.Execute(&buf, pg); err != nil {
		return fmt.Errorf("making the report: %w", err)
	}
	_, err := w.Write(buf.Bytes())
	return err
}

func legends(f *result.File, p palette) []legend {
	var out []legend
	seen := map[string]bool{}
	for _, w := range f.Workloads {
		for _, d := range w.Designs {
			if !seen[d] {
				seen[d] = true
				out = append(out, legend{p[d], design.Title(d)})
			}
		}
	}
	return out
}

func verdictRows(out []outcome) (rows []verdictRow, summary string) {
	counts := map[Verdict]int{}
	for _, o := range out {
		counts[o.floorV]++
		counts[o.goalV]++
		rows = append(rows, verdictRow{
			Name: o.name, Measured: o.value(), Spread: o.spread(),
			Floor: o.text(o.floor), Goal: o.text(o.goal),
			FloorVerdict: o.floorV, GoalVerdict: o.goalV,
			FloorClass: class(o.floorV), GoalClass: class(o.goalV),
			Link: "#" + o.workload,
		})
	}
	return rows, fmt.Sprintf("%d met, %d missed, %d not measured", counts[Met], counts[Missed], counts[NotMeasured])
}

func class(v Verdict) string {
	if v == NotMeasured {
		return "unmeasured"
	}
	return string(v)
}

func sectionOf(w *result.Workload, p palette) section {
	s := section{Name: w.Name, Title: w.Title, Why: w.Why, Settings: settings(w), Notes: notes(w)}
	if len(w.Designs) == 0 {
		return s
	}
	for _, t := range workloadTables(w) {
		s.Tables = append(s.Tables, grid{t.heads, t.right, t.rows()})
	}
	add := func(title string, svg template.HTML) {
		if svg != "" {
			s.Charts = append(s.Charts, chart{title, svg})
		}
	}
	if w.Name == "restore" {
		add("Speed", bars(w, p, "MB of database a second", func(r result.Run) float64 { return r.Figures["mb_per_s"] }))
		return s
	}
	if ofMany(w) {
		add("Memory while idle", bars(w, p, "MiB", func(r result.Run) float64 { return r.Figures["idle_memory_bytes"] / (1 << 20) }))
		add("Processor, a little to do", bars(w, p, "percent of one, with 100 commits a second", func(r result.Run) float64 { return r.Figures["trickle_cpu_percent"] }))
		return s
	}
	if !paced(w) && len(w.Designs) > 1 {
		add("Throughput", bars(w, p, w.Unit+" a second", result.Run.Rate))
	}
	add("Reads beside the writer", bars(w, p, "reads a second", result.Run.ReadRate))
	add("Latency", quantiles(w, p, "share of operations that took at most so long", func(r result.Run) *result.Latency { return r.Latency }))
	add("Size of the log", overTime(w, p, "time", func(v float64) string { return number(v) + " MiB" }, func(r result.Run) []result.Point { return mebibytes(r.WAL) }))
	add("Lag: commit to durable", quantiles(w, p, "share of moments at which the lag was at most so long", func(r result.Run) *result.Latency { return r.Lag }))
	add("Lag over time", overTime(w, p, "time of the commit", seconds, func(r result.Run) []result.Point { return r.LagTime }))
	return s
}
