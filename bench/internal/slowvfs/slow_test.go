package slowvfs

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T, path, vfs string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?vfs="+vfs+"&_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	return db
}

func exec(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.Exec(query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func TestCommitTakesASync(t *testing.T) {
	const sync = 20 * time.Millisecond
	if err := Register("slow-commit", Options{Sync: sync}); err != nil {
		t.Fatal(err)
	}
	db := open(t, filepath.Join(t.TempDir(), "a.db"), "slow-commit")
	exec(t, db, "CREATE TABLE t(x)")
	start := time.Now()
	for range 3 {
		exec(t, db, "INSERT INTO t VALUES(1)")
	}
	if took := time.Since(start); took < 3*sync {
		t.Errorf("three commits took %v, a sync takes %v", took, sync)
	}
	exec(t, db, "PRAGMA mmap_size=1048576")
	exec(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
	var mode, check string
	if err := db.QueryRow("PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal mode %q, %v: shared memory was lost on the way", mode, err)
	}
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		t.Errorf("integrity_check: %q, %v", check, err)
	}
}

func TestFirstReadIsSlowAndTheNextIsNot(t *testing.T) {
	const read = 30 * time.Millisecond
	if err := Register("slow-read", Options{Read: read}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.db")
	db := open(t, path, "slow-read")
	exec(t, db, "CREATE TABLE t(x)")
	exec(t, db, "INSERT INTO t VALUES(zeroblob(1000000))")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, mmap := range []string{"0", "16777216"} {
		db := open(t, path, "slow-read")
		exec(t, db, "PRAGMA mmap_size="+mmap)
		exec(t, db, "PRAGMA cache_size=10") // so that the second scan reads again
		scan := func() time.Duration {
			start := time.Now()
			exec(t, db, "SELECT sum(length(hex(x))) FROM t")
			return time.Since(start)
		}
		cold, warm := scan(), scan()
		if extents := time.Duration(1000000 / (64 << 10)); cold < extents*read {
			t.Errorf("mmap_size=%s: the first scan took %v, %d extents of %v", mmap, cold, extents, read)
		}
		if warm > cold/2 {
			t.Errorf("mmap_size=%s: the second scan took %v, the first %v", mmap, warm, cold)
		}
		db.Close()
	}
}

func TestRegisterTwice(t *testing.T) {
	o := Options{Sync: time.Millisecond}
	if err := Register("slow-twice", o); err != nil {
		t.Fatal(err)
	}
	if err := Register("slow-twice", o); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := Register("slow-twice", Options{}); err == nil {
		t.Error("other options under the same name were accepted")
	}
}
