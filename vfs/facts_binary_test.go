package vfs_test

import (
	"database/sql/driver"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"testing"

	sqlite3 "github.com/mattn/go-sqlite3"

	"seawal/internal/vfstest"
)

// fixed is the first SQLite without the WAL-reset bug, which corrupts databases.
const fixed = 3_051_003

// There is one SQLite in the binary, go-sqlite3's, and C code of other packages links
// against it: a VFS registered by one of them is there for go-sqlite3's connections.
func TestFactsOneSQLite(t *testing.T) {
	f := newFacts(t)
	version, source := vfstest.SQLite()
	plain := openFacts(t, f.path, "", "")
	plain.expect("SELECT sqlite_source_id()", source)
	plain.expect("SELECT sqlite_version()", fmt.Sprintf("%d.%d.%d", version/1_000_000, version/1_000%1_000, version%1_000))
	if version < fixed {
		t.Errorf("SQLite %d, want %d at least", version, fixed)
	}
	log := f.trace(func() { f.open("").rows("SELECT count(*) FROM sqlite_schema") })
	if log.Index(func(e *vfstest.Event) bool { return e.Op == vfstest.Open && e.Path == f.path }) < 0 {
		t.Errorf("go-sqlite3 did not open the database through the VFS:\n%v", log)
	}
}

// A WAL connection of go-sqlite3 has synchronous=NORMAL, unless the DSN says otherwise.
func TestFactsDefaultIsNormal(t *testing.T) {
	f := newFacts(t)
	f.open("&_journal_mode=WAL").expect("PRAGMA synchronous", "1")
	f.open("").expect("PRAGMA synchronous", "1")
	f.open("&_synchronous=FULL").expect("PRAGMA synchronous", "2")
	f.open("").expect("PRAGMA wal_autocheckpoint", "1000")
	f.open("").expect("PRAGMA mmap_size", "0")
}

// File methods of version 1 have no shared memory: journal_mode=WAL silently answers
// "delete", an existing WAL database can't be opened, and only locking_mode=EXCLUSIVE gets a
// WAL. They have no xFetch either: mmap_size stays 0, or gives no row at all when the VFS does
// not know the file control.
func TestFactsMethodsVersion1(t *testing.T) {
	f := newFactsOptions(t, vfstest.Options{MaxMethods: 1})
	c := f.open("")
	c.exec(firstTable)
	c.expect("PRAGMA journal_mode=WAL", "delete")
	c.close()

	c = f.open("&_locking_mode=EXCLUSIVE")
	c.expect("PRAGMA journal_mode=WAL", "wal")
	c.exec(insertRow)
	if _, err := f.tryOpen("&_journal_mode=WAL"); err == nil {
		t.Error("a second connection could open the database")
	}
	c.close()

	openFacts(t, f.path, "", "&_journal_mode=WAL").close()
	if _, err := f.tryOpen(""); err == nil {
		t.Error("opened a WAL database without shared memory")
	}

	unknown := f.Fail(vfstest.Rule{Op: vfstest.Control, Control: vfstest.FcntlMmapSize, Sticky: true, Code: vfstest.NotFound})
	c = f.open("&_locking_mode=EXCLUSIVE")
	c.expect("PRAGMA mmap_size=268435456")
	c.expect("PRAGMA mmap_size")
	if unknown.End() == 0 {
		t.Error("nobody asked for mmap_size")
	}
	c.expect("PRAGMA mmap_size=268435456", "0")
	if log := f.trace(func() { c.rows("SELECT * FROM t") }); log.Index(isFetch) >= 0 {
		t.Errorf("xFetch was called:\n%v", log)
	}
}

// tryOpen opens a connection and reads the schema.
func (f *facts) tryOpen(params string) (int, error) {
	c, err := new(sqlite3.SQLiteDriver).Open("file:" + f.path + "?vfs=" + f.Name() + "&_busy_timeout=0" + params)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	r, err := c.(*sqlite3.SQLiteConn).Query("SELECT count(*) FROM t", nil)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	return len(r.Columns()), r.Next(make([]driver.Value, 1))
}

func isFetch(e *vfstest.Event) bool { return e.Op == vfstest.Fetch }

// Version 3 has both: several connections share a WAL, and pages come from the mapping.
func TestFactsMethodsVersion3(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.fill(20)
	c.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	other := f.open("")
	other.expect("PRAGMA mmap_size=268435456", "268435456")
	log := f.trace(func() { other.expect("SELECT sum(length(b)) FROM t", "60000") })
	mapped := log.Only(func(e *vfstest.Event) bool { return e.Op == vfstest.Fetch && e.Value == 1 })
	if len(mapped) < 20 {
		t.Errorf("%d pages came from the mapping, want the 20 of the table at least\n%v", len(mapped), log)
	}
}

// The page that holds the byte at 1 GiB is never written, in any mode. The database is made
// to end right before it: sparse, so that it takes no room.
func TestFactsLockPage(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		for _, pageSize := range []int64{4096, 65536} {
			t.Run(fmt.Sprintf("%s/%d", mode, pageSize), func(t *testing.T) {
				f := newFacts(t)
				c := f.open("&_journal_mode=DELETE")
				c.exec(fmt.Sprintf("PRAGMA page_size=%d", pageSize))
				c.exec(firstTable)
				c.close()
				lockPage := growToLockPage(t, f.path, pageSize)

				c = f.open("&_journal_mode=" + mode)
				c.expect("PRAGMA page_count", fmt.Sprint(lockPage-1))
				log := f.trace(func() {
					c.exec("INSERT INTO t(b) VALUES(randomblob(?))", 4*pageSize)
					c.exec("PRAGMA wal_checkpoint(TRUNCATE)")
				})
				c.expect("PRAGMA page_count", fmt.Sprint(lockPage+4))
				checkLockPage(t, log, lockPage, pageSize)
				c.expect("SELECT length(b) FROM t", fmt.Sprint(4*pageSize))
				checkSparse(t, f.path)
			})
		}
	}
}

// growToLockPage makes the database end with the last page before the lock
// page, whose number it returns. The header says so: number of pages at byte 28.
func growToLockPage(t *testing.T, path string, pageSize int64) int64 {
	t.Helper()
	const gib = 1 << 30
	if err := os.Truncate(path, gib); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	pages := binary.BigEndian.AppendUint32(nil, uint32(gib/pageSize))
	if _, err := file.WriteAt(pages, 28); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	return gib/pageSize + 1
}

func checkLockPage(t *testing.T, log vfstest.Log, lockPage, pageSize int64) {
	t.Helper()
	written := map[int64]bool{}
	for _, e := range log {
		if h, ok := e.FrameHeader(); ok && e.Op == vfstest.Write {
			written[int64(h.Page)] = true
		}
		if e.Kind != vfstest.Main || e.Op != vfstest.Write {
			continue
		}
		for page := e.Offset/pageSize + 1; page <= (e.Offset+e.Amount-1)/pageSize+1; page++ {
			written[page] = true
		}
	}
	if written[lockPage] {
		t.Errorf("the lock page %d was written\n%v", lockPage, log)
	}
	for page := lockPage + 1; page <= lockPage+4; page++ {
		if !written[page] {
			t.Errorf("page %d behind the lock page was not written\n%v", page, log)
		}
	}
}

// checkSparse fails when the file takes real room for what nobody wrote.
func checkSparse(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Blocks*512 > 4<<20 {
		t.Errorf("%d bytes on disk", sys.Blocks*512)
	}
}
