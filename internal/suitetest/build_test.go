package suitetest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const driverModule = "github.com/mattn/go-sqlite3"

// tags are the features of go-sqlite3 that have tests of their own, and ours.
const tags = "seawal_everyfile,sqlite_column_metadata,sqlite_fts5,sqlite_math_functions,sqlite_preupdate_hook,sqlite_unlock_notify,sqlite_vtable"

// added are the files that the copy has and the original has not.
var added = map[string]string{
	// The package under test can't import what imports it; its external test can, and has vfs built against it.
	"seawal_test.go": `package sqlite3_test

import _ "seawal/vfs"
`,
	// The name "sqlite3" is left to seawal. Variables are set before any init function registers a driver.
	"seawal_name_test.go": `package sqlite3

import "os"

var _ = func() bool {
	if os.Getenv("SEAWAL_EVERYFILE") == "driver" {
		driverName = "sqlite3-plain"
	}
	return true
}()
`,
}

// buildSuite compiles the driver's tests and returns the binary and the folder to run it in.
func buildSuite(t *testing.T) (bin, dir string) {
	t.Helper()
	root := filepath.Dir(strings.TrimSpace(run(t, "go", "env", "GOMOD")))
	var module struct{ Dir string }
	if err := json.Unmarshal([]byte(run(t, "go", "mod", "download", "-json", driverModule)), &module); err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	dir = filepath.Join(work, "go-sqlite3")
	copyPackage(t, module.Dir, dir)
	for name, text := range added {
		write(t, filepath.Join(dir, name), []byte(text))
	}
	modfile := filepath.Join(work, "go.mod")
	copyFile(t, filepath.Join(root, "go.mod"), modfile)
	copyFile(t, filepath.Join(root, "go.sum"), filepath.Join(work, "go.sum"))
	run(t, "go", "mod", "edit", "-replace", driverModule+"="+dir, modfile)
	bin = filepath.Join(work, "suite.test")
	// -O1 compiles in half the time of -O2, and runs as fast for this purpose. (Not with SQLITE_DEBUG: it makes every
	// database one of a shared cache, and the driver's tests of that share seawal's own connections then.)
	cmd := exec.Command("go", "test", "-c", "-modfile", modfile, "-tags", tags, "-o", bin, driverModule)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_CFLAGS=-O1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling the tests of %s: %v\n%s", driverModule, err, out)
	}
	return bin, dir
}

// run runs a command and returns what it says.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, stderr.Bytes())
	}
	return string(out)
}

// copyPackage copies the files of one folder: the module cache can't be written to.
func copyPackage(t *testing.T, from, to string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			copyFile(t, filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, b)
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
