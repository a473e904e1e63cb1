package wal

import (
	"bytes"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/mattn/go-sqlite3"
)

// database is a connection of the real SQLite to a database in WAL mode that
// checkpoints only when told to.
type database struct {
	t    testing.TB
	path string
	conn *sqlite3.SQLiteConn
}

func openDatabase(t testing.TB, path string) *database {
	t.Helper()
	conn, err := (&sqlite3.SQLiteDriver{}).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	d := &database{t: t, path: path, conn: conn.(*sqlite3.SQLiteConn)}
	t.Cleanup(func() { d.conn.Close() })
	return d
}

func newDatabase(t testing.TB, pageSize int) *database {
	t.Helper()
	d := openDatabase(t, filepath.Join(t.TempDir(), "app.db"))
	d.exec(fmt.Sprintf("PRAGMA page_size=%d; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; PRAGMA synchronous=OFF", pageSize))
	return d
}

func (d *database) exec(query string, args ...driver.Value) {
	d.t.Helper()
	if _, err := d.conn.Exec(query, args); err != nil {
		d.t.Fatalf("%s: %v", query, err)
	}
}

// files returns what is on disk: the database file and its log.
func (d *database) files() (db, log []byte) {
	d.t.Helper()
	db, err := os.ReadFile(d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	log, err = os.ReadFile(d.path + "-wal")
	if err != nil {
		d.t.Fatal(err)
	}
	return db, log
}

// recoverer lets SQLite recover pairs of files and says what database comes out.
type recoverer struct {
	t   testing.TB
	dir string
}

func (r recoverer) database(db, log []byte) []byte {
	r.t.Helper()
	path := filepath.Join(r.dir, "crashed.db")
	for name, b := range map[string][]byte{path: db, path + "-wal": log} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	conn, err := (&sqlite3.SQLiteDriver{}).Open(path)
	if err != nil {
		r.t.Fatal(err)
	}
	d := &database{t: r.t, path: path, conn: conn.(*sqlite3.SQLiteConn)}
	d.exec("PRAGMA synchronous=OFF; PRAGMA wal_checkpoint(TRUNCATE)")
	if err := conn.Close(); err != nil { // deletes the log
		r.t.Fatal(err)
	}
	out, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// check compares what our reader makes of a database and its log with what
// SQLite makes of them.
func (r recoverer) check(db, log []byte, what string) {
	r.t.Helper()
	want, got := r.database(db, log), apply(r.t, db, log)
	if !bytes.Equal(got, want) {
		r.t.Errorf("%s: our database (%d bytes) differs from SQLite's (%d bytes)", what, len(got), len(want))
	}
}

const fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?1) INSERT INTO t(v) SELECT randomblob(?2) FROM n"

func TestReaderFindsWhatSQLiteRecovers(t *testing.T) {
	scenarios := []struct {
		name string
		run  func(d *database)
		tail bool // frames behind the last commit are expected
	}{
		{"created", func(d *database) {}, false},
		{"rows", func(d *database) {
			for range 20 {
				d.exec(fill, int64(3), int64(300))
			}
		}, false},
		{"spill committed", func(d *database) {
			d.exec("PRAGMA cache_size=10; BEGIN")
			d.exec(fill, int64(400), int64(900))
			d.exec("UPDATE t SET v=randomblob(700)")
			d.exec("UPDATE t SET v=randomblob(600) WHERE id%3=0; COMMIT")
		}, false},
		{"spill open", func(d *database) {
			d.exec(fill, int64(50), int64(900))
			d.exec("PRAGMA cache_size=10; BEGIN")
			d.exec(fill, int64(400), int64(900))
			d.exec("UPDATE t SET v=randomblob(700) WHERE id>100")
		}, true},
		{"spill rolled back", func(d *database) {
			d.exec("PRAGMA cache_size=10; BEGIN")
			d.exec(fill, int64(400), int64(900))
			d.exec("ROLLBACK")
		}, true},
		{"spill rolled back, then a smaller commit over it", func(d *database) {
			d.exec("PRAGMA cache_size=10; BEGIN")
			d.exec(fill, int64(400), int64(900))
			d.exec("ROLLBACK")
			d.exec(fill, int64(5), int64(100))
		}, false},
		{"savepoint rolled back inside a spill", func(d *database) {
			d.exec("PRAGMA cache_size=10; BEGIN")
			d.exec(fill, int64(300), int64(900))
			d.exec("SAVEPOINT s")
			d.exec(fill, int64(300), int64(900))
			d.exec("ROLLBACK TO s")
			d.exec(fill, int64(20), int64(100))
			d.exec("COMMIT")
		}, false},
		{"restarted", func(d *database) {
			d.exec(fill, int64(300), int64(900))
			d.exec("PRAGMA wal_checkpoint(RESTART)")
			d.exec(fill, int64(3), int64(100))
		}, false},
		{"restarted twice, longer than before", func(d *database) {
			d.exec(fill, int64(10), int64(900))
			d.exec("PRAGMA wal_checkpoint(RESTART)")
			d.exec(fill, int64(10), int64(900))
			d.exec("PRAGMA wal_checkpoint(RESTART)")
			d.exec(fill, int64(100), int64(900))
		}, false},
		{"checkpointed, not restarted", func(d *database) {
			d.exec(fill, int64(100), int64(900))
			d.exec("PRAGMA wal_checkpoint(PASSIVE)")
		}, false},
		{"shrunk", func(d *database) {
			d.exec(fill, int64(300), int64(900))
			d.exec("PRAGMA wal_checkpoint(RESTART)")
			d.exec("DELETE FROM t WHERE id>10")
			d.exec("VACUUM")
		}, false},
	}
	for _, pageSize := range []int{512, 4096, 65536} {
		for _, sc := range scenarios {
			t.Run(fmt.Sprintf("page=%d/%s", pageSize, sc.name), func(t *testing.T) {
				d := newDatabase(t, pageSize)
				d.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
				sc.run(d)
				db, log := d.files()
				recoverer{t, t.TempDir()}.check(db, log, sc.name)

				h, err := ReadHeader(bytes.NewReader(log))
				if err != nil || h.PageSize != pageSize {
					t.Fatalf("header %+v, %v", h, err)
				}
				all, _ := frames(t, bytes.NewReader(log), h, h.Start())
				tail := len(all) > 0 && all[len(all)-1].Commit == 0
				if tail != sc.tail && pageSize < 65536 { // ten large pages may hold the transaction
					t.Errorf("%d frames, uncommitted ones at the end: %v, want %v", len(all), tail, sc.tail)
				}
			})
		}
	}
}

// smallLog is a log of a few short transactions, with frames of an older
// generation behind them.
func smallLog(t testing.TB) (db, log []byte) {
	t.Helper()
	d := newDatabase(t, 512)
	d.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
	d.exec(fill, int64(5), int64(100))
	d.exec("PRAGMA wal_checkpoint(RESTART)")
	d.exec("INSERT INTO t(v) VALUES(1)")
	d.exec(fill, int64(3), int64(150))
	return d.files()
}

func TestTornAtEveryByte(t *testing.T) {
	db, log := smallLog(t)
	sqlite := recoverer{t, t.TempDir()}
	for n := 0; n <= len(log); n++ {
		sqlite.check(db, log[:n], fmt.Sprintf("first %d of %d bytes", n, len(log)))
	}
}

func TestFlippedAtEveryByte(t *testing.T) {
	db, log := smallLog(t)
	sqlite := recoverer{t, t.TempDir()}
	for i := range log {
		bit := byte(1) << (i % 8)
		log[i] ^= bit
		sqlite.check(db, log, fmt.Sprintf("bit %08b of byte %d", bit, i))
		log[i] ^= bit
	}
}

// SQLite writes checksums in the byte order of its machine and reads both.
func TestBothChecksumOrders(t *testing.T) {
	db, log := smallLog(t)
	h, all, err := recoverNaively(log)
	if err != nil {
		t.Fatal(err)
	}
	sqlite := recoverer{t, t.TempDir()}
	var results [][]byte
	for _, bigEndian := range []bool{false, true} {
		l := newTestLog(h.PageSize, h.Salt, bigEndian)
		for _, f := range all {
			l.add(f.Page, f.Commit, f.Data)
		}
		sqlite.check(db, l.b, fmt.Sprintf("big-endian checksums %v", bigEndian))
		results = append(results, apply(t, db, l.b))
	}
	if !bytes.Equal(results[0], results[1]) || bytes.Equal(results[0], db) {
		t.Error("the orders don't give one database, or the log was not applied")
	}
}

// A reader that took part of a spilled transaction and meets its rewritten
// checksums ends inside the transaction; from the last commit it reads all of it.
func TestSpilledTransactionIsReadFromTheLastCommit(t *testing.T) {
	d := newDatabase(t, 512)
	d.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, v); PRAGMA cache_size=10")
	_, log := d.files()
	h, err := ReadHeader(bytes.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	_, committed := frames(t, bytes.NewReader(log), h, h.Start())
	d.exec("BEGIN")
	d.exec(fill, int64(300), int64(400))
	_, log = d.files()
	_, inside := frames(t, bytes.NewReader(log), h, committed)
	if inside.Frame <= committed.Frame {
		t.Fatal("nothing was spilled")
	}
	d.exec("UPDATE t SET v=randomblob(350)")
	d.exec("COMMIT")
	_, log = d.files()
	if all, end := frames(t, bytes.NewReader(log), h, inside); len(all) != 0 {
		t.Errorf("from the stale place %v to %v", inside, end)
	}
	all, _ := frames(t, bytes.NewReader(log), h, committed)
	if len(all) == 0 || all[len(all)-1].Commit == 0 {
		t.Errorf("from the last commit: %d frames", len(all))
	}
}
