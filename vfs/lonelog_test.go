package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store/faultstore"
)

// A process was killed, and its database file is gone, or cut to nothing, while the log is there. It is rebuilt if the replica has all
// that the log has, which is kept; else the error says what to move, at every start.
func TestLogWithoutItsFile(t *testing.T) {
	for _, c := range []struct {
		name    string
		lacks   bool // the replica lacks what was committed last
		empty   bool // the file is there, and empty
		restart bool // the log has begun again after the last segment
	}{
		{name: "the replica has all of it"},
		{name: "the replica has all of it, and the file is empty", empty: true},
		{name: "the replica lacks something", lacks: true},
		{name: "the replica lacks something, and the file is empty", lacks: true, empty: true},
		{name: "the replica ends in an older log", lacks: true, restart: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, down, db := shippingPlace(t, hasty, "_checkpoint=app")
			b.note(db)
			if c.restart {
				mustExec(t, db, "PRAGMA wal_checkpoint(RESTART)")
			}
			if c.lacks {
				down.On()
				mustExec(t, db, "INSERT INTO t(b) VALUES('nowhere else')")
			}
			b.faults.SetRules(faultstore.When(down, faultstore.Fail(errReset)))
			p := b.killBadly(db)
			down.Off()
			rows := b.points[len(b.points)-1].rows
			if err := os.Remove(p.path); err != nil {
				t.Fatal(err)
			}
			if c.empty {
				if err := os.WriteFile(p.path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if !c.lacks {
					break
				}
				db := p.open("_restore=if-missing")
				if err := db.Ping(); !errors.Is(err, restore.ErrExists) || !strings.Contains(err.Error(), "move away "+p.path+"-wal") {
					t.Fatalf("%v, want %v and what to move", err, restore.ErrExists)
				}
				db.Close()
				if sizeOf(t, p.path+"-wal") == 0 {
					t.Fatal("the log, which nothing else has, is gone")
				}
			}
			if c.lacks { // as the error says
				if err := os.Rename(p.path+"-wal", p.path+".kept"); err != nil {
					t.Fatal(err)
				}
			}
			db = p.open("_restore=if-missing")
			if now, err := fingerprint(t.Context(), db); err != nil || now != rows {
				t.Errorf("other rows than the replica's newest, %v", err)
			}
			mustExec(t, db, "INSERT INTO t(b) VALUES('goes on')")
			p.finish(db)
			if kept, err := filepath.Glob(p.path + "-seawal/stray-*-wal"); err != nil || len(kept) != 1 && !c.lacks {
				t.Errorf("the log was kept as %v, %v", kept, err)
			}
			reliability.Record(t, reliability.Fault{Group: reliability.Live, Name: "the database file is gone, and its log is there",
				How: "after a kill, with `_restore=if-missing`: rebuilt and the log kept if the replica has all of it; else refused, and the error names what to move"}, 1, 0)
		})
	}
}

// The same in a rollback journal mode: a journal has nothing that was committed.
func TestJournalWithoutItsFile(t *testing.T) {
	t.Parallel()
	b, db := opened(t, impatient, "")
	rows := b.points[0].rows
	b.finish(db)
	if err := errors.Join(os.Remove(b.path), os.WriteFile(b.path+"-journal", []byte("\xd9\xd5\x05\xf9\x20\xa1\x63\xd7, and pages"), 0o600)); err != nil {
		t.Fatal(err)
	}
	db = b.open("_restore=if-missing")
	if now, err := fingerprint(t.Context(), db); err != nil || now != rows {
		t.Errorf("other rows than the replica's newest, %v", err)
	}
	b.finish(db)
	if kept, err := filepath.Glob(b.path + "-seawal/stray-*-journal"); err != nil || len(kept) != 1 {
		t.Errorf("the journal was kept as %v, %v", kept, err)
	}
}
