// Command suites runs SQLite's own tests, which are written in Tcl, through the shim.
//
//	make sqlite-suite                  all files, both modes
//	make sqlite-suite SUITE=wal2       the files whose name is that regular expression
//	make sqlite-suite SUITEFLAGS=-mode=pass
//
// SQLite's source comes as Debian's source package; it is built into two testfixtures of the same objects, one with the
// shim linked in and one without. Every file of files.txt runs in both, and has to end alike: the same cases fail, if
// any, and there are as many. What is known to differ is in expected.txt, each with its reason; a difference that isn't
// there fails the run, and so does a line that no longer holds. A file that differs is run once more, in both and with
// nothing beside it, before it is judged.
//
// Exit codes: 0 alike, 1 not, 2 usage, 3 SQLite's source, or Tcl, can't be had here.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.modes, "mode", "pass,replicated", "pass, replicated or both")
	flag.StringVar(&o.files, "files", "", "only the files whose whole name matches this regular expression")
	flag.StringVar(&o.work, "work", ".sqlite-suite", "folder for the source, the programs and the runs, below the module's")
	flag.DurationVar(&o.limit, "limit", 5*time.Minute, "for one file")
	flag.IntVar(&o.jobs, "j", runtime.NumCPU(), "files at a time")
	flag.BoolVar(&o.fast, "fast", false, "without the files that are marked slow")
	flag.BoolVar(&o.fetch, "fetch", false, "only fetch the source, and see to it that Tcl is there")
	flag.BoolVar(&o.verbose, "v", false, "a line for each file")
	flag.Parse()
	err := o.run(context.Background())
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "suites:", err)
	if errors.Is(err, errNoSource) {
		os.Exit(3)
	}
	os.Exit(1)
}

type options struct {
	modes, files, work string
	limit              time.Duration
	jobs               int
	fast               bool
	fetch, verbose     bool
}

func (o options) run(ctx context.Context) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	work := filepath.Join(root, o.work)
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	if err := installTcl(); err != nil {
		return err
	}
	source, err := fetch(work)
	if err != nil || o.fetch {
		return err
	}
	p, err := build(root, work, source)
	if err != nil {
		return err
	}
	s := &suite{runner: runner{p, filepath.Join(source, "test"), work, o.limit}, jobs: o.jobs, verbose: o.verbose}
	if s.expected, err = read(root, "expected.txt", parseExpected); err != nil {
		return err
	}
	if s.files, err = read(root, "files.txt", parseFiles); err != nil {
		return err
	}
	wanted, err := regexp.Compile("^(?:" + o.files + ")$")
	if err != nil {
		return fmt.Errorf("-files: %w", err)
	}
	var failed []string
	for m := range strings.SplitSeq(o.modes, ",") {
		if mode(m) != pass && mode(m) != replicated {
			return fmt.Errorf("-mode: %q is neither %s nor %s", m, pass, replicated)
		}
		var names []string
		for _, f := range s.files {
			isIn := mode(m) == pass || f.replicated
			if isIn && !(o.fast && f.slow) && (o.files == "" || wanted.MatchString(f.name)) {
				names = append(names, f.name)
			}
		}
		if len(names) == 0 {
			return fmt.Errorf("no file of files.txt is to be run in the mode %s", m)
		}
		bad, err := s.mode(ctx, mode(m), names)
		if err != nil {
			return err
		}
		failed = append(failed, bad...)
	}
	if len(failed) > 0 {
		return fmt.Errorf("not as without the shim:\n%s", strings.Join(failed, "\n"))
	}
	return nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// read reads a table that stands beside the program.
func read[T any](root, name string, parse func(string) (T, error)) (t T, err error) {
	text, err := os.ReadFile(filepath.Join(root, "test/suites", name))
	if err != nil {
		return t, err
	}
	return parse(string(text))
}

// testFile is a line of files.txt.
type testFile struct {
	name       string
	replicated bool // runs in that mode, too
	slow       bool // not with -fast
}

// parseFiles reads files.txt: a name, and what is said of it.
func parseFiles(text string) (all []testFile, err error) {
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		f := testFile{name: words[0]}
		for _, word := range words[1:] {
			switch word {
			case "replicated":
				f.replicated = true
			case "slow":
				f.slow = true
			default:
				return nil, fmt.Errorf("files.txt: %q: after the name comes replicated or slow", strings.TrimSpace(line))
			}
		}
		if seen[f.name] {
			return nil, fmt.Errorf("files.txt: %s is there twice", f.name)
		}
		seen[f.name] = true
		all = append(all, f)
	}
	return all, nil
}

// suite runs many files.
type suite struct {
	runner
	expected []*expectation
	files    []testFile
	jobs     int
	verbose  bool

	mu    sync.Mutex // for plain
	plain map[string]result
}

// outcome is what a file showed in a mode.
type outcome struct {
	cases, same int
	diff        []difference
}

// mode runs files in a mode and says what is not as it should be.
func (s *suite) mode(ctx context.Context, m mode, names []string) (bad []string, err error) {
	outcomes, errs := make([]outcome, len(names)), make([]error, len(names))
	slots := make(chan struct{}, s.jobs)
	var wg sync.WaitGroup
	for i, name := range names {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			outcomes[i], errs[i] = s.file(ctx, m, name)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	ran, cases, compared, again, known := map[string]bool{}, 0, 0, 0, 0
	for i, name := range names {
		if s.isNews(m, outcomes[i].diff) {
			again++
			s.forget(name)
			if outcomes[i], err = s.file(ctx, m, name); err != nil {
				return nil, err
			}
		}
		ran[name] = true
		cases, compared = cases+outcomes[i].cases, compared+outcomes[i].same
		for _, d := range outcomes[i].diff {
			if covers(s.expected, m, d) {
				known++
				continue
			}
			bad = append(bad, fmt.Sprintf("%s %s %s: %s", m, d.file, d.name, d.what))
		}
	}
	bad = append(bad, unheld(s.expected, m, ran)...)
	fmt.Printf("%s: %d files with %d cases; %d differences that are known, %d that are not; %d databases restored and compared; %d files run again\n",
		m, len(names), cases, known, len(bad), compared, again)
	return bad, nil
}

// isNews says whether a difference isn't known. It doesn't note that a line holds.
func (s *suite) isNews(m mode, diff []difference) bool {
	held := make([]bool, len(s.expected))
	for i, e := range s.expected {
		held[i] = e.held
	}
	news := false
	for _, d := range diff {
		news = news || !covers(s.expected, m, d)
	}
	for i, e := range s.expected {
		e.held = held[i]
	}
	return news
}

func (s *suite) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.plain, name)
}

// file runs one file without the shim, if it hasn't run so yet, and in the mode.
func (s *suite) file(ctx context.Context, m mode, name string) (out outcome, err error) {
	s.mu.Lock()
	want, ok := s.plain[name]
	s.mu.Unlock()
	if !ok {
		if want, _, err = s.run(ctx, plain, name); err != nil {
			return out, err
		}
		s.mu.Lock()
		if s.plain == nil {
			s.plain = map[string]result{}
		}
		s.plain[name] = want
		s.mu.Unlock()
	}
	got, books, err := s.run(ctx, m, name)
	if err != nil {
		return out, err
	}
	out.cases, out.diff = want.cases, compare(name, want, got)
	if m == replicated {
		same, diff, err := readBook(name, books)
		if err != nil {
			return out, err
		}
		out.same, out.diff = same, append(out.diff, diff...)
	}
	if s.verbose {
		fmt.Printf("%s\t%s\t%d cases\t%d failed\t%d differ\tplain %.1fs\t%.1fs\t%s\n", m, name, want.cases, len(want.failed), len(out.diff),
			want.took.Seconds(), got.took.Seconds(), want.end)
	}
	return out, nil
}
