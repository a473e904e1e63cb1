package testserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

// GCS is Google Cloud Storage as fake-gcs-server plays it. It honours
// preconditions of uploads, and ignores them for deletes and reads.
func GCS(t testing.TB) *Server {
	t.Helper()
	return Start(t, Program{
		Name: "fake-gcs-server",
		Args: func(addr, _ string) ([]string, error) {
			host, port, err := net.SplitHostPort(addr)
			return []string{"-scheme", "http", "-host", host, "-port", port, "-backend", "memory",
				"-public-host", addr, "-log-level", "error"}, err
		},
		Ready: func(ctx context.Context, addr string) error {
			return ask(ctx, http.MethodGet, "http://"+addr+"/storage/v1/b", nil)
		},
	})
}

// MakeGCSBucket makes a bucket on a server of GCS.
func MakeGCSBucket(t testing.TB, s *Server, bucket string) {
	t.Helper()
	makeGCSBucket(t, s, bucket, false)
}

// MakeVersionedGCSBucket makes one that keeps the versions of its objects.
func MakeVersionedGCSBucket(t testing.TB, s *Server, bucket string) {
	t.Helper()
	makeGCSBucket(t, s, bucket, true)
}

func makeGCSBucket(t testing.TB, s *Server, bucket string, versioned bool) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": bucket, "versioning": map[string]bool{"enabled": versioned}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(t.Context(), http.MethodPost, "http://"+s.Addr+"/storage/v1/b?project=test", body); err != nil {
		t.Fatalf("make bucket %s: %v", bucket, err)
	}
}

// ask sends a request and wants a 2xx.
func ask(ctx context.Context, method, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, text)
	}
	return nil
}
