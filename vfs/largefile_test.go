package vfs_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"testing"

	"seawal/restore"
)

// A database of 1 GiB grows over the page that SQLite locks instead of using it, and goes on in WAL mode and with a
// rollback journal. Nearly all of its pages are holes in the file, which costs little.
func TestModeDatabaseCrossesTheLockPage(t *testing.T) {
	if os.Getenv("SEAWAL_LARGE") == "" {
		t.Skip("writes 3 GiB, which takes half a minute on a slow disk: set SEAWAL_LARGE=1 to run it")
	}
	const pageSize = 65536
	p := newPlace(t)
	create(t, p.path, pageSize)
	plain(t, p.path, "PRAGMA journal_mode=DELETE")
	growToLockPage(t, p.path, pageSize)
	s := p.begin("_journal_mode=WAL")
	s.ctx = t.Context() // a snapshot of 1 GiB takes its time
	s.exec("INSERT INTO t(b) VALUES(randomblob(200000))")
	s.flush()
	s.exec("INSERT INTO t(b) VALUES(randomblob(300000))", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA journal_mode=DELETE",
		"INSERT INTO t(b) VALUES(randomblob(400000))", "DELETE FROM t WHERE a=2", "UPDATE t SET b=randomblob(100000) WHERE a=1")
	if err := errors.Join(s.conn.Close(), s.db.Close()); err != nil {
		t.Fatal(err)
	}
	sameFile(t, p.path, p.restore(restore.Newest()))
}

// sameFile compares files that are too large for memory.
func sameFile(t *testing.T, a, b string) {
	t.Helper()
	fa, err := os.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer fb.Close()
	ra, rb := bufio.NewReader(fa), bufio.NewReader(fb)
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; at += 1 << 20 {
		n, errA := io.ReadFull(ra, x)
		m, errB := io.ReadFull(rb, y)
		if !bytes.Equal(x[:n], y[:m]) {
			t.Fatalf("%s and %s differ behind byte %d", a, b, at)
		}
		if errA != nil || errB != nil {
			if errA != errB || errA != io.EOF && errA != io.ErrUnexpectedEOF {
				t.Fatalf("%v, %v", errA, errB)
			}
			return
		}
	}
}
