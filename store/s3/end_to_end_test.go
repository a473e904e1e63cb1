package s3_test

import (
	"bufio"
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"seawal/vfs"
)

// childDSN, when it is set, makes the test binary an application that writes until it is killed.
const childDSN = "SEAWAL_S3_CHILD"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childDSN); dsn != "" {
		if err := writeUntilKilled(dsn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeUntilKilled prints the number of each row whose replication was confirmed.
func writeUntilKilled(dsn string) error {
	db, err := sql.Open("seawal", dsn)
	if err != nil {
		return err
	}
	if _, err := db.Exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT)"); err != nil {
		return err
	}
	for i := 1; ; i++ {
		if _, err := db.Exec("INSERT INTO t VALUES(?, hex(randomblob(200)))", i); err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// An application is killed, and the database is rebuilt by the command from the bucket alone; then it goes on.
func TestEndToEnd(t *testing.T) {
	server(t)
	dir := t.TempDir()
	const replica = "s3://bucket/end-to-end"
	dsn := "file:" + dir + "/app.db?_journal_mode=WAL&_ship_interval=50ms&_durability=remote&_replica=" + replica
	child := exec.Command(os.Args[0])
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
	confirmed := 0
	for in := bufio.NewScanner(out); in.Scan(); {
		if confirmed, err = strconv.Atoi(in.Text()); err != nil {
			t.Fatal(err)
		}
		if confirmed == 50 {
			_ = child.Process.Kill() // what it has printed by then is read on
		}
	}
	_ = child.Wait() // killed
	if confirmed < 50 {
		t.Fatalf("the application ended at row %d: %s", confirmed, said.String())
	}

	restored := filepath.Join(dir, "restored.db")
	if out, err := exec.Command("go", "run", "seawal/cmd/restore", "--check", "full", "--quiet", replica, restored).CombinedOutput(); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	if n := rows(t, "file:"+restored); n < confirmed {
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
	again := filepath.Join(dir, "again.db")
	if out, err := exec.Command("go", "run", "seawal/cmd/restore", "--check", "full", "--quiet", replica, again).CombinedOutput(); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	a, err := os.ReadFile(filepath.Join(dir, "app.db"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("the restored file is not the database")
	}
}

func rows(t *testing.T, dsn string) (n int) {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT count(*) FROM t").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
