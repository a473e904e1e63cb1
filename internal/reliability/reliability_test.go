package reliability

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeT is a test that may fail without failing this one.
type fakeT struct {
	name     string
	failures []string
	cleanups []func()
}

func (t *fakeT) Helper()          {}
func (t *fakeT) Name() string     { return t.name }
func (t *fakeT) Failed() bool     { return len(t.failures) > 0 }
func (t *fakeT) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }
func (t *fakeT) Errorf(format string, a ...any) {
	t.failures = append(t.failures, fmt.Sprintf(format, a...))
}

func (t *fakeT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

func ledger(t *testing.T) (name string, read func() Table) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "ledger")
	t.Setenv(Env, name)
	return name, func() Table {
		t.Helper()
		b, err := os.ReadFile(name)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		table, err := FromLedger(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		return table
	}
}

var cut = Fault{Group: Power, Name: "the log is cut", How: "truncated at every byte"}

func floor(f Fault, n int) Fault {
	f.AtLeast = n
	return f
}

func TestRecord(t *testing.T) {
	for _, tt := range []struct {
		name           string
		fault          Fault
		injected, lost int
		fails          string // part of the failure; empty: none
	}{
		{"nothing lost", cut, 3, 0, ""},
		{"something lost", cut, 3, 1, "1 lost in 3 times"},
		{"never injected", cut, 0, 0, "injected 0 times, want 1"},
		{"less often than promised", floor(cut, 10), 9, 0, "injected 9 times, want 10"},
		{"more often than promised", floor(cut, 10), 11, 0, ""},
		{"a floor below zero", floor(cut, -1), 11, 0, "at least -1"},
		{"no description", Fault{Group: Power, Name: "x"}, 1, 0, "a phrase each"},
		{"a full stop", Fault{Group: Power, Name: "x", How: "y."}, 1, 0, "a phrase each"},
		{"a column too many", Fault{Group: Power, Name: "x | y", How: "y"}, 1, 0, "a phrase each"},
		{"a group of its own", Fault{Group: "Bad luck", Name: "x", How: "y"}, 1, 0, "none of"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, read := ledger(t)
			f := &fakeT{name: "TestIt/sub"}
			Record(f, tt.fault, tt.injected, tt.lost)
			f.end()
			if got := strings.Join(f.failures, "\n"); (tt.fails == "") != (got == "") || !strings.Contains(got, tt.fails) {
				t.Errorf("failed with %q, want %q", got, tt.fails)
			}
			if n := read().Len(); (n == 1) != (tt.fails == "") {
				t.Errorf("%d rows recorded", n)
			}
		})
	}
}

// What is recorded before the test fails for another reason is no proof of anything.
func TestRecordOfATestThatFailsLater(t *testing.T) {
	_, read := ledger(t)
	f := &fakeT{name: "TestIt"}
	Record(f, cut, 3, 0)
	f.Errorf("something else")
	f.end()
	if n := read().Len(); n != 0 {
		t.Errorf("%d rows", n)
	}
}

func TestRecordIsOffByDefault(t *testing.T) {
	t.Setenv(Env, "")
	f := &fakeT{name: "TestIt"}
	Record(f, cut, 3, 0)
	if f.end(); f.Failed() || len(f.cleanups) != 0 {
		t.Errorf("%q, %d cleanups", f.failures, len(f.cleanups))
	}
}

func TestRecordToAFileThatCannotBeWritten(t *testing.T) {
	t.Setenv(Env, filepath.Join(t.TempDir(), "none", "ledger"))
	f := &fakeT{name: "TestIt"}
	Record(f, cut, 3, 0)
	if f.end(); !f.Failed() {
		t.Error("the record is lost, and the test doesn't fail")
	}
}

// run records as a test binary would.
func run(name string, faults ...Fault) {
	for i, f := range faults {
		t := &fakeT{name: fmt.Sprintf("%s/%d", name, i)}
		Record(t, f, 7, 0)
		t.end()
	}
}

func TestTable(t *testing.T) {
	_, read := ledger(t)
	died := Fault{Group: Process, Name: "kill -9", How: "SIGKILL at any time", AtLeast: 5}
	run("TestB", cut, died)
	run("TestA", cut, cut, died)
	table := read()
	page := string(table.Bytes())
	for _, want := range []string{
		"## The process dies\n\n| fault | how it is injected | times | lost | test |\n|---|---|--:|---|---|\n" +
			"| kill -9 | SIGKILL at any time | ≥ 10 | nothing | `internal/reliability`: TestA, TestB |\n",
		"## The power fails\n",
		"| the log is cut | truncated at every byte | 21 | nothing | `internal/reliability`: TestA, TestB |\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
	parsed, err := Parse([]byte(page))
	if err != nil {
		t.Fatal(err)
	}
	if again := string(parsed.Bytes()); again != page {
		t.Errorf("read and written again it is\n%s", again)
	}
	if d := Differences(parsed, table); len(d) != 0 {
		t.Errorf("differences between equal tables: %q", d)
	}
}

func TestTwoDescriptionsOfOneFault(t *testing.T) {
	name, _ := ledger(t)
	other := cut
	other.How = "otherwise"
	run("TestA", cut, other)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := FromLedger(f); err == nil || !strings.Contains(err.Error(), "in two ways") {
		t.Errorf("%v", err)
	}
}

func TestDifferences(t *testing.T) {
	committed := table(t, cut, Fault{Group: Disk, Name: "full", How: "ENOSPC"})
	for _, tt := range []struct {
		name   string
		faults []Fault
		want   string
	}{
		{"a new one", []Fault{cut, {Group: Disk, Name: "full", How: "ENOSPC"}, {Group: Disk, Name: "slow", How: "y"}}, `"slow" is recorded by TestA, and not in the table`},
		{"one less", []Fault{cut}, `"full" is in the table, and no test records it`},
		{"another description", []Fault{cut, {Group: Disk, Name: "full", How: "quota"}}, "recorded: quota"},
		{"another count", []Fault{cut, cut, {Group: Disk, Name: "full", How: "ENOSPC"}}, "recorded: truncated at every byte | 14"},
		{"a floor", []Fault{floor(cut, 7), {Group: Disk, Name: "full", How: "ENOSPC"}}, "recorded: truncated at every byte | ≥ 7"},
		{"another group", []Fault{cut, {Group: Store, Name: "full", How: "ENOSPC"}}, "not in the table"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(Differences(committed, table(t, tt.faults...)), "\n"); !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A row that was committed with a loss stays an error, however well the two agree.
func TestDifferencesNameALoss(t *testing.T) {
	lost := table(t, cut)
	lost.rows[0].lost = 2
	if d := Differences(lost, lost); len(d) != 1 || !strings.Contains(d[0], "lost 2") {
		t.Errorf("%q", d)
	}
}

func TestReplace(t *testing.T) {
	mine, theirs := table(t, cut), table(t, floor(cut, 2))
	theirs.rows[0].pkg = "vfs"
	both := theirs.Replace([]string{"internal/reliability"}, mine)
	if both.Len() != 2 {
		t.Fatalf("%s", both.Bytes())
	}
	if one := both.Replace([]string{"vfs"}, mine); one.Len() != 1 || one.rows[0].pkg != "internal/reliability" {
		t.Errorf("%s", one.Bytes())
	}
}

// table is what TestA records.
func table(t *testing.T, faults ...Fault) Table {
	t.Helper()
	_, read := ledger(t)
	run("TestA", faults...)
	return read()
}
