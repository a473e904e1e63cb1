package vfs_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/shipper"
	"seawal/store/faultstore"
)

// outageClose is a way to close a database in an outage, with something that the replica lacks.
type outageClose struct {
	name    string
	params  string
	idle    int    // connections that stay in the pool
	new     bool   // the database, and the store has never answered
	closes  int    // in the outage
	commits int    // before the outage, that are shipped, in the session that is then closed
	before  string // a statement in the outage, between commits
}

var outageCloses = []outageClose{
	{name: "pool", idle: 2, closes: 1, commits: 3},
	{name: "nothing was shipped in the session", idle: 2, closes: 1},
	{name: "a connection for each statement", idle: -1, closes: 1, commits: 3},
	{name: "the application checkpoints", params: "_checkpoint=app", idle: 2, closes: 1, commits: 3},
	{name: "several closes", idle: 2, closes: 3, commits: 3},
	{name: "several closes after an outage at open", idle: 2, closes: 3},
	{name: "the log begins again in the outage", idle: 2, closes: 1, commits: 3, before: "PRAGMA wal_checkpoint(RESTART)"},
	{name: "a checkpoint in the outage", idle: 2, closes: 1, commits: 3, before: "PRAGMA wal_checkpoint(PASSIVE)"},
	{name: "a new database", idle: 2, closes: 2, new: true},
}

// run is a database that was closed that way while its store was down, and what it has.
func (c outageClose) run(t *testing.T) (b *badPlace, down *faultstore.Toggle, rows uint64) {
	t.Helper()
	b, down = downPlace(t, hasty)
	open := func() *sql.DB {
		db := b.open(c.params)
		db.SetMaxIdleConns(c.idle)
		return db
	}
	if c.new {
		b.path += "2"
	} else {
		db := open()
		b.write(db, 1, 2, 10)
		b.finish(db)
	}
	if c.new {
		down.On()
	}
	db := open()
	if c.commits > 0 {
		b.write(db, 2, 1, c.commits)
		b.flush(db)
	}
	down.On()
	for n := range c.closes {
		mustExec(t, db, "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b BLOB)")
		if c.before != "" {
			mustExec(t, db, c.before)
		}
		b.write(db, 3+uint64(n), 2, 10)
		b.until(db, "error", hasFailed)
		var err error
		if rows, err = fingerprint(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		b.closeBadly(db)
		if n < c.closes-1 {
			db = open()
		}
	}
	return b, down, rows
}

// A close in an outage leaves a file that has everything, alone, and nothing beside it that belongs to it. The transactions
// that the replica lacks keep their points all the same.
func TestCloseInAnOutageLeavesTheFileWhole(t *testing.T) {
	for _, c := range outageCloses {
		t.Run(c.name, func(t *testing.T) {
			b, down, rows := c.run(t)
			if sizeOf(t, b.path+"-wal") > 0 {
				t.Error("the log lies beside the file")
			}
			alone := filepath.Join(t.TempDir(), "alone.db")
			if err := os.WriteFile(alone, readFile(t, b.path), 0o600); err != nil {
				t.Fatal(err)
			}
			if fingerprintFile(t, alone) != rows {
				t.Error("a copy of the file alone has other rows")
			}
			if fingerprintFile(t, b.path) != rows { // plain SQLite reads it, and closes it
				t.Error("another program reads other rows")
			}
			db := b.open(c.params)
			if now, err := fingerprint(t.Context(), db); err != nil || now != rows {
				t.Errorf("opened again it has other rows, %v", err)
			}
			b.write(db, 9, 2, 5)
			down.Off()
			if st := b.finish(db); st.Resyncs > 0 {
				t.Errorf("a difference was shipped: %+v", st)
			}
			b.everyPoint()
			b.storeFault("closed in an outage", "the file alone has everything, and nothing lies beside it; later each transaction gets its point")
		})
	}
}

// What is put in the place of a file that was closed in an outage is what is read: by plain SQLite, and by seawal.
func TestFilePutInPlaceAfterACloseInAnOutage(t *testing.T) {
	for name, put := range map[string]func(path string, content []byte) error{
		"over it": func(path string, content []byte) error { return os.WriteFile(path, content, 0o600) },
		"by a rename": func(path string, content []byte) error {
			return errors.Join(os.WriteFile(path+".then", content, 0o600), os.Rename(path+".then", path))
		},
		"after it was removed": func(path string, content []byte) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, content, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, down := downPlace(t, hasty)
			db := b.open("")
			b.write(db, 1, 2, 10)
			b.finish(db)
			then, rows := readFile(t, b.path), fingerprintFile(t, b.path)
			db = b.open("")
			b.write(db, 2, 1, 5)
			b.flush(db)
			down.On()
			b.write(db, 3, 1, 20)
			b.closeBadly(db)
			if err := put(b.path, then); err != nil {
				t.Fatal(err)
			}
			if fingerprintFile(t, b.path) != rows {
				t.Error("plain SQLite reads other rows than those of the file that was put there")
			}
			down.Off()
			db = b.open("")
			if now, err := fingerprint(t.Context(), db); err != nil || now != rows {
				t.Errorf("seawal reads other rows than those of the file that was put there, %v", err)
			}
			mustExec(t, db, "INSERT INTO t(b) VALUES('from there')")
			b.flush(db)
			if st := b.finish(db); st.Durable.Timeline != 2 {
				t.Errorf("it is no timeline of its own: %+v", st)
			}
			b.same(b.path, b.good().restore(restore.Newest()))
			if kept, err := filepath.Glob(b.path + "-seawal/stray-*-wal"); err != nil || len(kept) != 1 {
				t.Errorf("the log was kept as %v, %v", kept, err)
			}
			reliability.Record(t, reliability.Fault{Group: reliability.Live, Name: "another file in the place of one that was closed in an outage",
				How: "an older copy is put over it, renamed to it, or made after it was removed; its rows are what plain SQLite and seawal read"}, 1, 0)
		})
	}
}

// A process is killed at its close in an outage, when the log is in the file and not moved away yet; or when the next one has moved it back.
func TestKilledBetweenTheFileAndItsLog(t *testing.T) {
	b, down, rows := outageCloses[0].run(t)
	if err := os.Rename(shipper.KeptLog(b.path), b.path+"-wal"); err != nil {
		t.Fatal(err)
	}
	down.Off()
	db := b.open("")
	if now, err := fingerprint(t.Context(), db); err != nil || now != rows {
		t.Errorf("opened again it has other rows, %v", err)
	}
	if st := b.finish(db); st.Resyncs > 0 {
		t.Errorf("a difference was shipped: %+v", st)
	}
	b.everyPoint()
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return fi.Size()
}
