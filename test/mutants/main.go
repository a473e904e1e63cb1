// Command mutants changes the code in small ways that would lose data or break a promise, one at a time, and runs the tests that ought to
// notice. A change that none of them notices is a promise that rests on reading alone.
//
//	make mutants                       all of the table
//	make mutants MUTANT=fsync          those whose name has that in it, a regular expression
//	make mutants MUTANTFLAGS='-pkg ./store'   those whose tests are in a package
//	make mutants MUTANTFLAGS=-list     what there is, without a run
//
// The table is table.txt; its head says how an entry is written. The tree isn't touched: the go command gets each change as an overlay, so
// that nothing has to be put back after an interrupt, which ends the run with what is known by then. Entries run in the order of their
// packages, which share what is built. In the end the tests that caught something run once without a change: one that fails then has caught nothing.
//
// The exit code is 1 when a change survived, when an entry isn't true any more, or when the run was interrupted.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.name, "mutant", "", "only the mutants whose name matches this regular expression")
	flag.StringVar(&o.pkg, "pkg", "", "only the mutants whose tests are in this package, as ./store")
	flag.BoolVar(&o.list, "list", false, "only list them, and look whether each entry of the table is true")
	flag.DurationVar(&o.timeout, "timeout", 2*time.Minute, "for the tests of one mutant; one that hangs is caught")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	name, pkg string
	list      bool
	timeout   time.Duration
}

// selected are the mutants that are asked for, those of a package together.
func (o options) selected(all []mutant) ([]mutant, error) {
	wanted, err := regexp.Compile(o.name)
	if err != nil {
		return nil, fmt.Errorf("MUTANT is no regular expression: %w", err)
	}
	all = slices.DeleteFunc(all, func(m mutant) bool {
		return !wanted.MatchString(m.name) || o.pkg != "" && m.pkg != "./"+strings.TrimPrefix(filepath.Clean(o.pkg), "./")
	})
	if len(all) == 0 {
		return nil, errors.New("the table has no such mutant")
	}
	slices.SortStableFunc(all, func(a, b mutant) int { return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.file, b.file)) })
	return all, nil
}

func run(ctx context.Context, out io.Writer, o options) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	all, err := readTable(root)
	if err != nil {
		return err
	}
	if all, err = o.selected(all); err != nil {
		return err
	}
	var s summary
	for i, m := range all {
		began := time.Now()
		r := result{mutant: m}
		if o.list {
			r.verdict, r.detail = m.look(root)
		} else {
			fmt.Fprintf(out, "%*d/%d %-44s ", len(fmt.Sprint(len(all))), i+1, len(all), m.name)
			r.verdict, r.detail = m.try(ctx, root, o.timeout)
		}
		if ctx.Err() != nil {
			fmt.Fprintln(out, "interrupted")
			break
		}
		s.add(r)
		if o.list {
			fmt.Fprintf(out, "%-10s %-44s %s: %s (%s %s)\n", r.verdict, m.name, m.file, r.detail, m.pkg, m.run)
		} else {
			fmt.Fprintf(out, "%-10s %6.1fs  %s\n", r.verdict, time.Since(began).Seconds(), r.detail)
		}
	}
	if ctx.Err() == nil {
		s.prove(ctx, root, out)
	}
	s.print(out)
	switch bad := s.bad(); {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted after %d of %d", len(s.results), len(all))
	case bad > 0:
		return fmt.Errorf("%d of %d need a test, or are not true any more", bad, len(all))
	}
	return nil
}

// readTable reads the table of the module at root.
func readTable(root string) ([]mutant, error) {
	raw, err := os.ReadFile(filepath.Join(root, "test/mutants/table.txt"))
	if err != nil {
		return nil, err
	}
	return parse(string(raw))
}

// moduleRoot is the directory of go.mod.
func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}
