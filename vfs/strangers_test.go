package vfs_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"seawal/restore"
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
