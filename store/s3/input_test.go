package s3_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// What a person has to mend is said at once, with the way out, and never with a credential.
func TestBadInput(t *testing.T) {
	endpoint, bucket := server(t)
	at := "s3://" + bucket
	storetrial.BadInput(t, []storetrial.Bad{
		{Name: "no such bucket", URL: "s3://nothere/x", Want: "bucket nothere does not exist"},
		{Name: "unknown key", URL: at + "/x", Env: map[string]string{"AWS_ACCESS_KEY_ID": "someone"}, Want: "does not accept the credentials"},
		{Name: "wrong secret", URL: at + "/x", Env: map[string]string{"AWS_SECRET_ACCESS_KEY": "hunter2"}, Want: "does not accept the credentials"},
		{Name: "no credentials", URL: at + "/x", Env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, Want: "no credentials were found"},
		{Name: "no region", URL: at + "/x", Env: map[string]string{"AWS_REGION": "", "AWS_ENDPOINT_URL_S3": ""}, Want: "set AWS_REGION"},
		{Name: "no bucket", URL: "s3:///x", Want: "s3://bucket/prefix"},
		{Name: "user in the URL", URL: "s3://id:hunter2@bucket/x", Want: "don't belong into the URL"},
		{Name: "secret in the URL", URL: at + "/x?aws_secret_access_key=hunter2", Want: "credentials belong into the environment"},
		{Name: "endpoint without scheme", URL: at + "/x?endpoint=example.com", Want: "endpoint=https://host"},
		{Name: "path style", URL: at + "/x?path_style=maybe", Want: "write true or false"},
		{Name: "profile", URL: at + "/x?profile=nobody", Want: "nobody"},
	}, "hunter2")
	t.Run("endpoint in the URL", func(t *testing.T) {
		t.Setenv("AWS_ENDPOINT_URL_S3", "")
		s, err := store.Open(t.Context(), at+"/in-url?region=us-east-1&endpoint="+url.QueryEscape(endpoint))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := put(t, s, "a"); err != nil {
			t.Fatal(err)
		}
	})
}

// refuse answers as the service does, in the place of the gateway, which doesn't know all of its answers.
func refuse(status int, code string) proxy.Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
	}
}

func TestRefusals(t *testing.T) {
	s, p := proxied(t)
	for _, c := range []struct {
		status    int
		code      string
		permanent bool
		want      string
	}{
		{403, "RequestTimeTooSkewed", true, "the clock of this machine is wrong"},
		{400, "ExpiredToken", true, "the credentials have expired"},
		{301, "PermanentRedirect", true, "in another region"},
		{403, "AccessDenied", true, "no permission s3:PutObject"},
		{501, "NotImplemented", true, "most likely If-None-Match"},
		{503, "SlowDown", false, "SlowDown"},
		{500, "InternalError", false, "InternalError"},
		{409, "ConditionalRequestConflict", false, "ConditionalRequestConflict"},
	} {
		t.Run(c.code, func(t *testing.T) {
			p.Inject(proxy.Any, 1, refuse(c.status, c.code))
			err := put(t, s, "a")
			if err == nil || errors.Is(err, store.ErrExist) || store.IsPermanent(err) != c.permanent || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q, permanent: %v", err, c.want, c.permanent)
			}
		})
	}
}

// proxied returns the store behind a proxy.
func proxied(t *testing.T) (store.Store, *proxy.HTTP) {
	endpoint, bucket := server(t)
	p := proxy.NewHTTP(t, strings.TrimPrefix(endpoint, "http://"))
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://"+p.Addr())
	s, err := store.Open(t.Context(), "s3://"+bucket+"/proxied")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, p
}

// The write is applied and the answer is lost: the next attempt is told that the name is taken.
func TestLostAcknowledgement(t *testing.T) {
	for name, status := range map[string]int{"503": http.StatusServiceUnavailable, "cut": 0} {
		t.Run(name, func(t *testing.T) {
			s, p := proxied(t)
			p.Inject(proxy.Method(http.MethodPut), 1, proxy.LoseAck(status))
			err := put(t, s, "a")
			if err == nil || errors.Is(err, store.ErrExist) || store.IsPermanent(err) {
				t.Fatalf("first attempt: %v; want an unknown outcome", err)
			}
			if err := put(t, s, "a"); !errors.Is(err, store.ErrExist) {
				t.Fatalf("second attempt: %v; want ErrExist", err)
			}
			if o, err := s.Stat(t.Context(), "a"); err != nil || o.Size != 7 {
				t.Fatalf("%+v, %v", o, err)
			}
		})
	}
}

// Each request is made once: repeating is store.Retry's, and every upload carries a checksum and the condition.
func TestRequests(t *testing.T) {
	s, p := proxied(t)
	p.Inject(proxy.Any, -1, proxy.Answer(http.StatusTooManyRequests, ""))
	if err := put(t, s, "a"); err == nil || store.IsPermanent(err) {
		t.Errorf("429: %v; want an error that is worth another attempt", err)
	}
	seen := p.Requests()
	if len(seen) != 1 {
		t.Fatalf("%d requests for one attempt", len(seen))
	}
	if h := seen[0].Header; h.Get("Content-MD5") == "" || h.Get("If-None-Match") != "*" {
		t.Errorf("headers of an upload: %v", h)
	}
}

// A body that was damaged on its way is refused by the service.
func TestDamagedBody(t *testing.T) {
	s, p := proxied(t)
	p.Inject(proxy.Method(http.MethodPut), -1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Set("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==")
		next.ServeHTTP(w, r)
	})
	if err := put(t, s, "a"); err == nil {
		t.Error("stored")
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("stat: %v", err)
	}
}
