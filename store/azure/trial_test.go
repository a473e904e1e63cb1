package azure_test

import (
	"net/url"
	"testing"

	"seawal/internal/storetrial"
	"seawal/internal/testserver/proxy"
)

func TestKill(t *testing.T) {
	_, container := server(t)
	storetrial.Kill(t, "azblob://"+container+"/kill")
}

func TestOutage(t *testing.T) {
	endpoint, container := server(t)
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := proxy.NewHTTP(t, to.Host)
	t.Setenv("AZURE_STORAGE_BLOB_ENDPOINT", "http://"+p.Addr()+to.Path)
	storetrial.Outage(t, "azblob://"+container+"/outage", p.TCP, p)
}
