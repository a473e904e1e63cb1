package s3_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"seawal/internal/testserver/proxy"
)

// A listing that says that it goes on, and not where, would be read without end.
func TestListingWithoutToken(t *testing.T) {
	s, p := proxied(t)
	p.Inject(proxy.Query(http.MethodGet, "list-type=2"), 3, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/xml")
		io.WriteString(w, `<?xml version="1.0"?><ListBucketResult><Name>b</Name><KeyCount>1</KeyCount><IsTruncated>true</IsTruncated>`)
		fmt.Fprint(w, `<Contents><Key>proxied/a</Key><Size>1</Size></Contents></ListBucketResult>`)
	})
	n, failed := 0, error(nil)
	for _, err := range s.List(t.Context(), "", "") {
		if n++; err != nil {
			failed = err
		}
	}
	if failed == nil || n > 2 {
		t.Errorf("%d objects, error %v", n, failed)
	}
}
