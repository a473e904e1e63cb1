package azure_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"seawal/internal/testserver"
	"seawal/store"
)

// Keys and signatures are replaced under a process that goes on for months, in a file or in its environment. Every verb that is refused
// finds the new ones, and the environment of another container leads nowhere else.
func TestReplacedCredentialsAreFound(t *testing.T) {
	_, container := server(t)
	other := "aHVudGVyMg=="
	path := filepath.Join(t.TempDir(), "secret")
	inFile := func(value string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name     string
		variable string // that is the other way to give the value
		old, new string
		set      func(value string)
	}{
		{"a key in a file", "AZURE_STORAGE_KEY_FILE", other, testserver.AzureKey, inFile},
		{"a signature in a file", "AZURE_STORAGE_SAS_TOKEN_FILE", expired(t), signature(t, everything, time.Hour), inFile},
		{"a key in the environment", "", other, testserver.AzureKey, func(v string) { t.Setenv("AZURE_STORAGE_KEY", v) }},
	} {
		for verb, ask := range map[string]func(s store.Store) error{
			"create": func(s store.Store) error { return put(t, s, "again") },
			"stat":   func(s store.Store) error { _, err := s.Stat(t.Context(), "there"); return err },
			"read": func(s store.Store) error {
				r, err := s.Read(t.Context(), "there", 0, -1)
				if err == nil {
					err = r.Close()
				}
				return err
			},
			"list": func(s store.Store) error {
				for _, err := range s.List(t.Context(), "", "") {
					return err
				}
				return nil
			},
			"delete": func(s store.Store) error { return s.Delete(t.Context(), "none") },
		} {
			t.Run(c.name+", "+verb, func(t *testing.T) {
				t.Setenv("AZURE_STORAGE_KEY", testserver.AzureKey)
				url := "azblob://" + container + "/" + filepath.Base(t.TempDir()) + c.name + verb
				before, err := store.Open(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				defer before.Close()
				if err := put(t, before, "there"); err != nil {
					t.Fatal(err)
				}
				t.Setenv("AZURE_STORAGE_KEY", "")
				if c.variable != "" {
					t.Setenv(c.variable, path)
				}
				c.set(c.old)
				s, err := store.Open(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				if err := ask(s); !store.IsPermanent(err) {
					t.Fatalf("with the old one: %v; want a permanent error", err)
				}
				c.set(c.new)
				// The attempt that is refused finds it.
				if err := ask(s); err == nil {
					t.Fatal("nothing was refused")
				}
				if err := ask(s); err != nil {
					t.Errorf("with the new one: %v", err)
				}
			})
		}
	}
}
