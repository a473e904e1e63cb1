package store_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"seawal/store"
	"seawal/store/storetest"
)

func TestNormalize(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"file:///backup/app", "file:///backup/app"},
		{"file:///backup/app/", "file:///backup/app"},
		{"FILE:///backup//x/../app/.", "file:///backup/app"},
		{"file:///back%20up/%3Fapp", "file:///back%20up/%3Fapp"},
		{"file:///a%2Fb", "file:///a/b"},
		{"gs://Bucket", "gs://bucket"},
		{"gs://bucket/", "gs://bucket"},
		{"gs://bucket/prod//app/", "gs://bucket/prod/app"},
		{"gs://bucket/../../app", "gs://bucket/app"},
		{"sftp://me@Host:22/replica", "sftp://me@host/replica"},
		{"sftp://me:secret@host:2222/replica", "sftp://me@host:2222/replica"},
		{"s3://b/p?region=eu&endpoint=http%3A%2F%2Fx", "s3://b/p?endpoint=http%3A%2F%2Fx&region=eu"},
		{"s3://b/p?secret_access_key=abc&region=eu", "s3://b/p?region=eu"},
		{"azblob://c/p?sig=abc%3D", "azblob://c/p"},
		{"s3://b/p?", "s3://b/p"},
	} {
		got, err := store.Normalize(tt.raw)
		if err != nil || got != tt.want {
			t.Errorf("%s: %q, error %v; want %q", tt.raw, got, err, tt.want)
			continue
		}
		if again, err := store.Normalize(got); err != nil || again != got {
			t.Errorf("%s: normalized twice: %q, error %v; want %q", tt.raw, again, err, got)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"", "it is empty"},
		{"/backup/app", "a folder is written file:///backup/app"},
		{"backup/app", "it has no scheme"},
		{"gs:bucket/app", "two slashes must follow gs:"},
		{"gs://bucket/app", `import _ "seawal/store/gcs"`},
		{"azblob://c/app", `import _ "seawal/store/azure"`},
		{"s3://b/app", `import _ "seawal/store/s3"`},
		{"sftp://h/app", `import _ "seawal/store/sftp"`},
		{"ftp://h/app", `unknown scheme "ftp"; known here: file`},
		{"file://backup/app", "file:///backup/app"},
		{"file:///", "it names no folder"},
		{"file:///a?b=c", "percent-encode ? as %3F"},
		{"file:///a#b", "percent-encode # as %23"},
		{"file:///a%zz", "does not parse"},
		{"file:///a?b=%zz", "parameters do not parse"},
		{"s3://key:p4ss/w0rd@b", "does not parse"},
		{"s3://b/p?secret=p4ss", "s3://b/p?secret=xxxxx"},
		{"sftp://me:p4ss@h/x", "sftp://me:xxxxx@h/x"},
	} {
		_, err := store.Open(t.Context(), tt.raw)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %q in it", tt.raw, err, tt.want)
			continue
		}
		if strings.Contains(err.Error(), "p4ss") {
			t.Errorf("%q: the error shows the password: %v", tt.raw, err)
		}
		if !store.IsPermanent(err) {
			t.Errorf("%q: %v is not Permanent", tt.raw, err)
		}
	}
	if _, err := store.Open(t.Context(), "ftp://h/app"); !errors.Is(err, store.ErrScheme) {
		t.Errorf("%v; want ErrScheme", err)
	}
}

func TestRegister(t *testing.T) {
	var got *url.URL
	errOpen := errors.New("no credentials found")
	store.Register("regtest", func(_ context.Context, u *url.URL) (store.Store, error) {
		got = u
		if u.Host == "fail" {
			return nil, errOpen
		}
		return storetest.NewMemory(), nil
	})
	s, err := store.Open(t.Context(), "RegTest://me:p4ss@Host/a//b/?token=t&x=1")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if want := "regtest://me:p4ss@host/a/b?token=t&x=1"; got.String() != want {
		t.Errorf("opener got %s; want %s", got, want)
	}
	_, err = store.Open(t.Context(), "regtest://me:p4ss@fail/")
	if want := "open store regtest://me:xxxxx@fail/: no credentials found"; !errors.Is(err, errOpen) || err.Error() != want {
		t.Errorf("error %q; want %q", err, want)
	}
	for name, register := range map[string]func(){
		"twice": func() {
			store.Register("regtest", func(context.Context, *url.URL) (store.Store, error) { return nil, nil })
		},
		"built in": func() {
			store.Register("file", func(context.Context, *url.URL) (store.Store, error) { return nil, nil })
		},
		"empty":    func() { store.Register("", func(context.Context, *url.URL) (store.Store, error) { return nil, nil }) },
		"capitals": func() { store.Register("GS", func(context.Context, *url.URL) (store.Store, error) { return nil, nil }) },
		"nil":      func() { store.Register("nil", nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: Register did not panic", name)
				}
			}()
			register()
		}()
	}
}

func TestRedact(t *testing.T) {
	for _, tt := range []struct{ raw, want string }{
		{"gs://bucket/app", "gs://bucket/app"},
		{"sftp://me:p4ss@h/x", "sftp://me:xxxxx@h/x"},
		{"s3://b/p?access_key_id=AK&region=eu", "s3://b/p?access_key_id=xxxxx&region=eu"},
		{"azblob://c/p?sv=1&sig=p4ss", "azblob://c/p?sig=xxxxx&sv=1"},
		{"s3://k:p4/ss@b", "s3:(unparsable)"},
		{"\x00", "(unparsable)"},
	} {
		if got := store.Redact(tt.raw); got != tt.want {
			t.Errorf("%q: %q; want %q", tt.raw, got, tt.want)
		}
	}
}

// FuzzNormalize: what comes out normalizes to itself, and holds no password.
func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"file:///a", "gs://b/p", "sftp://u:p4ssw0rd@h:22/x?key=p4ssw0rd", "s3://k:p4ssw0rd/x@b", "://", "%", "s3://b?%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		n, err := store.Normalize(raw)
		if err != nil {
			return
		}
		if again, err := store.Normalize(n); err != nil || again != n {
			t.Errorf("%q normalizes to %q, and that to %q, error %v", raw, n, again, err)
		}
		if u, err := url.Parse(n); err == nil && u.User != nil {
			if _, set := u.User.Password(); set {
				t.Errorf("%q normalizes to %q with a password", raw, n)
			}
		}
	})
}
