package s3_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"seawal/internal/testserver"
	"seawal/internal/testserver/proxy"
	"seawal/store"
)

// Proxies between us and the service change what is none of the service's business.
func TestHeadersThatProxiesChangeAreNotSigned(t *testing.T) {
	s, p := proxied(t)
	for name, change := range map[string]func(http.Header){
		"Accept-Encoding rewritten": func(h http.Header) { h.Set("Accept-Encoding", "gzip") },
		"Accept-Encoding dropped":   func(h http.Header) { h.Del("Accept-Encoding") },
		"SDK's headers dropped":     func(h http.Header) { h.Del("Amz-Sdk-Invocation-Id"); h.Del("Amz-Sdk-Request") },
		"trace id added":            func(h http.Header) { h.Set("X-Amzn-Trace-Id", "Root=1") },
		"User-Agent rewritten":      func(h http.Header) { h.Set("User-Agent", "proxy") },
		"Via and X-Forwarded-For":   func(h http.Header) { h.Set("Via", "1.1 x"); h.Set("X-Forwarded-For", "192.0.2.1") },
	} {
		t.Run(name, func(t *testing.T) {
			p.Clear()
			p.Inject(proxy.Any, -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				change(r.Header)
				next.ServeHTTP(w, r)
			})
			object := fmt.Sprintf("a-%x", name)
			if err := put(t, s, object); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Stat(t.Context(), object); err != nil {
				t.Error(err)
			}
			for _, err := range s.List(t.Context(), "", "") {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Keys are replaced under a process that goes on for months.
func TestReplacedCredentialsAreFound(t *testing.T) {
	_, bucket := server(t)
	path := filepath.Join(t.TempDir(), "credentials")
	write := func(key, secret string) {
		t.Helper()
		text := fmt.Sprintf("[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n", key, secret)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(k, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
	write(testserver.S3AccessKey, testserver.S3SecretKey)
	s, err := store.Open(t.Context(), "s3://"+bucket+"/rotated")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}
	write(testserver.S3AccessKey, "another")
	if err := put(t, s, "b"); err != nil {
		t.Fatalf("what was accepted once is asked for again: %v", err)
	}
	s2, err := store.Open(t.Context(), "s3://"+bucket+"/rotated") // as a process that began between two keys
	if err != nil {
		t.Fatal(err)
	}
	defer s2.Close()
	if err := put(t, s2, "c"); !store.IsPermanent(err) {
		t.Fatalf("with a wrong key: %v; want a permanent error", err)
	}
	write(testserver.S3AccessKey, testserver.S3SecretKey)
	if err := put(t, s2, "c"); err != nil {
		t.Errorf("after the key was replaced: %v", err)
	}
}
