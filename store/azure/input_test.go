package azure_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"

	"seawal/internal/testserver"
	"seawal/internal/testserver/proxy"
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

// proxied returns the store behind a proxy.
func proxied(t *testing.T) (store.Store, *proxy.HTTP) {
	to, err := url.Parse(server(t))
	if err != nil {
		t.Fatal(err)
	}
	p := proxy.NewHTTP(t, to.Host)
	t.Setenv("AZURE_STORAGE_BLOB_ENDPOINT", "http://"+p.Addr()+to.Path)
	s, err := store.Open(t.Context(), "azblob://container/proxied")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, p
}

// The write is applied and the answer is lost: the next attempt is told that the name is taken.
func TestLostAcknowledgement(t *testing.T) {
	for name, status := range map[string]int{"503": http.StatusServiceUnavailable, "cut": 0} {
		t.Run(name, func(t *testing.T) {
			s, p := proxied(t)
			p.Inject(proxy.Method(http.MethodPut), 1, proxy.LoseAck(status))
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
	s, p := proxied(t)
	p.Inject(proxy.Any, -1, proxy.Answer(http.StatusTooManyRequests, ""))
	if err := put(t, s, "a"); err == nil || store.IsPermanent(err) {
		t.Errorf("429: %v; want an error that is worth another attempt", err)
	}
	seen := p.Requests()
	if len(seen) != 1 {
		t.Fatalf("%d requests for one attempt", len(seen))
	}
	if h := seen[0].Header; h.Get("Content-MD5") == "" || h.Get("If-None-Match") != "*" {
		t.Errorf("headers of an upload: %v", h)
	}
}
