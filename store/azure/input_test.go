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

	"seawal/internal/storetrial"
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
	_, container := server(t)
	at := "azblob://" + container
	const otherKey = "aHVudGVyMg=="
	storetrial.BadInput(t, []storetrial.Bad{
		{Name: "no such container", URL: "azblob://nothere/x", Want: "container nothere does not exist"},
		{Name: "wrong key", URL: at + "/x", Env: map[string]string{"AZURE_STORAGE_KEY": otherKey}, Want: "does not accept the credentials"},
		{Name: "not a key", URL: at + "/x", Env: map[string]string{"AZURE_STORAGE_KEY": "hunter2!"}, Want: "is no account key"},
		{Name: "expired signature", URL: at + "/x", Env: map[string]string{"AZURE_STORAGE_KEY": "", "AZURE_STORAGE_SAS_TOKEN": expired(t)}, Want: "they have expired"},
		{Name: "broken connection string", URL: at + "/x", Env: map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "hunter2"}, Want: "copy it again"},
		{Name: "no account", URL: at + "/x", Env: map[string]string{"AZURE_STORAGE_ACCOUNT": "", "AZURE_STORAGE_BLOB_ENDPOINT": ""}, Want: "no account is known"},
		{Name: "no container", URL: "azblob:///x", Want: "azblob://container/prefix"},
		{Name: "user in the URL", URL: "azblob://id:hunter2@container/x", Want: "don't belong into the URL"},
		{Name: "secret in the URL", URL: at + "/x?sig=hunter2", Want: "credentials belong into the environment"},
	}, "hunter2", otherKey, "sig=")
}

const valid = time.Hour // of a signature

var everything = sas.AccountPermissions{Read: true, Write: true, Create: true, Add: true, List: true, Delete: true}

// signature is a SAS of the account that ends in d.
func signature(t *testing.T, permissions sas.AccountPermissions, d time.Duration) string {
	t.Helper()
	cred, err := service.NewSharedKeyCredential(testserver.AzureAccount, testserver.AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	q, err := sas.AccountSignatureValues{
		Protocol: sas.ProtocolHTTPSandHTTP, ExpiryTime: time.Now().UTC().Add(d),
		Permissions:   permissions.String(),
		ResourceTypes: (&sas.AccountResourceTypes{Service: true, Container: true, Object: true}).String(),
	}.SignWithSharedKey(cred)
	if err != nil {
		t.Fatal(err)
	}
	return q.Encode()
}

func expired(t *testing.T) string { return signature(t, everything, -time.Hour) }

func TestSignature(t *testing.T) {
	endpoint, container := server(t)
	at := "azblob://" + container
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "?"+signature(t, everything, valid))
	s, err := store.Open(t.Context(), at+"/signed")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}

	// A transport's error quotes the URL, in which the signature is.
	t.Setenv("AZURE_STORAGE_BLOB_ENDPOINT", "http://127.0.0.1:1/"+testserver.AzureAccount)
	gone, err := store.Open(t.Context(), at+"/signed")
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
	s, err = store.Open(t.Context(), at+"/signed")
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
	endpoint, container := server(t)
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := proxy.NewHTTP(t, to.Host)
	t.Setenv("AZURE_STORAGE_BLOB_ENDPOINT", "http://"+p.Addr()+to.Path)
	s, err := store.Open(t.Context(), "azblob://"+container+"/proxied")
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

// A body that was damaged on its way is refused by the service.
func TestDamagedBody(t *testing.T) {
	s, p := proxied(t)
	p.Inject(proxy.Method(http.MethodPut), -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Set("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")
		next.ServeHTTP(w, r)
	})
	if err := put(t, s, "a"); err == nil {
		t.Error("stored")
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
}
