package vfs_test

import (
	"fmt"
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

// The log of a new file may get the number of the inode that the old one had: with its commits, it stays where it is.
func TestLogOfANewFileIsNotTakenForTheOldOne(t *testing.T) {
	t.Parallel()
	b, db := opened(t, impatient, "_checkpoint=app")
	at := b.points[0]
	then := filepath.Join(t.TempDir(), "then.db")
	if _, err := restore.Run(t.Context(), b.behind, restore.Options{Output: then, Target: restore.AtTx(at.pos.Tx)}); err != nil {
		t.Fatal(err)
	}
	b.write(db, 2, 1, 20)
	b.flush(db)
	p := b.kill(db)
	state := readFile(t, p.path+"-seawal/state.json")
	if !fileLines["-wal"].Match(state) {
		t.Fatalf("the state names no log: %s", state)
	}
	d := plainLog(t, then, "INSERT INTO t(b) VALUES('written since')")
	d.state = state
	if err := os.Remove(p.path); err != nil { // so that the file gets another inode
		t.Fatal(err)
	}
	p.put(d)
	fi, err := os.Stat(p.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.path+"-seawal/state.json", fileLines["-wal"].ReplaceAll(state, fmt.Appendf(nil, `"log": {%s}`, inode(fi))), 0o600); err != nil {
		t.Fatal(err)
	}
	db = p.open("")
	var n int
	if err := db.QueryRow("SELECT count(*) FROM t WHERE b='written since'").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d rows of the one that was committed, %v", n, err)
	}
	p.finish(db)
	if moved, err := filepath.Glob(p.path + "-seawal/stray-*-wal"); err != nil || len(moved) != 0 {
		t.Errorf("%v, the log was moved to %v", err, moved)
	}
}
