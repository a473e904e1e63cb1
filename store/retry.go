package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Failure is one failed attempt, as RetryPolicy.OnError learns of it.
type Failure struct {
	Op      Op
	Name    string        // the object, or the prefix of a listing
	Err     error         // as the store returned it
	Attempt int           // 1 for the first of a call; starts again when a reader or a listing got on
	Wait    time.Duration // until the next attempt; 0 when there is none because Err is Permanent
}

// RetryPolicy says how Retry repeats. The zero value is what seawal uses.
type RetryPolicy struct {
	First time.Duration // longest wait before the second attempt; 0 means 100 ms
	Max   time.Duration // longest wait, reached by doubling; 0 means 5 s

	// OnError is called with every failure before the wait, from the goroutine
	// of the call. It must not block. nil means that nobody wants to know.
	OnError func(Failure)

	Clock Clock          // nil means SystemClock
	Rand  func() float64 // in [0,1), safe for concurrent use; nil means math/rand/v2
}

// Defaults of RetryPolicy. Five seconds is what a user who has just mended the
// network waits at most until shipping goes on.
const (
	defaultFirstWait = 100 * time.Millisecond
	defaultMaxWait   = 5 * time.Second
)

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.First <= 0 {
		p.First = defaultFirstWait
	}
	if p.Max <= 0 {
		p.Max = defaultMaxWait
	}
	if p.OnError == nil {
		p.OnError = func(Failure) {}
	}
	if p.Clock == nil {
		p.Clock = SystemClock{}
	}
	if p.Rand == nil {
		p.Rand = rand.Float64
	}
	return p
}

// wait is the time before the attempt behind the given one: half of the doubled
// wait for sure, the other half by chance, so that many databases which failed
// together don't come back together.
func (p RetryPolicy) wait(attempt int) time.Duration {
	d := p.Max
	if shift := attempt - 1; shift < 30 && p.First<<shift < p.Max {
		d = p.First << shift
	}
	return d/2 + time.Duration(p.Rand()*float64(d/2))
}

// Retry returns s with every call repeated until it succeeds, ctx ends, or the
// error is one that stays: Permanent, an answer (ErrExist, ErrNotExist), or an
// error of the caller's own body. When ctx ends the error wraps ctx.Err() and
// the last failure.
//
// A Create that is repeated after an unknown outcome may meet ErrExist of its
// own: whoever must know reads the object back. A reader goes on where it broke
// off, and a listing behind the last name it yielded. A reader's
// io.ErrUnexpectedEOF is believed only when Stat says that the object is too
// short, since that is also how a broken connection looks.
func Retry(s Store, p RetryPolicy) Store { return &retryStore{s, p.withDefaults()} }

type retryStore struct {
	s Store
	p RetryPolicy
}

var _ Store = (*retryStore)(nil)

// series counts the attempts of one call.
type series struct {
	*retryStore
	ctx     context.Context
	op      Op
	name    string
	attempt int // that have failed since something went well
}

// failed takes note of a failure and waits. It returns nil when the call is to be
// tried again, else what to return.
func (s *series) failed(err error) error {
	s.attempt++
	f := Failure{Op: s.op, Name: s.name, Err: err, Attempt: s.attempt}
	switch {
	case isAnswer(err):
		return err
	case s.ctx.Err() != nil:
		return s.ended(err)
	case IsPermanent(err):
		s.p.OnError(f)
		return err
	}
	f.Wait = s.p.wait(s.attempt)
	s.p.OnError(f)
	if s.p.Clock.Sleep(s.ctx, f.Wait) != nil {
		return s.ended(err)
	}
	return nil
}

// ended is the error of a call whose context has ended.
func (s *series) ended(last error) error {
	if errors.Is(last, s.ctx.Err()) {
		return last
	}
	return fmt.Errorf("%s %s: %w; last failure: %w", s.op, s.name, s.ctx.Err(), last)
}

// do repeats try until it succeeds or failed says what to return.
func (r *retryStore) do(ctx context.Context, op Op, name string, try func() error) error {
	s := &series{retryStore: r, ctx: ctx, op: op, name: name}
	for {
		err := try()
		if err == nil {
			return nil
		}
		if err := s.failed(err); err != nil {
			return err
		}
	}
}

func (r *retryStore) Create(ctx context.Context, name string, body Body) error {
	var own error
	err := r.do(ctx, OpCreate, name, func() error {
		w := &watch{body: body}
		err := r.s.Create(ctx, name, w.open)
		if err != nil && w.failed.Load() {
			own = err
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return own
}

// watch remembers that it was the body of one attempt that failed. A transport
// may read on for a moment after its call returned, so failed is atomic.
type watch struct {
	body   Body
	failed atomic.Bool
}

func (w *watch) open() (io.ReadCloser, error) {
	r, err := w.body()
	if err != nil {
		w.failed.Store(true)
		return nil, err
	}
	return &watchedBody{r, w}, nil
}

type watchedBody struct {
	io.ReadCloser
	w *watch
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.w.failed.Store(true)
	}
	return n, err
}

func (r *retryStore) Stat(ctx context.Context, name string) (o Object, err error) {
	err = r.do(ctx, OpStat, name, func() (err error) {
		o, err = r.s.Stat(ctx, name)
		return err
	})
	return o, err
}

func (r *retryStore) Delete(ctx context.Context, name string) error {
	return r.do(ctx, OpDelete, name, func() error { return r.s.Delete(ctx, name) })
}

func (r *retryStore) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		s := &series{retryStore: r, ctx: ctx, op: OpList, name: prefix}
		for after := after; ; {
			var failure error
			for o, err := range r.s.List(ctx, prefix, after) {
				if failure = err; err != nil {
					break
				}
				s.attempt, after = 0, o.Name
				if !yield(o, nil) {
					return
				}
			}
			if failure == nil {
				return
			}
			if err := s.failed(failure); err != nil {
				yield(Object{}, err)
				return
			}
		}
	}
}

func (r *retryStore) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	s := series{retryStore: r, ctx: ctx, op: OpRead, name: name}
	rr := &retryReader{series: s, off: off, n: n}
	if err := rr.open(); err != nil {
		return nil, err
	}
	return rr, nil
}

func (r *retryStore) Close() error { return r.s.Close() }

// retryReader is a reader that opens the rest anew when it breaks.
type retryReader struct {
	series
	off, n int64         // what is left to read; n < 0: to the end
	r      io.ReadCloser // nil when closed
	err    error         // sticky, io.EOF included
}

func (r *retryReader) open() error {
	return r.do(r.ctx, r.op, r.name, func() (err error) {
		r.r, err = r.s.Read(r.ctx, r.name, r.off, r.n)
		return err
	})
}

func (r *retryReader) Read(p []byte) (int, error) {
	for r.err == nil {
		n, err := r.r.Read(p)
		r.off += int64(n)
		if r.n >= 0 {
			r.n -= int64(n)
		}
		if n > 0 {
			r.attempt = 0
		}
		if err != nil {
			r.err = r.broke(err)
		}
		if n > 0 || len(p) == 0 {
			return n, r.err
		}
	}
	return 0, r.err
}

// broke handles the end of one reader: nil when the next one is open.
func (r *retryReader) broke(err error) error {
	if err == io.EOF {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		o, serr := r.retryStore.Stat(r.ctx, r.name)
		if serr != nil {
			return serr
		}
		if r.off > o.Size || r.off == o.Size && r.n > 0 {
			return io.ErrUnexpectedEOF
		}
	}
	if err := r.failed(err); err != nil {
		return err
	}
	if cerr := r.r.Close(); cerr != nil {
		r.p.OnError(Failure{Op: r.op, Name: r.name, Err: cerr, Attempt: r.attempt})
	}
	r.r = nil
	return r.open()
}

func (r *retryReader) Close() error {
	if r.r == nil {
		return nil
	}
	err := r.r.Close()
	r.r, r.err = nil, errors.New("read of a closed reader")
	return err
}
