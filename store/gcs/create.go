package gcs

import (
	"context"
	"fmt"
	"hash/crc32"
	"time"

	"cloud.google.com/go/storage"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// chunkSize is how much of a large object goes up with one request, and stays in memory until it has arrived.
const chunkSize = 16 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Create implements store.Store.
func (b *bucket) Create(ctx context.Context, name string, body store.Body) error {
	err := transfer.Begin(ctx, store.ValidateName(name))
	if err == nil {
		err = b.create(ctx, name, body)
	}
	if err != nil {
		return b.wrap(ctx, store.OpCreate, name, err)
	}
	return nil
}

func (b *bucket) create(ctx context.Context, name string, body store.Body) error {
	objects, err := b.objects()
	if err != nil {
		return err
	}
	in, err := body()
	if err != nil {
		return &transfer.BodyError{Err: err}
	}
	defer in.Close() // it was read to its end, or failed already
	first, whole, err := transfer.First(in)
	if err != nil {
		return err
	}
	u := newUpload(ctx, objects.Object(b.root+name))
	defer u.cancel(nil)
	if whole {
		u.w.ChunkSize = 0 // one request
		u.w.CRC32C, u.w.SendCRC32C = crc32.Checksum(first, castagnoli), true
		err = u.write(first)
	} else {
		u.w.ChunkSize = chunkSize // with a checksum of the SDK's, which goes up with the last one
		err = transfer.Stream(in, first, u.write)
	}
	if err != nil {
		u.cancel(nil) // before Close, which would complete the object
		_ = u.w.Close()
		return u.explain(err)
	}
	return u.explain(u.timed(chunkSize, u.w.Close))
}

// upload is an object on its way up.
type upload struct {
	w      *storage.Writer
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func newUpload(ctx context.Context, o *storage.ObjectHandle) *upload {
	u := &upload{}
	u.ctx, u.cancel = context.WithCancelCause(ctx)
	u.w = o.If(storage.Conditions{DoesNotExist: true}).NewWriter(u.ctx)
	u.w.ContentType = "application/octet-stream" // else the SDK would guess it
	return u
}

func (u *upload) write(p []byte) error {
	return u.timed(len(p)+chunkSize, func() error {
		_, err := u.w.Write(p)
		return err
	})
}

// timed gives up the upload when f, which sends n bytes, takes too long.
func (u *upload) timed(n int, f func() error) error {
	limit := transfer.UploadTimeout(int64(n))
	timer := time.AfterFunc(limit, func() { u.cancel(fmt.Errorf("the service has not taken %d bytes within %v", n, limit)) })
	defer timer.Stop()
	return f()
}

// explain is err, or what ended the upload.
func (u *upload) explain(err error) error {
	if cause := context.Cause(u.ctx); err != nil && cause != nil && cause != context.Canceled {
		return cause
	}
	return err
}
