package gcs

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"strings"

	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"

	"seawal/store"
	"seawal/store/internal/transfer"
)

var _ store.Store = (*bucket)(nil)

// Read implements store.Store.
func (b *bucket) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := b.read(ctx, name, off, n)
	if err != nil {
		return nil, b.wrap(ctx, store.OpRead, name, err)
	}
	return r, nil
}

func (b *bucket) read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := transfer.Begin(ctx, store.ValidateName(name), store.ValidateRange(off, n)); err != nil {
		return nil, err
	}
	objects, err := b.objects()
	if err != nil {
		return nil, err
	}
	return transfer.Read(ctx, transfer.Object{
		Get: func(ctx context.Context, off, n int64) (io.ReadCloser, *int64, error) {
			r, err := objects.Object(b.root+name).NewRangeReader(ctx, off, n)
			var unsigned *transfer.UnsignedError
			if errors.As(err, &unsigned) && unsigned.Status == http.StatusNotFound {
				if _, serr := b.stat(ctx, name); serr != nil {
					err = serr // whose answer has a form
				}
			}
			if err != nil {
				return nil, nil, err
			}
			left := r.Remain()
			return r, &left, nil
		},
		Size: func(ctx context.Context) (int64, error) {
			o, err := b.stat(ctx, name)
			return o.Size, err
		},
		IsBehind: isBehind,
		Failed:   func(err error) error { return b.wrap(ctx, store.OpRead, name, err) },
	}, off, n)
}

// Stat implements store.Store.
func (b *bucket) Stat(ctx context.Context, name string) (o store.Object, err error) {
	if err = transfer.Begin(ctx, store.ValidateName(name)); err == nil {
		o, err = b.stat(ctx, name)
	}
	if err != nil {
		return store.Object{}, b.wrap(ctx, store.OpStat, name, err)
	}
	return o, nil
}

func (b *bucket) stat(ctx context.Context, name string) (store.Object, error) {
	objects, err := b.objects()
	if err != nil {
		return store.Object{}, err
	}
	short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	attrs, err := objects.Object(b.root + name).Attrs(short)
	if err != nil {
		return store.Object{}, err
	}
	return store.Object{Name: name, Size: attrs.Size}, nil
}

// pageSize is how many names one request of a listing brings at most.
const pageSize = 1000

// List implements store.Store.
func (b *bucket) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		fail := func(err error) { yield(store.Object{}, b.wrap(ctx, store.OpList, prefix, err)) }
		if err := transfer.Begin(ctx, store.ValidatePrefix(prefix), store.ValidatePrefix(after)); err != nil {
			fail(err)
			return
		}
		query := &storage.Query{Prefix: b.root + prefix, Projection: storage.ProjectionNoACL}
		if after != "" && after >= prefix {
			query.StartOffset = b.root + after // inclusive
		}
		if err := query.SetAttrSelection([]string{"Name", "Size"}); err != nil {
			fail(err)
			return
		}
		for token := ""; ; {
			page, next, err := b.page(ctx, query, token)
			if err != nil {
				fail(err)
				return
			}
			for _, o := range page {
				name, ok := strings.CutPrefix(o.Name, b.root)
				if !ok || name <= after || !strings.HasPrefix(name, prefix) || store.ValidateName(name) != nil {
					continue // none of ours
				}
				if !yield(store.Object{Name: name, Size: o.Size}, nil) {
					return
				}
			}
			if token = next; token == "" {
				return
			}
		}
	}
}

// page asks for one page, under a deadline of its own.
func (b *bucket) page(ctx context.Context, query *storage.Query, token string) (page []*storage.ObjectAttrs, next string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	objects, err := b.objects()
	if err != nil {
		return nil, "", err
	}
	short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	next, err = iterator.NewPager(objects.Objects(short, query), pageSize, token).NextPage(&page)
	return page, next, err
}

// Delete implements store.Store. Where versions are kept, the object becomes a noncurrent one.
func (b *bucket) Delete(ctx context.Context, name string) error {
	err := transfer.Begin(ctx, store.ValidateName(name))
	var objects *storage.BucketHandle
	if err == nil {
		objects, err = b.objects()
	}
	if err == nil {
		short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
		defer cancel()
		err = objects.Object(b.root + name).Delete(short)
	}
	if err == nil {
		return nil
	}
	if err = b.wrap(ctx, store.OpDelete, name, err); errors.Is(err, store.ErrNotExist) {
		return nil
	}
	return err
}
