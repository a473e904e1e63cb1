package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/store"
	"seawal/store/faultstore"
)

// A store that doesn't answer ends every verb with an error that says so, after the time that --timeout allows, in whatever request
// it falls silent.
func TestSilentStore(t *testing.T) {
	replica, _ := testReplica(t)
	for verb, args := range map[string][]string{
		"restore": {replica, "OUT"}, "list": {"--list", replica}, "dry-run": {"--dry-run", replica}, "json": {"--json", replica, "OUT"},
	} {
		for name, rule := range map[string]faultstore.Rule{
			"read":             faultstore.When(faultstore.OnOp(store.OpRead), faultstore.Hang()),
			"list":             faultstore.When(faultstore.OnOp(store.OpList), faultstore.Hang()),
			"read of segments": faultstore.When(faultstore.And(faultstore.OnOp(store.OpRead), faultstore.NameMatch("*/log/*")), faultstore.Hang()),
		} {
			t.Run(verb+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					output := filepath.Join(t.TempDir(), "out.db")
					var out, errOut bytes.Buffer
					a := testApp(&out, &errOut)
					a.stores.Open = func(ctx context.Context, rawURL string) (store.Store, error) {
						s, err := store.Open(ctx, rawURL)
						return faultstore.Wrap(s, faultstore.Options{}, rule), err
					}
					begin := time.Now()
					code := a.main(t.Context(), append([]string{"--timeout", "30s"}, strings.Split(strings.ReplaceAll(strings.Join(args, "\n"), "OUT", output), "\n")...))
					text := errOut.String() + out.String()
					if code != exitFailed || !strings.Contains(text, "the store is silent: nothing came for 30s ("+strings.Fields(name)[0]+" ") {
						t.Errorf("exit code %d: %s", code, text)
					}
					if took := time.Since(begin); took < 30*time.Second || took > 31*time.Second {
						t.Errorf("it took %v", took)
					}
					if _, err := os.Stat(output); err == nil {
						t.Error("there is an output")
					}
				})
			})
		}
	}
}

// A store that is slow, and gets on, is waited for.
func TestSlowStoreIsNotSilent(t *testing.T) {
	replica, _ := testReplica(t)
	synctest.Test(t, func(t *testing.T) {
		var out, errOut bytes.Buffer
		a := testApp(&out, &errOut)
		a.stores.Open = func(ctx context.Context, rawURL string) (store.Store, error) {
			s, err := store.Open(ctx, rawURL)
			return faultstore.Wrap(s, faultstore.Options{}, faultstore.When(faultstore.Always(), faultstore.Slow(25*time.Second))), err
		}
		begin := time.Now()
		if code := a.main(t.Context(), []string{"--timeout", "30s", replica, filepath.Join(t.TempDir(), "out.db")}); code != exitDone {
			t.Errorf("exit code %d: %s", code, errOut.String())
		}
		if took := time.Since(begin); took < time.Minute {
			t.Errorf("it took %v: the test shows nothing", took)
		}
	})
}

// The same with real servers: one that accepts a connection and says nothing, and one that stops in the middle of a body.
func TestSilentServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer silent.Close()
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, "{")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer half.Close()
	for k, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "us-east-1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AZURE_STORAGE_ACCOUNT": "devstoreaccount1", "AZURE_STORAGE_KEY": "a2V5", "AZURE_STORAGE_CONNECTION_STRING": "",
		"AZURE_STORAGE_BLOB_ENDPOINT": "http://" + silent.Addr().String() + "/devstoreaccount1", "STORAGE_EMULATOR_HOST": silent.Addr().String(),
	} {
		t.Setenv(k, v)
	}
	for name, at := range map[string]string{
		"s3":      "s3://bucket/app?endpoint=" + url.QueryEscape("http://"+silent.Addr().String()),
		"s3, cut": "s3://bucket/app?endpoint=" + url.QueryEscape(half.URL),
		"azure":   "azblob://container/app",
		"gcs":     "gs://bucket/app",
	} {
		t.Run(name, func(t *testing.T) {
			o := runCommand("--timeout", "300ms", at, filepath.Join(t.TempDir(), "out.db"))
			if o.code != exitFailed || !strings.Contains(o.errOut, "the store is silent") {
				t.Errorf("%+v", o)
			}
		})
	}
}
