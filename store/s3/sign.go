package s3

import (
	"bytes"
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"seawal/store/internal/transfer"
)

// errorBody is as much of an answer as holds the code of an error, bytes.
const errorBody = 64 << 10

// checkSign holds an answer to what every service with this interface sends: a tag with each object, a code with each error.
// What the bodies of listings and of uploads in parts say is looked at where they are read.
func checkSign(resp *http.Response) error {
	h, q := resp.Header, resp.Request.URL.Query()
	known := h.Get("x-amz-request-id") != "" || h.Get("x-amz-id-2") != ""
	method := resp.Request.Method
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable: // who meets it asks how long the object is
	case resp.StatusCode >= 400 && method == http.MethodHead:
		if !known && (resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusPreconditionFailed) {
			return transfer.ErrNoSign // stat asks in another way
		}
	case resp.StatusCode >= 400:
		b, err := transfer.Peek(resp, errorBody)
		if err != nil {
			return err
		}
		if !bytes.Contains(b, []byte("<Code>")) {
			return errors.New("it has no error code")
		}
	case method == http.MethodDelete:
		if resp.StatusCode != http.StatusNoContent && !known {
			return transfer.ErrNoSign
		}
	case method != http.MethodPost && !q.Has("list-type") && !q.Has("versions") && h.Get("ETag") == "":
		return errors.New("it has no ETag")
	}
	return nil
}

// exists asks for an object with a request whose refusal has a body: that of HEAD has none, and some services don't
// send anything else that tells it from a proxy's.
func (b *bucket) exists(ctx context.Context, name string) error {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: b.key(name), Range: aws.String("bytes=0-0")})
	if err != nil {
		return err
	}
	return out.Body.Close()
}

// isUnsigned404 says that a 404 may be a proxy's.
func isUnsigned404(err error) bool {
	var u *transfer.UnsignedError
	return errors.As(err, &u) && u.Status == http.StatusNotFound
}

// checkPage says whether a listing is one, and leads on.
func checkPage(out *s3.ListObjectsV2Output, before *string) error {
	next := aws.ToString(out.NextContinuationToken)
	switch {
	case out.Name == nil && out.KeyCount == nil:
		return &transfer.UnsignedError{Status: http.StatusOK, Err: errors.New("it is no listing")}
	case aws.ToBool(out.IsTruncated) && (next == "" || next == aws.ToString(before)):
		return errors.New("the service says that the listing goes on, and not where")
	}
	return nil
}
