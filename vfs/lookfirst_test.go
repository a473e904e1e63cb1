package vfs_test

import (
	"database/sql"
	"fmt"
	"testing"

	"seawal/restore"
	"seawal/vfs"
)

// Flush and Position count what another process has committed a moment ago, which no poll has seen yet.
func TestFlushLooksForCommitsOfOthersFirst(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE", "TRUNCATE", "PERSIST"} {
		t.Run(mode, func(t *testing.T) {
			p := newPlace(t)
			db := p.open("_ship_interval=1h&_journal_mode=" + mode)
			defer db.Close()
			mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
			flush(t, db)
			other, err := sql.Open("sqlite3", "file:"+p.path+"?_busy_timeout=10000")
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			for i := range 5 {
				before, err := vfs.Position(t.Context(), db)
				if err != nil {
					t.Fatal(err)
				}
				mustExec(t, other, fmt.Sprintf("INSERT INTO t VALUES(%d, randomblob(100))", i))
				if i%2 == 1 { // the two find it each by itself
					after, err := vfs.Position(t.Context(), db)
					if err != nil || after.Compare(before) <= 0 {
						t.Fatalf("the position is %v, %v after a commit behind %v", after, err, before)
					}
				}
				flush(t, db)
				want, err := fingerprint(t.Context(), db)
				if err != nil {
					t.Fatal(err)
				}
				if got := fingerprintFile(t, p.restore(restore.Newest())); got != want {
					t.Fatalf("the restored rows have the fingerprint %x, those of the database %x", got, want)
				}
			}
		})
	}
}
