package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"seawal/bench/internal/design"
	"seawal/bench/internal/machine"
	"seawal/bench/internal/result"
	"seawal/bench/internal/stat"
)

// Environment prints what the numbers were made on.
func Environment(w io.Writer, f *result.File) {
	for _, line := range environment(f) {
		fmt.Fprintf(w, "%-12s %s\n", line[0], line[1])
	}
	for _, warning := range warnings(f) {
		fmt.Fprintf(w, "%-12s %s\n", "WARNING", warning)
	}
}

// environment are the lines of the header: name, value.
func environment(f *result.File) [][2]string {
	m := f.Environment
	lines := [][2]string{
		{"processor", fmt.Sprintf("%s, %d used, %s of memory", m.CPU, m.CPUs, size(float64(m.Memory)))},
		{"system", m.OS},
		{"disk", fmt.Sprintf("%s on %s; append and fdatasync of 4 KiB: p50 %s, p99 %s", m.FileSystem, m.Device, seconds(m.FsyncP50.Seconds()), seconds(m.FsyncP99.Seconds()))},
		{"versions", versions(m)},
		{"revision", m.Revision},
		{"load before", fmt.Sprintf("%.2f", m.Load)},
		{"started", f.Started.Format("2006-01-02 15:04:05 MST")},
	}
	if len(f.Flags) > 0 {
		lines = append(lines, [2]string{"flags", strings.Join(f.Flags, " ")})
	}
	return lines
}

func versions(m machine.Machine) string {
	v := fmt.Sprintf("%s, SQLite %s, %s", m.Go, m.SQLite, m.Driver)
	if m.Litestream != "" {
		v += ", Litestream " + m.Litestream
	}
	return v
}

// warnings say why the numbers may not mean what they seem to.
func warnings(f *result.File) []string {
	var out []string
	if !f.Environment.Quiet() {
		out = append(out, fmt.Sprintf("the machine was busy before the run (load %.2f on %d processors): timings are not worth quoting", f.Environment.Load, f.Environment.CPUs))
	}
	if !f.Environment.OnDisk() {
		out = append(out, fmt.Sprintf("the databases are on %s, where fsync means nothing: name a folder on a disk with -dir", f.Environment.FileSystem))
	}
	return out
}

// Workload prints one workload.
func Workload(w io.Writer, f *result.File, wl *result.Workload) {
	fmt.Fprintf(w, "\n%s  (%s)\n", wl.Title, wl.Name)
	fmt.Fprintf(w, "  %s\n", settings(wl))
	if len(wl.Designs) > 0 {
		for _, t := range workloadTables(wl) {
			t.print(w)
		}
	}
	for _, n := range notes(wl) {
		fmt.Fprintf(w, "  %s\n", n)
	}
}

// settings says how much was done and on what.
func settings(wl *result.Workload) string {
	line := strings.Join(wl.Settings, ", ")
	if wl.Ops > 0 {
		line = fmt.Sprintf("%s %s a measurement, %s", number(float64(wl.Ops)), wl.Unit, line)
	}
	return line
}

// notes say what is missing, and why.
func notes(wl *result.Workload) []string {
	var out []string
	if len(wl.Skipped) > 0 {
		out = append(out, "not measured: "+strings.Join(wl.Skipped, "; "))
	}
	early := map[string]int{}
	for _, r := range wl.Runs {
		if r.Error == "" && r.Ops < wl.Ops*99/100 {
			early[r.Design]++
		}
	}
	for _, d := range wl.Designs {
		if n := early[d]; n > 0 {
			out = append(out, fmt.Sprintf("%s: %d of %d measurements were too slow and ended at their time limit, with fewer %s", design.Title(d), n, len(wl.Of(d)), wl.Unit))
		}
	}
	for _, r := range wl.Runs {
		if r.Error != "" {
			out = append(out, fmt.Sprintf("FAILED: %s, pair %d: %s", design.Title(r.Design), r.Pair+1, r.Error))
		}
	}
	return out
}

// workloadTables are what the application sees, and what it costs: a row for each design, and the columns for which there is anything.
func workloadTables(wl *result.Workload) []table {
	base := wl.Designs[0]
	var figs []figures
	for _, d := range wl.Designs {
		figs = append(figs, figuresOf(wl, d, base))
	}
	if isSpecial(figs) {
		return []table{namedTable(figs)}
	}
	return []table{speedTable(wl, figs), costTable(figs)}
}

// anyOf reports whether one of the designs has it.
func anyOf(figs []figures, has func(figures) bool) bool { return slices.ContainsFunc(figs, has) }

// speedTable is what the application sees.
func speedTable(wl *result.Workload, figs []figures) (t table) {
	addColumn(&t, "design", false, figs, func(f figures) string { return design.Title(f.design) })
	addColumn(&t, "pairs", true, figs, func(f figures) string { return fmt.Sprint(f.rate.N) })
	addColumn(&t, wl.Unit+"/s", true, figs, func(f figures) string { return number(f.rate.Median) })
	addColumn(&t, "[Q1, Q3]", false, figs, func(f figures) string { return between(f.rate.Q1, f.rate.Q3, number, f.rate.N) })
	addColumn(&t, "to plain", true, figs, func(f figures) string { return times(f.ratio.Median) })
	addColumn(&t, "[95 %]", false, figs, func(f figures) string { return between(f.ratio.Low, f.ratio.High, times, f.ratio.N) })
	if anyOf(figs, func(f figures) bool { return f.reads.Median > 0 }) {
		addColumn(&t, "reads/s", true, figs, func(f figures) string { return number(f.reads.Median) })
	}
	if anyOf(figs, func(f figures) bool { return f.latency.Count() > 0 }) {
		addColumn(&t, "p50", true, figs, func(f figures) string { return seconds(f.p50.Median) })
		addColumn(&t, "p99", true, figs, func(f figures) string { return seconds(f.p99.Median) })
		addColumn(&t, "p99.9", true, figs, func(f figures) string { return seconds(f.p999.Median) })
		addColumn(&t, "max", true, figs, func(f figures) string { return seconds(f.worst.Seconds()) })
	}
	return t
}

// costTable is what it costs, and how far the replica is behind.
func costTable(figs []figures) (t table) {
	addColumn(&t, "design", false, figs, func(f figures) string { return design.Title(f.design) })
	addColumn(&t, "CPU each", true, figs, func(f figures) string { return seconds(f.cpu.Median) })
	addColumn(&t, "user", true, figs, func(f figures) string { return seconds(f.user.Median) })
	addColumn(&t, "system", true, figs, func(f figures) string { return seconds(f.system.Median) })
	if anyOf(figs, func(f figures) bool { return f.sidecar.Median > 0 }) {
		addColumn(&t, "sidecar", true, figs, func(f figures) string { return seconds(f.sidecar.Median) })
	}
	addColumn(&t, "memory", true, figs, func(f figures) string { return size(f.anon.Median) })
	addColumn(&t, "RSS", true, figs, func(f figures) string { return size(f.rss.Median) })
	addColumn(&t, "log", true, figs, func(f figures) string { return size(f.wal.Median) })
	if anyOf(figs, figures.replicates) {
		addColumn(&t, "shipped each", true, figs, ifReplicates(func(f figures) string { return size(f.shipped.Median) }))
		addColumn(&t, "per object", true, figs, ifReplicates(func(f figures) string { return number(1 / f.objects.Median) }))
		addColumn(&t, "per request", true, figs, ifReplicates(func(f figures) string { return number(1 / f.requests.Median) }))
	}
	if anyOf(figs, func(f figures) bool { return f.lag.Count() > 0 }) {
		addColumn(&t, "lag p50", true, figs, ifReplicates(func(f figures) string { return seconds(f.lag.At(0.5).Seconds()) }))
		addColumn(&t, "lag p99", true, figs, ifReplicates(func(f figures) string { return seconds(f.lag.At(0.99).Seconds()) }))
	} else {
		addColumn(&t, "to the end", true, figs, func(f figures) string { return seconds(f.drain.Median) })
	}
	return t
}

func ifReplicates(fn func(figures) string) func(figures) string {
	return func(f figures) string {
		if !f.replicates() {
			return ""
		}
		return fn(f)
	}
}

// isSpecial reports whether the workload has only figures of its own.
func isSpecial(figs []figures) bool {
	return slices.ContainsFunc(figs, func(f figures) bool { return len(f.runs) > 0 && len(f.runs[0].Figures) > 1 })
}

// namedTable has the figures of a special workload as columns.
func namedTable(figs []figures) table {
	names := map[string]bool{}
	for _, f := range figs {
		for _, r := range f.runs {
			for n := range r.Figures {
				names[n] = true
			}
		}
	}
	t := table{}
	addColumn(&t, "design", false, figs, func(f figures) string { return design.Title(f.design) })
	for _, n := range slices.Sorted(maps.Keys(names)) {
		title, show := namedUnit(n)
		addColumn(&t, title, true, figs, func(f figures) string { return show(f.named(n).Median) })
	}
	addColumn(&t, "took", true, figs, func(f figures) string {
		return seconds(stat.Median(each(f.runs, func(r result.Run) float64 { return r.Seconds })))
	})
	addColumn(&t, "memory", true, figs, func(f figures) string { return size(f.anon.Median) })
	return t
}

// namedUnit reads the unit off the name of a figure.
func namedUnit(name string) (title string, show func(float64) string) {
	title = strings.ReplaceAll(name, "_", " ")
	for _, u := range []struct {
		suffix string
		show   func(float64) string
	}{
		{"_bytes", size},
		{"mb_per_s", megabytes},
		{"_percent", func(x float64) string { return number(x) + " %" }},
		{"_ms", func(x float64) string { return seconds(x / 1e3) }},
		{"_s", seconds},
	} {
		if strings.HasSuffix(name, u.suffix) {
			title = strings.TrimSpace(strings.ReplaceAll(strings.TrimSuffix(name, u.suffix), "_", " "))
			if title == "" {
				title = "speed"
			}
			return title, u.show
		}
	}
	return title, number
}

// between shows a spread; of one value there is none.
func between(lo, hi float64, show func(float64) string, n int) string {
	if n < 2 {
		return ""
	}
	return "[" + show(lo) + ", " + show(hi) + "]"
}

// Targets prints the verdicts.
func Targets(w io.Writer, f *result.File) {
	out := outcomes(f)
	if len(out) == 0 {
		return
	}
	fmt.Fprintf(w, "\nTargets\n")
	t := table{}
	addColumn(&t, "", false, out, func(o outcome) string { return o.name })
	addColumn(&t, "measured", true, out, func(o outcome) string { return o.value() })
	addColumn(&t, "[95 %]", false, out, func(o outcome) string { return o.spread() })
	addColumn(&t, "floor", true, out, func(o outcome) string { return o.text(o.floor) })
	addColumn(&t, "", false, out, func(o outcome) string { return string(o.floorV) })
	addColumn(&t, "goal", true, out, func(o outcome) string { return o.text(o.goal) })
	addColumn(&t, "", false, out, func(o outcome) string { return string(o.goalV) })
	t.print(w)
}

func (o outcome) value() string {
	if o.measured.N == 0 {
		return missing
	}
	return o.show(o.measured.Median)
}

func (o outcome) spread() string {
	return between(o.measured.Low, o.measured.High, o.show, o.measured.N)
}

// table is text in columns.
type table struct {
	heads []string
	right []bool
	cells [][]string // by column
}

// addColumn adds a column with a cell for each of rows.
func addColumn[T any](t *table, head string, right bool, rows []T, cell func(T) string) {
	var cells []string
	for _, r := range rows {
		cells = append(cells, cell(r))
	}
	t.heads, t.right, t.cells = append(t.heads, head), append(t.right, right), append(t.cells, cells)
}

// rows returns the cells by row.
func (t *table) rows() (rows [][]string) {
	for row := range t.cells[0] {
		var cells []string
		for col := range t.heads {
			cells = append(cells, t.cells[col][row])
		}
		rows = append(rows, cells)
	}
	return rows
}

func (t *table) print(w io.Writer) {
	line := func(cell func(col int) string) {
		var b strings.Builder
		for col := range t.heads {
			width := utf8.RuneCountInString(t.heads[col])
			for _, c := range t.cells[col] {
				width = max(width, utf8.RuneCountInString(c))
			}
			s := cell(col)
			pad := strings.Repeat(" ", width-utf8.RuneCountInString(s))
			if b.WriteString("  "); t.right[col] {
				s, pad = pad, s
			}
			b.WriteString(s + pad)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	line(func(col int) string { return t.heads[col] })
	for row := range t.cells[0] {
		line(func(col int) string { return t.cells[col][row] })
	}
}
