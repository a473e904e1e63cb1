package main

import (
	"errors"
	"os"
	"strings"
	"testing"
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

// The table can be read, and names files that are there. Whether its entries are true is what make mutants says: the code goes on.
func TestTable(t *testing.T) {
	raw, err := os.ReadFile("table.txt")
	if err != nil {
		t.Fatal(err)
	}
	all, err := parse(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if _, err := os.Stat("../../" + m.file); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
