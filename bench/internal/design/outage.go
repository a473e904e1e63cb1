package design

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/url"
	"sync/atomic"

	"seawal/store"
)

// outageScheme is the scheme of a folder that can be taken away. There is one gate for all
// of them in a process, which has one measurement.
const outageScheme = "bench-outage"

var errOutage = errors.New("the store is away, as the benchmark asked for")

// gate is shut while the store is away.
var gate atomic.Bool

func outageDesign() Design {
	store.Register(outageScheme, func(_ context.Context, u *url.URL) (store.Store, error) {
		s, err := store.OpenFolder(u.Path)
		if err != nil {
			return nil, err
		}
		return gated{s}, nil
	})
	d := Replicated("seawal-outage", "seawal, folder that goes away", 0, func(folder string) string {
		return outageScheme + "://" + folder
	})
	open := d.Open
	d.Open = func(ctx context.Context, db Database) (Session, error) {
		s, err := open(ctx, db)
		if err != nil {
			return nil, err
		}
		return outageSession{s.(*seawal)}, nil
	}
	return d
}

type outageSession struct{ *seawal }

var _ Outage = outageSession{}

func (outageSession) SetDown(down bool) { gate.Store(down) }

// gated answers every request with an error while the gate is shut.
type gated struct{ s store.Store }

var _ store.Store = gated{}

func (g gated) check() error {
	if gate.Load() {
		return errOutage
	}
	return nil
}

func (g gated) Create(ctx context.Context, name string, body store.Body) error {
	if err := g.check(); err != nil {
		return err
	}
	return g.s.Create(ctx, name, body)
}

func (g gated) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	return g.s.Read(ctx, name, off, n)
}

func (g gated) Stat(ctx context.Context, name string) (store.Object, error) {
	if err := g.check(); err != nil {
		return store.Object{}, err
	}
	return g.s.Stat(ctx, name)
}

func (g gated) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	if err := g.check(); err != nil {
		return func(yield func(store.Object, error) bool) { yield(store.Object{}, err) }
	}
	return g.s.List(ctx, prefix, after)
}

func (g gated) Delete(ctx context.Context, name string) error {
	if err := g.check(); err != nil {
		return err
	}
	return g.s.Delete(ctx, name)
}

func (g gated) Close() error { return g.s.Close() }
