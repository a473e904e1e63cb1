package vfs_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store"
	"seawal/store/faultstore"
)

// shell runs a script in another process.
func (p place) shell(script string) string {
	p.t.Helper()
	path, err := exec.LookPath("sqlite3")
	if err != nil {
		p.t.Skip("no sqlite3 shell")
	}
	cmd := exec.Command(path, "-bail", p.path)
	cmd.Stdin = strings.NewReader(".timeout 5000\n" + script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("sqlite3: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// Another process writes between our commits, in every journal mode.
func TestStrangerWrites(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE", "TRUNCATE", "PERSIST", "MEMORY"} {
		for _, script := range []string{
			"INSERT INTO t(b) VALUES('stranger');",
			"DELETE FROM t WHERE a<20; VACUUM;",
			"INSERT INTO t(b) VALUES(zeroblob(50000)); PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(b) VALUES('more');",
		} {
			t.Run(mode+"/"+strings.Fields(script)[0]+fmt.Sprint(len(script)), func(t *testing.T) {
				p := newPlace(t)
				db := p.at("_journal_mode=" + mode + "&_busy_timeout=5000&_ship_interval=1ms")
				defer db.Close()
				db.SetMaxOpenConns(1)
				mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
				mustExec(t, db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100) INSERT INTO t(b) SELECT randomblob(500) FROM n")
				flush(t, db)
				p.shell(script)
				mustExec(t, db, "INSERT INTO t(b) VALUES('ours')")
				flush(t, db)
				want, err := fingerprint(t.Context(), db)
				if err != nil {
					t.Fatal(err)
				}
				if got := fingerprintFile(t, p.restore(restore.Newest())); got != want {
					t.Error("the replica has other rows")
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
				p.same(p.path, p.restore(restore.Newest()))
			})
		}
	}
}

// slowBody is a store that calls hook once, in the middle of the body of the first object whose name contains part.
type slowBody struct {
	store.Store
	part string
	hook func()
	once *sync.Once
}

func (s slowBody) Create(ctx context.Context, name string, body store.Body) error {
	if !strings.Contains(name, s.part) {
		return s.Store.Create(ctx, name, body)
	}
	return s.Store.Create(ctx, name, func() (io.ReadCloser, error) {
		r, err := body()
		return &slowReader{ReadCloser: r, slowBody: s}, err
	})
}

type slowReader struct {
	io.ReadCloser
	slowBody
	n int
}

func (r *slowReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(len(p), 4096)])
	if r.n += n; r.n > 64<<10 {
		r.once.Do(r.hook)
	}
	return n, err
}

// Another process imports, its checkpoint copies all, and its next commit writes over the log while we read that state for the first
// snapshot: the snapshot is the state that was pinned, page by page.
func TestStrangerOverwritesTheLogUnderTheSnapshot(t *testing.T) {
	b := newBadPlace(t)
	plain, err := sql.Open("sqlite3", "file:"+b.path+"?_journal_mode=WAL&_busy_timeout=10000")
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	plain.SetMaxOpenConns(1)
	mustExec(t, plain, "PRAGMA wal_autocheckpoint=0")
	mustExec(t, plain, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	mustExec(t, plain, "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) SELECT randomblob(3900) FROM n")
	mustExec(t, plain, "PRAGMA wal_checkpoint")
	want := readFile(t, b.path) // all of the log is in it
	var overwritten bool
	hook := func() {
		mustExec(t, plain, "UPDATE t SET b=randomblob(3900)")
		overwritten = true
	}
	b.faults = faultstore.Wrap(slowBody{b.behind, "/snapshot/", hook, new(sync.Once)}, faultstore.Options{Clock: b.stuck})
	db := b.open("")
	one(t, db, "SELECT count(*) FROM t")
	b.flush(db)
	if !overwritten {
		t.Fatal("nobody wrote in the middle of the snapshot")
	}
	snapshots := b.listing().Snapshots
	if len(snapshots) == 0 {
		t.Fatal("the replica has no snapshot")
	}
	wrong := 0
	if got := readFile(t, b.good().restore(restore.AtTx(snapshots[0].Point.Pos.Tx))); !bytes.Equal(got, want) {
		wrong++
		t.Error("the first snapshot isn't the state of the database when it was pinned")
	}
	mustExec(t, db, "INSERT INTO t(b) VALUES('ours')")
	if err := errors.Join(db.Close(), plain.Close()); err != nil {
		t.Fatal(err)
	}
	b.good().same(b.path, b.good().restore(restore.Newest()))
	reliability.Record(t, reliability.Fault{Group: reliability.Outside, Name: "the log is written over while a snapshot is read",
		How: "a connection past the driver commits in the middle of the snapshot's upload, when all of the log is in the file"}, 1, wrong)
}
