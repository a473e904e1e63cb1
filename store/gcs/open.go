package gcs

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/storage"
	"golang.org/x/oauth2"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"

	"seawal/store"
	"seawal/store/internal/transfer"
)

func init() { store.Register("gs", open) }

// emulatorEnv is the variable that the SDK knows too: host:port of an emulator.
const emulatorEnv = "STORAGE_EMULATOR_HOST"

// bucket is the store on the objects of a bucket whose names begin with root.
type bucket struct {
	name string
	root string // "" or with a slash at its end

	base *http.Transport
	life context.Context // of what fetches tokens; ends with Close
	end  context.CancelFunc

	mu     sync.Mutex
	client *storage.Client // nil until it is needed; under mu
}

// open is the store.Opener. It asks nothing of the service, nor for credentials: to look for them may take a network too.
func open(_ context.Context, u *url.URL) (store.Store, error) {
	switch {
	case u.User != nil:
		return nil, store.Permanent(fmt.Errorf("credentials don't belong into the URL; set GOOGLE_APPLICATION_CREDENTIALS to the path of a file with them"))
	case u.Host == "":
		return nil, store.Permanent(fmt.Errorf("it names no bucket; write gs://bucket/prefix"))
	}
	insecure := false
	for k, v := range u.Query() {
		if k != "insecure" {
			return nil, store.Permanent(fmt.Errorf("unknown parameter %q; there is insecure, and credentials belong into the environment", k))
		}
		var err error
		if insecure, err = transfer.ParseInsecure(v[0]); err != nil {
			return nil, store.Permanent(err)
		}
	}
	if emulator := os.Getenv(emulatorEnv); emulator != "" {
		if !strings.Contains(emulator, "://") {
			emulator = "http://" + emulator
		}
		if err := transfer.RequireTLS(emulator, insecure); err != nil {
			return nil, store.Permanent(fmt.Errorf("%s is set: %w", emulatorEnv, err))
		}
	}
	b := &bucket{name: u.Host, base: newTransport()}
	if root := strings.Trim(u.Path, "/"); root != "" {
		b.root = root + "/"
	}
	b.life, b.end = context.WithCancel(context.WithValue(context.Background(), oauth2.HTTPClient,
		&http.Client{Transport: b.base, Timeout: transfer.RequestTimeout}))
	return b, nil
}

// newTransport has timeouts for every wait but the one for a body, which is bounded where it is read or written.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	t.IdleConnTimeout = 60 * time.Second
	t.ResponseHeaderTimeout = transfer.RequestTimeout
	// A connection of HTTP/2 is shared: that it has gone silent has to be noticed apart from any one request.
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second}
	return t
}

// objects returns the bucket for use, with the credentials of the moment in which it is first used.
func (b *bucket) objects() (*storage.BucketHandle, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client == nil {
		c, err := b.newClient()
		if err != nil {
			return nil, err
		}
		b.client = c
	}
	return b.client.Bucket(b.name), nil
}

func (b *bucket) newClient() (*storage.Client, error) {
	var transport http.RoundTripper = b.base
	if os.Getenv(emulatorEnv) == "" {
		var err error
		if transport, err = htransport.NewTransport(b.life, b.base, option.WithScopes(storage.ScopeReadWrite)); err != nil {
			return nil, store.Permanent(fmt.Errorf("no credentials were found, or they can't be read; set GOOGLE_APPLICATION_CREDENTIALS to the path of a file with them, or run gcloud auth application-default login: %w", err))
		}
	}
	// One interface for all: the other one, which reads take by default, knows its own host only, and an emulator may be reached by another.
	c, err := storage.NewClient(b.life, option.WithHTTPClient(&http.Client{Transport: transfer.Signed{Base: transport, Check: checkSign}}), storage.WithJSONReads())
	if err != nil {
		return nil, store.Permanent(fmt.Errorf("make a client: %w", err))
	}
	// store.Retry has the policy. RetryNever would leave uploads to a default of their own, which repeats.
	c.SetRetry(storage.WithPolicy(storage.RetryAlways), storage.WithErrorFunc(func(error) bool { return false }))
	return c, nil
}

// forget has the next request look for credentials anew: a file that was replaced, or another sign-in, is found. What is under way
// goes on with the old ones, whose client isn't closed therefore; it holds nothing but the transport, which stays.
func (b *bucket) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.client = nil
}

// Close implements store.Store.
func (b *bucket) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end()
	b.base.CloseIdleConnections()
	if b.client == nil {
		return nil
	}
	c := b.client
	b.client = nil
	return c.Close()
}
