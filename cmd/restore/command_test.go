package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"seawal/cmd/internal/cli"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcome is what one command line did.
type outcome struct {
	code        int
	out, errOut string
}

// testApp is the command in a world of its own; now is half an hour after transaction 0.
func testApp(out, errOut *bytes.Buffer) *app {
	return &app{
		Printer: cli.Printer{Command: "restore", Out: out, Err: errOut}, stores: cli.Stores{Open: store.Open},
		now: func() time.Time { return epoch.Add(30 * time.Minute) },
	}
}

func runCommand(args ...string) outcome {
	var out, errOut bytes.Buffer
	code := testApp(&out, &errOut).main(context.Background(), args)
	return outcome{code, out.String(), errOut.String()}
}

func TestCommand(t *testing.T) {
	url, _ := testReplica(t)
	const existing = "existing.db"
	table := []struct {
		name string
		args string // OUT and URL stand for what they say, EXISTING for a file that is there
		code int
		want []byte // content of the output; nil: not there
		out  string // part of standard output
		err  string // part of standard error
	}{
		{"newest of the newest timeline", "URL OUT", 0, pageOne(2, 4), "restored to 2/4 (2026-03-04T12:04:00Z): 1 pages of 512 bytes", ""},
		{"timeline", "--timeline 1 URL OUT", 0, pageOne(1, 6), "restored to 1/6", ""},
		{"transaction", "--timeline=1 --tx=5 URL OUT", 0, pageOne(1, 5), "restored to 1/5", ""},
		{"transaction with timeline", "--tx 1/3 URL OUT", 0, pageOne(1, 3), "restored to 1/3", ""},
		{"transaction of the parent", "--tx 1 URL OUT", 0, pageOne(1, 1), "restored to 1/1", ""},
		{"moment", "--timeline 1 --at 2026-03-04T12:05:30Z URL OUT", 0, pageOne(1, 5), "restored to 1/5", ""},
		{"moment in a squashed span", "--timeline 1 --at 2026-03-04T12:04:30Z URL OUT", 0, pageOne(1, 3), "restored to 1/3", ""},
		{"duration", "--timeline 1 --at 27m URL OUT", 0, pageOne(1, 3), "restored to 1/3", ""},
		{"quiet", "--quiet URL OUT", 0, pageOne(2, 4), "", ""},
		{"check none", "--check none URL OUT", 0, pageOne(2, 4), "pages not verified", ""},
		{"check full", "--check full URL OUT", 0, pageOne(2, 4), "read back", ""},
		{"json", "--json URL OUT", 0, pageOne(2, 4), `"pos": "2/4"`, ""},
		{"if missing", "--if-missing URL OUT", 0, pageOne(2, 4), "restored to 2/4", ""},
		{"if missing, there", "--if-missing URL EXISTING", 0, nil, "nothing to do", ""},
		{"if missing, there, quiet", "--if-missing --quiet URL EXISTING", 0, nil, "", ""},
		{"dry run", "--dry-run URL OUT", 0, nil, "to 2/4 (2026-03-04T12:04:00Z) from 3 objects", ""},
		{"dry run without output", "--dry-run --tx 1/2 URL", 0, nil, "to 1/2 (2026-03-04T12:02:00Z) from 1 objects", ""},
		{"dry run, if missing, there", "--dry-run --if-missing URL EXISTING", 0, nil, "nothing to do", ""},
		{"list", "--list URL", 0, nil, "1/1    2026-03-04T12:01:00Z  2/4   2026-03-04T12:04:00Z  4", ""},
		{"list of a timeline", "--list --timeline 1 URL", 0, nil, "4             1/5         2026-03-04T12:05:00Z", ""},
		{"help", "--help", 0, nil, "Exit codes: 0 done", ""},
		{"version", "--version", 0, nil, "restore version devel (", ""},

		{"there", "URL EXISTING", 1, nil, "", "output exists"},
		{"dry run, there", "--dry-run URL EXISTING", 1, nil, "", "output exists"},
		{"no folder", "URL OUT/none/app.db", 1, nil, "", "no such file or directory"},

		{"nothing", "", 2, nil, "", "URL is missing"},
		{"no output", "URL", 2, nil, "", "output is missing"},
		{"too much", "URL OUT more", 2, nil, "", "too many arguments"},
		{"unknown flag", "--follow URL OUT", 2, nil, "", "unknown flag"},
		{"at and tx", "--at 5m --tx 3 URL OUT", 2, nil, "", "--at and --tx"},
		{"thorough restore", "--thorough URL OUT", 2, nil, "", "--thorough goes with --list"},
		{"list and tx", "--list --tx 3 URL", 2, nil, "", "--list and --tx"},
		{"list and output", "--list URL OUT", 2, nil, "", "--list writes nothing"},
		{"if missing and force", "--if-missing --force URL OUT", 2, nil, "", "--if-missing and --force"},
		{"bad moment", "--at yesterday URL OUT", 2, nil, "", `can't read "yesterday"`},
		{"bad transaction", "--tx x URL OUT", 2, nil, "", "want a transaction's number"},
		{"bad transaction of a timeline", "--tx 0/3 URL OUT", 2, nil, "", "want a transaction's number"},
		{"two timelines", "--tx 1/3 --timeline 2 URL OUT", 2, nil, "", "different timelines"},
		{"timeline 0", "--timeline 0 URL OUT", 2, nil, "", "count from 1"},
		{"bad check", "--check some URL OUT", 2, nil, "", "none, quick or full"},
		{"no scheme", "/backup/app OUT", 2, nil, "", "file:///backup/app"},
		{"unknown scheme", "ftp://host/app OUT", 2, nil, "", `unknown scheme "ftp"`},

		{"no replica", "URL/none OUT", 3, nil, "", "no replica here"},
		{"no replica, list", "--list URL/none", 3, nil, "", "no replica here"},
		{"no timeline", "--timeline 7 URL OUT", 3, nil, "", "the newest is 2"},
		{"after the last", "--tx 1/7 URL OUT", 3, nil, "", "the first point is 1/1 (2026-03-04T12:01:00Z), the last one 1/6 (2026-03-04T12:06:00Z)"},
		{"before the first", "--at 2026-03-04T12:00:59Z URL OUT", 3, nil, "", "before the first point"},
		{"in the future", "--at 2099-01-01 URL OUT", 3, nil, "", "in the future"},
		{"in a squashed span", "--tx 1/4 URL OUT", 3, nil, "", "nearest points are 1/3 (2026-03-04T12:03:00Z) and 1/5 (2026-03-04T12:05:00Z)"},
		{"dry run, in a squashed span", "--dry-run --tx 1/4 URL OUT", 3, nil, "", "nearest points are"},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			there, output := filepath.Join(folder, existing), filepath.Join(folder, "out.db")
			ok(t, os.WriteFile(there, []byte("old"), 0o600))
			args := strings.Fields(strings.NewReplacer("URL", url, "OUT", output, "EXISTING", there).Replace(c.args))
			o := runCommand(args...)
			if o.code != c.code {
				t.Errorf("exit code %d, want %d; %+v", o.code, c.code, o)
			}
			if !strings.Contains(o.out, c.out) || c.out == "" && o.out != "" {
				t.Errorf("output %q, want %q", o.out, c.out)
			}
			if !strings.Contains(o.errOut, c.err) || c.err == "" && o.errOut != "" {
				t.Errorf("errors %q, want %q", o.errOut, c.err)
			}
			got, _ := os.ReadFile(output)
			if !bytes.Equal(got, c.want) {
				t.Errorf("%d bytes at the output, want %d", len(got), len(c.want))
			}
			if old, err := os.ReadFile(there); err != nil || string(old) != "old" {
				t.Errorf("the file that was there has changed: %v", err)
			}
			entries, err := os.ReadDir(folder)
			if left := 1 + min(1, len(c.want)); err != nil || len(entries) != left {
				t.Errorf("folder holds %v, want %d files", entries, left)
			}
		})
	}
}

func TestForce(t *testing.T) {
	url, _ := testReplica(t)
	folder := t.TempDir()
	output := filepath.Join(folder, "app.db")
	for _, name := range []string{output, output + "-wal", output + "-shm"} {
		ok(t, os.WriteFile(name, []byte("old"), 0o600))
	}
	if o := runCommand("--force", url, output); o.code != exitDone {
		t.Fatalf("%+v", o)
	}
	entries, err := os.ReadDir(folder)
	ok(t, err)
	got, err := os.ReadFile(output)
	if err != nil || !bytes.Equal(got, pageOne(2, 4)) || len(entries) != 1 {
		t.Errorf("folder holds %v, the database %d bytes", entries, len(got))
	}
}

// TestJSON: every mode, errors included, writes one JSON document and nothing else.
func TestJSON(t *testing.T) {
	url, _ := testReplica(t)
	output := filepath.Join(t.TempDir(), "app.db")
	table := []struct {
		args []string
		code int
		has  map[string]any // some of the fields
	}{
		{[]string{"--list", url}, 0, map[string]any{"timeline": 2.0, "page_size": 512.0, "objects": 5.0}},
		{[]string{"--dry-run", url, output}, 0, map[string]any{"database": "app.db"}},
		{[]string{"--dry-run", "--quiet", url, output}, 0, map[string]any{"database": "app.db"}},
		{[]string{url, output}, 0, map[string]any{"skipped": false, "bytes": 512.0, "check": "quick"}},
		{[]string{"--if-missing", url, output}, 0, map[string]any{"skipped": true}},
		{[]string{"--if-missing", "--dry-run", url, output}, 0, map[string]any{"skipped": true}},
		{[]string{url, output}, 1, map[string]any{"kind": "exists", "exit_code": 1.0}},
		{[]string{"--nonsense", url}, 2, map[string]any{"kind": "usage", "exit_code": 2.0}},
		{[]string{"--tx", "1/4", "--force", url, output}, 3, map[string]any{"kind": "no_point", "before": map[string]any{"pos": "1/3", "time": "2026-03-04T12:03:00Z"}}},
		{[]string{"--list", url + "/none"}, 3, map[string]any{"kind": "no_replica"}},
	}
	for _, c := range table {
		o := runCommand(append([]string{"--json"}, c.args...)...)
		var got map[string]any
		if err := json.Unmarshal([]byte(o.out), &got); err != nil || o.errOut != "" || o.code != c.code {
			t.Errorf("%q: exit code %d, want %d; %v; %+v", c.args, o.code, c.code, err, o)
			continue
		}
		if e, is := got["error"].(map[string]any); is {
			got = e
		}
		for k, want := range c.has {
			a, _ := json.Marshal(got[k])
			b, _ := json.Marshal(want)
			if !bytes.Equal(a, b) {
				t.Errorf("%q: %s is %s, want %s", c.args, k, a, b)
			}
		}
	}
}

func TestDamageReport(t *testing.T) {
	url, dir := testReplica(t)
	name := segment.LogName(1, 4)
	path := filepath.Join(dir, filepath.FromSlash(name))
	ok(t, os.Truncate(path, 100))
	output := filepath.Join(t.TempDir(), "app.db")
	o := runCommand("--timeline", "1", url, output)
	if o.code != exitFailed || !strings.Contains(o.errOut, name) || !strings.Contains(o.errOut, "cut short") || !strings.Contains(o.errOut, "add --tx 1/3") {
		t.Errorf("%+v", o)
	}
	o = runCommand("--json", "--timeline", "1", url, output)
	for _, part := range []string{`"kind": "object"`, `"object": "` + name, `"reason": "cut short"`, `"pos": "1/3"`} {
		if !strings.Contains(o.out, part) {
			t.Errorf("%s is not in %s", part, o.out)
		}
	}
	if o := runCommand("--tx", "1/3", url, output); o.code != exitDone {
		t.Errorf("%+v", o)
	}

	// A damaged snapshot is gone around, and told.
	ok(t, os.Truncate(filepath.Join(dir, filepath.FromSlash(segment.SnapshotName(1, 2))), 100))
	o = runCommand("--force", "--quiet", "--tx", "1/3", url, output)
	if o.code != exitDone || !strings.Contains(o.errOut, "went around object "+segment.SnapshotName(1, 2)) {
		t.Errorf("%+v", o)
	}
}

// TestMissingReport: names tell only where segments begin, and all the same each way to look says what is missing.
func TestMissingReport(t *testing.T) {
	url, dir := testReplica(t)
	name := segment.LogName(1, 3)
	ok(t, os.Remove(filepath.Join(dir, filepath.FromSlash(name))))
	output := filepath.Join(t.TempDir(), "app.db")
	for _, flags := range []string{"", "--dry-run", "--dry-run --thorough", "--dry-run --tx 4", "--at 2026-03-04T12:05:30Z --dry-run"} {
		args := append([]string{"--timeline", "1"}, strings.Fields(flags)...)
		o := runCommand(append(args, url, output)...)
		if o.code != exitFailed || !strings.Contains(o.errOut, name+": it is missing") || !strings.Contains(o.errOut, "add --tx 1/2") {
			t.Errorf("%q: %+v", flags, o)
		}
	}
	if o := runCommand("--list", "--timeline", "1", url); o.code != exitDone || !strings.Contains(o.out, "Lost, no points") {
		t.Errorf("%+v", o)
	}
	if o := runCommand("--tx", "1/2", url, output); o.code != exitDone {
		t.Errorf("%+v", o)
	}
}

// TestProgressBar: on a terminal only, and not when it would be in the way.
func TestProgressBar(t *testing.T) {
	url, _ := testReplica(t)
	for _, c := range []struct {
		terminal bool
		flags    string
		want     bool
	}{{true, "", true}, {false, "", false}, {true, "--quiet", false}, {true, "--json", false}} {
		var out, errOut bytes.Buffer
		a := testApp(&out, &errOut)
		a.terminal = c.terminal
		args := append(strings.Fields(c.flags), url, filepath.Join(t.TempDir(), "app.db"))
		if code := a.main(context.Background(), args); code != exitDone {
			t.Errorf("exit code %d: %s", code, errOut.String())
		}
		if got := strings.Contains(errOut.String(), "restoring"); got != c.want {
			t.Errorf("terminal %v, %q: bar shown %v; %q", c.terminal, c.flags, got, errOut.String())
		}
	}
}

// TestStoreGone: a request that keeps failing is repeated, told, and given up.
func TestStoreGone(t *testing.T) {
	url, dir := testReplica(t)
	refused := errors.New("connection refused")
	var out, errOut bytes.Buffer
	a := testApp(&out, &errOut)
	a.stores.Clock = instantly{}
	a.stores.Open = func(context.Context, string) (store.Store, error) {
		s, err := store.OpenFolder(dir)
		return faultstore.Wrap(s, faultstore.Options{}, faultstore.When(faultstore.NameMatch("*/snapshot/*"), faultstore.Fail(refused))), err
	}
	output := filepath.Join(t.TempDir(), "app.db")
	code := a.main(context.Background(), []string{"--tx", "1/2", url, output})
	text := errOut.String()
	if code != exitFailed || !strings.Contains(text, "trying again") || !strings.Contains(text, "gave up after 20 attempts") || strings.Contains(text, "interrupted") {
		t.Errorf("exit code %d: %s", code, text)
	}
}

// instantly is a clock whose waits are over at once.
type instantly struct{ store.SystemClock }

func (instantly) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

func TestInterrupted(t *testing.T) {
	url, _ := testReplica(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	folder := t.TempDir()
	var out, errOut bytes.Buffer
	code := testApp(&out, &errOut).main(ctx, []string{url, filepath.Join(folder, "app.db")})
	entries, err := os.ReadDir(folder)
	if code != exitFailed || !strings.Contains(errOut.String(), "interrupted") || len(entries) != 0 || err != nil {
		t.Errorf("exit code %d, %s, folder %v", code, errOut.String(), entries)
	}
}
