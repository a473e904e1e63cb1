package azure_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"seawal/internal/storetrial"
	"seawal/internal/testserver"
	"seawal/store"
	_ "seawal/store/azure"
	"seawal/store/storetest"
)

func TestMain(m *testing.M) { storetrial.Main(m) }

var containers atomic.Int64

// server starts the service, with the environment that leads to it, and makes a container.
func server(t *testing.T) (endpoint, container string) {
	t.Helper()
	endpoint = "http://" + testserver.Azure(t).Addr + "/" + testserver.AzureAccount
	for k, v := range map[string]string{
		"AZURE_STORAGE_CONNECTION_STRING": "", "AZURE_STORAGE_SAS_TOKEN": "",
		"AZURE_STORAGE_ACCOUNT": testserver.AzureAccount, "AZURE_STORAGE_KEY": testserver.AzureKey, "AZURE_STORAGE_BLOB_ENDPOINT": endpoint,
	} {
		t.Setenv(k, v)
	}
	container = fmt.Sprintf("container-%d", containers.Add(1))
	if _, err := admin(t, endpoint).CreateContainer(t.Context(), container, nil); err != nil {
		t.Fatal(err)
	}
	return endpoint, container
}

func TestStore(t *testing.T) {
	_, container := server(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := store.Open(t.Context(), fmt.Sprintf("azblob://%s/some/prefix %%25-%d/", container, n.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
