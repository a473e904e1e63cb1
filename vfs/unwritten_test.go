package vfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/vfs"
)

// A page that is zeroed, or of which a byte is flipped, while no process has the database open was written by no transaction. It is
// named, the replica keeps the good one, and the user's word brings the file's in. What another program has committed is shipped as ever.
func TestDamagedWhileClosed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no proof by stat on this system")
	}
	const pageSize = 4096
	zero := func(b []byte) { clear(b[3*pageSize : 4*pageSize]) }
	flip := func(b []byte) { b[3*pageSize+2000] ^= 0x40 }
	for name, c := range map[string]struct {
		mode    string
		harm    func(b []byte) // nil: another program commits
		damaged bool
	}{
		"WAL, a page of zeros":    {"WAL", zero, true},
		"WAL, a flipped bit":      {"WAL", flip, true},
		"DELETE, a page of zeros": {"DELETE", zero, true},
		"DELETE, a flipped bit":   {"DELETE", flip, true},
		"WAL, another program":    {"WAL", nil, false},
		"DELETE, another program": {"DELETE", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			params := "_ship_interval=1ms&_journal_mode=" + c.mode
			db := p.open(params)
			mustExec(t, db, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
			mustExec(t, db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) INSERT INTO t(v) SELECT randomblob(300) FROM n")
			flush(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			good := readFile(t, p.path)
			if c.harm == nil {
				plain(t, p.path, "UPDATE t SET v=zeroblob(300) WHERE id=30")
			} else {
				bad := bytes.Clone(good)
				c.harm(bad)
				writeOver(t, p.path, bad)
			}
			db = p.open(params)
			defer func() { _ = db.Close() }() // of the last one that was opened
			flush(t, db)
			st := mustStatus(t, db)
			if !c.damaged {
				if st.Health.Word != "ok" || st.Resyncs != 1 || !strings.Contains(st.Notice, "no transaction that was captured wrote that") {
					t.Fatalf("status: %+v", st)
				}
				p.same(p.restore(restore.Newest()), p.path)
				return
			}
			if st.Health.Word != "damaged" || !strings.Contains(st.Health.Sentence, "wrote page 4 as it is") || !strings.Contains(st.Health.Sentence, "nobody had it open") ||
				!strings.Contains(st.Health.Sentence, st.Durable.String()) || st.Notice == "" || st.Resyncs != 0 {
				t.Errorf("status: %+v", st)
			}
			if got := readFile(t, p.restore(restore.Newest())); !bytes.Equal(got, good) {
				t.Error("the replica isn't what was committed")
			}
			id := adoptFrom(t, st)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = p.open(params)
			flush(t, db)
			if st := mustStatus(t, db); st.Health.Word != "damaged" || st.Resyncs != 0 {
				t.Errorf("opened again: %+v", st)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			db = p.open(params + "&_adopt=" + id)
			flush(t, db)
			if st := mustStatus(t, db); st.Health.Word != "ok" || st.Resyncs != 1 {
				t.Errorf("accepted: %+v", st)
			}
			p.same(p.restore(restore.Newest()), p.path)
			reliability.Record(t, reliability.Fault{Group: reliability.Outside, Name: "a page of the closed file is damaged",
				How: "a page is zeroed, or a bit flips, between a clean close and the next open, in WAL mode and in a rollback journal mode"}, 1, 0)
		})
	}
}

// adoptFrom is the id with which a damaged file is to be accepted, as the status says it.
func adoptFrom(t *testing.T, st vfs.Stat) string {
	t.Helper()
	_, id, ok := strings.Cut(st.Health.Sentence, "_adopt=")
	if !ok || len(id) < 32 {
		t.Fatalf("it says no way to accept the file: %s", st.Health.Sentence)
	}
	return id[:32]
}

// writeOver writes a file in place, once the clock of the file system has moved on: it shows in the file's stat.
func writeOver(t *testing.T, path string, b []byte) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := changeTime(filepath.Join(t.TempDir(), "clock"), changed(fi)); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
