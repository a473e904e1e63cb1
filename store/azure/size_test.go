package azure_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const app = `package main

import (
	"database/sql"

	_ "seawal/store/azure"
	_ "seawal/vfs"
)

func main() { sql.Open("seawal", "") }
`

// An application that ships to Azure pays for Azure alone.
func TestApplicationStaysSmall(t *testing.T) {
	const limit = 16 << 20
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// Inside the module, so that its versions are the ones built; the go tool ignores the underscore's folder otherwise.
	dir, err := os.MkdirTemp(root, "_size")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(app), 0o600); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "app")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", bin, filepath.Join(dir, "main.go"))
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fi, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(fi.Size())/1e6)
	if fi.Size() > limit {
		t.Errorf("%d bytes, want at most %d", fi.Size(), limit)
	}
	out, err := exec.Command("go", "version", "-m", bin).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"google.golang.org/grpc", "cloud.google.com", "aws-sdk-go"} {
		if strings.Contains(string(out), module) {
			t.Errorf("links %s", module)
		}
	}
}
