package gcs_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/storetrial"
	"seawal/internal/testserver/proxy"
	"seawal/store"
)

func put(t *testing.T, s store.Store, name string) error {
	t.Helper()
	return s.Create(t.Context(), name, store.BytesBody([]byte("content")))
}

func open(t *testing.T, rawURL string) store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// serviceAccount writes a credentials file of a service account whose tokens come from tokenURL.
func serviceAccount(t *testing.T, tokenURL string) (path string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "app@test.iam.gserviceaccount.com", "private_key_id": "hunter2", "token_uri": tokenURL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "credentials.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tokens is who gives out tokens, or not.
func tokens(t *testing.T, status int, answer string) (url string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// What a person has to mend is said at once, with the way out, and never with a credential.
func TestBadInput(t *testing.T) {
	_, bucket := server(t)
	grant := func(description string) string {
		return serviceAccount(t, tokens(t, http.StatusBadRequest, `{"error":"invalid_grant","error_description":"`+description+`"}`))
	}
	broken := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(broken, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	credentials := func(path string) map[string]string {
		return map[string]string{"STORAGE_EMULATOR_HOST": "", "GOOGLE_APPLICATION_CREDENTIALS": path}
	}
	storetrial.BadInput(t, []storetrial.Bad{
		{Name: "no such bucket", URL: "gs://nothere/x", Want: "bucket nothere does not exist, or there is no permission storage.objects.create"},
		{Name: "no such file", URL: "gs://" + bucket, Env: credentials("/nowhere/credentials.json"), Want: "no credentials were found"},
		{Name: "broken file", URL: "gs://" + bucket, Env: credentials(broken), Want: "can't be read"},
		{Name: "revoked key", URL: "gs://" + bucket, Env: credentials(grant("Invalid JWT Signature.")), Want: "make a new key for the service account"},
		{Name: "clock", URL: "gs://" + bucket, Env: credentials(grant("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.")), Want: "the clock of this machine is wrong"},
		{Name: "no bucket", URL: "gs:///x", Want: "gs://bucket/prefix"},
		{Name: "user in the URL", URL: "gs://id:hunter2@bucket/x", Want: "don't belong into the URL"},
		{Name: "parameter", URL: "gs://bucket/x?key=hunter2", Want: "credentials belong into the environment"},
	}, "hunter2")
	t.Run("tokens are not to be had for the moment", func(t *testing.T) {
		t.Setenv("STORAGE_EMULATOR_HOST", "")
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", serviceAccount(t, tokens(t, http.StatusServiceUnavailable, "")))
		if err := put(t, open(t, "gs://"+bucket), "a"); err == nil || store.IsPermanent(err) {
			t.Errorf("%v; want an error that is worth another attempt", err)
		}
	})
}

// proxied returns the store behind a proxy.
func proxied(t *testing.T) (store.Store, *proxy.HTTP) {
	addr, bucket := server(t)
	p := proxy.NewHTTP(t, addr)
	t.Setenv("STORAGE_EMULATOR_HOST", p.Addr())
	return open(t, "gs://"+bucket+"/proxied"), p
}

// refuse answers as the service does, in the place of the emulator, which knows no permissions.
func refuse(status int, reason, message string) proxy.Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"code":%d,"message":%q,"errors":[{"message":%q,"domain":"global","reason":%q}]}}`, status, message, message, reason)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name      string
		fault     proxy.Fault
		permanent bool
		want      string
	}{
		{"expired", refuse(401, "authError", "Invalid Credentials"), true, "does not accept the credentials"},
		{"no permission", refuse(403, "forbidden", "denied"), true, "no permission storage.objects.create"},
		{"too fast", refuse(403, "rateLimitExceeded", "slow down"), false, "slow down"},
		{"429", refuse(429, "rateLimitExceeded", "slow down"), false, "slow down"},
		{"damaged", refuse(400, "invalid", `Provided CRC32C "x" doesn't match calculated CRC32C "y".`), false, "doesn't match"},
		{"refused", refuse(400, "invalid", "no"), true, "refuses the request"},
		{"down", refuse(503, "backendError", "try again"), false, "try again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := proxied(t)
			p.Inject(proxy.Any, 1, c.fault)
			err := put(t, s, "a")
			if err == nil || store.IsPermanent(err) != c.permanent || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q, permanent: %v", err, c.want, c.permanent)
			}
			if n := len(p.Requests()); n != 1 {
				t.Errorf("%d requests for one attempt", n)
			}
		})
	}
}

// isChunk says that a request brings a part of a resumable upload.
func isChunk(r *http.Request) bool { return r.Header.Get("Content-Range") != "" }

// The write is applied and the answer is lost: the next attempt is told that the name is taken. Both ways to upload.
func TestLostAcknowledgement(t *testing.T) {
	for _, size := range []int{7, 20 << 20} {
		for name, status := range map[string]int{"503": http.StatusServiceUnavailable, "cut": 0} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				s, p := proxied(t)
				body := store.BytesBody(make([]byte, size))
				// The last request: the only one, or the one that completes a resumable upload.
				p.Inject(func(r *http.Request) bool {
					return strings.Contains(r.URL.RawQuery, "uploadType=multipart") || isChunk(r) && !strings.HasSuffix(r.Header.Get("Content-Range"), "/*")
				}, 1, proxy.LoseAck(status))
				err := s.Create(t.Context(), "a", body)
				if err == nil || errors.Is(err, store.ErrExist) || store.IsPermanent(err) {
					t.Fatalf("first attempt: %v; want an unknown outcome", err)
				}
				if err := s.Create(t.Context(), "a", body); !errors.Is(err, store.ErrExist) {
					t.Fatalf("second attempt: %v; want ErrExist", err)
				}
				if o, err := s.Stat(t.Context(), "a"); err != nil || o.Size != int64(size) {
					t.Fatalf("%+v, %v", o, err)
				}
			})
		}
	}
}

// Each request is made once: repeating is store.Retry's. Every upload carries the condition and a checksum.
func TestRequests(t *testing.T) {
	s, p := proxied(t)
	p.Inject(isChunk, -1, proxy.Answer(http.StatusServiceUnavailable, ""))
	var bodies []string
	p.Inject(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/upload/") }, 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		bodies = append(bodies, string(b))
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		next.ServeHTTP(w, r)
	})
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}
	seen := p.Requests()
	if len(seen) != 1 || seen[0].URL.Query().Get("ifGenerationMatch") != "0" {
		t.Fatalf("%d requests, the first %v; want one with the condition", len(seen), seen[0].URL)
	}
	if len(bodies) != 1 || !strings.Contains(bodies[0], `"crc32c":"`) {
		t.Errorf("no checksum in %q", bodies)
	}

	// A resumable upload: its session is opened with the condition, and its first chunk fails.
	if err := s.Create(t.Context(), "b", store.BytesBody(make([]byte, 20<<20))); err == nil || store.IsPermanent(err) {
		t.Errorf("503: %v; want an error that is worth another attempt", err)
	}
	seen = p.Requests()
	if len(seen) != 2 || seen[0].URL.Query().Get("ifGenerationMatch") != "0" {
		t.Errorf("%d requests for one attempt; want two, the first with the condition", len(seen))
	}
	p.Clear()
	if err := s.Create(t.Context(), "b", store.BytesBody(make([]byte, 20<<20))); err != nil {
		t.Fatal(err)
	}
	if seen = p.Requests(); !strings.HasPrefix(seen[len(seen)-1].Header.Get("X-Goog-Hash"), "crc32c=") {
		t.Errorf("the last chunk has no checksum: %v", seen[len(seen)-1].Header)
	}
	p.Requests()
	for op, call := range map[string]func() error{
		"stat": func() error { _, err := s.Stat(t.Context(), "a"); return err },
		"read": func() error {
			r, err := s.Read(t.Context(), "b", 1, 5)
			if err == nil {
				_, err = io.ReadAll(r)
				r.Close()
			}
			return err
		},
		"delete": func() error { return s.Delete(t.Context(), "c") },
		"list": func() error {
			for _, err := range s.List(t.Context(), "", "") {
				return err
			}
			return nil
		},
	} {
		p.Inject(proxy.Any, -1, proxy.Answer(http.StatusServiceUnavailable, ""))
		if err := call(); err == nil || store.IsPermanent(err) {
			t.Errorf("%s: %v; want an error that is worth another attempt", op, err)
		}
		if seen := p.Requests(); len(seen) != 1 {
			t.Errorf("%s: %d requests for one attempt", op, len(seen))
		}
		p.Clear()
		if err := call(); err != nil {
			t.Errorf("%s: %v", op, err)
		}
		p.Requests()
	}
}

// A body that was damaged on its way is refused by the service.
func TestDamagedBody(t *testing.T) {
	s, p := proxied(t)
	p.Inject(proxy.Method(http.MethodPost), -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(strings.NewReader(strings.Replace(string(b), "content\r\n", "c0ntent\r\n", 1)))
		next.ServeHTTP(w, r)
	})
	if err := put(t, s, "a"); err == nil || store.IsPermanent(err) {
		t.Errorf("%v; want an error that is worth another attempt", err)
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
}

// Nothing of a broken upload is seen.
func TestBrokenUpload(t *testing.T) {
	s, p := proxied(t)
	p.Inject(func(r *http.Request) bool {
		return strings.Contains(r.URL.RawQuery, "uploadType=multipart") || isChunk(r)
	}, 2, proxy.CutRequest(1000))
	for _, size := range []int{2 << 20, 20 << 20} {
		if err := s.Create(t.Context(), "a", store.BytesBody(make([]byte, size))); err == nil || store.IsPermanent(err) {
			t.Errorf("%d bytes: %v; want an error that is worth another attempt", size, err)
		}
		if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("%d bytes: stat: %v", size, err)
		}
	}
}
