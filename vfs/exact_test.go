package vfs

import (
	"fmt"
	"path/filepath"
	"testing"

	"seawal/internal/vfstest"
	"seawal/shipper"
)

// SQLite was told that a held frame is in the file. When writing it out fails in the middle of a read, only the
// statement is undone, and the transaction may still commit that frame.
func TestHoldSurvivesAFullDisk(t *testing.T) {
	const rows = 60
	for nth := 1; nth <= 12; nth++ {
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			tr := traced(t)
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), tr.Name(), 1<<20)
			conn := c.open("_journal_mode=WAL&_synchronous=NORMAL")
			exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB NOT NULL)")
			exec(t, conn, fmt.Sprintf("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) INSERT INTO t(b) SELECT zeroblob(3000) FROM n", rows))
			c.drain()
			exec(t, conn, "PRAGMA wal_checkpoint(RESTART)") // old frames lie where the new ones go
			exec(t, conn, "PRAGMA cache_size=10; PRAGMA cache_spill=10")
			exec(t, conn, "BEGIN IMMEDIATE; UPDATE t SET b=randomblob(3000) WHERE a<=15")
			f := tr.Fail(vfstest.Rule{Op: vfstest.Write, Kind: vfstest.WAL, Nth: nth, Code: vfstest.Full})
			failed := 0
			for a := 1; a <= rows; a++ {
				// A statement with a journal of its own, that reads a page which has left the cache.
				if _, err := conn.Exec(fmt.Sprintf("UPDATE t SET b=randomblob(3000) WHERE a IN (%d,%d)", a, a%15+1), nil); err != nil {
					failed++
					if failed < 3 {
						t.Log(a, err)
					}
				}
			}
			f.End()
			if _, err := conn.Exec("COMMIT", nil); err != nil {
				t.Log("COMMIT", err)
				_, _ = conn.Exec("ROLLBACK", nil) // SQLite may have done it
			}
			integrity(t, conn)
			c.drain()
			exec(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
			integrity(t, conn)
			c.compare(fmt.Sprintf("after %d failures", failed))
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// With locking_mode=EXCLUSIVE a commit frame alone says that there is a commit. One whose transaction
// failed after it must not be taken for that of the next.
func TestExclusiveCommitThatFailsLate(t *testing.T) {
	over := false
	for nth := 1; !over; nth++ {
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			tr := traced(t)
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), tr.Name(), 1<<20)
			conn := c.open("_journal_mode=WAL&_locking_mode=EXCLUSIVE&psow=0&_synchronous=FULL")
			exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
			exec(t, conn, "INSERT INTO t(b) VALUES(1)")
			c.drain()
			want := c.ticket
			f := tr.Fail(vfstest.Rule{Op: vfstest.Write, Kind: vfstest.WAL, Nth: nth, Code: vfstest.IOErrWrite})
			_, err := conn.Exec("INSERT INTO t(b) VALUES(randomblob(5000))", nil)
			over = f.End() == 0
			if err == nil {
				want++
			}
			exec(t, conn, "BEGIN IMMEDIATE; COMMIT")
			c.drain()
			if c.ticket != want {
				t.Errorf("%v; %d commits published, want %d", err, c.ticket, want)
			}
			exec(t, conn, "INSERT INTO t(b) VALUES(2)")
			c.drain()
			exec(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
			c.compare("afterwards")
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A frame never straddles the end of the ring, so a commit may begin behind it: its place is whole all the same.
func TestPlaceWhereTheRingWraps(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	conn := c.open("_journal_mode=WAL")
	exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	wrapped, done := 0, uint64(0)
	for i := range 600 {
		exec(t, conn, "UPDATE t SET b=1 WHERE a=1; INSERT OR REPLACE INTO t VALUES(1, ?)", int64(i))
		for {
			commit, ok := c.src.Next()
			if !ok {
				break
			}
			if commit.Kind != shipper.CommitFrames {
				t.Fatalf("%+v", commit)
			}
			if len(commit.Frames[0]) == 0 {
				wrapped++
			}
			if commit.To.Salt != [2]uint32{} && commit.To.Cksum == [2]uint32{} {
				t.Errorf("commit %d: no checksum in its place %+v", commit.Ticket, commit.To)
			}
			c.src.Release(done) // one stays, else the ring begins again
			done = commit.Ticket
		}
	}
	if wrapped == 0 {
		t.Error("no commit began at the end of the ring")
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
