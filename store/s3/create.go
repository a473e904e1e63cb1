package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// Create implements store.Store.
func (b *bucket) Create(ctx context.Context, name string, body store.Body) error {
	if err := transfer.Begin(ctx, store.ValidateName(name)); err != nil {
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
		return fmt.Errorf("open the body: %w", err)
	}
	defer in.Close() // it was read to its end, or failed already
	first, whole, err := transfer.First(in)
	if err != nil {
		return err
	}
	if !whole || store.WantsParts(ctx) {
		return b.createInParts(ctx, name, in, first)
	}
	timed, cancel := context.WithTimeout(ctx, transfer.UploadTimeout(int64(len(first))))
	defer cancel()
	out, err := b.client.PutObject(timed, &s3.PutObjectInput{
		Bucket: &b.name, Key: b.key(name), Body: bytes.NewReader(first), ContentLength: aws.Int64(int64(len(first))),
		ContentMD5: contentMD5(first), IfNoneMatch: b.condition,
	})
	if err == nil {
		noteVersion(ctx, out.VersionId)
	}
	return err
}

func contentMD5(p []byte) *string {
	sum := transfer.MD5(p)
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

// createInParts uploads first and what follows in the body. The object appears with the last request, if the name is free then.
func (b *bucket) createInParts(ctx context.Context, name string, in io.Reader, first []byte) error {
	short, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	out, err := b.client.CreateMultipartUpload(short, &s3.CreateMultipartUploadInput{Bucket: &b.name, Key: b.key(name)})
	cancel()
	if err == nil && aws.ToString(out.UploadId) == "" {
		err = &transfer.UnsignedError{Status: http.StatusOK, Err: errors.New("it begins no upload")}
	}
	if err != nil {
		return err
	}
	tags, err := transfer.UploadWithin(ctx, b.parts, in, first, func(ctx context.Context, p transfer.Part) (string, error) {
		out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &b.name, Key: b.key(name), UploadId: out.UploadId, PartNumber: aws.Int32(int32(p.Number)),
			Body: bytes.NewReader(p.Content), ContentLength: aws.Int64(int64(len(p.Content))), ContentMD5: contentMD5(p.Content),
		})
		if err != nil {
			return "", err
		}
		return aws.ToString(out.ETag), nil
	})
	if err == nil {
		err = b.complete(ctx, name, out.UploadId, tags)
	}
	if err != nil {
		b.abort(ctx, name, out.UploadId)
	}
	return err
}

func (b *bucket) complete(ctx context.Context, name string, id *string, tags []string) error {
	var parts []types.CompletedPart
	for i, tag := range tags {
		parts = append(parts, types.CompletedPart{ETag: aws.String(tag), PartNumber: aws.Int32(int32(i + 1))})
	}
	timed, cancel := context.WithTimeout(ctx, transfer.RequestTimeout)
	defer cancel()
	out, err := b.client.CompleteMultipartUpload(timed, &s3.CompleteMultipartUploadInput{
		Bucket: &b.name, Key: b.key(name), UploadId: id, IfNoneMatch: b.condition,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err == nil && aws.ToString(out.ETag) == "" {
		err = &transfer.UnsignedError{Status: http.StatusOK, Err: errors.New("it has no ETag")}
	}
	if err == nil {
		noteVersion(ctx, out.VersionId)
	}
	return err
}

// abort gives the parts back, which cost money and are in no listing. A rule of the bucket that aborts old
// uploads catches what a killed process leaves.
func (b *bucket) abort(ctx context.Context, name string, id *string) {
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, _ = b.client.AbortMultipartUpload(short, &s3.AbortMultipartUploadInput{Bucket: &b.name, Key: b.key(name), UploadId: id})
}
