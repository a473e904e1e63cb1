package testserver

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"testing"
)

// The one account that Azurite knows; name and key are public and the same
// everywhere.
const (
	AzureAccount = "devstoreaccount1"
	AzureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// Azure is Azure Blob Storage as Azurite plays it.
func Azure(t testing.TB) *Server {
	t.Helper()
	return Start(t, Program{
		Name: "azurite-blob",
		Args: func(addr, _ string) ([]string, error) {
			host, port, err := net.SplitHostPort(addr)
			return []string{"--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent",
				"--blobHost", host, "--blobPort", port}, err
		},
		Ready: func(ctx context.Context, addr string) error { // any HTTP answer will do
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/"+AzureAccount+"?comp=list", nil)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			return resp.Body.Close()
		},
	})
}

// AzureConnectionString is what AZURE_STORAGE_CONNECTION_STRING is to hold for
// Azurite at addr, which may be a proxy's.
func AzureConnectionString(addr string) string {
	return fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;BlobEndpoint=http://%s/%s;",
		AzureAccount, AzureKey, addr, AzureAccount)
}
