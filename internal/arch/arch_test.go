package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// goTool runs the go command at the root of the module.
func goTool(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

// load reads the graph as it is with cgo, where the rules have something to find.
func load(t *testing.T) graph {
	t.Helper()
	out := goTool(t, []string{"CGO_ENABLED=1"}, "list", "-deps", "-json=ImportPath,Standard,CgoFiles,Imports,Deps,Module", "./...")
	g := graph{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return g
		}
		if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		g[p.ImportPath] = p
	}
}

func TestImports(t *testing.T) {
	g := load(t)
	for _, r := range rules {
		t.Run(strings.ReplaceAll(r.name, " ", "_"), func(t *testing.T) {
			for _, b := range r.check(g) {
				t.Error(b)
			}
		})
	}
}

// TestPureBuildsWithoutCgo asks the compiler, which has the last word.
func TestPureBuildsWithoutCgo(t *testing.T) {
	args := []string{"build"}
	for _, p := range pure {
		args = append(args, "./"+p+"/...")
	}
	goTool(t, []string{"CGO_ENABLED=0"}, args...) // of several packages go build keeps nothing
}

// TestRulesCanFail breaks each rule in a graph made up for it.
func TestRulesCanFail(t *testing.T) {
	third := func(path string) pkg {
		return pkg{ImportPath: path, Module: &struct{ Path string }{path}}
	}
	for _, tt := range []struct {
		name  string
		check func(graph) []string
		p     pkg // ours, which imports dep
		dep   pkg
		bad   bool
	}{
		{"vfs dials", noNetwork, pkg{ImportPath: "seawal/vfs"}, pkg{ImportPath: "net", Standard: true}, true},
		{"vfs parses a URL", noNetwork, pkg{ImportPath: "seawal/vfs"}, pkg{ImportPath: "net/url", Standard: true}, false},
		{"a cloud store dials", noNetwork, pkg{ImportPath: "seawal/store/gcs"}, pkg{ImportPath: "net/http", Standard: true}, false},
		{"shipper needs SQLite", noCgo, pkg{ImportPath: "seawal/shipper"}, pkg{ImportPath: "x/sqlite", CgoFiles: []string{"a.go"}}, true},
		{"store is cgo itself", noCgo, pkg{ImportPath: "seawal/store", CgoFiles: []string{"a.go"}}, pkg{ImportPath: "io", Standard: true}, true},
		{"store needs net, which may use cgo", noCgo, pkg{ImportPath: "seawal/store/s3"}, pkg{ImportPath: "net", Standard: true, CgoFiles: []string{"a.go"}}, false},
		{"vfs needs SQLite", noCgo, pkg{ImportPath: "seawal/vfs"}, pkg{ImportPath: "x/sqlite", CgoFiles: []string{"a.go"}}, false},
		{"restore needs vfs", directions, pkg{ImportPath: "seawal/restore"}, pkg{ImportPath: "seawal/vfs"}, true},
		{"vfs needs restore", directions, pkg{ImportPath: "seawal/vfs"}, pkg{ImportPath: "seawal/restore"}, false},
		{"store needs a format", directions, pkg{ImportPath: "seawal/store/gcs"}, pkg{ImportPath: "seawal/internal/segment"}, true},
		{"vfs picks a cloud", directions, pkg{ImportPath: "seawal/vfs"}, pkg{ImportPath: "seawal/store/gcs"}, true},
		{"names that only begin alike", directions, pkg{ImportPath: "seawal/restored"}, pkg{ImportPath: "seawal/vfs"}, false},
		{"SDK in a store", thirdParty, pkg{ImportPath: "seawal/store/gcs"}, third("cloud.google.com/go/storage"), false},
		{"SDK in the contract", thirdParty, pkg{ImportPath: "seawal/store"}, third("cloud.google.com/go/storage"), true},
		{"SDK in the suite", thirdParty, pkg{ImportPath: "seawal/store/storetest"}, third("cloud.google.com/go/storage"), true},
		{"SDK in vfs", thirdParty, pkg{ImportPath: "seawal/vfs"}, third("cloud.google.com/go/storage"), true},
		{"SQLite in a store", thirdParty, pkg{ImportPath: "seawal/store/gcs"}, third("github.com/mattn/go-sqlite3"), true},
		{"SQLite in vfs", thirdParty, pkg{ImportPath: "seawal/vfs"}, third("github.com/mattn/go-sqlite3"), false},
	} {
		tt.p.Imports, tt.p.Deps = []string{tt.dep.ImportPath}, []string{tt.dep.ImportPath}
		bad := tt.check(graph{tt.p.ImportPath: tt.p, tt.dep.ImportPath: tt.dep})
		if (len(bad) > 0) != tt.bad {
			t.Errorf("%s: %q; want something: %v", tt.name, bad, tt.bad)
		}
	}
	if bad := ruledExist(graph{}); len(bad) != len(pure)+1 {
		t.Errorf("an empty module: %q", bad)
	}
	if way := (graph{"a": {Imports: []string{"x", "b"}}, "b": {Imports: []string{"c"}}}).path("a", "c"); !slices.Equal(strings.Split(way, " > "), []string{"a", "b", "c"}) {
		t.Errorf("path: %q", way)
	}
}

// A build of the driver without cgo ends with one error that says what is missing, and not with a page of what follows from it.
func TestDriverSaysThatItNeedsCgo(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "build", "./vfs")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err == nil || len(lines) != 2 || !strings.Contains(lines[1], "undefined: seawal_needs_cgo__build_with_CGO_ENABLED_1") {
		t.Errorf("%v; the compiler says:\n%s", err, out)
	}
}
