package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		name, said string
		cases      int
		failed     []string
	}{
		{"clean", "a-1... Ok\n0 errors out of 12 tests on host Linux 64-bit little-endian\n", 12, nil},
		{"failed", "a-1...\n! a-1 expected: [1]\n! a-1 got:      [2]\n! a-2 expected: [1]\n2 errors out of 12 tests on x\n" +
			"!Failures on these tests: a-1 a-2\n", 12, []string{"a-1", "a-2"}},
		{"cut off", "a-1...\n! a-1 expected: [1]\n! a-1 got:      [2]\na-2...", 0, []string{"a-1"}},
		{"of several, the last sum counts", "0 errors out of 3 tests\n1 errors out of 7 tests\n", 7, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := parse([]byte(tt.said))
			if r.cases != tt.cases || !slices.Equal(r.failed, tt.failed) {
				t.Errorf("%d cases, failed %q; want %d, %q", r.cases, r.failed, tt.cases, tt.failed)
			}
		})
	}
}

// Everything in which a run can differ from that without the shim is a difference, and nothing else is.
func TestCompare(t *testing.T) {
	plain := result{cases: 10, failed: []string{"a-1"}}
	for _, tt := range []struct {
		name      string
		want, got result
		diff      []string
	}{
		{"alike", plain, plain, nil},
		{"one more fails", plain, result{cases: 10, failed: []string{"a-1", "a-2"}}, []string{"a-2"}},
		{"one less fails", plain, result{cases: 10}, []string{"a-1"}},
		{"fewer cases", plain, result{cases: 9, failed: []string{"a-1"}}, []string{"*"}},
		{"died", plain, result{end: "signal: segmentation fault"}, []string{"*"}},
		{"hangs in both", result{end: "not ended"}, result{end: "not ended"}, []string{"*"}},
		{"no case in both", result{}, result{}, []string{"*"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var names []string
			for _, d := range compare("a", tt.want, tt.got) {
				names = append(names, d.name)
			}
			if !slices.Equal(names, tt.diff) {
				t.Errorf("differs in %q, want %q", names, tt.diff)
			}
		})
	}
}

// A difference that isn't expected is news, and so is an expectation that nothing fulfils.
func TestExpected(t *testing.T) {
	all, err := parseExpected("# of a file\n\nreplicated wal wal-1.*  the reason, in words\npass wal * another\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		mode  mode
		diff  difference
		known bool
	}{
		{replicated, difference{file: "wal", name: "wal-1.2"}, true},
		{replicated, difference{file: "wal", name: "wal-2.1"}, false},
		{replicated, difference{file: "wal", name: "*"}, false},
		{replicated, difference{file: "wal2", name: "wal-1.2"}, false},
		{pass, difference{file: "wal", name: "wal-1.2"}, false},
	} {
		if got := covers(all, tt.mode, tt.diff); got != tt.known {
			t.Errorf("%s %v is known: %v, want %v", tt.mode, tt.diff, got, tt.known)
		}
	}
	ran := map[string]bool{"wal": true}
	if out := unheld(all, replicated, ran); out != nil {
		t.Errorf("unheld: %q", out)
	}
	if out := unheld(all, pass, ran); len(out) != 1 || !strings.HasPrefix(out[0], "expected.txt:4: wal *") {
		t.Errorf("unheld: %q", out)
	}
	if out := unheld(all, pass, nil); out != nil {
		t.Errorf("unheld of a file that wasn't run: %q", out)
	}
	for _, bad := range []string{"replicated wal *", "plain wal * why", "pass wal [ why"} {
		if _, err := parseExpected(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// The tables beside the program can be read, and what is expected is of files that run.
func TestTables(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	files, err := parseFiles(read("files.txt"))
	if err != nil {
		t.Fatal(err)
	}
	expected, err := parseExpected(read("expected.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range expected {
		if !slices.ContainsFunc(files, func(f testFile) bool { return f.name == e.file && (f.replicated || e.mode == pass) }) {
			t.Errorf("expected.txt:%d: %s doesn't run in the mode %s", e.line, e.file, e.mode)
		}
	}
	if _, err := parseFiles("wal replicatd"); err == nil {
		t.Error("a misspelt word is no error")
	}
}

// The counters of simulated faults become those of a thread where they are declared, and nowhere else.
func TestCounters(t *testing.T) {
	const before = "int sqlite3_io_error_hit = 0;\n  extern int sqlite3_sync_count, sqlite3_fullsync_count;\nint sqlite3_open_file_counter;\n  x = sqlite3_sync_count;\n"
	const after = "__thread int sqlite3_io_error_hit = 0;\n  extern __thread int sqlite3_sync_count, sqlite3_fullsync_count;\nint sqlite3_open_file_counter;\n  x = sqlite3_sync_count;\n"
	if diff := cmp.Diff(after, counters.ReplaceAllString(before, "${1}__thread int $2")); diff != "" {
		t.Error(diff)
	}
}

// apt-cache shows several packages: the one with our archive is taken, and none when Debian has another version.
func TestPackageOf(t *testing.T) {
	shown := "Package: sqlite3\nVersion: 3.54.0-1\nChecksums-Sha256:\n 00 8656972 sqlite3_3.54.0.orig.tar.xz\n\n" +
		"Package: sqlite3\nVersion: 3.53.4-2\nChecksums-Sha256:\n " + sourceSHA256 + " 8656972 " + sourceFile + "\n"
	if got := packageOf(shown); got != "3.53.4-2" {
		t.Errorf("version %q", got)
	}
	if got := packageOf(strings.ReplaceAll(shown, sourceSHA256, "00")); got != "" {
		t.Errorf("another archive: version %q", got)
	}
}
