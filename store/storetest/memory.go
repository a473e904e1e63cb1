package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"seawal/store"
)

// memory is the store of NewMemory.
type memory struct {
	mu      sync.RWMutex
	objects map[string][]byte // never changed once in; under mu
}

var _ store.Store = (*memory)(nil)

// NewMemory returns an empty store in memory, which passes Run. Its objects live
// as long as it does; Close does nothing.
func NewMemory() store.Store { return &memory{objects: map[string][]byte{}} }

// Create implements store.Store.
func (m *memory) Create(ctx context.Context, name string, body store.Body) error {
	if err := check(ctx, store.ValidateName(name)); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	r, err := body()
	if err != nil {
		return fmt.Errorf("create %s: open body: %w", name, err)
	}
	b, err := io.ReadAll(&ctxReader{ctx, r})
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("create %s: read body: %w", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.objects[name]; taken {
		return fmt.Errorf("create %s: %w", name, store.ErrExist)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	m.objects[name] = b
	return nil
}

// Read implements store.Store.
func (m *memory) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	b, err := m.get(ctx, name, store.ValidateName(name), store.ValidateRange(off, n))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	rest := int64(len(b)) - off
	switch {
	case rest < 0 && n <= 0:
		n = 1 // never there: the reader says io.ErrUnexpectedEOF
	case n < 0:
		n = rest
	}
	r := &ctxReader{ctx, bytes.NewReader(b[min(off, int64(len(b))):])}
	return store.RangeReader(io.NopCloser(r), n), nil
}

// Stat implements store.Store.
func (m *memory) Stat(ctx context.Context, name string) (store.Object, error) {
	b, err := m.get(ctx, name, store.ValidateName(name))
	if err != nil {
		return store.Object{}, fmt.Errorf("stat %s: %w", name, err)
	}
	return store.Object{Name: name, Size: int64(len(b))}, nil
}

// List implements store.Store. It takes the names once, and leaves out what was
// deleted since.
func (m *memory) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		if err := check(ctx, store.ValidatePrefix(prefix), store.ValidatePrefix(after)); err != nil {
			yield(store.Object{}, fmt.Errorf("list %s: %w", prefix, err))
			return
		}
		m.mu.RLock()
		names := slices.Sorted(maps.Keys(m.objects))
		m.mu.RUnlock()
		for _, name := range names {
			if !strings.HasPrefix(name, prefix) || name <= after {
				continue
			}
			m.mu.RLock()
			b, ok := m.objects[name]
			m.mu.RUnlock()
			if err := ctx.Err(); err != nil {
				yield(store.Object{}, fmt.Errorf("list %s: %w", prefix, err))
				return
			}
			if ok && !yield(store.Object{Name: name, Size: int64(len(b))}, nil) {
				return
			}
		}
	}
}

// Delete implements store.Store.
func (m *memory) Delete(ctx context.Context, name string) error {
	if err := check(ctx, store.ValidateName(name)); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return nil
}

// Close implements store.Store.
func (m *memory) Close() error { return nil }

func (m *memory) get(ctx context.Context, name string, checks ...error) ([]byte, error) {
	if err := check(ctx, checks...); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.objects[name]
	if !ok {
		return nil, store.ErrNotExist
	}
	return b, nil
}

func check(ctx context.Context, errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// ctxReader fails once ctx has ended.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
