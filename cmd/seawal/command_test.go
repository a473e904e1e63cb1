package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"seawal/cmd/internal/cli"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ok(t *testing.T, err error) {
	if err != nil {
		t.Helper()
		t.Fatal(err)
	}
}

// testReplica makes one with three log segments of one page each, committed within a minute in the distant past.
func testReplica(t *testing.T) (url, dir string) {
	dir = t.TempDir()
	s, err := store.OpenFolder(dir)
	ok(t, err)
	begin := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	r := replica.Replica{ID: segment.NewID(), PageSize: 512, Created: begin, Name: "a\x1bpp.db"}
	ok(t, replica.CreateReplica(t.Context(), s, r))
	ok(t, replica.CreateTimeline(t.Context(), s, replica.Timeline{Timeline: 1, Reason: "a test", Writer: segment.NewID(), Created: begin}))
	for n := range uint64(3) {
		var b bytes.Buffer
		enc, err := segment.NewEncoder(&b, segment.Header{Kind: segment.Log, PageSize: 512, Timeline: 1, First: n + 1, Replica: r.ID, Writer: segment.NewID(), Before: sum(n)})
		ok(t, err)
		ok(t, enc.Begin(segment.Tx{Number: n + 1, Time: begin.Add(time.Duration(n) * time.Second).UnixNano(), PageCount: 1}))
		ok(t, enc.Page(segment.Page{Number: 1, Kind: segment.Full, Data: page(n + 1), Sum: sum(n + 1)}))
		ok(t, enc.End(sum(n+1)))
		_, err = enc.Close(wal.Place{})
		ok(t, err)
		ok(t, s.Create(t.Context(), segment.LogName(1, n+1), store.BytesBody(b.Bytes())))
	}
	ok(t, s.Close())
	return "file://" + dir, dir
}

func TestCommand(t *testing.T) {
	merged := segment.MergedName(1, 1, 1, 3)
	for _, c := range []struct {
		name string
		args string // URL stands for what it says
		code int
		out  []string // parts of standard output
		err  string   // part of standard error
		made bool     // the merged segment is there
	}{
		{"compact", "compact URL", 0, []string{"merged 1/1 to 1/3 (2026-03-04T12:00:02Z) from 3 objects: " + merged}, "", true},
		{"temporary directory", "compact --temp-dir URL/none URL", 1, nil, "no such file or directory", false},
		{"dry run", "compact --dry-run URL", 0, []string{"would merge 1/1 to 1/3"}, "", false},
		{"json", "compact --json URL", 0, []string{`"database": "a\u001bpp.db"`, `"object": "` + merged + `"`, `"level": 1`}, "", true},
		{"help", "--help", 0, []string{"compact", "completion"}, "", false},
		{"help of a verb", "compact --help", 0, []string{"Nothing is deleted"}, "", false},
		{"nothing", "", 0, []string{"Usage:"}, "", false},
		{"version", "--version", 0, []string{"seawal version devel ("}, "", false},

		{"no URL", "compact", 2, nil, "URL is missing", false},
		{"two URLs", "compact URL URL", 2, nil, "too many arguments", false},
		{"no scheme", "compact /backup/app", 2, nil, "file:///backup/app", false},
		{"unknown scheme", "compact ftp://host/app", 2, nil, `unknown scheme "ftp"`, false},
		{"unknown verb", "compress URL", 2, nil, `there is no verb "compress"`, false},
		{"unknown flag", "compact --keep 1d URL", 2, nil, "unknown flag", false},
		{"unknown flag, json", "compact --json --keep 1d URL", 2, []string{`"kind": "usage"`}, "", false},
		{"no replica", "compact URL/none", 3, nil, "no replica here", false},
		{"no replica, json", "compact --json URL/none", 3, []string{`"kind": "no_replica"`, `"exit_code": 3`}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, dir := testReplica(t)
			o := runCommand(strings.Fields(strings.ReplaceAll(c.args, "URL", url))...)
			if o.code != c.code {
				t.Errorf("exit code %d, want %d", o.code, c.code)
			}
			for _, part := range c.out {
				if !strings.Contains(o.out, part) {
					t.Errorf("no %q in output %q", part, o.out)
				}
			}
			if len(c.out) == 0 && o.out != "" {
				t.Errorf("output %q", o.out)
			}
			if !strings.Contains(o.errOut, c.err) || c.err == "" && o.errOut != "" {
				t.Errorf("errors %q, want %q", o.errOut, c.err)
			}
			if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(merged))); (err == nil) != c.made {
				t.Errorf("looking for %s: %v", merged, err)
			}
		})
	}
}

// A second one has nothing to do, and a terminal gets no control characters from the replica.
func TestCompactTwice(t *testing.T) {
	url, _ := testReplica(t)
	runCommand("compact", url)
	if o := runCommand("compact", url); o.code != 0 || o.out != `a\x1bpp.db: there is nothing to merge`+"\n" || o.errOut != "" {
		t.Errorf("%+v", o)
	}
}

func TestDamagedObject(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		url, dir := testReplica(t)
		name := segment.LogName(1, 2)
		path := filepath.Join(dir, filepath.FromSlash(name))
		b, err := os.ReadFile(path)
		ok(t, err)
		b[len(b)/2] ^= 1
		ok(t, os.Chmod(path, 0o600))
		ok(t, os.WriteFile(path, b, 0o600))
		args := []string{"compact", url}
		if asJSON {
			args = append(args, "--json")
		}
		o := runCommand(args...)
		if told := o.out + o.errOut; o.code != 1 || !strings.Contains(told, name) || asJSON != strings.Contains(told, `"kind": "object"`) {
			t.Errorf("JSON %v: %+v", asJSON, o)
		}
	}
}

// outcome is what one command line did.
type outcome struct {
	code        int
	out, errOut string
}

func runCommand(args ...string) outcome {
	var out, errOut bytes.Buffer
	a := &app{Printer: cli.Printer{Command: "seawal", Out: &out, Err: &errOut}, stores: cli.Stores{Open: store.Open}}
	code := a.main(context.Background(), args)
	return outcome{code, out.String(), errOut.String()}
}

// page is the only page of the database after transaction n.
func page(n uint64) []byte { return bytes.Repeat([]byte{byte(n)}, 512) }

// sum is the checksum of the database after transaction n; it was empty before the first.
func sum(n uint64) pagesum.Sum {
	if n == 0 {
		return 0
	}
	return pagesum.Unkeyed.Of(1, page(n))
}
