package azure_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"seawal/internal/testserver"
	"seawal/store"
)

func put(t *testing.T, s store.Store, name string) error {
	t.Helper()
	return s.Create(t.Context(), name, store.BytesBody([]byte("content")))
}

// What a person has to mend is said at once, with the way out, and never with a credential.
func TestBadInput(t *testing.T) {
	server(t)
	const otherKey = "aHVudGVyMg=="
	for _, c := range []struct {
		name, url string
		env       map[string]string
		want      string
	}{
		{"no such container", "azblob://nothere/x", nil, "container nothere does not exist"},
		{"wrong key", "azblob://container/x", map[string]string{"AZURE_STORAGE_KEY": otherKey}, "does not accept the credentials"},
		{"not a key", "azblob://container/x", map[string]string{"AZURE_STORAGE_KEY": "hunter2!"}, "is no account key"},
		{"expired signature", "azblob://container/x", map[string]string{"AZURE_STORAGE_KEY": "", "AZURE_STORAGE_SAS_TOKEN": expired(t)}, "they have expired"},
		{"broken connection string", "azblob://container/x", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "hunter2"}, "copy it again"},
		{"no account", "azblob://container/x", map[string]string{"AZURE_STORAGE_ACCOUNT": "", "AZURE_STORAGE_BLOB_ENDPOINT": ""}, "no account is known"},
		{"no container", "azblob:///x", nil, "azblob://container/prefix"},
		{"user in the URL", "azblob://id:hunter2@container/x", nil, "don't belong into the URL"},
		{"secret in the URL", "azblob://container/x?sig=hunter2", nil, "credentials belong into the environment"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			s, err := store.Open(t.Context(), c.url)
			if err == nil {
				defer s.Close()
				err = put(t, s, "a")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v; want %q", err, c.want)
			}
			if !store.IsPermanent(err) {
				t.Errorf("it would be tried again: %v", err)
			}
			for _, secret := range []string{"hunter2", otherKey, "sig="} {
				if strings.Contains(strings.ReplaceAll(err.Error(), "sig=xxxxx", ""), secret) {
					t.Errorf("shows a secret: %v", err)
				}
			}
		})
	}
}

// signature is a SAS of the account that ends in d.
func signature(t *testing.T, d time.Duration) string {
	t.Helper()
	cred, err := service.NewSharedKeyCredential(testserver.AzureAccount, testserver.AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	q, err := sas.AccountSignatureValues{
		Protocol: sas.ProtocolHTTPSandHTTP, ExpiryTime: time.Now().UTC().Add(d),
		Permissions:   (&sas.AccountPermissions{Read: true, Write: true, Create: true, Add: true, List: true, Delete: true}).String(),
		ResourceTypes: (&sas.AccountResourceTypes{Service: true, Container: true, Object: true}).String(),
	}.SignWithSharedKey(cred)
	if err != nil {
		t.Fatal(err)
	}
	return q.Encode()
}

func expired(t *testing.T) string { return signature(t, -time.Hour) }

func TestSignature(t *testing.T) {
	endpoint := server(t)
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "?"+signature(t, time.Hour))
	s, err := store.Open(t.Context(), "azblob://container/signed")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}

	// A transport's error quotes the URL, in which the signature is.
	t.Setenv("AZURE_STORAGE_BLOB_ENDPOINT", "http://127.0.0.1:1/"+testserver.AzureAccount)
	gone, err := store.Open(t.Context(), "azblob://container/signed")
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	err = put(t, gone, "a")
	if err == nil || store.IsPermanent(err) || strings.Contains(err.Error(), "sig=") {
		t.Errorf("service away: %v", err)
	}

	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "")
	t.Setenv("AZURE_STORAGE_CONNECTION_STRING", "DefaultEndpointsProtocol=http;AccountName="+testserver.AzureAccount+
		";AccountKey="+testserver.AzureKey+";BlobEndpoint="+endpoint)
	s, err = store.Open(t.Context(), "azblob://container/signed")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Stat(t.Context(), "a"); err != nil {
		t.Errorf("by connection string: %v", err)
	}
}

// proxied puts a proxy before the service that answers as it likes. It returns the store behind it.
func proxied(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, apply func(http.ResponseWriter))) store.Store {
	to, err := url.Parse(server(t))
	if err != nil {
		t.Fatal(err)
	}
	root := &url.URL{Scheme: to.Scheme, Host: to.Host}
	rp := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(root); r.Out.Host = r.In.Host }}
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, r, func(w http.ResponseWriter) { rp.ServeHTTP(w, r) })
	}))
	t.Cleanup(p.Close)
	t.Setenv("AZURE_STORAGE_BLOB_ENDPOINT", p.URL+to.Path)
	s, err := store.Open(t.Context(), "azblob://container/proxied")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// The write is applied and the answer is lost: the next attempt is told that the name is taken.
func TestLostAcknowledgement(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(http.ResponseWriter)
	}{
		{"503", func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }},
		{"cut", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var lost atomic.Bool
			s := proxied(t, func(w http.ResponseWriter, r *http.Request, apply func(http.ResponseWriter)) {
				if r.Method != http.MethodPut || lost.Swap(true) {
					apply(w)
					return
				}
				apply(httptest.NewRecorder())
				c.lose(w)
			})
			err := put(t, s, "a")
			if err == nil || errors.Is(err, store.ErrExist) || store.IsPermanent(err) {
				t.Fatalf("first attempt: %v; want an unknown outcome", err)
			}
			if err := put(t, s, "a"); !errors.Is(err, store.ErrExist) {
				t.Fatalf("second attempt: %v; want ErrExist", err)
			}
		})
	}
}

// Each request is made once: repeating is store.Retry's, and every upload carries a checksum and the condition.
func TestRequests(t *testing.T) {
	var puts atomic.Int64
	s := proxied(t, func(w http.ResponseWriter, r *http.Request, _ func(http.ResponseWriter)) {
		puts.Add(1)
		if r.Header.Get("Content-MD5") == "" || r.Header.Get("If-None-Match") != "*" {
			t.Errorf("headers of an upload: %v", r.Header)
		}
		w.WriteHeader(http.StatusTooManyRequests)
	})
	if err := put(t, s, "a"); err == nil || store.IsPermanent(err) {
		t.Errorf("429: %v; want an error that is worth another attempt", err)
	}
	if n := puts.Load(); n != 1 {
		t.Errorf("%d requests for one attempt", n)
	}
}
