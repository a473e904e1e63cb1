package suitetest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"seawal/internal/reliability"
)

// results are how the tests of one run ended.
type results struct {
	verdict map[string]string   // pass, fail or skip, by test
	output  map[string][]string // lines, by test
}

// event is a line of go test -json.
type event struct{ Action, Test, Output string }

func parseEvents(stream []byte) (results, error) {
	r := results{map[string]string{}, map[string][]string{}}
	for lines := bufio.NewScanner(bytes.NewReader(stream)); lines.Scan(); {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return r, fmt.Errorf("%q is no event of a test: %w", lines.Text(), err)
		}
		switch {
		case e.Test == "":
		case e.Action == "output":
			r.output[e.Test] = append(r.output[e.Test], e.Output)
		case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
			r.verdict[e.Test] = e.Action
		}
	}
	return r, nil
}

// differences says in what the results of a run differ from those without seawal, in order.
func differences(plain, got results) (diff []string) {
	for test, want := range plain.verdict {
		if v, ok := got.verdict[test]; !ok {
			diff = append(diff, fmt.Sprintf("%s: %s without seawal, and did not end with it\n%s", test, want, strings.Join(got.output[test], "")))
		} else if v != want {
			diff = append(diff, fmt.Sprintf("%s: %s without seawal, %s with it\n%s%s", test, want, v,
				strings.Join(plain.output[test], ""), strings.Join(got.output[test], "")))
		}
	}
	for test, v := range got.verdict {
		if _, ok := plain.verdict[test]; !ok {
			diff = append(diff, fmt.Sprintf("%s: %s, and there is no such test without seawal", test, v))
		}
	}
	slices.Sort(diff)
	return diff
}

func TestDifferences(t *testing.T) {
	plain := results{verdict: map[string]string{"TestA": "pass", "TestA/b": "pass", "TestC": "fail", "TestD": "skip"}}
	if diff := differences(plain, plain); diff != nil {
		t.Errorf("of equal results: %q", diff)
	}
	got := results{verdict: map[string]string{"TestA": "fail", "TestC": "fail", "TestD": "pass", "TestE": "pass"}}
	diff := strings.Join(differences(plain, got), "\n")
	for _, want := range []string{
		"TestA: pass without seawal, fail with it", "TestA/b: pass without seawal, and did not end",
		"TestD: skip without seawal, pass with it", "TestE: pass, and there is no such test",
	} {
		if !strings.Contains(diff, want) {
			t.Errorf("%q is not in\n%s", want, diff)
		}
	}
	if strings.Contains(diff, "TestC") {
		t.Errorf("TestC ended alike:\n%s", diff)
	}
}

// runSuite runs the tests once. A run that fails is no error: its results say so.
func runSuite(t *testing.T, bin, dir, mode string) (results, string) {
	t.Helper()
	books, tmp := t.TempDir(), t.TempDir()
	cmd := exec.Command("go", "tool", "test2json", bin, "-test.v=test2json", "-test.timeout=5m")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "SEAWAL_REPLICA=none", "SEAWAL_EVERYFILE="+mode, "SEAWAL_EVERYFILE_DIR="+books)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	r, err := parseEvents(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	if len(r.verdict) == 0 {
		t.Fatalf("no test ended\n%s\n%s", out, stderr.Bytes())
	}
	return r, filepath.Join(books, "book")
}

// checkBook holds every comparison that vfs/everyfile.go has made against what it has to be, and returns how many files
// were compared.
func checkBook(t *testing.T, name string) (compared int) {
	t.Helper()
	book, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]bool{}
	for line := range bytes.Lines(book) {
		var c struct{ Path, Outcome, SHA256, Reason string }
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch c.Outcome {
		case "same":
			compared++
			content[c.SHA256] = true
		case "gone", "empty", "no database": // nothing to compare: tests of errors
		default:
			t.Errorf("%s: the replica: %s: %s", c.Path, c.Outcome, c.Reason)
		}
	}
	if len(content) < 2 {
		t.Errorf("%d comparisons of %d contents: the tests write nothing", compared, len(content))
	}
	return compared
}

// go-sqlite3's own tests end as they do without seawal, and every database that they leave behind is in its replica.
func TestDriverSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles SQLite and runs the tests of its driver three times, which takes a minute")
	}
	bin, dir := buildSuite(t)
	plain, _ := runSuite(t, bin, dir, "")
	for _, run := range []struct{ mode, name, how string }{
		{"vfs", "go-sqlite3's own tests, with seawal's VFS as SQLite's default one",
			"each of its tests has to end as it does without seawal; every database file is replicated, and restored when it is closed"},
		{"driver", "go-sqlite3's own tests, with the driver's name swapped for seawal",
			"the same, through database/sql and the parameters of its tests"},
	} {
		t.Run(run.mode, func(t *testing.T) {
			got, book := runSuite(t, bin, dir, run.mode)
			diff := differences(plain, got)
			for _, d := range diff {
				t.Error(d)
			}
			t.Logf("%d tests, %d files compared with their replicas", len(got.verdict), checkBook(t, book))
			reliability.Record(t, reliability.Fault{Group: reliability.Use, Name: run.name, How: run.how}, len(got.verdict), len(diff))
		})
	}
}
