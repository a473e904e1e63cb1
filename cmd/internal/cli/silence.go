package cli

import (
	"context"
	"fmt"
	"io"
	"iter"
	"sync/atomic"
	"time"

	"seawal/store"
)

// Patience is how long a store may be silent, unless a flag says otherwise.
const Patience = 2 * time.Minute

// SilentError ends a run whose store accepts requests and doesn't answer, or stops in the middle of an answer.
type SilentError struct {
	limit time.Duration
	op    string // and the name
	last  error  // of the last attempt that failed; nil: none has
}

// Error says for how long nothing came, and what to do.
func (e *SilentError) Error() string {
	text := fmt.Sprintf("the store is silent: nothing came for %v (%s)", e.limit, e.op)
	if e.last != nil {
		text += fmt.Sprintf("; the last attempt failed with: %v", e.last)
	}
	return text + "; look at the network, a proxy and the URL, or wait longer with --timeout"
}

// Unwrap is the error of the last attempt that failed.
func (e *SilentError) Unwrap() error { return e.last }

// watchdog ends a run when nothing has come from the store for limit while something was waited for. Whatever comes, a
// few bytes too, begins the time anew, so that a large object over a slow line takes as long as it takes; attempts that fail don't.
type watchdog struct {
	limit  time.Duration // 0: none
	cancel context.CancelCauseFunc
	came   atomic.Int64          // when something came last, as time since begin
	begin  time.Time             // of the run
	last   atomic.Pointer[error] // of the last attempt that failed
}

func newWatchdog(limit time.Duration, cancel context.CancelCauseFunc) *watchdog {
	return &watchdog{limit: limit, cancel: cancel, begin: time.Now()}
}

// failed takes note of why an attempt failed.
func (w *watchdog) failed(err error) { w.last.Store(&err) }

// wait watches one wait until end is called.
func (w *watchdog) wait(op string) (end func(err error)) {
	if w.limit <= 0 {
		return func(error) {}
	}
	began := time.Since(w.begin)
	var timer *time.Timer
	armed := make(chan struct{}) // timer is set
	timer = time.AfterFunc(w.limit, func() {
		<-armed
		silent := time.Since(w.begin) - max(began, time.Duration(w.came.Load()))
		if silent < w.limit {
			timer.Reset(w.limit - silent)
			return
		}
		e := &SilentError{limit: w.limit, op: op}
		if last := w.last.Load(); last != nil {
			e.last = *last
		}
		w.cancel(e)
	})
	close(armed)
	return func(err error) {
		timer.Stop()
		if err == nil || err == io.EOF {
			w.came.Store(int64(time.Since(w.begin)))
		}
	}
}

// watched is a store whose every wait is watched, those for another attempt included.
type watched struct {
	store.Store
	w *watchdog
}

func (s watched) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	op := "read " + name
	end := s.w.wait(op)
	r, err := s.Store.Read(ctx, name, off, n)
	end(err)
	if err != nil {
		return nil, err
	}
	return watchedReader{r, s.w, op}, nil
}

func (s watched) Stat(ctx context.Context, name string) (store.Object, error) {
	end := s.w.wait("stat " + name)
	o, err := s.Store.Stat(ctx, name)
	end(err)
	return o, err
}

func (s watched) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		op := "list " + prefix
		end := s.w.wait(op)
		for o, err := range s.Store.List(ctx, prefix, after) {
			end(err)
			if !yield(o, err) {
				return
			}
			end = s.w.wait(op)
		}
		end(nil)
	}
}

// watchedReader is a body: what it brings is a sign of life.
type watchedReader struct {
	io.ReadCloser
	w  *watchdog
	op string
}

func (r watchedReader) Read(p []byte) (int, error) {
	end := r.w.wait(r.op)
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		end(nil)
	} else {
		end(err)
	}
	return n, err
}
