package main

import (
	"fmt"
	"path"
	"strings"
)

// expectation is a line of expected.txt: a difference that is known, with its reason.
type expectation struct {
	mode   mode
	file   string
	name   string // a pattern of path.Match; "*" is what is of the whole file
	reason string
	line   int
	held   bool
}

// parseExpected reads expected.txt: mode, file, case and reason, with white space between them. Lines that begin with #
// are comments.
func parseExpected(text string) (all []*expectation, err error) {
	n := 0
	for line := range strings.Lines(text) {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 4 {
			return nil, fmt.Errorf("expected.txt:%d: mode, file, case and reason are needed: %q", n, line)
		}
		e := &expectation{mode: mode(f[0]), file: f[1], name: f[2], reason: strings.Join(f[3:], " "), line: n}
		if e.mode != pass && e.mode != replicated {
			return nil, fmt.Errorf("expected.txt:%d: the mode is %s or %s, not %q", n, pass, replicated, f[0])
		}
		if _, err := path.Match(e.name, ""); err != nil {
			return nil, fmt.Errorf("expected.txt:%d: %q: %w", n, e.name, err)
		}
		all = append(all, e)
	}
	return all, nil
}

// covers says whether the difference is a known one, and notes that its line holds.
func covers(all []*expectation, m mode, d difference) bool {
	known := false
	for _, e := range all {
		matches := e.name == d.name
		if d.name != "*" && e.name != "*" {
			matches, _ = path.Match(e.name, d.name) // the pattern was tried
		}
		if e.mode == m && e.file == d.file && matches {
			e.held, known = true, true
		}
	}
	return known
}

// unheld are the lines for files that were run which no difference needed.
func unheld(all []*expectation, m mode, files map[string]bool) (out []string) {
	for _, e := range all {
		if e.mode == m && files[e.file] && !e.held {
			out = append(out, fmt.Sprintf("expected.txt:%d: %s %s doesn't differ any more: take the line out", e.line, e.file, e.name))
		}
	}
	return out
}
