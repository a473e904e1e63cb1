package vfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"seawal/internal/reliability"
	"seawal/restore"
)

// After a kill an older file is moved into the place of the database, and its log is forgotten there.
func TestLogOfAKilledProcessIsNotPlayedOverAnotherFile(t *testing.T) {
	t.Parallel()
	b, db := opened(t, impatient, "_checkpoint=app")
	at := b.points[0]
	then := filepath.Join(t.TempDir(), "then.db")
	if _, err := restore.Run(t.Context(), b.behind, restore.Options{Output: then, Target: restore.AtTx(at.pos.Tx)}); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "PRAGMA wal_checkpoint(TRUNCATE)")
	b.write(db, 2, 1, 20)
	b.flush(db)
	p := b.kill(db)
	if err := os.Rename(then, p.path); err != nil {
		t.Fatal(err)
	}
	db = p.open("")
	if got, err := fingerprint(t.Context(), db); err != nil || got != at.rows {
		t.Errorf("%v, other rows than those of the file that was put there", err)
	}
	p.flush(db)
	if st := p.finish(db); st.Durable.Timeline != 2 {
		t.Errorf("status %+v", st)
	}
	if kept, err := filepath.Glob(p.path + "-seawal/stray-*-wal"); err != nil || len(kept) != 1 {
		t.Errorf("%v, the log was kept as %v", err, kept)
	}
	reliability.Record(t, reliability.Fault{Group: reliability.Live, Name: "another file is moved beside the log of a killed process",
		How: "an older point takes the place of the file by a rename, and its log is forgotten there; the rows of the file that was put there are looked for"}, 1, 0)
}
