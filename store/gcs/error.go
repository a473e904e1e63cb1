package gcs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"cloud.google.com/go/storage"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// wrap says what failed, and whether it may go away by itself.
func (b *bucket) wrap(ctx context.Context, op store.Op, name string, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, brief(err))
	}
	if refusedCredentials(err) {
		b.forget()
	}
	return fmt.Errorf("%s gs://%s/%s%s: %w", op, b.name, b.root, name, b.classify(op, err))
}

// refusedCredentials says that other credentials might have been accepted.
func refusedCredentials(err error) bool {
	var g *googleapi.Error
	var token *oauth2.RetrieveError
	if errors.As(err, &token) {
		return token.Response != nil && token.Response.StatusCode < http.StatusInternalServerError && token.Response.StatusCode != http.StatusTooManyRequests
	}
	return errors.As(err, &g) && (g.Code == http.StatusUnauthorized || g.Code == http.StatusForbidden && !hasReason(g, "rateLimitExceeded", "userRateLimitExceeded") && !isKept(g))
}

// brief takes from an error what must not be seen or is too long: a transport's quotes the URL, which may name an upload that
// whoever knows it can go on with; a service's the whole answer.
func brief(err error) error {
	var g *googleapi.Error
	if errors.As(err, &g) {
		return fmt.Errorf("HTTP %d %s", g.Code, g.Message)
	}
	var token *oauth2.RetrieveError
	if errors.As(err, &token) && token.Response != nil {
		return fmt.Errorf("HTTP %d %s", token.Response.StatusCode, saidOf(token))
	}
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("%s: %w", u.Op, u.Err)
	}
	return err
}

// saidOf is what the answer says; for a service account the SDK leaves it as it came.
func saidOf(token *oauth2.RetrieveError) string {
	if token.ErrorDescription != "" {
		return token.ErrorDescription
	}
	return string(token.Body[:min(len(token.Body), 300)])
}

// isBehind says that a range begins behind the end of the object.
func isBehind(err error) bool {
	var g *googleapi.Error
	return errors.As(err, &g) && g.Code == http.StatusRequestedRangeNotSatisfiable
}

// classify turns what the service said into what the contract has for it.
func (b *bucket) classify(op store.Op, err error) error {
	var body *transfer.BodyError
	if store.IsPermanent(err) || errors.As(err, &body) {
		return err
	}
	permanent := func(way string) error { return store.Permanent(fmt.Errorf("%s: %w", way, brief(err))) }
	var token *oauth2.RetrieveError
	if errors.As(err, &token) {
		return b.classifyToken(token, permanent, err)
	}
	if errors.Is(err, storage.ErrBucketNotExist) {
		return permanent(fmt.Sprintf("bucket %s does not exist; create it, or mend the URL", b.name))
	}
	var g *googleapi.Error
	if !errors.As(err, &g) {
		if errors.Is(err, storage.ErrObjectNotExist) {
			return fmt.Errorf("%w: %w", store.ErrNotExist, err)
		}
		return brief(err)
	}
	switch {
	case g.Code == http.StatusNotFound && (op == store.OpCreate || speaksOfBucket(g)):
		return permanent(fmt.Sprintf("bucket %s does not exist, or there is no permission %s; create it, or mend the URL", b.name, permissionOf[op]))
	case g.Code == http.StatusNotFound:
		return fmt.Errorf("%w: %w", store.ErrNotExist, brief(err))
	case g.Code == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", store.ErrExist, brief(err))
	case g.Code == http.StatusUnauthorized:
		return permanent("the service does not accept the credentials, or they have expired; look at GOOGLE_APPLICATION_CREDENTIALS, or run gcloud auth application-default login")
	case g.Code == http.StatusForbidden && hasReason(g, "rateLimitExceeded", "userRateLimitExceeded"):
		return brief(err) // for the moment
	case isKept(g) && op == store.OpCreate:
		return fmt.Errorf("%w: %w", store.ErrExist, brief(err))
	case isKept(g):
		return permanent("a retention policy or a hold keeps the object; wait until its time is over, or release it")
	case g.Code == http.StatusForbidden:
		return permanent(fmt.Sprintf("bucket %s does not exist, or there is no permission %s; the role Storage Object User has what is needed", b.name, permissionOf[op]))
	case g.Code == http.StatusNotImplemented || g.Code == http.StatusMethodNotAllowed:
		return permanent("the service lacks something that seawal needs")
	case g.Code == http.StatusBadRequest && !isDamage(g):
		return permanent("the service refuses the request")
	}
	return brief(err)
}

// classifyToken is for answers of who gives out the tokens.
func (b *bucket) classifyToken(token *oauth2.RetrieveError, permanent func(string) error, err error) error {
	switch {
	case token.Response == nil || token.Response.StatusCode >= http.StatusInternalServerError || token.Response.StatusCode == http.StatusTooManyRequests:
		return brief(err)
	case strings.Contains(saidOf(token), "reasonable timeframe"): // the one text that Google has for it
		return permanent("the clock of this machine is wrong; set it")
	}
	return permanent("the credentials are refused, or have expired; make a new key for the service account, or run gcloud auth application-default login")
}

// speaksOfBucket tells a bucket that isn't there from an object that isn't: the code is the same.
func speaksOfBucket(g *googleapi.Error) bool {
	return strings.Contains(g.Message, "bucket does not exist") || strings.Contains(g.Body, "NoSuchBucket") || strings.Contains(g.Body, "bucket does not exist")
}

// isKept says that an object which is there can be neither overwritten nor deleted.
func isKept(g *googleapi.Error) bool {
	return g.Code == http.StatusForbidden && hasReason(g, "retentionPolicyNotMet", "objectUnderActiveHold")
}

func hasReason(g *googleapi.Error, reasons ...string) bool {
	return slices.ContainsFunc(g.Errors, func(e googleapi.ErrorItem) bool { return slices.Contains(reasons, e.Reason) })
}

// isDamage says that the body was not what its checksum says.
func isDamage(g *googleapi.Error) bool {
	text := strings.ToLower(g.Message + g.Body)
	return strings.Contains(text, "crc32c") || strings.Contains(text, "checksum")
}

// permissionOf names what a role has to allow for an operation.
var permissionOf = map[store.Op]string{
	store.OpCreate: "storage.objects.create",
	store.OpRead:   "storage.objects.get",
	store.OpStat:   "storage.objects.get",
	store.OpList:   "storage.objects.list",
	store.OpDelete: "storage.objects.delete",
}
