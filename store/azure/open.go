package azure

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"seawal/store"
	"seawal/store/internal/transfer"
)

func init() { store.Register("azblob", open) }

// open is the store.Opener. It asks nothing of the service.
func open(_ context.Context, u *url.URL) (store.Store, error) {
	if u.User != nil {
		return nil, store.Permanent(fmt.Errorf("credentials don't belong into the URL; set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN"))
	}
	if u.Host == "" {
		return nil, store.Permanent(fmt.Errorf("it names no container; write azblob://container/prefix"))
	}
	account := os.Getenv("AZURE_STORAGE_ACCOUNT")
	insecure := false
	for k, v := range u.Query() {
		switch k {
		case "account":
			account = v[0]
		case "insecure":
			var err error
			if insecure, err = transfer.ParseInsecure(v[0]); err != nil {
				return nil, store.Permanent(err)
			}
		default:
			return nil, store.Permanent(fmt.Errorf("unknown parameter %q; there are account and insecure, and credentials belong into the environment", k))
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	transport.IdleConnTimeout = 60 * time.Second
	transport.ResponseHeaderTimeout = transfer.RequestTimeout
	s := &blobs{http: &http.Client{Transport: transfer.Signed{Base: transport, Check: checkSign}}, name: u.Host}
	if root := strings.Trim(u.Path, "/"); root != "" {
		s.root = root + "/"
	}
	options := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: s.http,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // store.Retry has the policy
	}}
	s.connect = func() (*container.Client, error) {
		c, err := newClient(u.Host, account, options)
		if err == nil {
			err = transfer.RequireTLS(c.URL(), insecure)
		}
		return c, err
	}
	c, err := s.connect()
	if err != nil {
		return nil, store.Permanent(err)
	}
	s.current.Store(c)
	return s, nil
}

// newClient chooses the credentials.
func newClient(name, account string, options *container.ClientOptions) (*container.Client, error) {
	var values [3]string
	for i, name := range []string{"AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"} {
		var err error
		if values[i], err = secret(name); err != nil {
			return nil, err
		}
	}
	text, key, sas := values[0], values[1], values[2]
	if text != "" {
		c, err := container.NewClientFromConnectionString(text, name, options)
		if err != nil { // its text may quote a part of the input
			return nil, fmt.Errorf("AZURE_STORAGE_CONNECTION_STRING can't be used; copy it again from the account's access keys")
		}
		return c, nil
	}
	endpoint := os.Getenv("AZURE_STORAGE_BLOB_ENDPOINT")
	switch {
	case account == "" && endpoint == "":
		return nil, fmt.Errorf("no account is known; set AZURE_STORAGE_ACCOUNT or AZURE_STORAGE_CONNECTION_STRING, or write azblob://%s/prefix?account=…", name)
	case endpoint == "":
		endpoint = "https://" + account + ".blob.core.windows.net"
	}
	at := strings.TrimSuffix(endpoint, "/") + "/" + name
	if key != "" {
		cred, err := blob.NewSharedKeyCredential(account, key)
		if err != nil {
			return nil, fmt.Errorf("AZURE_STORAGE_KEY is no account key; it is base64 of 64 bytes")
		}
		return container.NewClientWithSharedKeyCredential(at, cred, options)
	}
	if sas != "" {
		return container.NewClientWithNoCredential(at+"?"+strings.TrimPrefix(sas, "?"), options)
	}
	if strings.HasPrefix(endpoint, "http://") { // else the SDK would say so with each request, by an error without a type
		return nil, fmt.Errorf("no key is set, and a sign-in's token is sent over https only; set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or an AZURE_STORAGE_BLOB_ENDPOINT with https")
	}
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, fmt.Errorf("no credentials were found; set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or sign in: %w", err)
	}
	return container.NewClient(at, cred, options)
}
