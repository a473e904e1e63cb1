package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// bar shows how much of the objects has arrived: bytes, rate and time left.
type bar struct {
	w     io.Writer
	p     *progressbar.ProgressBar
	total int64
}

func newBar(w io.Writer) *bar { return &bar{w: w} }

// set is restore.Options.Progress.
func (b *bar) set(done, total int64) {
	if b.p == nil || b.total != total {
		b.clear()
		b.total = total
		b.p = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetDescription("restoring"),
			progressbar.OptionShowBytes(true),
			progressbar.OptionShowTotalBytes(true),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(100*time.Millisecond),
		)
	}
	b.p.Set64(done) // fails only when the terminal does
}

// clear takes the bar off the screen.
func (b *bar) clear() {
	if b.p != nil {
		b.p.Clear()
	}
}
