package vfs

import (
	"fmt"
	"path/filepath"
	"testing"

	"seawal/internal/vfstest"
)

// A transaction that has spilled into pages which were free, and is rolled back, leaves them changed: SQLite keeps no
// old image of a free page. The restored file is to be the same in these pages too.
func TestRollbackOverFreePages(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY"} {
		t.Run(mode, func(t *testing.T) {
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
			conn := c.open("_journal_mode=" + mode)
			exec(t, conn, "PRAGMA cache_size=10; PRAGMA cache_spill=10; CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
			exec(t, conn, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<60) INSERT INTO t(b) SELECT randomblob(3000) FROM n")
			exec(t, conn, "DELETE FROM t WHERE a>5")
			c.drain()
			c.compare("before")
			before := c.ticket
			exec(t, conn, "BEGIN")
			exec(t, conn, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40) INSERT INTO t(b) SELECT randomblob(3000) FROM n")
			exec(t, conn, "ROLLBACK")
			c.drain()
			c.compare("after the rollback")
			if c.gaps > 0 || c.ticket != before+1 {
				t.Errorf("%d gaps, %d commits for it", c.gaps, c.ticket-before)
			}
			exec(t, conn, "BEGIN; INSERT INTO t(b) VALUES(1); ROLLBACK") // nothing reaches the file
			c.drain()
			if c.ticket != before+1 {
				t.Error("a rollback without a write was published")
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The sync after the journal was made invalid, or its removal, fails: the application sees an error, and the transaction has
// happened or is undone by the next reader. What is published is what came of it.
func TestJournalCommitThatFailsLate(t *testing.T) {
	committed, undone := 0, 0
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST"} {
		for _, op := range []vfstest.Op{vfstest.Sync, vfstest.Truncate, vfstest.Delete} {
			over := false
			for nth := 1; !over; nth++ {
				t.Run(fmt.Sprint(mode, op, nth), func(t *testing.T) {
					tr := traced(t)
					c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), tr.Name(), 1<<20)
					conn := c.open("_journal_mode=" + mode + "&_synchronous=EXTRA")
					exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
					exec(t, conn, "INSERT INTO t(b) VALUES(1)")
					c.drain()
					f := tr.Fail(vfstest.Rule{Op: op, Kind: vfstest.Journal, Nth: nth, Code: vfstest.IOErr, Sticky: true})
					_, err := conn.Exec("INSERT INTO t(b) VALUES(2)", nil)
					over = f.End() == 0
					if (err == nil) != over {
						t.Errorf("INSERT: %v", err)
					}
					c.drain()
					rows, err := ask(conn, "SELECT count(*) FROM t")
					switch {
					case err != nil:
						t.Error(err)
					case over:
					case rows == "2|":
						committed++
					default:
						undone++
					}
					c.drain()
					c.compare("afterwards")
					if err := conn.Close(); err != nil {
						t.Error(err)
					}
					if err := c.src.close(); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
	if committed == 0 || undone == 0 {
		t.Errorf("%d commits happened in spite of their error, %d were undone: want some of each", committed, undone)
	}
}
