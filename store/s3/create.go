package s3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"seawal/store"
)

// Parts of a large object. There may be 10,000 of at least 5 MiB and together 5 TiB (Amazon's limits), so they grow.
const (
	PartSize   = 8 << 20 // bytes, of the first growEvery parts
	growEvery  = 1000    // then it doubles, and so on
	atATime    = 2       // parts in flight; one more is being read
	slowestBps = 32 << 10
)

// bodyError is an error of the caller's own body: nothing is created then.
type bodyError struct{ error }

func (e bodyError) Unwrap() error { return e.error }

// Create implements store.Store.
func (b *bucket) Create(ctx context.Context, name string, body store.Body) error {
	if err := begin(ctx, store.ValidateName(name)); err != nil {
		return b.wrap(ctx, store.OpCreate, name, err)
	}
	if err := b.create(ctx, name, body); err != nil {
		return b.wrap(ctx, store.OpCreate, name, err)
	}
	return nil
}

func (b *bucket) create(ctx context.Context, name string, body store.Body) error {
	in, err := body()
	if err != nil {
		return bodyError{fmt.Errorf("open the body: %w", err)}
	}
	defer in.Close() // it was read to its end, or failed already
	first, last, err := readPart(in, nil, PartSize)
	if err != nil {
		return err
	}
	if !last {
		return b.createInParts(ctx, name, in, first)
	}
	timed, cancel := context.WithTimeout(ctx, uploadTimeout(len(first)))
	defer cancel()
	_, err = b.client.PutObject(timed, &s3.PutObjectInput{
		Bucket: &b.name, Key: b.key(name), Body: bytes.NewReader(first), ContentLength: aws.Int64(int64(len(first))),
		ContentMD5: contentMD5(first), IfNoneMatch: aws.String("*"),
	})
	return err
}

// uploadTimeout is generous for a slow line, and ends for a silent one.
func uploadTimeout(n int) time.Duration {
	return requestTimeout + time.Duration(n)*time.Second/slowestBps
}

func contentMD5(p []byte) *string {
	sum := md5.Sum(p)
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

// readPart reads the next n bytes of the body, into buf if that is large enough; last says that it ended before.
func readPart(in io.Reader, buf []byte, n int) (part []byte, last bool, err error) {
	if cap(buf) < n {
		// A segment is small as a rule: memory grows with what there is.
		var b bytes.Buffer
		_, err = io.CopyN(&b, in, int64(n))
		part = b.Bytes()
	} else {
		part = buf[:n]
		var k int
		k, err = io.ReadFull(in, part)
		part = part[:k]
	}
	switch {
	case err == nil:
		return part, false, nil
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && isShort(err):
		return part, true, nil
	}
	return nil, false, bodyError{fmt.Errorf("read the body: %w", err)}
}

// isShort tells ReadFull's own io.ErrUnexpectedEOF, which is bare, from one of the body.
func isShort(err error) bool { return err == io.ErrUnexpectedEOF }

// upload is a multipart upload.
type upload struct {
	b       *bucket
	name    string
	id      *string
	parts   []types.CompletedPart
	results chan result
	flying  int
}

type result struct {
	number int32
	etag   *string
	buf    []byte
	err    error
}

// createInParts uploads first and what follows in the body. The object appears with the last request, if the name is free then.
func (b *bucket) createInParts(ctx context.Context, name string, in io.Reader, first []byte) error {
	short, cancel := context.WithTimeout(ctx, requestTimeout)
	out, err := b.client.CreateMultipartUpload(short, &s3.CreateMultipartUploadInput{Bucket: &b.name, Key: b.key(name)})
	cancel()
	if err != nil {
		return err
	}
	u := &upload{b: b, name: name, id: out.UploadId, results: make(chan result, atATime)}
	if err = u.send(ctx, in, first); err == nil {
		err = u.complete(ctx)
	}
	if err != nil {
		u.abort(ctx)
	}
	return err
}

// send uploads all parts.
func (u *upload) send(ctx context.Context, in io.Reader, part []byte) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer func() {
		if err != nil {
			cancel()
		}
		for u.flying > 0 {
			_, err = u.collect(err)
		}
	}()
	size, last := PartSize, false
	var buf []byte
	for number := int32(1); ; number++ {
		if len(part) > 0 || number == 1 {
			u.flying++
			go func(part []byte, number int32) { u.results <- u.put(ctx, part, number) }(part, number)
		}
		if last {
			return nil
		}
		if number%growEvery == 0 {
			size *= 2
		}
		buf = nil
		for u.flying >= atATime {
			if buf, err = u.collect(nil); err != nil {
				return err
			}
		}
		if buf == nil {
			buf = make([]byte, size)
		}
		if part, last, err = readPart(in, buf, size); err != nil {
			return err
		}
	}
}

// put uploads one part.
func (u *upload) put(ctx context.Context, part []byte, number int32) result {
	timed, cancel := context.WithTimeout(ctx, uploadTimeout(len(part)))
	defer cancel()
	out, err := u.b.client.UploadPart(timed, &s3.UploadPartInput{
		Bucket: &u.b.name, Key: u.b.key(u.name), UploadId: u.id, PartNumber: &number,
		Body: bytes.NewReader(part), ContentLength: aws.Int64(int64(len(part))), ContentMD5: contentMD5(part),
	})
	r := result{number: number, buf: part[:cap(part)], err: err}
	if err == nil {
		r.etag = out.ETag
	}
	return r
}

// collect waits for a part and returns its buffer. The first error stays.
func (u *upload) collect(before error) ([]byte, error) {
	r := <-u.results
	u.flying--
	if before != nil {
		return r.buf, before
	}
	if r.err != nil {
		return r.buf, fmt.Errorf("upload part %d: %w", r.number, r.err)
	}
	for len(u.parts) < int(r.number) {
		u.parts = append(u.parts, types.CompletedPart{})
	}
	u.parts[r.number-1] = types.CompletedPart{ETag: r.etag, PartNumber: aws.Int32(r.number)}
	return r.buf, nil
}

func (u *upload) complete(ctx context.Context) error {
	timed, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := u.b.client.CompleteMultipartUpload(timed, &s3.CompleteMultipartUploadInput{
		Bucket: &u.b.name, Key: u.b.key(u.name), UploadId: u.id, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
	})
	return err
}

// abort gives the parts back, which cost money and are in no listing. A rule of the bucket that aborts old
// uploads catches what a killed process leaves.
func (u *upload) abort(ctx context.Context) {
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, _ = u.b.client.AbortMultipartUpload(short, &s3.AbortMultipartUploadInput{Bucket: &u.b.name, Key: u.b.key(u.name), UploadId: u.id})
}
