package azure

import (
	"net/http"

	"seawal/store/internal/transfer"
)

// checkSign holds an answer to what the service puts into each. Who gives out tokens doesn't: it isn't asked by way of this client.
func checkSign(resp *http.Response) error {
	if resp.StatusCode >= 400 && resp.Header.Get("x-ms-error-code") != "" {
		return nil
	}
	if resp.Header.Get("x-ms-request-id") == "" || resp.Header.Get("x-ms-version") == "" && resp.StatusCode < 300 {
		return transfer.ErrNoSign
	}
	return nil
}
