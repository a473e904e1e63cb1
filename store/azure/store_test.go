package azure_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"seawal/internal/testserver"
	"seawal/store"
	_ "seawal/store/azure"
	"seawal/store/storetest"
)

// server starts the service, with the environment that leads to it, and makes a container.
func server(t *testing.T) (endpoint string) {
	endpoint = "http://" + testserver.Azure(t).Addr + "/" + testserver.AzureAccount
	for k, v := range map[string]string{
		"AZURE_STORAGE_CONNECTION_STRING": "", "AZURE_STORAGE_SAS_TOKEN": "",
		"AZURE_STORAGE_ACCOUNT": testserver.AzureAccount, "AZURE_STORAGE_KEY": testserver.AzureKey, "AZURE_STORAGE_BLOB_ENDPOINT": endpoint,
	} {
		t.Setenv(k, v)
	}
	cred, err := azblob.NewSharedKeyCredential(testserver.AzureAccount, testserver.AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := azblob.NewClientWithSharedKeyCredential(endpoint, cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateContainer(t.Context(), "container", nil); err != nil {
		t.Fatal(err)
	}
	return endpoint
}

func TestStore(t *testing.T) {
	server(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := store.Open(t.Context(), fmt.Sprintf("azblob://container/some/prefix-%d/", n.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
