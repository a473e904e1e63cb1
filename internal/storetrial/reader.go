package storetrial

import (
	"database/sql"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// RoundTrip replicates a database and restores it, without a command's help.
func RoundTrip(t *testing.T, replica string) {
	t.Helper()
	path := replicate(t, replica)
	wantEqual(t, path, restored(t, replica))
}

// ReadOnly replicates a database with the environment's credentials, and wants who may only read the replica to be able to restore it,
// and to be told at once, with the way out, when they write. reader says how they get there, and what they are told.
func ReadOnly(t *testing.T, replica string, reader Bad) {
	t.Helper()
	path := replicate(t, replica)
	BadInput(t, []Bad{reader})
	for k, v := range reader.Env {
		t.Setenv(k, v)
	}
	wantEqual(t, path, restored(t, reader.URL))
}

// replicate makes a database, and returns its path when all of it has arrived.
func replicate(t *testing.T, replica string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("seawal", "file:"+path+"?_journal_mode=WAL&_replica="+url.QueryEscape(replica))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range 2 { // the first may go up as the snapshot
		if _, err := db.Exec("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t(a) VALUES(hex(randomblob(200)))"); err != nil {
			t.Fatal(err)
		}
		if err := vfs.Flush(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func restored(t *testing.T, replica string) (path string) {
	t.Helper()
	s, err := store.Open(t.Context(), replica)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	path = filepath.Join(t.TempDir(), "restored.db")
	if _, err := restore.Run(t.Context(), s, restore.Options{Output: path}); err != nil {
		t.Fatalf("restore: %v", err)
	}
	return path
}

// Refused wants every operation to end at once, with the same way out, though the store itself opens: so it has to be for who comes
// without credentials, even where the service would let anybody read.
func Refused(t *testing.T, rawURL, want string) {
	s, err := store.Open(t.Context(), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	errs := map[string]error{
		"create": s.Create(t.Context(), "a", store.BytesBody([]byte("content"))),
		"delete": s.Delete(t.Context(), "a"),
		"list":   nil,
	}
	r, err := s.Read(t.Context(), "a", 0, -1)
	if errs["read"] = err; err == nil {
		r.Close()
	}
	_, errs["stat"] = s.Stat(t.Context(), "a")
	for _, err := range s.List(t.Context(), "", "") {
		errs["list"] = err
	}
	for op, err := range errs {
		if err == nil || !strings.Contains(err.Error(), want) || !store.IsPermanent(err) {
			t.Errorf("%s: %v; want %q, for good", op, err, want)
		}
	}
}

// Get is what anybody gets from a URL of the service, without credentials. That they get it shows that it is what the trial takes it for.
func Get(t *testing.T, rawURL string) (content []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, rawURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if content, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s is not for anybody: %s %v", rawURL, resp.Status, err)
	}
	return content
}

// Kept is for a service that answers everything with: the object is kept, and can be neither written nor deleted. Its name is taken
// then, and deleting it isn't tried again, but told with this text.
func Kept(t *testing.T, s store.Store, want string) {
	t.Helper()
	if err := s.Create(t.Context(), "a", store.BytesBody([]byte("content"))); !errors.Is(err, store.ErrExist) {
		t.Errorf("create: %v; want ErrExist", err)
	}
	if err := s.Delete(t.Context(), "a"); !store.IsPermanent(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("delete: %v; want %q, for good", err, want)
	}
}
