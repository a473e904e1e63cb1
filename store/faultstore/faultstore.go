package faultstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"seawal/store"
)

// Options of Wrap. The zero value is useful.
type Options struct {
	Clock store.Clock // for Slow; nil means store.SystemClock
}

// Store is a store with faults, made by Wrap. It is safe for concurrent use.
type Store struct {
	s     store.Store
	clock store.Clock

	mu    sync.Mutex
	rules []Rule                        // under mu
	calls []Call                        // under mu
	late  []func(context.Context) error // under mu
}

var _ store.Store = (*Store)(nil)

// Wrap returns s with faults by these rules. Closing it closes s.
func Wrap(s store.Store, o Options, rules ...Rule) *Store {
	if o.Clock == nil {
		o.Clock = store.SystemClock{}
	}
	return &Store{s: s, clock: o.Clock, rules: rules}
}

// SetRules replaces the rules from the next call on.
func (f *Store) SetRules(rules ...Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = rules
}

// Calls returns every call so far, in order, whatever became of it.
func (f *Store) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Deliver applies what Late held back, in the order of the calls, and returns
// what the store behind answered: one entry for each, nil for success.
func (f *Store) Deliver(ctx context.Context) []error {
	f.mu.Lock()
	late := f.late
	f.late = nil
	f.mu.Unlock()
	var answers []error
	for _, apply := range late {
		answers = append(answers, apply(ctx))
	}
	return answers
}

// meet records a call and returns what becomes of it, once the waiting is over.
// A non-nil error is the call's answer.
func (f *Store) meet(ctx context.Context, c Call) (Effect, error) {
	f.mu.Lock()
	f.calls = append(f.calls, c)
	rules := f.rules
	f.mu.Unlock()
	var e Effect
	for _, r := range rules {
		if r.predicate.Match(c) {
			e = r.effect
			break
		}
	}
	switch e.kind {
	case effectFail:
		return e, fault(c, e.err)
	case effectHang:
		<-ctx.Done()
		return e, fault(c, ctx.Err())
	case effectSlow:
		if err := f.clock.Sleep(ctx, e.delay); err != nil {
			return e, fault(c, err)
		}
	}
	return e, nil
}

func fault(c Call, err error) error { return fmt.Errorf("%s: %w", c, err) }

// Create implements store.Store.
func (f *Store) Create(ctx context.Context, name string, body store.Body) error {
	c := Call{store.OpCreate, name}
	e, err := f.meet(ctx, c)
	if err != nil {
		return err
	}
	switch e.kind {
	case effectCutShort:
		return f.s.Create(ctx, name, func() (io.ReadCloser, error) {
			r, err := body()
			if err != nil {
				return nil, err
			}
			return &cutReader{ReadCloser: r, left: e.bytes, err: fault(c, io.ErrUnexpectedEOF)}, nil
		})
	case effectLostAck:
		if err := f.s.Create(ctx, name, body); err != nil {
			return err
		}
		return fault(c, e.err)
	case effectLate:
		b, err := readBody(body)
		if err != nil {
			return fault(c, err)
		}
		f.hold(func(ctx context.Context) error { return f.s.Create(ctx, name, store.BytesBody(b)) })
		return fault(c, e.err)
	}
	return f.s.Create(ctx, name, body)
}

func (f *Store) hold(apply func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = append(f.late, apply)
}

func readBody(body store.Body) ([]byte, error) {
	r, err := body()
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// Read implements store.Store.
func (f *Store) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	c := Call{store.OpRead, name}
	e, err := f.meet(ctx, c)
	if err != nil {
		return nil, err
	}
	if e.kind == effectLate {
		return nil, fault(c, e.err)
	}
	r, err := f.s.Read(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	switch e.kind {
	case effectCutShort:
		r = &cutReader{ReadCloser: r, left: e.bytes, err: fault(c, io.ErrUnexpectedEOF)}
	case effectLostAck:
		r = &endReader{ReadCloser: r, err: fault(c, e.err)}
	}
	return r, nil
}

// Stat implements store.Store.
func (f *Store) Stat(ctx context.Context, name string) (store.Object, error) {
	c := Call{store.OpStat, name}
	e, err := f.meet(ctx, c)
	if err == nil {
		err = e.instead(c)
	}
	if err != nil {
		return store.Object{}, err
	}
	o, err := f.s.Stat(ctx, name)
	if err == nil && e.kind == effectLostAck {
		return store.Object{}, fault(c, e.err)
	}
	return o, err
}

// instead is the error of a call that has no bytes to cut and nothing to apply late.
func (e Effect) instead(c Call) error {
	switch e.kind {
	case effectCutShort:
		return fault(c, io.ErrUnexpectedEOF)
	case effectLate:
		return fault(c, e.err)
	}
	return nil
}

// List implements store.Store. Each range over the sequence is a call.
func (f *Store) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		c := Call{store.OpList, prefix}
		e, err := f.meet(ctx, c)
		if err == nil && e.kind == effectLate {
			err = fault(c, e.err)
		}
		if err != nil {
			yield(store.Object{}, err)
			return
		}
		left := e.bytes
		for o, err := range f.s.List(ctx, prefix, after) {
			if e.kind == effectCutShort && err == nil {
				if left--; left < 0 {
					yield(store.Object{}, fault(c, io.ErrUnexpectedEOF))
					return
				}
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
		if e.kind == effectLostAck {
			yield(store.Object{}, fault(c, e.err))
		}
	}
}

// Delete implements store.Store.
func (f *Store) Delete(ctx context.Context, name string) error {
	c := Call{store.OpDelete, name}
	e, err := f.meet(ctx, c)
	if err != nil {
		return err
	}
	if e.kind == effectLate {
		f.hold(func(ctx context.Context) error { return f.s.Delete(ctx, name) })
	}
	if err := e.instead(c); err != nil {
		return err
	}
	err = f.s.Delete(ctx, name)
	if err == nil && e.kind == effectLostAck {
		return fault(c, e.err)
	}
	return err
}

// Close implements store.Store; it has no faults.
func (f *Store) Close() error { return f.s.Close() }

// cutReader fails with err when more than left bytes are asked of it.
type cutReader struct {
	io.ReadCloser
	left int64
	err  error
	cut  bool // it has failed
}

func (r *cutReader) Read(p []byte) (int, error) {
	if r.cut {
		return 0, r.err
	}
	if r.left <= 0 {
		// Only what is longer is cut: see whether there is one more byte.
		n, err := r.ReadCloser.Read(make([]byte, min(len(p), 1)))
		if n > 0 {
			r.cut, err = true, r.err
		}
		return 0, err
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.ReadCloser.Read(p)
	r.left -= int64(n)
	return n, err
}

// endReader says err in place of io.EOF.
type endReader struct {
	io.ReadCloser
	err error
}

func (r *endReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err == io.EOF {
		err = r.err
	}
	return n, err
}
