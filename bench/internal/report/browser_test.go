package report

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/result"
)

// screenshots, when it names a folder, is where pictures of the report are put.
const screenshots = "SEAWAL_SCREENSHOTS"

// everything is a file whose report has each kind of plot there is.
func everything() *result.File {
	f := sample()
	mixed := result.Workload{Name: "mixed", Title: "Four readers beside a writer", Unit: "commits", Designs: []string{design.Plain, ours, design.Peer}, Pairs: 9}
	many := result.Workload{Name: "databases-1000", Title: "Databases in one process: 1000", Unit: "databases", Designs: []string{design.Plain, ours}, Pairs: 1}
	for i := range 9 {
		for k, d := range mixed.Designs {
			r := run(d, i, 2000, time.Duration(10+5*k)*time.Microsecond)
			r.Reads, r.Requests = 80_000-2000*int64(k), 3
			r.Sidecar.User = 0.01 * float64(k)
			mixed.Runs = append(mixed.Runs, r)
		}
	}
	for _, d := range many.Designs {
		many.Runs = append(many.Runs, result.Run{Design: d, Ops: 1000, Seconds: 9, PeakAnon: 200 << 20, Figures: map[string]float64{
			"open_s": 9, "idle_memory_bytes": 190 << 20, "idle_cpu_percent": 0.4, "idle_goroutines": 5017, "idle_requests": 0,
			"trickle_memory_bytes": 198 << 20, "trickle_cpu_percent": 7.7, "trickle_goroutines": 5017, "trickle_requests": 150,
		}})
	}
	f.Workloads = append(f.Workloads, mixed, many)
	return f
}

// appearance is what a look at the page finds.
type appearance struct {
	Plots      int
	Empty      []string // plots that take no room or show nothing
	Cut        []string // labels that leave their plot
	Overlapped []string // labels that lie on each other
	Faint      []string // text and curves that can hardly be told from what is behind them
	Scrolled   []string // tables that are wider than the page
	Overflow   int      // pixels that the page is wider than the window
	Background string
}

// lookAtPage returns an appearance.
const lookAtPage = `(() => {
	const out = {plots: 0, empty: [], cut: [], overlapped: [], faint: [], scrolled: [], overflow: 0, background: getComputedStyle(document.body).backgroundColor}
	const rgb = s => (s.match(/[\d.]+/g) || []).map(Number)
	const light = s => {
		const [r, g, b] = rgb(s).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		return 0.2126 * r + 0.7152 * g + 0.0722 * b
	}
	const contrast = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05) }
	const behind = e => {
		for (; e; e = e.parentElement) {
			const c = getComputedStyle(e).backgroundColor
			if (rgb(c)[3] !== 0) return c
		}
		return 'rgb(255, 255, 255)'
	}
	const wants = (e, colour, ratio) => {
		const c = contrast(colour, behind(e))
		if (c < ratio) out.faint.push(e.tagName + '.' + e.getAttribute('class') + ' "' + e.textContent.trim().slice(0, 30) + '": ' + c.toFixed(1))
	}
	document.querySelectorAll('details').forEach(e => e.open = true)
	out.overflow = document.documentElement.scrollWidth - innerWidth
	document.querySelectorAll('.scroll').forEach(e => { if (e.scrollWidth > e.clientWidth) out.scrolled.push(e.textContent.trim().slice(0, 60)) })
	for (const plot of document.querySelectorAll('svg[role=img]')) {
		out.plots++
		const frame = plot.getBoundingClientRect(), name = plot.getAttribute('aria-label')
		if (frame.width < 200 || frame.height < 40 || !plot.querySelector('.curve, .bar, .span')) out.empty.push(name)
		const labels = [...plot.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()])
		for (const [text, r] of labels)
			if (r.left < frame.left - 1 || r.right > frame.right + 1 || r.top < frame.top - 1 || r.bottom > frame.bottom + 1) out.cut.push(name + ': ' + text)
		labels.forEach(([a, r], i) => labels.slice(i + 1).forEach(([b, s]) => {
			if (r.left < s.right && s.left < r.right && r.top + 2 < s.bottom && s.top + 2 < r.bottom) out.overlapped.push(name + ': ' + a + ' / ' + b)
		}))
		plot.querySelectorAll('.curve, .span, .dot').forEach(e => {
			const style = getComputedStyle(e)
			wants(e, e.matches('.dot') ? style.fill : style.stroke, 3)
		})
	}
	document.querySelectorAll('p, td, th, dt, dd, h1, h2, small, a, summary, figcaption').forEach(e => wants(e, getComputedStyle(e).color, 4.5))
	document.querySelectorAll('svg text').forEach(e => wants(e, getComputedStyle(e).fill, 4.5))
	return out
})()`

// The report in a browser, light and dark, on a desk and on a phone: it needs no network, says nothing on the console, and all of it
// can be read.
func TestReportInABrowser(t *testing.T) {
	var page strings.Builder
	if err := HTML(&page, everything()); err != nil {
		t.Fatal(err)
	}
	b := startBrowser(t)
	address := writePage(t, page.String())
	b.look("light", 1280)
	b.open(address)
	backgrounds := map[string]bool{}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{1280, 390} {
			name := fmt.Sprintf("%s-%d", scheme, width)
			b.look(scheme, width)
			var got appearance
			b.evaluate(lookAtPage, &got)
			if want := strings.Count(page.String(), `role="img"`); got.Plots != want || want < 10 {
				t.Errorf("%s: %d plots, %d in the file", name, got.Plots, want)
			}
			for what, found := range map[string][]string{"empty": got.Empty, "cut": got.Cut, "overlapped": got.Overlapped, "faint": got.Faint} {
				if len(found) > 0 {
					t.Errorf("%s: %s: %s", name, what, strings.Join(first(slices.Compact(found), 12), "\n\t"))
				}
			}
			if width > 1000 && len(got.Scrolled) > 0 {
				t.Errorf("%s: tables that have to be scrolled: %q", name, got.Scrolled)
			}
			if got.Overflow > 0 {
				t.Errorf("%s: the page is %d pixels wider than the window", name, got.Overflow)
			}
			backgrounds[scheme+got.Background] = true
			if dir := os.Getenv(screenshots); dir != "" {
				b.screenshot(filepath.Join(dir, name+".png"))
			}
		}
	}
	if len(backgrounds) != 2 || !backgrounds["lightrgb(255, 255, 255)"] {
		t.Errorf("backgrounds: %v", backgrounds)
	}
	if requests, console := b.heard(address); len(requests) > 0 || len(console) > 0 {
		t.Errorf("requests %q, console %q", requests, console)
	}
}

// The looks above can fail: a page that has everything wrong is found out.
func TestBrowserFindsFaults(t *testing.T) {
	b := startBrowser(t)
	address := writePage(t, `<!DOCTYPE html><body style="background:#fff"><p style="color:#eee;width:3000px">faint</p><div class="scroll" style="width:9em;overflow:auto"><div style="width:99em">wide</div></div>
<img src="http://127.0.0.1:1/missing.png"><script>console.error("oh")</script>
<svg viewBox="0 0 300 100" width="300" role="img" aria-label="bad"><text x="290" y="50">cut off</text><text x="290" y="50">on it</text></svg>`)
	b.look("light", 1280)
	b.open(address)
	var got appearance
	b.evaluate(lookAtPage, &got)
	if got.Plots != 1 || len(got.Empty) != 1 || len(got.Cut) != 2 || len(got.Overlapped) != 1 || len(got.Faint) != 1 || len(got.Scrolled) != 1 || got.Overflow < 1000 {
		t.Errorf("%+v", got)
	}
	requests, console := b.heard(address)
	if !slices.Contains(requests, "http://127.0.0.1:1/missing.png") || !strings.Contains(strings.Join(console, ""), "oh") {
		t.Errorf("requests %q, console %q", requests, console)
	}
}

// writePage puts a page into a file, and returns its URL.
func writePage(t *testing.T, page string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	return (&url.URL{Scheme: "file", Path: path}).String()
}

func first(s []string, n int) []string { return s[:min(n, len(s))] }
