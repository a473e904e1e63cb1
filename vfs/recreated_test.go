package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/shipper"
	"seawal/vfs"
)

// recreations are the ways in which the file at a path comes to be another one while nobody has it open.
var recreations = map[string]func(t *testing.T, path string){
	"removed": func(*testing.T, string) {},
	"replaced": func(t *testing.T, path string) {
		create(t, path, 4096)
		plain(t, path, "INSERT INTO t(b) VALUES('of another database')")
	},
	"replaced, with pages of another size": func(t *testing.T, path string) {
		create(t, path, 1024)
		plain(t, path, "INSERT INTO t(b) VALUES('of another database')")
	},
	"emptied": func(t *testing.T, path string) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	},
}

// With _recreated=new-timeline whatever is at the path of a database goes on in its replica on a new timeline, and what was
// there before can be restored from the old one.
func TestRecreatedGoesOnOnANewTimeline(t *testing.T) {
	for what, recreate := range recreations {
		for _, mode := range []string{"WAL", "DELETE"} {
			for _, state := range []string{"beside it", "gone, too"} {
				if mode == "DELETE" && (state == "beside it" || what == "emptied") {
					continue // nothing that WAL mode doesn't show
				}
				t.Run(what+"/"+mode+"/the state is "+state, func(t *testing.T) {
					t.Parallel()
					b, db := opened(t, impatient, "_journal_mode="+mode)
					before := b.points[0]
					b.finish(db)
					b.removeFile(state == "gone, too")
					recreate(t, b.path)
					db = b.open("_recreated=new-timeline&_journal_mode=" + mode)
					mustExec(t, db, "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b BLOB)")
					mustExec(t, db, "INSERT INTO t(b) VALUES('begun anew')")
					b.flush(db)
					if st := b.status(db); st.Durable.Timeline != 2 || !strings.Contains(st.Notice, "timeline 2") || st.Health.Word != shipper.WordOK {
						t.Errorf("status %+v", st)
					}
					b.finish(db)
					b.same(b.path, b.good().restore(restore.Newest()))
					if got := fingerprintFile(t, b.good().restoreOn(1, restore.AtTx(before.pos.Tx))); got != before.rows {
						t.Error("the old timeline has other rows")
					}
					db = b.open("_recreated=new-timeline") // it is the replica's database from now on
					mustExec(t, db, "INSERT INTO t(b) VALUES('goes on')")
					if st := b.finish(db); st.Durable.Timeline != 2 {
						t.Errorf("opened again: %+v", st)
					}
					b.same(b.path, b.good().restore(restore.Newest()))
					reliability.Record(t, reliability.Fault{Group: reliability.Outside, Name: "a database is removed, or replaced, and made again under its name",
						How: "with `_recreated=new-timeline`, its state directory beside it or gone, too, also with pages of another size: old and new points are restored and compared"}, 1, 0)
				})
			}
		}
	}
}

// Without it nothing of such a database is shipped, unless its state directory proves where it comes from; health says so, and the error names the ways out.
func TestRecreatedIsRefused(t *testing.T) {
	for what, recreate := range recreations {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			b, db := opened(t, impatient, "")
			newest := b.listing().Last.Pos
			b.finish(db)
			b.removeFile(true)
			recreate(t, b.path)
			db = b.open("")
			defer db.Close() // what it has to say is looked at here
			_, err := db.Exec("INSERT INTO t(b) VALUES('not shipped')")
			if err == nil {
				err = vfs.Flush(t.Context(), db)
				if st := b.status(db); st.Health.Word != shipper.WordNotReplicated || st.Up() {
					t.Errorf("health %+v, up %v", st.Health, st.Up())
				}
			}
			if err == nil || !strings.Contains(err.Error(), "_recreated=new-timeline") || !strings.Contains(err.Error(), "restore") {
				t.Errorf("%v; want the parameter and the command that are the ways out", err)
			}
			if now := b.listing().Last.Pos; now != newest {
				t.Errorf("the replica was at %v, and is at %v", newest, now)
			}
		})
	}
}

// The files of an open database are moved away, and others are put in their place, as an application does that restores a backup of its
// own: what is open ends, and nothing is written to the state directory any more; the next open goes on on a new timeline.
func TestRecreatedWhileOpen(t *testing.T) {
	for name, away := range map[string]func(path, to string) error{
		"moved away": func(path, to string) error {
			return errors.Join(os.Rename(path, to), os.Rename(path+"-wal", to+"-wal"), os.Rename(path+"-shm", to+"-shm"), os.Rename(path+"-seawal", to+"-seawal"))
		},
		"removed": func(path, _ string) error {
			return errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm"), os.RemoveAll(path+"-seawal"))
		},
		"the file alone is replaced": func(path, _ string) error {
			return errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, db := opened(t, hasty, "")
			if err := away(b.path, filepath.Join(t.TempDir(), "away.db")); err != nil {
				t.Fatal(err)
			}
			waitStatus(t, db, func(st vfs.Stat) bool { return st.Health.Word == shipper.WordNotReplicated && !st.Up() })
			recreations["replaced"](t, b.path)
			if err := db.Close(); err != nil && !errors.Is(err, vfs.ErrReplaced) {
				t.Error(err)
			}
			db = b.open("_recreated=new-timeline")
			mustExec(t, db, "INSERT INTO t(b) VALUES('goes on')")
			if st := b.finish(db); st.Durable.Timeline != 2 {
				t.Errorf("status %+v", st)
			}
			b.same(b.path, b.good().restore(restore.Newest()))
		})
	}
}

// A replica that was made for a database at another path is no business of the parameter: two tenants with one name would take it from each other.
func TestRecreatedAtAnotherPath(t *testing.T) {
	t.Parallel()
	b, db := opened(t, impatient, "")
	b.finish(db)
	b.removeFile(true)
	b.path = filepath.Join(t.TempDir(), "app.db")
	recreations["replaced"](t, b.path)
	db = b.open("_recreated=new-timeline")
	defer db.Close() // with the error that the test wants
	if err := vfs.Flush(t.Context(), db); !errors.Is(err, shipper.ErrOtherDatabase) {
		t.Errorf("%v, want %v", err, shipper.ErrOtherDatabase)
	}
}

// removeFile removes the closed database, and its state directory if that is to go, too.
func (b *badPlace) removeFile(state bool) {
	b.t.Helper()
	err := os.Remove(b.path)
	if state {
		err = errors.Join(err, os.RemoveAll(b.path+"-seawal"))
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// Another file takes the place of an open one, in an outage, while the log of the old one is still there: what is left to be noted of that
// when it is closed isn't written into the state directory, which is the other file's from then on.
func TestStateOfAFileThatIsGoneIsLeftAlone(t *testing.T) {
	b, down := downPlace(t, hasty)
	db := b.open("")
	b.write(db, 1, 2, 10)
	b.finish(db)
	db = b.open("")
	b.flush(db)
	down.On()
	b.write(db, 2, 1, 5)
	b.until(db, "error", hasFailed)
	other := filepath.Join(t.TempDir(), "other.db")
	recreations["replaced"](t, other)
	if err := os.Rename(other, b.path); err != nil {
		t.Fatal(err)
	}
	state := string(readFile(t, b.path+"-seawal/state.json"))
	waitStatus(t, db, func(st vfs.Stat) bool { return st.Health.Word == shipper.WordNotReplicated && !st.Up() })
	b.closeBadly(db)
	if now := string(readFile(t, b.path+"-seawal/state.json")); now != state {
		t.Errorf("the state was %s, and is %s", state, now)
	}
}
