package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// verdict is what became of a mutant.
type verdict string

const (
	caught     verdict = "caught"     // a test failed
	survived   verdict = "SURVIVED"   // all tests passed
	equivalent verdict = "equivalent" // no test can see it, and the entry says why
	stale      verdict = "STALE"      // the old text is not there, or more than once
	broken     verdict = "BROKEN"     // it doesn't compile, or no test has the name
	doubtful   verdict = "DOUBTFUL"   // the test that caught it fails without the change, too
	there      verdict = "there"      // not tried: its old text is there
)

// isGood says whether nothing is to be done about a mutant.
func (v verdict) isGood() bool { return v == caught || v == equivalent || v == there }

// look says whether an entry is true, without running anything.
func (m mutant) look(root string) (verdict, string) {
	text, err := os.ReadFile(filepath.Join(root, m.file))
	if err != nil {
		return stale, err.Error()
	}
	switch _, err := m.apply(string(text)); {
	case err != nil:
		return stale, err.Error()
	case m.equivalent != "":
		return equivalent, m.equivalent
	}
	return there, m.breaks
}

// try applies a mutant to the tree at root and runs its tests.
func (m mutant) try(ctx context.Context, root string, timeout time.Duration) (v verdict, detail string) {
	if v, detail := m.look(root); v != there {
		return v, detail
	}
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return broken, err.Error()
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(root, dir)
	if err != nil {
		return broken, err.Error()
	}
	out, err := test(ctx, root, timeout, "-overlay", overlay, "-failfast", "-run", m.run, m.pkg)
	return judge(out, err, m)
}

// overlay writes the changed file into dir, and what has the go command take it in place of the tree's. It returns the name of the latter.
func (m mutant) overlay(root, dir string) (string, error) {
	path := filepath.Join(root, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	changed, err := m.apply(string(text))
	if err != nil {
		return "", err
	}
	mutated, overlay := filepath.Join(dir, filepath.Base(m.file)), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	return overlay, errors.Join(err, os.WriteFile(mutated, []byte(changed), 0o600), os.WriteFile(overlay, replace, 0o600))
}

// test runs go test, and returns what it printed. A test whose server isn't there fails: one that is skipped sees nothing. When ctx
// ends, the test binary ends with it.
func test(ctx context.Context, root string, timeout time.Duration, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+10*time.Minute) // building comes first
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1", "-vet=off", "-timeout", timeout.String()}, args...)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "SEAWAL_REQUIRE=all")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// judge reads what the tests said.
func judge(out string, err error, m mutant) (verdict, string) {
	switch {
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return broken, "it does not compile: " + firstLine(out)
	case strings.Contains(out, "[no tests to run]"):
		return broken, fmt.Sprintf("no test of %s has the name %s", m.pkg, m.run)
	case err == nil:
		return survived, m.breaks
	}
	if tests := failed(out); len(tests) > 0 {
		return caught, byTest + tests[0]
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return caught, strings.TrimSpace(line)
		}
	}
	return caught, firstLine(out)
}

// byTest comes before the name of a test in the detail of a verdict.
const byTest = "by "

// failed are the top tests that failed, in the order in which they did.
func failed(out string) (tests []string) {
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "--- FAIL: "); ok {
			tests = append(tests, strings.Fields(name)[0])
		}
	}
	return tests
}

// firstLine is the first line that isn't a heading.
func firstLine(out string) string {
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return line
		}
	}
	return ""
}
