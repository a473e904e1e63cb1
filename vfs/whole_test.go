package vfs_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/restore"
	"seawal/vfs"
)

// sameRows compares the rows of the newest point of the replica with those of the database.
func sameRows(t *testing.T, p place, db *sql.DB) {
	t.Helper()
	flush(t, db)
	want, err := fingerprint(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if got := fingerprintFile(t, p.restore(restore.Newest())); got != want {
		t.Error("the replica has other rows")
	}
}

// The backup API into a replicated database, VACUUM INTO out of it, temporary tables, and the database attached to itself.
func TestBackupIntoAndOut(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			p := newPlace(t)
			db := p.at("_journal_mode=" + mode + "&_busy_timeout=0&_ship_interval=1ms")
			defer db.Close()
			db.SetMaxOpenConns(1)
			mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
			flush(t, db)
			src := filepath.Join(t.TempDir(), "src.db")
			create(t, src, 4096)
			sdb, _ := sql.Open("sqlite3", src)
			defer sdb.Close()
			mustExec(t, sdb, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<900) INSERT INTO t(b) SELECT randomblob(3000) FROM n")
			sc, _ := sdb.Conn(t.Context())
			dc, _ := db.Conn(t.Context())
			err := sc.Raw(func(s any) error {
				return dc.Raw(func(d any) error {
					b, err := d.(*sqlite3.SQLiteConn).Backup("main", s.(*sqlite3.SQLiteConn), "main")
					if err != nil {
						return err
					}
					if _, err := b.Step(-1); err != nil {
						return err
					}
					return b.Finish()
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			sc.Close()
			dc.Close()
			sameRows(t, p, db)
			mustExec(t, db, "VACUUM INTO ?", filepath.Join(t.TempDir(), "into.db"))
			mustExec(t, db, "INSERT INTO t(b) VALUES(1)")
			mustExec(t, db, "CREATE TEMP TABLE x(y); INSERT INTO x VALUES(1)")
			mustExec(t, db, "ATTACH '"+p.path+"' AS twice")
			one(t, db, "SELECT count(*) FROM twice.t")
			mustExec(t, db, "DETACH twice")
			sameRows(t, p, db)
		})
	}
}

// Without powersafe overwrite a commit frame is repeated up to the end of its sector, and frames are split where the
// log is synced.
func TestPaddedCommits(t *testing.T) {
	for _, size := range []int{512, 4096, 65536} {
		for _, lock := range []string{"NORMAL", "EXCLUSIVE"} {
			t.Run(fmt.Sprint(size, lock), func(t *testing.T) {
				p := newPlace(t)
				create(t, p.path, size)
				db := p.at("psow=0&_synchronous=FULL&_busy_timeout=0&_ship_interval=1ms&_locking_mode=" + lock)
				defer db.Close()
				db.SetMaxOpenConns(1)
				for i := range 60 {
					mustExec(t, db, "INSERT INTO t(b) VALUES(randomblob(?))", i*100)
					if i == 10 && lock == "NORMAL" {
						flush(t, db)
					}
				}
				if lock == "NORMAL" {
					sameRows(t, p, db)
					if st, err := vfs.Status(t.Context(), db); err != nil || st.Resyncs > 0 {
						t.Errorf("%v, %+v", err, st)
					}
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
				p.same(p.path, p.restore(restore.Newest()))
			})
		}
	}
}
