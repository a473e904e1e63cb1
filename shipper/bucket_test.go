package shipper

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"

	"seawal/store"
	"seawal/store/storetest"
)

// digest is a content: of an object, or of a whole database.
type digest [sha256.Size]byte

func digestOf(pages image) (d digest) {
	h := sha256.New()
	for _, p := range pages {
		h.Write(p)
	}
	h.Sum(d[:0])
	return d
}

// bucket is a store that several hosts reach. Its objects are never changed or deleted, but by the
// test.
type bucket struct {
	store.Store
	created map[string]digest // as check has seen them

	mu      sync.Mutex
	deleted string // an object that somebody wanted to delete; "": none
}

func newBucket() *bucket { return &bucket{Store: storetest.NewMemory(), created: map[string]digest{}} }

// Delete is what nobody may do who only ships and takes over.
func (b *bucket) Delete(_ context.Context, name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deleted = name
	return errReset
}

func (b *bucket) contents() (all map[string][]byte, err error) {
	all = map[string][]byte{}
	for o, err := range b.List(context.Background(), "", "") {
		if err != nil {
			return nil, err
		}
		in, err := b.Read(context.Background(), o.Name, 0, -1)
		if err != nil {
			return nil, err
		}
		if all[o.Name], err = io.ReadAll(in); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// check says what was overwritten or deleted since the last call.
func (b *bucket) check() error {
	all, err := b.contents()
	if err != nil {
		return err
	}
	for name, was := range b.created {
		if now, ok := all[name]; !ok || sha256.Sum256(now) != was {
			return fmt.Errorf("%s was overwritten", name)
		}
	}
	for name, now := range all {
		b.created[name] = sha256.Sum256(now)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deleted != "" {
		return fmt.Errorf("%s was to be deleted", b.deleted)
	}
	return nil
}

// empty deletes everything, as somebody else does.
func (b *bucket) empty() error {
	all, err := b.contents()
	for name := range all {
		err = errors.Join(err, b.Store.Delete(context.Background(), name))
	}
	return err
}

// link is what a host sees of a bucket: all of it, or, while that isn't mounted, the folder below
// the mount point. Who has seen something in the bucket knows that folder for another one
// (store.ErrGone).
type link struct {
	store.Store
	below   store.Store
	isOut   atomic.Bool // it isn't mounted
	hasSeen atomic.Bool // by this process
	isBlank atomic.Bool // listings show nothing
}

var _ store.Store = (*link)(nil)

func (l *link) place() (store.Store, error) {
	switch {
	case !l.isOut.Load():
		return l.Store, nil
	case l.hasSeen.Load():
		return nil, store.ErrGone
	}
	return l.below, nil
}

// note takes in whether a request has shown an object.
func (l *link) note(err error) error {
	if err == nil {
		l.hasSeen.Store(true)
	}
	return err
}

func (l *link) Create(ctx context.Context, name string, body store.Body) error {
	s, err := l.place()
	if err != nil {
		return err
	}
	return l.note(s.Create(ctx, name, body))
}

func (l *link) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	s, err := l.place()
	if err != nil {
		return nil, err
	}
	r, err := s.Read(ctx, name, off, n)
	return r, l.note(err)
}

func (l *link) Stat(ctx context.Context, name string) (store.Object, error) {
	s, err := l.place()
	if err != nil {
		return store.Object{}, err
	}
	o, err := s.Stat(ctx, name)
	return o, l.note(err)
}

func (l *link) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	s, err := l.place()
	switch {
	case err != nil:
		return func(yield func(store.Object, error) bool) { yield(store.Object{}, err) }
	case l.isBlank.Load():
		return func(func(store.Object, error) bool) {}
	}
	return s.List(ctx, prefix, after)
}
