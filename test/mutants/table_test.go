package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const entry = `# a comment
mutant twice
breaks the sum
file sum.go
test ./sum Sum|Total
|	a := 1
-	return a + a
+	return a
`

func TestParseAndApply(t *testing.T) {
	all, err := parse(entry)
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	m := all[0]
	if m.pkg != "./sum" || m.run != "Sum|Total" || m.breaks != "the sum" || m.file != "sum.go" {
		t.Errorf("%+v", m)
	}
	const code = "func f() int {\n\ta := 1\n\treturn a + a\n}\n"
	for _, c := range []struct{ name, text, want, err string }{
		{"once", code, "func f() int {\n\ta := 1\n\treturn a\n}\n", ""},
		{"changed since", strings.Replace(code, "a + a", "2 * a", 1), "", "doesn't have the old text"},
		{"twice", code + code, "", "more than once"},
		{"within a line", strings.Replace(code, "\ta := 1", "x\ta := 1", 1), "", "doesn't have the old text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := m.apply(c.text)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"two of a name":  entry + entry,
		"no change":      strings.Replace(entry, "+	return a\n", "+	return a + a\n", 1),
		"no test":        strings.Replace(entry, "test ./sum Sum|Total\n", "", 1),
		"no promise":     strings.Replace(entry, "breaks the sum\n", "", 1),
		"an odd line":    entry + "what is this\n",
		"before a first": "file sum.go\n" + entry,
	} {
		if all, err := parse(text); err == nil {
			t.Errorf("%s: %+v", name, all)
		}
	}
}

// What the tests print decides: a mutant that doesn't compile, or that no test is run for, is not caught.
func TestJudge(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, c := range []struct {
		name, out string
		err       error
		want      verdict
	}{
		{"passed", "ok  \tseawal/sum\t0.1s\n", nil, survived},
		{"failed", "    --- FAIL: TestSum/one (0.00s)\n--- FAIL: TestSum (0.00s)\nFAIL\n", failed, caught},
		{"panicked", "panic: runtime error\nFAIL\tseawal/sum\n", failed, caught},
		{"not compiled", "# seawal/sum\nsum.go:1: undefined: b\nFAIL\tseawal/sum [build failed]\n", failed, broken},
		{"no test", "testing: warning: no tests to run\nok  \tseawal/sum\t0.1s [no tests to run]\n", nil, broken},
	} {
		if got, detail := judge(c.out, c.err, mutant{}); got != c.want {
			t.Errorf("%s: %s, %s", c.name, got, detail)
		}
	}
}

// Each entry of the table is true: its old text is in its file exactly once, and its package has a test of the name. Whoever changes a line
// that an entry has writes the entry anew, or takes it out where the promise is gone; make mutants MUTANT=name tells what the tests see.
func TestTable(t *testing.T) {
	const root = "../.."
	all, err := readTable(root)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{}
	for _, m := range all {
		if v, detail := m.look(root); v == stale {
			t.Errorf("%s: %s", m.name, detail)
		}
		if tests[m.pkg] == nil {
			tests[m.pkg] = testsOf(t, filepath.Join(root, m.pkg))
		}
		if !slices.ContainsFunc(tests[m.pkg], m.matches) {
			t.Errorf("%s: %s has no test of the name %s", m.name, m.pkg, m.run)
		}
	}
}

var testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`)

// testsOf are the names of the tests in a directory.
func testsOf(t *testing.T, dir string) (names []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	}
	return names
}

// matches says whether the entry's tests include a top one; what follows a slash names tests within.
func (m mutant) matches(name string) bool {
	for alternative := range strings.SplitSeq(m.run, "|") {
		top, _, _ := strings.Cut(alternative, "/")
		if ok, err := regexp.MatchString(top, name); ok && err == nil {
			return true
		}
	}
	return false
}

func TestSelected(t *testing.T) {
	all := []mutant{{name: "a-1", pkg: "./b"}, {name: "b-1", pkg: "./a"}, {name: "a-2", pkg: "./a"}, {name: "c", pkg: "./b"}}
	for _, c := range []struct{ name, pkg, want string }{
		{"", "", "b-1 a-2 a-1 c"},
		{"^a", "", "a-2 a-1"},
		{"", "./b", "a-1 c"},
		{"", "b/", "a-1 c"},
		{"^a", "./a", "a-2"},
		{"nothing", "", ""},
		{"(", "", ""},
	} {
		got, err := options{name: c.name, pkg: c.pkg}.selected(slices.Clone(all))
		var names []string
		for _, m := range got {
			names = append(names, m.name)
		}
		if strings.Join(names, " ") != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q of %q: %v, %v, want %q", c.name, c.pkg, names, err, c.want)
		}
	}
}

// What a test caught that fails without a change, too, is caught by nobody; the summary names it.
func TestSummary(t *testing.T) {
	s := &summary{}
	s.add(result{mutant{name: "m1", pkg: "./a"}, caught, byTest + "TestA"})
	s.add(result{mutant{name: "m2", pkg: "./a"}, caught, byTest + "TestB"})
	s.add(result{mutant{name: "m3", pkg: "./b"}, caught, byTest + "TestA"})
	s.add(result{mutant{name: "m4", pkg: "./b"}, survived, "nobody knows"})
	s.add(result{mutant{name: "m5", pkg: "./b"}, equivalent, "it is the same"})
	s.doubt("./a", failed("    --- FAIL: TestB/one (0.00s)\n--- FAIL: TestA (0.00s)\nFAIL\n"), "it is late")
	var out strings.Builder
	s.print(&out)
	want := "\nDOUBTFUL   m1 (): TestA fails without the change, too: it is late\nSURVIVED   m4 (): nobody knows\n2 caught\n1 equivalent\n1 SURVIVED\n1 DOUBTFUL\n"
	if out.String() != want || s.bad() != 2 {
		t.Errorf("%d bad, %q, want %q", s.bad(), out.String(), want)
	}
	if s.doubt("./b", nil, "no test is named"); s.bad() != 3 {
		t.Errorf("%d bad, want 3", s.bad())
	}
}

// A mutant is tried without a change of the tree: the go command gets it as an overlay. An interrupt ends it.
func TestTry(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":       "module sum\n\ngo 1.24\n",
		"sum.go":       "package sum\n\nfunc Sum(a int) int {\n\treturn a + a\n}\n\nfunc Other() int {\n\treturn 1\n}\n",
		"sum_test.go":  "package sum\n\nimport \"testing\"\n\nfunc TestSum(t *testing.T) {\n\tif Sum(2) != 4 {\n\t\tt.Error(Sum(2))\n\t}\n}\n",
		"hang_test.go": "package sum\n\nimport \"testing\"\n\nfunc TestHang(t *testing.T) { select {} }\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum := mutant{file: "sum.go", pkg: ".", run: "TestSum", breaks: "the sum", old: "\treturn a + a\n", new: "\treturn a\n"}
	with := func(change func(m *mutant)) mutant {
		m := sum
		change(&m)
		return m
	}
	for name, c := range map[string]struct {
		m    mutant
		want verdict
	}{
		"caught":        {sum, caught},
		"survives":      {with(func(m *mutant) { m.old, m.new = "\treturn 1\n", "\treturn 2\n" }), survived},
		"stale":         {with(func(m *mutant) { m.old = "\treturn b\n" }), stale},
		"not a program": {with(func(m *mutant) { m.new = "\treturn b\n" }), broken},
	} {
		if v, detail := c.m.try(t.Context(), root, time.Minute); v != c.want {
			t.Errorf("%s: %s, %s", name, v, detail)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if v, detail := with(func(m *mutant) { m.run = "TestHang" }).try(ctx, root, time.Minute); v == survived {
		t.Errorf("interrupted: %s, %s", v, detail)
	}
	if text, err := os.ReadFile(filepath.Join(root, "sum.go")); err != nil || !strings.Contains(string(text), "a + a") {
		t.Errorf("the tree was changed: %q, %v", text, err)
	}
}
