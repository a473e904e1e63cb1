package reliability

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

const preamble = "# What seawal has been through\n" + `
Every row is a fault that the tests inject, and what was lost by it. The tests write the table themselves: "make reliability", see
internal/reliability. "make test" fails when the two don't agree. A test that loses anything fails, so what is committed here says
"nothing", or isn't there.

"Times" is how often the fault is injected in one run of "make test"; "≥" where chance has a part in it: the test fails below that number.
`

// row is a fault as one package injects it.
type row struct {
	group   Group
	name    string
	how     string
	times   int
	isFloor bool // times is the least
	lost    int
	pkg     string
	tests   []string // sorted
}

// Table is docs/RELIABILITY.md.
type Table struct{ rows []row }

// key is what a row is found by.
func (r row) key() string {
	return fmt.Sprintf("%d|%s|%s", slices.Index(groups, r.group), r.name, r.pkg)
}

// FromLedger adds up what tests have recorded, one JSON object a line.
func FromLedger(ledger io.Reader) (Table, error) {
	byKey := map[string]*row{}
	for dec := json.NewDecoder(ledger); ; {
		var rec record
		err := dec.Decode(&rec)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Table{}, fmt.Errorf("the ledger: %w", err)
		}
		if err := rec.Fault.validate(); err != nil {
			return Table{}, fmt.Errorf("%s of %s: %w", rec.Test, rec.Package, err)
		}
		n := row{group: rec.Fault.Group, name: rec.Fault.Name, how: rec.Fault.How, pkg: rec.Package}
		have := byKey[n.key()]
		if have == nil {
			have = &n
			byKey[n.key()] = have
		}
		if have.how != n.how {
			return Table{}, fmt.Errorf("%s: %q is injected in two ways, %q and %q: give them names of their own, or one description",
				rec.Package, n.name, have.how, n.how)
		}
		have.lost += rec.Lost
		if rec.Fault.AtLeast > 0 {
			have.times, have.isFloor = have.times+rec.Fault.AtLeast, true
		} else {
			have.times += rec.Injected
		}
		if i, found := slices.BinarySearch(have.tests, rec.Test); !found {
			have.tests = slices.Insert(have.tests, i, rec.Test)
		}
	}
	var t Table
	for _, r := range byKey {
		t.rows = append(t.rows, *r)
	}
	t.sort()
	return t, nil
}

func (t Table) sort() {
	slices.SortFunc(t.rows, func(a, b row) int { return strings.Compare(a.key(), b.key()) })
}

// Len is the number of rows.
func (t Table) Len() int { return len(t.rows) }

// Replace returns t with the rows of these packages taken from other.
func (t Table) Replace(packages []string, other Table) Table {
	isOne := func(r row) bool { return slices.Contains(packages, r.pkg) }
	rows := slices.DeleteFunc(slices.Clone(t.rows), isOne)
	for _, r := range other.rows {
		if isOne(r) {
			rows = append(rows, r)
		}
	}
	t = Table{rows}
	t.sort()
	return t
}

func (r row) columns() []string {
	times := strconv.Itoa(r.times)
	if r.isFloor {
		times = "≥ " + times
	}
	lost := strconv.Itoa(r.lost)
	if r.lost == 0 {
		lost = "nothing"
	}
	return []string{r.name, r.how, times, lost, "`" + r.pkg + "`: " + strings.Join(r.tests, ", ")}
}

const head = "| fault | how it is injected | times | lost | test |\n|---|---|--:|---|---|\n"

// Bytes is the page in Markdown.
func (t Table) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString(preamble)
	var at Group
	for _, r := range t.rows {
		if r.group != at {
			at = r.group
			fmt.Fprintf(&b, "\n## %s\n\n%s", at, head)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r.columns(), " | "))
	}
	return b.Bytes()
}

// Parse reads a page that Bytes has written. It minds the rows alone, so that one on which two changes met
// can be read as well; of two rows for one fault the later counts.
func Parse(page []byte) (Table, error) {
	var t Table
	var at Group
	for i, line := range strings.Split(string(page), "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			at = Group(title)
		}
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| fault |") {
			continue
		}
		r, err := parseRow(at, line)
		if err != nil {
			return Table{}, fmt.Errorf("line %d: %w", i+1, err)
		}
		if i := slices.IndexFunc(t.rows, func(o row) bool { return o.key() == r.key() }); i >= 0 {
			t.rows[i] = r
		} else {
			t.rows = append(t.rows, r)
		}
	}
	t.sort()
	return t, nil
}

func parseRow(at Group, line string) (row, error) {
	c := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | ")
	if len(c) != 5 {
		return row{}, fmt.Errorf("%d columns, want 5: %s", len(c), line)
	}
	r := row{group: at, name: c[0], how: c[1]}
	var times string
	var err error
	if times, r.isFloor = strings.CutPrefix(c[2], "≥ "); !r.isFloor {
		times = c[2]
	}
	if r.times, err = strconv.Atoi(times); err != nil {
		return row{}, err
	}
	if c[3] != "nothing" {
		if r.lost, err = strconv.Atoi(c[3]); err != nil {
			return row{}, err
		}
	}
	pkg, tests, ok := strings.Cut(strings.TrimPrefix(c[4], "`"), "`: ")
	if !ok {
		return row{}, fmt.Errorf("no package and tests in %q", c[4])
	}
	r.pkg, r.tests = pkg, strings.Split(tests, ", ")
	return r, nil
}

// Differences says, a line each, where the committed table and what the tests recorded don't agree.
func Differences(committed, recorded Table) (lines []string) {
	have := map[string]row{}
	for _, r := range committed.rows {
		have[r.key()] = r
	}
	for _, r := range recorded.rows {
		c, ok := have[r.key()]
		delete(have, r.key())
		if !ok {
			lines = append(lines, fmt.Sprintf("%s: %q is recorded by %s, and not in the table", r.pkg, r.name, strings.Join(r.tests, ", ")))
		} else if was, is := strings.Join(c.columns()[1:], " | "), strings.Join(r.columns()[1:], " | "); was != is {
			lines = append(lines, fmt.Sprintf("%s: %q\n\ttable:    %s\n\trecorded: %s", r.pkg, r.name, was, is))
		}
		if r.lost != 0 {
			lines = append(lines, fmt.Sprintf("%s: %q lost %d", r.pkg, r.name, r.lost))
		}
	}
	for _, r := range committed.rows {
		if _, ok := have[r.key()]; ok {
			lines = append(lines, fmt.Sprintf("%s: %q is in the table, and no test records it", r.pkg, r.name))
		}
	}
	return lines
}
