package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// status is the HTTP status that an error came with; 0 when none did.
func status(err error) int {
	var r *awshttp.ResponseError
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

func code(err error) string {
	var a smithy.APIError
	if errors.As(err, &a) {
		return a.ErrorCode()
	}
	return ""
}

// wrap says what failed, and whether it may go away by itself.
func (b *bucket) wrap(ctx context.Context, op store.Op, name string, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	if refusedCredentials(err) {
		b.credentials.Invalidate() // they may have been replaced since; the next attempt asks for them again
		b.signer.forget()
	}
	err = fmt.Errorf("%s s3://%s/%s%s: %w", op, b.name, b.root, name, b.classify(op, err))
	return err
}

// classify turns what the service said into what the contract has for it.
func (b *bucket) classify(op store.Op, err error) error {
	permanent := func(way string) error { return store.Permanent(fmt.Errorf("%s: %w", way, err)) }
	var unsigned *transfer.UnsignedError
	if errors.As(err, &unsigned) && code(err) == "" {
		return err
	}
	s, c := status(err), code(err)
	switch {
	case errors.Is(err, transfer.ErrTooLarge):
		return permanent(fmt.Sprintf("the service takes %d parts of one object at most", b.parts.Most()))
	case c == "NoSuchBucket":
		return permanent(fmt.Sprintf("bucket %s does not exist; create it, or mend the URL", b.name))
	case c == "NoSuchUpload":
		return err // begun anew by the next attempt
	case c == "PreconditionFailed" || s == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", store.ErrExist, err)
	case c == "RequestTimeTooSkewed":
		return permanent("the clock of this machine is wrong; set it")
	case c == "ExpiredToken" || c == "ExpiredTokenException" || c == "RequestExpired":
		return permanent("the credentials have expired; renew them")
	case c == "AuthorizationHeaderMalformed" || c == "PermanentRedirect" || c == "IllegalLocationConstraintException" || s == http.StatusMovedPermanently:
		return permanent(fmt.Sprintf("bucket %s is in another region; set AWS_REGION or ?region= to it", b.name))
	case c == "InvalidAccessKeyId" || c == "SignatureDoesNotMatch" || c == "InvalidToken" || c == "XAdminUserNotFound" || s == http.StatusUnauthorized:
		return permanent("the service does not accept the credentials; look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile")
	case c == "InvalidObjectState":
		return permanent("the object was moved to an archive; restore it there first")
	case s == http.StatusForbidden:
		return permanent("no permission " + permissionOf[op] + ", or no such bucket")
	case s == http.StatusNotImplemented || s == http.StatusMethodNotAllowed:
		return permanent("the service lacks something that seawal needs, most likely If-None-Match")
	case c == "NoSuchKey" || s == http.StatusNotFound && (c == "" || c == "NotFound"):
		return fmt.Errorf("%w: %w", store.ErrNotExist, err)
	case s == http.StatusNotFound:
		return permanent("the service refuses the request")
	case s == http.StatusBadRequest && c != "RequestTimeout" && c != "BadDigest" && c != "IncompleteBody" && c != "InvalidDigest":
		return permanent("the service refuses the request")
	}
	var signing *v4.SigningError
	if errors.As(err, &signing) || s == 0 && strings.Contains(err.Error(), "get identity: ") {
		// The SDK has no type for it: the chain of providers ended without credentials.
		return permanent("no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role")
	}
	return err
}

// permissionOf names what a policy has to allow for an operation.
var permissionOf = map[store.Op]string{
	store.OpCreate: "s3:PutObject and s3:AbortMultipartUpload",
	store.OpRead:   "s3:GetObject (and s3:ListBucket, to tell what does not exist)",
	store.OpStat:   "s3:GetObject (and s3:ListBucket, to tell what does not exist)",
	store.OpList:   "s3:ListBucket",
	store.OpDelete: "s3:DeleteObject",
}
