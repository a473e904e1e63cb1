package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"seawal/store"
)

// status is the HTTP status that an error came with; 0 when none did.
func status(err error) int {
	var r *azcore.ResponseError
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

// wrap says what failed, and whether it may go away by itself.
func (s *blobs) wrap(ctx context.Context, op store.Op, name string, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, brief(err))
	}
	s.refused(err)
	return fmt.Errorf("%s azblob://%s/%s%s: %w", op, s.name, s.root, name, s.classify(op, err))
}

// brief takes from an error what must not be seen or is too long: a transport's quotes the URL with a
// signature, a service's the whole answer.
func brief(err error) error {
	var r *azcore.ResponseError
	if errors.As(err, &r) {
		return fmt.Errorf("HTTP %d %s", r.StatusCode, r.ErrorCode)
	}
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("%s: %w", u.Op, u.Err)
	}
	return err
}

// classify turns what the service said into what the contract has for it.
func (s *blobs) classify(op store.Op, err error) error {
	var r *azcore.ResponseError
	if !errors.As(err, &r) {
		var auth *azidentity.AuthenticationFailedError
		if errors.As(err, &auth) || strings.Contains(err.Error(), "DefaultAzureCredential: failed") {
			return store.Permanent(fmt.Errorf("no credentials were found, or they are refused; set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or sign in: %w", brief(err)))
		}
		return brief(err)
	}
	permanent := func(way string) error { return store.Permanent(fmt.Errorf("%s: %w", way, brief(err))) }
	code := bloberror.Code(r.ErrorCode)
	switch {
	case code == bloberror.ContainerNotFound || code == "ResourceNotFound" && op == store.OpCreate:
		return permanent(fmt.Sprintf("container %s does not exist; create it, or mend the URL", s.name))
	case code == bloberror.BlobAlreadyExists || code == bloberror.ConditionNotMet || code == bloberror.BlobImmutableDueToPolicy && op == store.OpCreate:
		return fmt.Errorf("%w: %w", store.ErrExist, brief(err))
	case code == bloberror.BlobImmutableDueToPolicy:
		return permanent("a policy of the container keeps the blob; wait until its time is over")
	case code == bloberror.AuthenticationFailed && strings.Contains(err.Error(), "date header"):
		return permanent("the clock of this machine is wrong; set it")
	case code == bloberror.AuthenticationFailed || r.StatusCode == http.StatusUnauthorized:
		return permanent("the service does not accept the credentials, or they have expired; look at AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN")
	case code == bloberror.AuthorizationFailure:
		return permanent("the service does not accept the credentials for this, or they have expired, or a firewall of the account is in the way; " +
			"the role Storage Blob Data Contributor has what is needed, a SAS needs racwdl on the container")
	case r.StatusCode == http.StatusForbidden:
		return permanent("no permission; the role Storage Blob Data Contributor has what is needed, a SAS needs racwdl on the container")
	case r.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %w", store.ErrNotExist, brief(err))
	case code == bloberror.MD5Mismatch || code == bloberror.InvalidBlockList || code == "RequestBodyInvalid":
		return brief(err) // damaged on its way, or others' blocks: the next attempt begins anew
	case r.StatusCode == http.StatusNotImplemented || r.StatusCode == http.StatusMethodNotAllowed:
		return permanent("the service lacks something that seawal needs")
	case r.StatusCode == http.StatusBadRequest:
		return permanent("the service refuses the request")
	}
	return brief(err)
}
