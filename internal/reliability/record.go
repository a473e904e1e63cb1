package reliability

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
)

// Env names the file to which records are appended.
const Env = "SEAWAL_RELIABILITY"

// A Group is a section of the table.
type Group string

// The groups, in the order of the table.
const (
	Process   Group = "The process dies"
	Power     Group = "The power fails"
	Disk      Group = "The disk fails"
	Store     Group = "The store fails"
	Strangers Group = "Others use the file or the replica"
	Use       Group = "Every way to use SQLite"
	Incident  Group = "Incidents known from other tools"
	Input     Group = "Bad input"
	Durable   Group = "What was called durable"
	Live      Group = "The live database"
	Outside   Group = "Damage from outside"
	Hostile   Group = "Hostile objects"
)

var groups = []Group{Process, Power, Disk, Store, Durable, Live, Outside, Hostile, Strangers, Use, Incident, Input}

// Fault says what was done to the system, in the words of the table.
type Fault struct {
	Group Group
	Name  string // what happens: "kill -9 at a random moment"
	How   string // how the test makes it happen, one sentence without a full stop

	// AtLeast is how many times the test injects the fault in any run, where that is not always the same number.
	AtLeast int
}

// T is what Record needs of a testing.TB.
type T interface {
	Helper()
	Errorf(format string, args ...any)
	Name() string
	Failed() bool
	Cleanup(func())
}

// record is a line of the ledger.
type record struct {
	Package  string
	Test     string // without its subtests
	Fault    Fault
	Injected int
	Lost     int
}

// Record notes that f was injected a number of times, and that lost of whatever the test guards was lost by it. It
// fails the test if lost isn't 0, if the fault was injected fewer times than promised, or if the record can't be
// written. The line is written when the test has ended and has not failed.
func Record(t T, f Fault, injected, lost int) {
	t.Helper()
	if err := f.validate(); err != nil {
		t.Errorf("%v", err)
		return
	}
	if lost != 0 {
		t.Errorf("%s: %d lost in %d times, want none", f.Name, lost, injected)
	}
	if floor := max(f.AtLeast, 1); injected < floor {
		t.Errorf("%s: injected %d times, want %d at least", f.Name, injected, floor)
	}
	name := os.Getenv(Env)
	if name == "" {
		return
	}
	test, _, _ := strings.Cut(t.Name(), "/")
	r := record{Package: testedPackage(), Test: test, Fault: f, Injected: injected, Lost: lost}
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		if err := r.appendTo(name); err != nil {
			t.Errorf("the ledger of reliability: %v", err)
		}
	})
}

func (f Fault) validate() error {
	for _, s := range []string{f.Name, f.How} {
		if s == "" || strings.TrimSpace(s) != s || strings.ContainsAny(s, "|\n") || strings.HasSuffix(s, ".") {
			return fmt.Errorf("a fault's Name and How are a phrase each, without a full stop, line break or %q: %q", "|", s)
		}
	}
	if !slices.Contains(groups, f.Group) {
		return fmt.Errorf("fault %q is in the group %q, which is none of %q", f.Name, f.Group, groups)
	}
	if f.AtLeast < 0 {
		return fmt.Errorf("fault %q is injected at least %d times", f.Name, f.AtLeast)
	}
	return nil
}

// testedPackage is the package whose test binary this is, relative to the module.
func testedPackage() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return strings.TrimPrefix(strings.TrimSuffix(info.Path, ".test"), info.Main.Path+"/")
}

// appendTo writes the record with one write, so that processes may share the file.
func (r record) appendTo(name string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(b, '\n')); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
