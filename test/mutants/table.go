package main

import (
	"fmt"
	"strings"
)

// mutant is one entry of the table.
type mutant struct {
	name       string
	breaks     string // what it does to whoever relies on the code
	file       string // below the module's root
	pkg, run   string // the tests: a package, and a pattern for -run
	equivalent string // why no test can see it; "": one has to
	old, new   string // whole lines
}

// apply makes the change.
func (m mutant) apply(text string) (string, error) {
	switch strings.Count("\n"+text, "\n"+m.old) {
	case 0:
		return "", fmt.Errorf("%s doesn't have the old text any more", m.file)
	case 1:
		return strings.TrimPrefix(strings.Replace("\n"+text, "\n"+m.old, "\n"+m.new, 1), "\n"), nil
	}
	return "", fmt.Errorf("%s has the old text more than once", m.file)
}

// parse reads a table.
func parse(text string) (all []mutant, err error) {
	names := map[string]bool{}
	var m *mutant
	number := 0
	end := func() error {
		switch {
		case m == nil:
		case m.file == "" || m.pkg == "" || m.run == "" || m.breaks == "" || m.old == m.new:
			return fmt.Errorf("mutant %s needs breaks, file, test and a change", m.name)
		case names[m.name]:
			return fmt.Errorf("mutant %s is there twice", m.name)
		default:
			names[m.name] = true
			all = append(all, *m)
		}
		m = nil
		return nil
	}
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") || line == "" {
			continue
		}
		key, rest, _ := strings.Cut(line, " ")
		if key == "mutant" {
			if err := end(); err != nil {
				return nil, err
			}
			m = &mutant{name: rest}
			continue
		}
		if m == nil || !m.line(key, rest, line) {
			return nil, fmt.Errorf("line %d of the table: %q", number, line)
		}
	}
	if err := end(); err != nil {
		return nil, err
	}
	return all, nil
}

// line takes a line of an entry.
func (m *mutant) line(key, rest, line string) bool {
	switch key {
	case "breaks":
		m.breaks = rest
	case "file":
		m.file = rest
	case "test":
		m.pkg, m.run, _ = strings.Cut(rest, " ")
	case "equivalent":
		m.equivalent = rest
	default:
		return m.change(line)
	}
	return true
}

// change takes a line of the change: "-" is taken out, "+" comes in, "|" stays.
func (m *mutant) change(line string) bool {
	switch text := line[1:] + "\n"; line[0] {
	case '-':
		m.old += text
	case '+':
		m.new += text
	case '|':
		m.old += text
		m.new += text
	default:
		return false
	}
	return true
}
