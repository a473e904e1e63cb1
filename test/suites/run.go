package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A mode is what the files run in. The name is what the glue hands to the shim as SUITE_MODE.
type mode string

const (
	plain      mode = ""           // SQLite as it is: what the others are compared with
	pass       mode = "pass"       // the shim is SQLite's default VFS; nothing is replicated
	replicated mode = "replicated" // every database is replicated to a folder, and compared with its replica at its last close
)

// result is how a file of tests ended.
type result struct {
	cases  int
	failed []string // names of cases, in order
	end    string   // how the process ended, if not after the last case
	took   time.Duration
	said   []byte // all of its output
}

// runner runs files of tests, each in a process and a folder of its own.
type runner struct {
	programs programs
	tests    string // folder of the files
	work     string // gets a folder for each run
	limit    time.Duration
}

var (
	sumLine  = regexp.MustCompile(`(?m)^(\d+) errors out of (\d+) tests`)
	caseLine = regexp.MustCompile(`(?m)^! (\S+) (?:expected|got):`)
	failList = regexp.MustCompile(`(?m)^!Failures on these tests: (.*)$`)
)

// run runs one file. books gets what the shim says of the replicas.
func (r *runner) run(ctx context.Context, m mode, file string) (res result, books string, err error) {
	dir := filepath.Join(r.work, "run", cmpName(m), file)
	if err := os.RemoveAll(dir); err != nil {
		return res, "", err
	}
	books = filepath.Join(dir, "replicas")
	if err := os.MkdirAll(books, 0o755); err != nil {
		return res, "", err
	}
	bin := r.programs.seawal
	if m == plain {
		bin = r.programs.plain
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, filepath.Join(r.tests, file+".test"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SUITE_MODE="+string(m), "SEAWAL_EVERYFILE_DIR="+books, "SEAWAL_REPLICA=none")
	if m == plain {
		cmd.Env = slices.DeleteFunc(cmd.Env, func(e string) bool { return strings.HasPrefix(e, "SUITE_MODE=") })
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	ownGroup(cmd) // a file that hangs may have children
	began := time.Now()
	err = cmd.Run()
	res = parse(said.Bytes())
	res.took = time.Since(began)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		res.end = fmt.Sprintf("not ended after %v", r.limit)
	case errors.As(err, &exit) && !sumLine.Match(res.said):
		res.end = exit.String()
	case err == nil && !sumLine.Match(res.said):
		res.end = "ended without a sum"
	case err != nil && exit == nil:
		return res, "", fmt.Errorf("run %s: %w", file, err)
	}
	return res, books, os.WriteFile(filepath.Join(dir, "output"), res.said, 0o644)
}

func cmpName(m mode) string {
	if m == plain {
		return "plain"
	}
	return string(m)
}

// parse reads what a testfixture has said.
func parse(said []byte) result {
	r := result{said: said}
	if m := sumLine.FindAllSubmatch(said, -1); m != nil {
		last := m[len(m)-1]
		fmt.Sscan(string(last[2]), &r.cases) // digits
	}
	for _, m := range caseLine.FindAllSubmatch(said, -1) {
		r.failed = append(r.failed, string(m[1]))
	}
	for _, m := range failList.FindAllSubmatch(said, -1) {
		r.failed = append(r.failed, strings.Fields(string(m[1]))...)
	}
	slices.Sort(r.failed)
	r.failed = slices.Compact(r.failed)
	return r
}

// difference is something that isn't as it is without the shim. Case is "*" for what is of the whole file.
type difference struct{ file, name, what string }

// compare says in what a run of a file differs from that without the shim.
func compare(file string, want, got result) (diff []difference) {
	for _, name := range got.failed {
		if !slices.Contains(want.failed, name) {
			diff = append(diff, difference{file, name, got.around(name)})
		}
	}
	for _, name := range want.failed {
		if !slices.Contains(got.failed, name) && got.end == "" {
			diff = append(diff, difference{file, name, "fails without the shim, and not with it"})
		}
	}
	switch {
	case want.end != "" || want.cases == 0:
		diff = append(diff, difference{file, "*", fmt.Sprintf("proves nothing: without the shim it has %d cases, and ends with %q\n%s",
			want.cases, want.end, tail(want.said))})
	case want.end != got.end:
		diff = append(diff, difference{file, "*", fmt.Sprintf("ends with %q, without the shim with %q\n%s", got.end, want.end, tail(got.said))})
	case want.cases != got.cases:
		diff = append(diff, difference{file, "*", fmt.Sprintf("%d cases, without the shim %d", got.cases, want.cases)})
	}
	return diff
}

// around is what the output says of a case.
func (r result) around(name string) string {
	var out []string
	for line := range strings.Lines(string(r.said)) {
		if strings.HasPrefix(line, "! "+name+" ") {
			out = append(out, strings.TrimRight(line[:min(len(line), 300)], "\n"))
		}
	}
	return strings.Join(out, "\n")
}

func tail(said []byte) string {
	return string(said[max(0, len(said)-600):])
}
