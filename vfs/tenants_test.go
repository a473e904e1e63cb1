package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/shipper"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// Two databases with one name, of two tenants, lead to one URL, in two processes one after the other. The second one is refused, by an error
// that names both, however it comes; the first one's replica stays its own.
func TestTwoTenantsAtOneURL(t *testing.T) {
	n := 0
	for name, open := range map[string]func(t *testing.T, a, b *badPlace) error{
		"made from the same template": func(t *testing.T, a, b *badPlace) error {
			db := b.open("")
			defer db.Close() // with the error that the test wants
			mustExec(t, db, "INSERT INTO t(b) VALUES('of tenant B')")
			return vfs.Flush(t.Context(), db)
		},
		"missing, and to be rebuilt": func(t *testing.T, a, b *badPlace) error {
			b.remove()
			db := b.open("_restore=if-missing")
			defer db.Close()
			err := db.Ping()
			if _, serr := os.Stat(b.path); !errors.Is(serr, os.ErrNotExist) {
				t.Errorf("%s: %v, want none", b.path, serr)
			}
			return err
		},
		"begun empty while the store is away": func(t *testing.T, a, b *badPlace) error {
			b.remove()
			away := new(faultstore.Toggle)
			b.faults.SetRules(faultstore.When(away, faultstore.Fail(errReset)))
			away.On()
			db := b.open("")
			defer db.Close() // likewise
			mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
			mustExec(t, db, "INSERT INTO t(b) VALUES('of tenant B')")
			away.Off()
			err := vfs.Flush(t.Context(), db)
			if !errors.Is(err, vfs.ErrReplicaExists) {
				t.Errorf("flush: %v, want %v", err, vfs.ErrReplicaExists)
			}
			if st := b.status(db); st.Health.Word != shipper.WordNotReplicated {
				t.Errorf("health %+v", st.Health)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newBadPlace(t)
			a.driver = hasty
			create(t, a.path, 4096)
			plain(t, a.path, "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) SELECT randomblob(900) FROM n", "PRAGMA wal_checkpoint(TRUNCATE)")
			b := newBadPlace(t)
			b.behind, b.faults, b.driver = a.behind, a.faults, hasty
			b.path = filepath.Join(t.TempDir(), "app.db")
			if err := os.WriteFile(b.path, readFile(t, a.path), 0o600); err != nil {
				t.Fatal(err)
			}
			db := a.open("")
			a.flush(db)
			mustExec(t, db, "INSERT INTO t(b) VALUES('of tenant A')")
			a.finish(db)
			err := open(t, a, b)
			if err == nil || !strings.Contains(err.Error(), b.path) || !strings.Contains(err.Error(), a.path) && !errors.Is(err, vfs.ErrReplicaExists) {
				t.Errorf("the second tenant: %v, want an error that names %s and %s", err, a.path, b.path)
			}
			a.calm()
			if got := fingerprintFile(t, a.good().restore(restore.Newest())); got != fingerprintFile(t, a.path) {
				t.Error("the replica isn't the first tenant's any more")
			}
			db = a.open("")
			mustExec(t, db, "INSERT INTO t(b) VALUES('of tenant A, again')")
			a.flush(db)
			if st := a.finish(db); st.Durable.Timeline != 1 {
				t.Errorf("the first tenant goes on at %v", st.Durable)
			}
			n++
		})
	}
	reliability.Record(t, reliability.Fault{Group: reliability.Live, Name: "two databases with one name at one URL",
		How: "a second tenant's database, made from the same template, missing, or begun empty in an outage, is opened at the URL of the first one's replica"}, n, 0)
}
