package store_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"seawal/store"
	"seawal/store/storetest"
)

func TestValidateName(t *testing.T) {
	for _, name := range storetest.BadNames() {
		if err := store.ValidateName(name); !errors.Is(err, store.ErrName) || !store.IsPermanent(err) {
			t.Errorf("%.40q: %v; want a Permanent ErrName", name, err)
		}
	}
	for _, name := range []string{"a", "replica.json", "00000001/log/00-ff", "a..b", "a-/_b"} {
		if err := store.ValidateName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, prefix := range []string{"", "a", "a/", "a.", "a/b."} {
		if err := store.ValidatePrefix(prefix); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

func TestNameErrorSaysWhy(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"", "it is empty"},
		{"/a", "empty component"},
		{"a/", "ends with a slash"},
		{"../a", "begins with a dot"},
		{"a./b", "ends with a dot"},
		{"a b", `byte ' ' at 1`},
		{strings.Repeat("x", 256), "more than 255 bytes"},
		{strings.Repeat("x/", 256) + "x", "it has 513 bytes, the limit is 512"},
	} {
		if err := store.ValidateName(tt.name); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.40q: %v; want %q in it", tt.name, err, tt.want)
		}
	}
}

// FuzzValidateName: a good name stays below the folder, and all its prefixes can be listed.
func FuzzValidateName(f *testing.F) {
	for _, name := range append(storetest.BadNames(), "a/b", "a..b/c") {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if store.ValidateName(name) != nil {
			return
		}
		if !filepath.IsLocal(name) || filepath.Clean(name) != name {
			t.Errorf("%q is not a clean local path", name)
		}
		for i := range name {
			if err := store.ValidatePrefix(name[:i]); err != nil {
				t.Errorf("prefix %q of %q: %v", name[:i], name, err)
			}
		}
	})
}
