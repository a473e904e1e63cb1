package crashtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestFindPoints(t *testing.T) {
	files := map[string]string{
		"a/a.go":                   `package a; func f() { killpoint.Hit("a/two"); killpoint.Hit("a/one") }`,
		"a/a_test.go":              `package a; func g() { killpoint.Hit("a/test") }`,
		"b/shim.c":                 `void f(void){ SEAWAL_POINT("b/c"); }`,
		"b/shim.h":                 `# define SEAWAL_POINT(zName) seawal_killpoint(zName)`,
		"internal/killpoint/on.go": `package killpoint // killpoint.Hit("doc")`,
		".git/x.go":                `killpoint.Hit("git")`,
	}
	p, err := FindPoints(tree(t, files))
	if want := []string{"a/one", "a/two", "b/c"}; err != nil || !slices.Equal(p.Names, want) {
		t.Errorf("%q, %v; want %q", p.Names, err, want)
	}
	files["b/again.go"] = `package b; func f() { killpoint.Hit("a/one") }`
	if _, err := FindPoints(tree(t, files)); err == nil || !strings.Contains(err.Error(), "a/one is in") {
		t.Errorf("one name at two places: %v", err)
	}
	if _, err := FindPoints(tree(t, nil)); err == nil {
		t.Error("no points at all, and no error")
	}
}

// A point that no process gets to is an error, not a point less.
func TestPointOutOfReach(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(recipes, func(r recipe) bool { return r.name == "restore" })
	p := &Points{Names: []string{"nowhere"}, tries: 1, ways: map[string][]way{"nowhere": {{recipe: &recipes[i], n: 1}}}}
	p.surveyed.Do(func() {})
	res := Live(t.Context(), Options{Exe: exe, Points: p}, Point, 1)
	if !strings.Contains(res.Error, "did not get to the point nowhere") || res.Stats.Points != 0 {
		t.Errorf("%+v", res)
	}
	if err := os.RemoveAll(res.Dir); err != nil {
		t.Error(err)
	}
}
