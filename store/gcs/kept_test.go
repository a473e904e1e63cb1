package gcs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"seawal/internal/storetrial"
	"seawal/internal/testserver"
	"seawal/internal/testserver/proxy"
	"seawal/store"
)

// Where versions are kept, a name is written once all the same.
func TestVersioned(t *testing.T) {
	server := testserver.GCS(t)
	t.Setenv("STORAGE_EMULATOR_HOST", server.Addr)
	bucket := fmt.Sprintf("versioned-%d", buckets.Add(1))
	testserver.MakeVersionedGCSBucket(t, server, bucket)
	s := open(t, "gs://"+bucket+"/kept")
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}
	if err := put(t, s, "a"); !errors.Is(err, store.ErrExist) {
		t.Errorf("again: %v", err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("stat when it is deleted: %v", err)
	}
	for o, err := range s.List(t.Context(), "", "") {
		t.Errorf("listed when it is deleted: %+v, %v", o, err)
	}
	wantVersion(t, server.Addr, bucket)
	storetrial.RoundTrip(t, "gs://"+bucket+"/app")
}

// wantVersion wants the bucket to have kept one version of what was deleted: else the emulator keeps none, and nothing was tried.
func wantVersion(t *testing.T, addr, bucket string) {
	t.Helper()
	var kept struct{ Items []struct{ Name string } }
	if err := json.Unmarshal(storetrial.Get(t, "http://"+addr+"/storage/v1/b/"+bucket+"/o?versions=true"), &kept); err != nil {
		t.Fatal(err)
	}
	if len(kept.Items) != 1 || kept.Items[0].Name != "kept/a" {
		t.Errorf("kept: %+v", kept.Items)
	}
}

// The emulator has no retention policies and no holds: what the service says of one is told in its place. A name that can't be written
// again is taken, and an object that can't be deleted yet isn't tried again.
func TestKept(t *testing.T) {
	for _, reason := range []string{"retentionPolicyNotMet", "objectUnderActiveHold"} {
		t.Run(reason, func(t *testing.T) {
			s, p := proxied(t)
			p.Inject(proxy.Any, -1, refuse(http.StatusForbidden, reason, "kept"))
			storetrial.Kept(t, s, "a retention policy or a hold keeps the object")
		})
	}
}

// A bucket that anybody may read can be restored from, and writing says what is missing. The emulator knows no permissions; its answer
// to who may only read is told in its place.
func TestPublicBucket(t *testing.T) {
	addr, bucket := server(t)
	p := proxy.NewHTTP(t, addr)
	p.Inject(proxy.Method(http.MethodPost, http.MethodPut), -1,
		refuse(http.StatusForbidden, "forbidden", "app@test.iam.gserviceaccount.com does not have storage.objects.create access"))
	at := fmt.Sprintf("gs://%s/public", bucket)
	storetrial.ReadOnly(t, at, storetrial.Bad{
		Name: "reader writes", URL: at, Want: "no permission storage.objects.create", Env: map[string]string{"STORAGE_EMULATOR_HOST": p.Addr()},
	})
	t.Run("nobody", func(t *testing.T) {
		t.Setenv("STORAGE_EMULATOR_HOST", "")
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/credentials.json")
		storetrial.Refused(t, at, "no credentials were found, or they can't be read; set GOOGLE_APPLICATION_CREDENTIALS")
	})
}
