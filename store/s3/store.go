package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"seawal/store"
	"seawal/store/internal/transfer"
)

func init() { store.Register("s3", open) }

// bucket is the store on the objects of a bucket whose keys begin with root.
type bucket struct {
	client *s3.Client
	http   *http.Client
	name   string
	root   string // "" or with a slash at its end

	condition *string // If-None-Match of what is created; nil where the service has no such thing
	parts     transfer.Limits

	credentials *aws.CredentialsCache
	signer      *signer
}

var _ store.Store = (*bucket)(nil)

func (b *bucket) key(name string) *string { return aws.String(b.root + name) }

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
	return b.readVersion(ctx, name, "", off, n)
}

// readVersion reads a version of an object; "": the newest one.
func (b *bucket) readVersion(ctx context.Context, name, version string, off, n int64) (io.ReadCloser, error) {
	return transfer.Read(ctx, transfer.Object{
		Get: func(ctx context.Context, off, n int64) (io.ReadCloser, *int64, error) {
			in := &s3.GetObjectInput{Bucket: &b.name, Key: b.key(name)}
			if version != "" {
				in.VersionId = &version
			}
			switch {
			case n > 0:
				in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1))
			case off > 0:
				in.Range = aws.String(fmt.Sprintf("bytes=%d-", off))
			}
			out, err := b.client.GetObject(ctx, in)
			if err != nil {
				return nil, nil, err
			}
			return out.Body, out.ContentLength, nil
		},
		Size: func(ctx context.Context) (int64, error) {
			o, err := b.stat(ctx, name)
			return o.Size, err
		},
		IsBehind: func(err error) bool { return status(err) == http.StatusRequestedRangeNotSatisfiable },
		Failed:   func(err error) error { return b.wrap(ctx, store.OpRead, name, err) },
	}, off, n)
}

// Stat implements store.Store.
func (b *bucket) Stat(ctx context.Context, name string) (store.Object, error) {
	if err := transfer.Begin(ctx, store.ValidateName(name)); err != nil {
		return store.Object{}, b.wrap(ctx, store.OpStat, name, err)
	}
	o, err := b.stat(ctx, name)
	if err != nil {
		return store.Object{}, b.wrap(ctx, store.OpStat, name, err)
	}
	return o, nil
}

func (b *bucket) stat(ctx context.Context, name string) (store.Object, error) {
	short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	out, err := b.client.HeadObject(short, &s3.HeadObjectInput{Bucket: &b.name, Key: b.key(name)})
	if isUnsigned404(err) {
		err = errors.Join(b.exists(short, name), err)
	}
	if err != nil {
		return store.Object{}, err
	}
	if out.ContentLength == nil {
		return store.Object{}, errors.New("the service does not say how long the object is")
	}
	return store.Object{Name: name, Size: *out.ContentLength}, nil
}

// List implements store.Store.
func (b *bucket) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		if err := transfer.Begin(ctx, store.ValidatePrefix(prefix), store.ValidatePrefix(after)); err != nil {
			yield(store.Object{}, b.wrap(ctx, store.OpList, prefix, err))
			return
		}
		in := &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: b.key(prefix)}
		if after != "" {
			in.StartAfter = b.key(after)
		}
		for {
			out, err := b.page(ctx, in)
			if err != nil {
				yield(store.Object{}, b.wrap(ctx, store.OpList, prefix, err))
				return
			}
			for _, o := range out.Contents {
				name, ok := strings.CutPrefix(aws.ToString(o.Key), b.root)
				if !ok || name <= after || !strings.HasPrefix(name, prefix) || store.ValidateName(name) != nil {
					continue // a service that ignores StartAfter, or a key that is none of ours
				}
				if !yield(store.Object{Name: name, Size: aws.ToInt64(o.Size)}, nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

func (b *bucket) page(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	out, err := b.client.ListObjectsV2(short, in)
	if err == nil {
		err = checkPage(out, in.ContinuationToken)
	}
	return out, err
}

// Delete implements store.Store. Where versions are kept, the object is hidden by a delete marker.
func (b *bucket) Delete(ctx context.Context, name string) error {
	if err := transfer.Begin(ctx, store.ValidateName(name)); err != nil {
		return b.wrap(ctx, store.OpDelete, name, err)
	}
	short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	_, err := b.client.DeleteObject(short, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(name)})
	if err == nil {
		return nil
	}
	if err = b.wrap(ctx, store.OpDelete, name, err); errors.Is(err, store.ErrNotExist) {
		return nil
	}
	return err
}

// Close implements store.Store.
func (b *bucket) Close() error {
	b.http.CloseIdleConnections()
	return nil
}
