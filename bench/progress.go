package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// progress is the line that says what is going on. On anything but a terminal it is silent.
type progress struct {
	out      *os.File
	terminal bool
	width    int       // of the line that is shown
	start    time.Time // of the run
	total    float64   // seconds that the whole run was estimated to take
	left     float64   // of them, not begun
}

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	return &progress{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// begin starts the clock with an estimate of everything, in seconds.
func (p *progress) begin(estimate float64) {
	p.start, p.total, p.left = time.Now(), estimate, estimate
}

// settle replaces the estimate of what is left, after a workload that may have been cut short.
func (p *progress) settle(left float64) { p.left = left }

// show says what is being done now, which is estimated to take so many seconds.
func (p *progress) show(title, what string, estimate float64) {
	if p.terminal {
		line := fmt.Sprintf("%s  %s: %s", p.clock(), title, what)
		fmt.Fprintf(p.out, "\r%s%s", line, strings.Repeat(" ", max(0, p.width-len(line))))
		p.width = len(line)
	}
	p.left -= estimate
}

// clock is the share that is done and the time left, which follows how fast it went so far.
func (p *progress) clock() string {
	done := min(max(p.total-p.left, 0), p.total)
	percent := 100 * done / max(p.total, 1)
	if done < 1 {
		return fmt.Sprintf("%3.0f%%  about %s left", percent, minutes(p.left))
	}
	pace := time.Since(p.start).Seconds() / done
	return fmt.Sprintf("%3.0f%%  about %s left", percent, minutes(p.left*pace))
}

func minutes(seconds float64) string {
	s := int(max(seconds, 0))
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// clear wipes the line.
func (p *progress) clear() {
	if p.terminal && p.width > 0 {
		fmt.Fprintf(p.out, "\r%s\r", strings.Repeat(" ", p.width))
		p.width = 0
	}
}
