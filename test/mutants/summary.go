package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// result is what became of a mutant.
type result struct {
	mutant
	verdict verdict
	detail  string
}

// summary is all that is known so far.
type summary struct{ results []result }

func (s *summary) add(r result) { s.results = append(s.results, r) }

// proveTimeout is for the tests of a package that caught something.
const proveTimeout = 10 * time.Minute

// prove runs the tests that caught something without a change, once for each package. What only one caught that fails then is doubtful.
func (s *summary) prove(ctx context.Context, root string, out io.Writer) {
	tests := map[string][]string{} // by package
	var pkgs []string
	for _, r := range s.results {
		name, ok := strings.CutPrefix(r.detail, byTest)
		if r.verdict != caught || !ok {
			continue
		}
		if tests[r.pkg] == nil {
			pkgs = append(pkgs, r.pkg)
		}
		if !slices.Contains(tests[r.pkg], name) {
			tests[r.pkg] = append(tests[r.pkg], name)
		}
	}
	for _, pkg := range pkgs {
		fmt.Fprintf(out, "without a change: %d tests of %s\n", len(tests[pkg]), pkg)
		said, err := test(ctx, root, proveTimeout, "-run", "^("+strings.Join(tests[pkg], "|")+")$", pkg)
		if err != nil {
			s.doubt(pkg, failed(said), firstLine(said))
		}
	}
}

// doubt takes back what tests of a package caught, or, where none is named, all that was caught there.
func (s *summary) doubt(pkg string, tests []string, why string) {
	for i, r := range s.results {
		name := strings.TrimPrefix(r.detail, byTest)
		if r.pkg == pkg && r.verdict == caught && (len(tests) == 0 || slices.Contains(tests, name)) {
			s.results[i].verdict, s.results[i].detail = doubtful, fmt.Sprintf("%s fails without the change, too: %s", name, why)
		}
	}
}

// bad is how many results ask for something to be done.
func (s *summary) bad() (n int) {
	for _, r := range s.results {
		if !r.verdict.isGood() {
			n++
		}
	}
	return n
}

// print counts the results, and names those that ask for something.
func (s *summary) print(out io.Writer) {
	counts := map[verdict]int{}
	fmt.Fprintln(out)
	for _, r := range s.results {
		counts[r.verdict]++
		if !r.verdict.isGood() {
			fmt.Fprintf(out, "%-10s %s (%s): %s\n", r.verdict, r.name, r.file, r.detail)
		}
	}
	for _, v := range []verdict{there, caught, equivalent, survived, stale, broken, doubtful} {
		if counts[v] > 0 {
			fmt.Fprintf(out, "%d %s\n", counts[v], v)
		}
	}
}
