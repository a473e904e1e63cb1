package vfs_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	sqlite3 "github.com/mattn/go-sqlite3"

	"seawal/internal/vfstest"
)

// The test binary is its own second process: with a path set it either runs SQL
// on that database through plain SQLite, or copies the file, and ends.
const (
	strangerPath = "SEAWAL_FACTS_STRANGER_PATH"
	strangerSQL  = "SEAWAL_FACTS_STRANGER_SQL"
	strangerCopy = "SEAWAL_FACTS_STRANGER_COPY"
)

func init() {
	if path := os.Getenv(strangerPath); path != "" {
		if err := beStranger(path, os.Getenv(strangerSQL), os.Getenv(strangerCopy)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

func beStranger(path, sql, copyTo string) error {
	if copyTo != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(copyTo, b, 0o600)
	}
	c, err := new(sqlite3.SQLiteDriver).Open("file:" + path)
	if err != nil {
		return err
	}
	if _, err := c.(*sqlite3.SQLiteConn).Exec(sql, nil); err != nil {
		return err
	}
	return c.Close()
}

// stranger runs sql on the database in a process of its own.
func (f *facts) stranger(sql string) {
	f.t.Helper()
	runStranger(f.t, strangerPath+"="+f.path, strangerSQL+"="+sql)
}

// copyByStranger copies a file in a process of its own.
func copyByStranger(t *testing.T, from, to string) {
	t.Helper()
	runStranger(t, strangerPath+"="+from, strangerCopy+"="+to)
}

func runStranger(t *testing.T, env ...string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env...)
	cmd.Env = append(cmd.Env, "GORACE=atexit_sleep_ms=0") // a process under the race detector lingers for a second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("second process with %q: %v\n%s", env, err, out)
	}
}

// What another process does shows in the wal-index header when WAL_WRITE_LOCK is taken:
// a commit moves mxFrame, a rollback doesn't, a restart of the log changes the salts.
func TestFactsOtherProcess(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.exec(firstTable)
	c.exec(insertRow)

	// look takes the write lock and lets it go, and returns what the header said.
	look := func() vfstest.IndexHeader {
		t.Helper()
		log := f.trace(func() { c.exec("BEGIN IMMEDIATE; ROLLBACK") })
		at := writer(log)[0]
		if at.Index == nil || at.Index.Header(0) != released(t, log).Header(0) {
			t.Fatalf("the header changed while WAL_WRITE_LOCK was held:\n%v", log)
		}
		return at.Index.Header(0)
	}
	steps := []struct {
		sql    string
		frames int  // by which mxFrame moves
		pages  int  // by which nPage moves
		anew   bool // the log starts anew: mxFrame counts from 0, salts change
	}{
		{sql: "SELECT count(*) FROM t"},
		{sql: "INSERT INTO t(b) VALUES('theirs')", frames: 1},
		{sql: "INSERT INTO t(b) VALUES(1); INSERT INTO t(b) VALUES(2)", frames: 2},
		{sql: "BEGIN; INSERT INTO t(b) VALUES('never'); ROLLBACK"},
		{sql: "CREATE TABLE u(a)", frames: 2, pages: 1},
		{sql: "PRAGMA wal_checkpoint(PASSIVE)"},
		{sql: "INSERT INTO t(b) VALUES('anew')", frames: 1, anew: true},
		{sql: "PRAGMA wal_checkpoint(TRUNCATE)", frames: 0, anew: true},
		// The log is empty and this connection never restarted it: it takes salts at random.
		{sql: "INSERT INTO t(b) VALUES('anew')", frames: 1, anew: true},
	}
	last := look()
	for _, s := range steps {
		f.stranger(s.sql)
		now := look()
		base := last.MxFrame
		if s.anew {
			base = 0
		}
		if now.MxFrame != base+uint32(s.frames) {
			t.Errorf("%s: mxFrame from %d to %d, want %d", s.sql, last.MxFrame, now.MxFrame, base+uint32(s.frames))
		}
		if now.PageCount != last.PageCount+uint32(s.pages) {
			t.Errorf("%s: nPage from %d to %d, want %d more", s.sql, last.PageCount, now.PageCount, s.pages)
		}
		if (now.Salt != last.Salt) != s.anew {
			t.Errorf("%s: salts from %08x to %08x, want them changed: %v", s.sql, last.Salt, now.Salt, s.anew)
		}
		last = now
	}
	c.expect("SELECT count(*) FROM t", "6")
}
