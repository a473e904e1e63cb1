package azure

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// blobs is the store on the blobs of a container whose names begin with root.
type blobs struct {
	connect func() (*container.Client, error) // with the credentials that are found then
	current atomic.Pointer[container.Client]
	http    *http.Client
	name    string // of the container
	root    string // "" or with a slash at its end
}

var _ store.Store = (*blobs)(nil)

// absent is the condition that makes creation happen once.
func absent() *blob.AccessConditions {
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}
}

func sum(p []byte) blob.TransferValidationType {
	s := transfer.MD5(p)
	return blob.TransferValidationTypeMD5(s[:])
}

// Create implements store.Store.
func (s *blobs) Create(ctx context.Context, name string, body store.Body) error {
	err := transfer.Begin(ctx, store.ValidateName(name))
	if err == nil {
		err = s.create(ctx, s.client().NewBlockBlobClient(s.root+name), body)
	}
	if err != nil {
		return s.wrap(ctx, store.OpCreate, name, err)
	}
	return nil
}

func (s *blobs) create(ctx context.Context, b *blockblob.Client, body store.Body) error {
	in, err := body()
	if err != nil {
		return fmt.Errorf("open the body: %w", err)
	}
	defer in.Close() // it was read to its end, or failed already
	first, whole, err := transfer.First(in)
	if err != nil {
		return err
	}
	if whole {
		timed, cancel := context.WithTimeout(ctx, transfer.UploadTimeout(int64(len(first))))
		defer cancel()
		_, err = b.Upload(timed, streaming.NopCloser(bytes.NewReader(first)), &blockblob.UploadOptions{
			AccessConditions: absent(), TransactionalValidation: sum(first),
		})
		return err
	}
	// Blocks that are not committed belong to the name, whoever sent them: ours have names of their own. The service drops
	// those of a broken upload after a week, or when the blob is committed.
	var own [12]byte
	rand.Read(own[:])
	ids, err := transfer.Upload(ctx, in, first, func(ctx context.Context, p transfer.Part) (string, error) {
		id := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(own[:], uint32(p.Number)))
		_, err := b.StageBlock(ctx, id, streaming.NopCloser(bytes.NewReader(p.Content)), &blockblob.StageBlockOptions{TransactionalValidation: sum(p.Content)})
		return id, err
	})
	if err != nil {
		return err
	}
	timed, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	_, err = b.CommitBlockList(timed, ids, &blockblob.CommitBlockListOptions{AccessConditions: absent()})
	return err
}

// Read implements store.Store.
func (s *blobs) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := s.read(ctx, name, off, n)
	if err != nil {
		return nil, s.wrap(ctx, store.OpRead, name, err)
	}
	return r, nil
}

func (s *blobs) read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := transfer.Begin(ctx, store.ValidateName(name), store.ValidateRange(off, n)); err != nil {
		return nil, err
	}
	return transfer.Read(ctx, transfer.Object{
		Get: func(ctx context.Context, off, n int64) (io.ReadCloser, *int64, error) {
			out, err := s.client().NewBlobClient(s.root+name).DownloadStream(ctx, &blob.DownloadStreamOptions{
				Range: blob.HTTPRange{Offset: off, Count: max(n, 0)}, // 0: to the end
			})
			if err != nil {
				return nil, nil, err
			}
			return out.Body, out.ContentLength, nil
		},
		Size: func(ctx context.Context) (int64, error) {
			o, err := s.stat(ctx, name)
			return o.Size, err
		},
		IsBehind: func(err error) bool { return status(err) == http.StatusRequestedRangeNotSatisfiable },
		Failed:   func(err error) error { return s.wrap(ctx, store.OpRead, name, err) },
	}, off, n)
}

// Stat implements store.Store.
func (s *blobs) Stat(ctx context.Context, name string) (o store.Object, err error) {
	if err = transfer.Begin(ctx, store.ValidateName(name)); err == nil {
		o, err = s.stat(ctx, name)
	}
	if err != nil {
		return store.Object{}, s.wrap(ctx, store.OpStat, name, err)
	}
	return o, nil
}

func (s *blobs) stat(ctx context.Context, name string) (store.Object, error) {
	short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	out, err := s.client().NewBlobClient(s.root+name).GetProperties(short, nil)
	if err != nil {
		return store.Object{}, err
	}
	if out.ContentLength == nil {
		return store.Object{}, errors.New("the service does not say how long the object is")
	}
	return store.Object{Name: name, Size: *out.ContentLength}, nil
}

// List implements store.Store.
func (s *blobs) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		fail := func(err error) { yield(store.Object{}, s.wrap(ctx, store.OpList, prefix, err)) }
		if err := transfer.Begin(ctx, store.ValidatePrefix(prefix), store.ValidatePrefix(after)); err != nil {
			fail(err)
			return
		}
		options := &container.ListBlobsFlatOptions{Prefix: to.Ptr(s.root + prefix)}
		if after != "" && after >= prefix {
			options.StartFrom = to.Ptr(s.root + after) // inclusive, and ignored by some
		}
		for pages := s.client().NewListBlobsFlatPager(options); pages.More(); {
			page, err := s.page(ctx, pages.NextPage)
			if err != nil {
				fail(err)
				return
			}
			for _, b := range page.Segment.BlobItems {
				if b.Name == nil || b.Properties == nil || b.Properties.ContentLength == nil {
					continue
				}
				name, ok := strings.CutPrefix(*b.Name, s.root)
				if !ok || name <= after || !strings.HasPrefix(name, prefix) || store.ValidateName(name) != nil {
					continue // none of ours
				}
				if !yield(store.Object{Name: name, Size: *b.Properties.ContentLength}, nil) {
					return
				}
			}
		}
	}
}

func (s *blobs) page(ctx context.Context, next func(context.Context) (container.ListBlobsFlatResponse, error)) (container.ListBlobsFlatResponse, error) {
	if err := ctx.Err(); err != nil {
		return container.ListBlobsFlatResponse{}, err
	}
	short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	page, err := next(short)
	if err == nil && page.Segment == nil {
		err = errors.New("the service sent a listing without a segment")
	}
	return page, err
}

// Delete implements store.Store.
func (s *blobs) Delete(ctx context.Context, name string) error {
	err := transfer.Begin(ctx, store.ValidateName(name))
	if err == nil {
		short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
		defer cancel()
		_, err = s.client().NewBlobClient(s.root+name).Delete(short, nil)
	}
	if err == nil {
		return nil
	}
	if err = s.wrap(ctx, store.OpDelete, name, err); errors.Is(err, store.ErrNotExist) {
		return nil
	}
	return err
}

// Close implements store.Store.
func (s *blobs) Close() error {
	s.http.CloseIdleConnections()
	return nil
}
