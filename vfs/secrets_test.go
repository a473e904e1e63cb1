package vfs_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"seawal/vfs"
)

// What proves who asks is in the URL of a replica for some stores. Status is printed, logged and scraped: it has the URL without that.
func TestStatusHasNoSecrets(t *testing.T) {
	t.Parallel()
	b := newBadPlace(t)
	b.replica = url.QueryEscape(strings.Replace(b.replica, "bad://", "bad://somebody:hunter1@", 1) + "?token=hunter2&account=x&endpoint=https://me:hunter3@example.com")
	create(t, b.path, 4096)
	db := b.open("")
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	var pragma string
	if err := db.QueryRow("PRAGMA seawal_status").Scan(&pragma); err != nil {
		t.Fatal(err)
	}
	st, err := json.Marshal(b.status(db))
	if err != nil {
		t.Fatal(err)
	}
	for _, said := range []string{pragma, string(st)} {
		if strings.Contains(said, "hunter") || !strings.Contains(said, "account=x") {
			t.Errorf("it says %s", said)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
