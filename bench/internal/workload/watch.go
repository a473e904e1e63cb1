package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/machine"
	"seawal/bench/internal/result"
)

// How often the watcher looks. It shares the processor with what it watches, so not too often; memory
// takes the kernel longer to tell.
const (
	watchEvery  = 25 * time.Millisecond
	memoryEvery = 4 // of those
)

// maxPoints bounds a curve over time.
const maxPoints = 400

// watcher samples what changes while the operations run: the size of the log, memory, and how long
// commits take to become durable.
type watcher struct {
	session design.Session
	path    string
	start   time.Time
	ctx     context.Context
	cancel  context.CancelFunc

	quit    chan struct{} // closed to end the sampling
	sampled chan struct{} // closed when it has ended
	marks   sync.WaitGroup

	mu  sync.Mutex  // for run and err
	run *result.Run // WAL, PeakWAL, PeakAnon, Lag, LagTime
	err error
}

// watch begins to sample into run.
func watch(ctx context.Context, s design.Session, path string, run *result.Run) *watcher {
	w := &watcher{session: s, path: path, start: time.Now(), run: run, quit: make(chan struct{}), sampled: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancel(ctx)
	if _, ok := s.(design.Replicator); ok {
		run.Lag = result.NewLatency()
	}
	go w.sample()
	return w
}

// workDone is called after the last operation: no further commit is marked, and those that are become
// durable in their own time. Flushing earlier would make the last ones look quick.
func (w *watcher) workDone() {
	close(w.quit)
	<-w.sampled
	w.marks.Wait()
}

// stop returns the first error of the sampling.
func (w *watcher) stop() error {
	w.cancel()
	w.lookAtMemory()
	w.mu.Lock()
	defer w.mu.Unlock()
	thin(&w.run.WAL)
	thin(&w.run.LagTime)
	return w.err
}

func (w *watcher) sample() {
	defer close(w.sampled)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		w.lookAtLog()
		if n%memoryEvery == 0 {
			w.lookAtMemory()
		}
		if rep, ok := w.session.(design.Replicator); ok {
			w.mark(rep)
		}
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
	}
}

func (w *watcher) lookAtLog() {
	info, err := os.Stat(w.path + "-wal")
	if err != nil {
		return // the log isn't there before the first write
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run.PeakWAL = max(w.run.PeakWAL, info.Size())
	w.run.WAL = append(w.run.WAL, result.Point{At: time.Since(w.start).Seconds(), Value: float64(info.Size())})
}

func (w *watcher) lookAtMemory() {
	m := machine.MemoryOf(0)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run.PeakAnon = max(w.run.PeakAnon, m.Anon)
}

// mark takes one sample of the lag, from now until what is committed now is durable.
func (w *watcher) mark(rep design.Replicator) {
	begun := time.Now()
	wait, err := rep.Mark(w.ctx)
	if err != nil {
		w.fail(fmt.Errorf("marking a position: %w", err))
		return
	}
	w.marks.Go(func() {
		if err := wait(w.ctx); err != nil {
			w.fail(fmt.Errorf("waiting for a position: %w", err))
			return
		}
		lag := time.Since(begun)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.run.Lag.Record(lag)
		w.run.LagTime = append(w.run.LagTime, result.Point{At: begun.Sub(w.start).Seconds(), Value: lag.Seconds()})
	})
}

func (w *watcher) fail(err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// thin keeps every n-th point of a curve that is longer than anyone can see.
func thin(points *[]result.Point) {
	p := *points
	step := (len(p) + maxPoints - 1) / maxPoints
	if step < 2 {
		return
	}
	kept := p[:0]
	for i := 0; i < len(p); i += step {
		kept = append(kept, p[i])
	}
	*points = kept
}
