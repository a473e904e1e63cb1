// Command bench measures what replication costs the application that writes: plain
// go-sqlite3 beside seawal, in one run, in interleaved pairs. README.md says how to read the result.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"seawal/bench/internal/machine"
	"seawal/bench/internal/report"
	"seawal/bench/internal/result"
	"seawal/bench/internal/workload"
)

// options are the flags.
type options struct {
	args    []string // as they were given
	quick   bool
	run     *regexp.Regexp
	pairs   int
	seconds float64
	budget  time.Duration
	dir     string
	json    string
	html    string
	from    string
	list    bool
}

// The length of a measurement of weight 1, in seconds, and of everything together.
const (
	fullSeconds  = 1.0
	quickSeconds = 0.3
	fullBudget   = 9*time.Minute + 30*time.Second
	quickBudget  = 45 * time.Second
)

func parseFlags(args []string) (options, error) {
	o := options{args: args}
	var run string
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.BoolVar(&o.quick, "quick", false, "small databases and few pairs, within a minute; its numbers are an impression")
	fs.StringVar(&run, "run", "", "only workloads whose name matches this regular `expression`")
	fs.IntVar(&o.pairs, "pairs", 0, "measurements of each design in a workload (default: 9 where there are targets)")
	fs.Float64Var(&o.seconds, "seconds", 0, "length of a measurement of plain SQLite (default 1; with -quick 0.3)")
	fs.DurationVar(&o.budget, "budget", 0, "cut the pairs of workloads without targets to end within this time (default 9m30s; with -quick 45s; none with -pairs or -run)")
	fs.StringVar(&o.dir, "dir", "", "`folder` for the databases: on the disk that is to be measured (default: a temporary one)")
	fs.StringVar(&o.json, "json", "", "write every measurement to this `file`")
	fs.StringVar(&o.html, "html", "", "write the report to this `file`: one page, no network")
	fs.StringVar(&o.from, "from", "", "measure nothing: print and report what an earlier run wrote to this `file` with -json")
	fs.BoolVar(&o.list, "list", false, "list the workloads, and how long they would take, and end")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; -run takes the workloads to be measured", fs.Arg(0))
	}
	var err error
	if o.run, err = regexp.Compile(run); err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	if o.pairs < 0 || o.seconds < 0 || o.budget < 0 {
		return o, errors.New("-pairs, -seconds and -budget can't be negative")
	}
	if o.budget == 0 && run == "" && o.pairs == 0 {
		o.budget = fullBudget
		if o.quick {
			o.budget = quickBudget
		}
	}
	if o.seconds == 0 {
		o.seconds = fullSeconds
		if o.quick {
			o.seconds = quickSeconds
		}
	}
	return o, nil
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == childArg {
		os.Exit(child(os.Stdin, os.Stdout))
	}
	os.Exit(command(os.Args[1:]))
}

// command is the program. It returns the exit code.
func command(args []string) int {
	o, err := parseFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	switch {
	case o.list:
		list(o)
	case o.from != "":
		err = again(o)
	default:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// list prints the workloads that match, and how long they would take here.
func list(o options) {
	var groups []group
	for _, s := range workload.All() {
		if !o.run.MatchString(s.Name) {
			continue
		}
		fmt.Printf("%-16s %s\n%16s %s\n", s.Name, s.Title, "", s.Why)
		if g := available(s); len(g.skipped) > 0 {
			fmt.Printf("%16s not here: %s\n", "", strings.Join(g.skipped, "; "))
		}
	}
	for _, s := range choose(o) {
		groups = append(groups, available(s))
	}
	all, flexible := estimates(groups, o)
	fmt.Printf("\nabout %s", minutes(all))
	if o.budget > 0 {
		fmt.Printf(", to be cut to %s: %s of it may lose pairs", minutes(o.budget.Seconds()), minutes(flexible))
	}
	fmt.Println()
}

// run measures, prints the tables and writes the files.
func run(ctx context.Context, o options) (err error) {
	specs := choose(o)
	if len(specs) == 0 {
		return fmt.Errorf("no workload matches %q; -list shows them", o.run)
	}
	dir, remove, err := scratch(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	f := &result.File{Format: result.FormatVersion, Started: time.Now(), Flags: o.args}
	if f.Environment, err = machine.Describe(dir); err != nil {
		return err
	}
	describeDesigns(&f.Environment)
	report.Environment(os.Stdout, f)

	m := &measurer{o: o, dir: dir, file: f, progress: newProgress(os.Stderr)}
	if m.exe, err = os.Executable(); err != nil {
		return err
	}
	err = m.all(ctx, specs)
	f.Elapsed = time.Since(f.Started).Seconds()
	report.Targets(os.Stdout, f)
	return errors.Join(err, writeFile(o.json, f.Write), writeFile(o.html, func(w io.Writer) error { return report.HTML(w, f) }))
}

// again prints an earlier run, and makes its report anew.
func again(o options) error {
	f, err := readFile(o.from)
	if err != nil {
		return err
	}
	report.Environment(os.Stdout, f)
	for i := range f.Workloads {
		report.Workload(os.Stdout, f, &f.Workloads[i])
	}
	report.Targets(os.Stdout, f)
	return writeFile(o.html, func(w io.Writer) error { return report.HTML(w, f) })
}

// choose returns the workloads of this run, in the size and with the pairs that were asked for.
func choose(o options) []workload.Spec {
	var out []workload.Spec
	for _, s := range workload.All() {
		if !o.run.MatchString(s.Name) {
			continue
		}
		if o.quick {
			// What was named is measured, even if quick runs leave it out otherwise.
			named := o.run.String() != ""
			if s = s.ForQuick(); s.Pairs == 0 && named {
				s.Pairs = 1
			}
		}
		if s.Pairs > 1 && o.pairs > 0 {
			s.Pairs = o.pairs
		}
		if s.Pairs > 0 {
			out = append(out, s)
		}
	}
	return out
}

// scratch makes the folder that everything happens in, and returns what removes it.
func scratch(parent string) (dir string, remove func() error, err error) {
	if parent != "" {
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return "", nil, err
		}
	}
	if dir, err = os.MkdirTemp(parent, "seawal-bench-"); err != nil {
		return "", nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}
