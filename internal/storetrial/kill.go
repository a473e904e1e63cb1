package storetrial

import (
	"bufio"
	"bytes"
	"database/sql"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"seawal/vfs"
)

// Kill has an application write with confirmed replication, kills it, and rebuilds the database with the command restore from the
// replica alone; then the application goes on, and what is rebuilt is its file, byte for byte. The test's TestMain calls Main.
func Kill(t *testing.T, replica string) {
	restore := buildRestore(t)
	path := filepath.Join(t.TempDir(), "app.db")
	dsn := "file:" + path + "?_journal_mode=WAL&_ship_interval=50ms&_durability=remote&_replica=" + url.QueryEscape(replica)
	confirmed := killAfter(t, dsn, 30)
	if n := rows(t, restore.run(t, replica)); n < confirmed {
		t.Errorf("%d rows restored, %d were confirmed", n, confirmed)
	}

	db, err := sql.Open("seawal", dsn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO t(a) VALUES('and on')"); err != nil {
		t.Fatal(err)
	}
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, path, restore.run(t, replica))
}

// killAfter runs an application until it has n rows confirmed, and returns how many it had when it was dead.
func killAfter(t *testing.T, dsn string, n int) (confirmed int) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDSN+"="+dsn)
	var said bytes.Buffer
	child.Stderr = &said
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(out); in.Scan(); {
		if confirmed, err = strconv.Atoi(in.Text()); err != nil {
			t.Fatal(err)
		}
		if confirmed == n {
			_ = child.Process.Kill() // what it has printed by then is read on
		}
	}
	_ = child.Wait() // killed
	if confirmed < n {
		t.Fatalf("the application ended at row %d: %s", confirmed, said.String())
	}
	return confirmed
}

func rows(t *testing.T, path string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
