package storetrial

import (
	"bytes"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"seawal/internal/testserver"
	_ "seawal/vfs"
)

// childDSN, when it is set, makes the test binary an application that writes until it is killed.
const childDSN = "SEAWAL_STORETRIAL_CHILD"

// Main is testserver.Main, for test binaries that Kill starts as applications.
func Main(m *testing.M) {
	if dsn := os.Getenv(childDSN); dsn != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dsn))
		os.Exit(1)
	}
	testserver.Main(m)
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

// restorer is the command restore.
type restorer struct{ binary string }

func buildRestore(t *testing.T) restorer {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "restore")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "seawal/cmd/restore").CombinedOutput(); err != nil {
		t.Fatalf("build restore: %v\n%s", err, out)
	}
	return restorer{binary}
}

// run rebuilds the newest point of a replica in a new file.
func (r restorer) run(t *testing.T, replica string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "restored.db")
	if out, err := exec.CommandContext(t.Context(), r.binary, "--check", "full", "--quiet", replica, path).CombinedOutput(); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	return path
}

func wantEqual(t *testing.T, a, b string) {
	t.Helper()
	var content [2][]byte
	for i, path := range []string{a, b} {
		var err error
		if content[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(content[0], content[1]) {
		t.Errorf("%s of %d bytes is not %s of %d", a, len(content[0]), b, len(content[1]))
	}
}
