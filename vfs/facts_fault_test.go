package vfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"seawal/internal/vfstest"
)

// An error from COMMIT_PHASETWO reaches the application, and the transaction is
// committed all the same, in every journal mode: for other connections, and for good.
func TestFactsPhaseTwoErrorDoesNotUndo(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			f := newFacts(t)
			c := f.open("&_journal_mode=" + mode)
			c.exec(firstTable)
			fault := f.Fail(vfstest.Rule{Op: vfstest.Control, Control: vfstest.FcntlCommitPhaseTwo, Code: vfstest.IOErr})
			c.execFails(vfstest.IOErr, insertRow)
			if n := fault.End(); n != 1 {
				t.Fatalf("fired %d times", n)
			}
			other := f.open("")
			other.expect("SELECT count(*) FROM t", "1")
			other.close()
			c.expect("SELECT count(*) FROM t", "1")
			c.expect("PRAGMA integrity_check", "ok")
		})
	}
}

// An error from the WAL's xSync at a FULL commit reaches the application, and nobody sees the
// transaction. But its frames, commit frame and all, are valid in the log: mxFrame alone
// knows that they don't count, and a recovery brings the transaction back.
func TestFactsWALSyncErrorDoesNotUndo(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL&_synchronous=FULL")
	c.exec(firstTable)
	fault := f.Fail(vfstest.Rule{Op: vfstest.Sync, Kind: vfstest.WAL, Code: vfstest.IOErrFsync})
	log := f.trace(func() { c.execFails(vfstest.IOErrFsync, insertRow) })
	fault.End()
	wantWords(t, writer(log), "+WRITE wal.frame3(pg2,commit=2) wal.body3 wal.sync=IOERR_FSYNC! -WRITE{2}")
	c.expect("SELECT count(*) FROM t", "0")
	other := f.open("")
	other.expect("SELECT count(*) FROM t", "0")
	other.close()

	if n := wholeFrames(t, f.path+"-wal"); n != 3 {
		t.Errorf("%d whole frames in the log, want 3", n)
	}
	after := copyDatabase(t, f.path)
	survivor := openFacts(t, after, f.Name(), "")
	survivor.expect("SELECT count(*) FROM t", "1")
	survivor.close()

	// The next transaction takes the same frame.
	log = f.trace(func() { c.exec("INSERT INTO t(b) VALUES('z')") })
	wantWords(t, writer(log), "+WRITE wal.frame3(pg2,commit=2) wal.body3 wal.sync barrier{2/3} -WRITE{3} db.ctl(COMMIT_PHASETWO)")
	c.expect("SELECT b FROM t", "z")
}

// copyDatabase copies database and log as a power loss would leave them, without shared
// memory. A second process does it: to close the database file in this one
// would drop SQLite's locks on it.
func copyDatabase(t *testing.T, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	for _, suffix := range []string{"", "-wal"} {
		copyByStranger(t, path+suffix, to+suffix)
		if _, err := os.Stat(to + suffix); err != nil {
			t.Fatal(err)
		}
	}
	return to
}
