// Command mutants changes the code in small ways that would lose data or break a promise, one at a time, and runs the tests that ought to
// notice. A change that none of them notices is a promise that rests on reading alone.
//
//	make mutants                   all of the table
//	make mutants MUTANT=fsync      those whose name has that in it, a regular expression
//
// The table is table.txt; its head says how an entry is written. The tree isn't touched: the go command gets each change as an overlay.
// The exit code is 1 when a change survived, or when an entry isn't true any more.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	name := flag.String("mutant", "", "only the mutants whose name matches this regular expression")
	list := flag.Bool("list", false, "only look whether every entry of the table is true")
	timeout := flag.Duration("timeout", 4*time.Minute, "for the tests of one mutant; one that hangs is caught")
	flag.Parse()
	if err := run(*name, *list, *timeout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(name string, list bool, timeout time.Duration) error {
	wanted, err := regexp.Compile(name)
	if err != nil {
		return fmt.Errorf("MUTANT is no regular expression: %w", err)
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(root, "test/mutants/table.txt"))
	if err != nil {
		return err
	}
	all, err := parse(string(raw))
	if err != nil {
		return err
	}
	counts, bad := map[verdict]int{}, 0
	for _, m := range all {
		if !wanted.MatchString(m.name) {
			continue
		}
		began := time.Now()
		v, detail := m.try(root, list, timeout)
		counts[v]++
		if v != caught && v != equivalent && v != there {
			bad++
		}
		fmt.Printf("%-10s %6.1fs  %-44s %s\n", v, time.Since(began).Seconds(), m.name, detail)
	}
	fmt.Println()
	for _, v := range []verdict{there, caught, equivalent, survived, stale, broken} {
		if counts[v] > 0 {
			fmt.Printf("%d %s\n", counts[v], v)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of the table need a test, or are not true any more", bad)
	}
	return nil
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// verdict is what became of a mutant.
type verdict string

const (
	caught     verdict = "caught"     // a test failed
	survived   verdict = "SURVIVED"   // all tests passed
	equivalent verdict = "equivalent" // no test can see it, and the entry says why
	stale      verdict = "STALE"      // the old text is not there, or more than once
	broken     verdict = "BROKEN"     // it doesn't compile, or no test has the name
	there      verdict = "there"      // not tried: its old text is there
)

// try applies a mutant to the tree at root and runs its tests.
func (m mutant) try(root string, list bool, timeout time.Duration) (v verdict, detail string) {
	path := filepath.Join(root, m.file)
	text, err := os.ReadFile(path)
	if err != nil {
		return stale, err.Error()
	}
	changed, err := m.apply(string(text))
	switch {
	case err != nil:
		return stale, err.Error()
	case m.equivalent != "":
		return equivalent, m.equivalent
	case list:
		return there, m.breaks
	}
	dir, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return broken, err.Error()
	}
	defer os.RemoveAll(dir)
	mutated, overlay := filepath.Join(dir, filepath.Base(m.file)), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	if err = errors.Join(err, os.WriteFile(mutated, []byte(changed), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return broken, err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout+5*time.Minute) // building comes first
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-count=1", "-failfast", "-timeout", timeout.String(), "-run", m.run, m.pkg)
	cmd.Dir = root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return judge(out.String(), err, m)
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
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			return caught, "by " + strings.Fields(name)[0]
		}
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return caught, strings.TrimSpace(line)
		}
	}
	return caught, firstLine(out)
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
