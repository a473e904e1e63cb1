package s3

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// unsignedHeaders mean nothing to the service, and proxies on the way change or drop them. Signed, as the SDK
// does it, such a change breaks the signature of every request, and the service says that the key is wrong.
var unsignedHeaders = []string{"Accept-Encoding", "Amz-Sdk-Invocation-Id", "Amz-Sdk-Request", "X-Amzn-Trace-Id"}

// signer signs as the SDK's own does, but for unsignedHeaders. Safe for concurrent use.
type signer struct {
	current atomic.Pointer[v4.Signer]
}

var _ s3.HTTPSignerV4 = (*signer)(nil)

func newSigner() *signer {
	s := new(signer)
	s.forget()
	return s
}

// forget drops what was derived from secrets: the SDK keeps it by the name of a key, and would go on with the old secret of one
// whose secret was put right.
func (s *signer) forget() {
	s.current.Store(v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true // S3 wants the path as it is sent
	}))
}

// SignHTTP implements s3.HTTPSignerV4.
func (s *signer) SignHTTP(ctx context.Context, credentials aws.Credentials, r *http.Request, payloadHash, service, region string, at time.Time, opts ...func(*v4.SignerOptions)) error {
	hidden := http.Header{}
	for _, name := range unsignedHeaders {
		if values := r.Header.Values(name); len(values) > 0 {
			hidden[name] = values
			r.Header.Del(name)
		}
	}
	err := s.current.Load().SignHTTP(ctx, credentials, r, payloadHash, service, region, at, opts...)
	for name, values := range hidden {
		r.Header[name] = values
	}
	return err
}

// freshCredentials asks for credentials from the beginning each time: a shared file that was written anew, or another
// role, is found. What the SDK's own providers have read once they keep for the life of the process.
type freshCredentials struct {
	load func(ctx context.Context) (aws.Config, error)
}

// Retrieve implements aws.CredentialsProvider.
func (f freshCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	cfg, err := f.load(ctx)
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("load the AWS configuration: %w", err)
	}
	if cfg.Credentials == nil {
		return aws.Credentials{}, fmt.Errorf("the AWS configuration has no credentials")
	}
	return cfg.Credentials.Retrieve(ctx)
}

// refusedCredentials says that other credentials might have been accepted.
func refusedCredentials(err error) bool {
	switch code(err) {
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken", "XAdminUserNotFound":
		return true
	}
	s := status(err)
	return s == http.StatusUnauthorized || s == http.StatusForbidden
}
