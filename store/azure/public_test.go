package azure_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"

	"seawal/internal/storetrial"
	"seawal/internal/testserver"
	"seawal/internal/testserver/proxy"
	"seawal/store"
)

// admin is a client that may do what no store asks for.
func admin(t *testing.T, endpoint string) *azblob.Client {
	t.Helper()
	cred, err := azblob.NewSharedKeyCredential(testserver.AzureAccount, testserver.AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := azblob.NewClientWithSharedKeyCredential(endpoint, cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// public makes a container that anybody may read and list, and wants that to be so.
func public(t *testing.T) (name string) {
	t.Helper()
	endpoint, name := server(t)
	c := admin(t, endpoint).ServiceClient().NewContainerClient(name)
	access := container.PublicAccessTypeContainer
	if _, err := c.SetAccessPolicy(t.Context(), &container.SetAccessPolicyOptions{Access: &access}); err != nil {
		t.Fatal(err)
	}
	storetrial.Get(t, endpoint+"/"+name+"?restype=container&comp=list")
	return name
}

// A container that anybody may read can be restored from with a signature for reading, but not without any credentials: the
// error says which to set.
func TestPublicContainer(t *testing.T) {
	at := "azblob://" + public(t) + "/app"
	t.Run("nobody", func(t *testing.T) {
		t.Setenv("AZURE_STORAGE_KEY", "")
		storetrial.BadInput(t, []storetrial.Bad{{Name: "http", URL: at, Want: "a sign-in's token is sent over https only; set AZURE_STORAGE_KEY"}})
		// Nobody listens there: the credentials are looked for before the service is asked, and only in the environment,
		// which has none, instead of wherever this machine may have some.
		t.Setenv("AZURE_STORAGE_BLOB_ENDPOINT", "https://127.0.0.1:1/account")
		t.Setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
		for _, name := range []string{"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"} {
			t.Setenv(name, "")
		}
		storetrial.Refused(t, at, "no credentials were found, or they are refused; set AZURE_STORAGE_KEY")
	})
	storetrial.ReadOnly(t, at, storetrial.Bad{
		Name: "reader writes", URL: at, Want: "a SAS needs racwdl on the container",
		Env: map[string]string{"AZURE_STORAGE_KEY": "", "AZURE_STORAGE_SAS_TOKEN": signature(t, sas.AccountPermissions{Read: true, List: true}, valid)},
	})
}

// refuse answers as the service does, in the place of Azurite, which has no policies that keep blobs and looks at no clock.
func refuse(status int, code, detail string) proxy.Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("x-ms-error-code", code)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message><AuthenticationErrorDetail>%s</AuthenticationErrorDetail></Error>", code, detail)
	}
}

// A name that can't be written again is taken, and a blob that can't be deleted yet isn't tried again.
func TestImmutable(t *testing.T) {
	s, p := proxied(t)
	p.Inject(proxy.Any, -1, refuse(http.StatusConflict, "BlobImmutableDueToPolicy", ""))
	storetrial.Kept(t, s, "a policy of the container keeps the blob")
}

func TestClock(t *testing.T) {
	s, p := proxied(t)
	p.Inject(proxy.Any, 1, refuse(http.StatusForbidden, "AuthenticationFailed", "Request date header too old: 'Sun, 04 Mar 2018 03:04:05 GMT'"))
	if err := put(t, s, "a"); !store.IsPermanent(err) || !strings.Contains(err.Error(), "the clock of this machine is wrong") {
		t.Error(err)
	}
}
