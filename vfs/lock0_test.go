package vfs

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/wal"
	"seawal/shipper"
)

// plainOn opens the database of a capture past the shim, as another process does.
func plainOn(t *testing.T, path string) *sqlite3.SQLiteConn {
	t.Helper()
	conn, err := (&sqlite3.SQLiteDriver{}).Open(fileURI(path) + "?_busy_timeout=10000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*sqlite3.SQLiteConn)
}

// stateOf is the newest state of the database, page by page, as SQLite writes it into another file.
func stateOf(t *testing.T, conn *sqlite3.SQLiteConn) []byte {
	t.Helper()
	b, err := conn.Serialize("main")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// pagesOf reads a pinned state by the rules of shipper.ReadTx.
func pagesOf(t *testing.T, src *source, tx shipper.ReadTx) []byte {
	t.Helper()
	frames := map[uint32][]byte{}
	if end := tx.Place(); !tx.InFile() && end.Frame > 0 {
		f, err := src.WAL()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		h, err := wal.ReadHeader(f)
		if err != nil {
			t.Fatal(err)
		}
		rd := wal.NewReader(f, h, h.Start())
		for rd.Place().Frame < end.Frame {
			var frame wal.Frame
			if err := rd.Next(&frame); err != nil {
				t.Fatal(err)
			}
			frames[frame.Page] = bytes.Clone(frame.Data)
		}
	}
	var all []byte
	for page := uint32(1); page <= tx.PageCount(); page++ {
		b := make([]byte, tx.PageSize())
		if data := frames[page]; data != nil {
			copy(b, data)
		} else if err := tx.ReadFile(page, b); err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}

// A state whose log is in the file as a whole is read from the file: the next commit of another process writes over the log.
func TestPinnedStateOutlivesItsLog(t *testing.T) {
	for _, c := range []struct {
		name       string
		checkpoint string
		inFile     bool
	}{
		{name: "the whole log is in the file", checkpoint: "PRAGMA wal_checkpoint", inFile: true},
		{name: "the log was cut off", checkpoint: "PRAGMA wal_checkpoint(TRUNCATE)", inFile: true},
		{name: "nothing is in the file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tap := newCapture(t, filepath.Join(t.TempDir(), "app.db"), "", 1<<20)
			other := plainOn(t, tap.path)
			exec(t, other, "PRAGMA journal_mode=WAL")
			exec(t, other, "PRAGMA wal_autocheckpoint=0")
			exec(t, other, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
			exec(t, other, "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<50) SELECT randomblob(3900) FROM n")
			if c.checkpoint != "" {
				exec(t, other, c.checkpoint)
			}
			want := stateOf(t, other)
			tx, err := tap.src.BeginRead(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if tx.InFile() != c.inFile {
				t.Errorf("InFile is %v, want %v", tx.InFile(), c.inFile)
			}
			salt := logSalt(t, tap.path)
			exec(t, other, "UPDATE t SET b=randomblob(3900)")
			if moved := logSalt(t, tap.path) != salt; moved != c.inFile {
				t.Fatalf("the log was started again: %v, want %v", moved, c.inFile)
			}
			if got := pagesOf(t, tap.src, tx); !bytes.Equal(got, want) {
				t.Error("the pinned state has pages of another one")
			}
			if err := tx.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// logSalt is the salts of the log as they stand in its header: none when it is empty.
func logSalt(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	return string(b[min(16, len(b)):min(24, len(b))])
}

// What is pinned is never ahead of its ticket: a commit of another process, which nobody has looked at yet, is published first.
func TestPinnedStateIsThatOfItsTicket(t *testing.T) {
	tap := newCapture(t, filepath.Join(t.TempDir(), "app.db"), "", 1<<20)
	ours := tap.open("_journal_mode=WAL")
	defer ours.Close()
	exec(t, ours, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	first, _ := tap.tap.last()
	other := plainOn(t, tap.path)
	for i := range 3 {
		exec(t, other, "INSERT INTO t(b) VALUES(randomblob(20000))")
		want := stateOf(t, other)
		tx, err := tap.src.BeginRead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if last, _ := tap.tap.last(); tx.Ticket() != last || last != first+uint64(i+1) {
			t.Errorf("pinned at ticket %d of %d, want %d", tx.Ticket(), last, first+uint64(i+1))
		}
		if got := pagesOf(t, tap.src, tx); !bytes.Equal(got, want) {
			t.Errorf("%d pages are pinned, and they are not the %d of the database", len(got)/tx.PageSize(), len(want)/tx.PageSize())
		}
		if err := tx.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A reader that began with the whole log in the file, and before the last commit, is not at that commit's place: it reads the file.
func TestReaderOfTheFileIsNotPinnedAhead(t *testing.T) {
	tap := newCapture(t, filepath.Join(t.TempDir(), "app.db"), "", 1<<20)
	ours := tap.open("_journal_mode=WAL")
	defer ours.Close()
	exec(t, ours, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	first, _ := tap.tap.last()
	// An older reader keeps its lock, so that the log goes on where it is.
	older, other := plainOn(t, tap.path), plainOn(t, tap.path)
	exec(t, older, "BEGIN")
	rows, err := older.Query("SELECT count(*) FROM t", []driver.Value{})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if err := rows.Next(make([]driver.Value, 1)); err != nil {
		t.Fatal(err)
	}
	exec(t, other, "PRAGMA wal_checkpoint")
	s := tap.src
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.execLocked("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1"); err != nil {
		t.Fatal(err)
	}
	defer s.execLocked("ROLLBACK")
	exec(t, other, "INSERT INTO t(b) VALUES(1)")
	tap.tap.poll()
	if last, _ := tap.tap.last(); last != first+1 {
		t.Fatalf("%d commits are published, want %d", last, first+1)
	}
	if p, err := s.tap.place(s.index, 0); !errors.Is(err, errBusy) {
		s.tap.unpin()
		t.Errorf("pinned at %v (in the file: %v, %v)", p.place, p.inFile, err)
	}
}
