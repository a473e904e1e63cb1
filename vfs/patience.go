//go:build cgo

package vfs

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"seawal/store"
)

// stallTimeout is after how long without any progress opening a database gives up on its store. A restore, or what is looked up there,
// may take hours; that a store is silent shows much sooner.
const stallTimeout = 10 * time.Second

// patience is a context that ends when nothing has got on for a while, or with its parent.
type patience struct {
	context.Context
	timer  *time.Timer
	limit  time.Duration
	cancel context.CancelCauseFunc
}

// newPatience begins to wait; a limit of 0 is stallTimeout. The caller calls end.
func newPatience(parent context.Context, limit time.Duration) *patience {
	if limit == 0 {
		limit = stallTimeout
	}
	p := &patience{limit: limit}
	p.Context, p.cancel = context.WithCancelCause(parent)
	p.timer = time.AfterFunc(limit, func() { p.cancel(fmt.Errorf("nothing has come from the store for %v", limit)) })
	return p
}

// progress says that something got on. Safe for concurrent use.
func (p *patience) progress() {
	if p.Err() == nil {
		p.timer.Reset(p.limit)
	}
}

func (p *patience) end() {
	p.timer.Stop()
	p.cancel(nil)
}

// explain adds to an error why the context has ended.
func (p *patience) explain(err error) error {
	if cause := context.Cause(p); err != nil && cause != nil && cause != p.Err() {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// movingStore tells a patience of all that it hears from a store.
type movingStore struct {
	store.Store
	progress func()
}

func (s movingStore) Create(ctx context.Context, name string, body store.Body) error {
	err := s.Store.Create(ctx, name, body)
	s.heard(err)
	return err
}

func (s movingStore) heard(err error) {
	if err == nil {
		s.progress()
	}
}

func (s movingStore) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := s.Store.Read(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	s.progress()
	return movingReader{r, s.progress}, nil
}

func (s movingStore) Stat(ctx context.Context, name string) (store.Object, error) {
	o, err := s.Store.Stat(ctx, name)
	s.heard(err)
	return o, err
}

func (s movingStore) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for o, err := range s.Store.List(ctx, prefix, after) {
			s.heard(err)
			if !yield(o, err) {
				return
			}
		}
	}
}

type movingReader struct {
	io.ReadCloser
	progress func()
}

func (r movingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if n > 0 {
		r.progress()
	}
	return n, err
}

// openPatiently opens the store of a replica for what has to be done before a database is opened: with all that goes around a store, as
// the shipper has it. onError hears what is tried again; nil: nothing is, who asks has another way to go on.
func openPatiently(p *patience, url string, cfg Config, onError func(store.Failure)) (store.Store, error) {
	raw, err := store.Open(p, url)
	if err != nil {
		return nil, err
	}
	moving := movingStore{raw, p.progress}
	if onError == nil {
		return moving, nil
	}
	retry := cfg.retry
	retry.OnError = onError
	return store.Stack(moving, store.StackOptions{Budget: budget.Load(), Retry: retry}), nil
}
