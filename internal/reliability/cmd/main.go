// Command cmd compares docs/RELIABILITY.md with what tests have recorded, or writes it.
//
//	cmd -ledger FILE -page docs/RELIABILITY.md            exit code 1 if they don't agree
//	cmd -ledger FILE -page docs/RELIABILITY.md -write [package ...]
//
// With packages, as go list prints them, only their rows are replaced. See internal/reliability.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"seawal/internal/reliability"
)

func main() {
	ledger := flag.String("ledger", "", "what the tests have recorded")
	page := flag.String("page", "docs/RELIABILITY.md", "the table")
	write := flag.Bool("write", false, "write the table instead of comparing it")
	flag.Parse()
	if err := run(*ledger, *page, *write, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ledger, page string, write bool, packages []string) error {
	f, err := os.Open(ledger)
	if err != nil {
		return fmt.Errorf("no test has recorded anything: %w", err)
	}
	defer f.Close()
	recorded, err := reliability.FromLedger(f)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(page)
	if write && len(packages) == 0 {
		return os.WriteFile(page, recorded.Bytes(), 0o644)
	}
	if err != nil && !(write && errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	var committed reliability.Table
	if err == nil {
		if committed, err = reliability.Parse(b); err != nil {
			return fmt.Errorf("%s: %w", page, err)
		}
	}
	if write {
		for i := range packages {
			_, packages[i], _ = strings.Cut(packages[i], "/") // without the module
		}
		return os.WriteFile(page, committed.Replace(packages, recorded).Bytes(), 0o644)
	}
	if !bytes.Equal(b, committed.Bytes()) {
		return fmt.Errorf("%s was changed by hand; make reliability writes it anew", page)
	}
	if d := reliability.Differences(committed, recorded); len(d) > 0 {
		return fmt.Errorf("%s and the tests don't agree (make reliability writes it anew):\n%s", page, strings.Join(d, "\n"))
	}
	fmt.Printf("%s: %d faults, as the tests recorded them\n", page, recorded.Len())
	return nil
}
