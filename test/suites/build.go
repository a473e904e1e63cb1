package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
)

// counters are what the tests of SQLite set to have calls fail, or read to see how often something was done. They are
// global: the shipper's threads, which use the same SQLite, would use the faults up. So each thread has its own.
var counters = regexp.MustCompile(`(?m)^(\s*(?:extern )?)int (sqlite3_(?:io_error_\w+|diskfull\w*|open_file_count|(?:full)?sync_count|opentemp_count)\b)`)

// patch changes the source for the one thing that neither flags nor the glue can: simulated faults are for the thread
// that runs the tests.
func patch(dir string) error {
	var names []string
	for _, pattern := range []string{"src/*.c", "src/*.h"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		names = append(names, found...)
	}
	changed := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		to := counters.ReplaceAllString(string(text), "${1}__thread int $2")
		if filepath.Base(name) == "test_malloc.c" {
			to = strings.Replace(to, "static int faultsimStep(void){\n",
				"extern __thread int suiteIsTestThread;\nstatic int faultsimStep(void){\n  if( !suiteIsTestThread ) return 0;\n", 1)
		}
		if to == string(text) {
			continue
		}
		changed++
		if err := os.WriteFile(name, []byte(to), 0o644); err != nil {
			return err
		}
	}
	// os.c, os_common.h, os_unix.c, pager.c, test1.c, test2.c and test_malloc.c at least.
	if changed < 7 {
		return fmt.Errorf("SQLite %s: only %d files have what is to be made local to a thread: look at the patch in test/suites/build.go",
			sourceVersion, changed)
	}
	return nil
}

// programs are the two that the tests run in.
type programs struct {
	plain  string // SQLite as it is
	seawal string // the same objects, with the shim
}

// build makes the programs in work. What hasn't changed since isn't built again.
func build(root, work, source string) (programs, error) {
	dir := filepath.Join(work, "build")
	p := programs{filepath.Join(dir, "plain"), filepath.Join(dir, "seawal")}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return p, err
	}
	f, err := configure(dir, source)
	if err != nil {
		return p, err
	}
	objects, err := f.compile(dir)
	if err != nil {
		return p, err
	}
	stub := filepath.Join(dir, "stub")
	if err := f.library(dir, stub); err != nil {
		return p, err
	}
	archive := filepath.Join(dir, "seawal.a")
	cmd := append(goCommand(root, dir, stub), "build", "-buildmode=c-archive", "-tags", "libsqlite3 seawal_everyfile",
		"-o", archive, "./test/suites/fixture")
	if err := command(root, cmd[0], cmd[1:]...); err != nil {
		return p, fmt.Errorf("build the archive with the shim: %w", err)
	}
	if err := f.link(root, dir, p.plain, objects); err != nil {
		return p, err
	}
	return p, f.link(root, dir, p.seawal, objects, "-DSUITE_SEAWAL", archive)
}

// goCommand is the go command, with the SQLite that is being tested in place of go-sqlite3's.
func goCommand(root, dir, stub string) []string {
	goTool := os.Getenv("GO")
	if goTool == "" {
		goTool = "go"
	}
	return []string{"env", "CGO_ENABLED=1", "CGO_CFLAGS=-O1 -g1 -I" + dir, "CGO_LDFLAGS=-L" + stub, goTool}
}

// fixture is how SQLite's makefile builds testfixture.
type fixture struct {
	flags   []string // of the compiler
	sources []string
	tcl     []string // flags to compile and link with Tcl
	libs    []string
}

// configure has SQLite's makefile generate its sources, and say how it would go on.
func configure(dir, source string) (*fixture, error) {
	tcl, err := tclConfig()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(dir, "Makefile")); errors.Is(err, os.ErrNotExist) {
		if err := command(dir, filepath.Join(source, "configure"), "--with-tcl="+filepath.Dir(tcl), "--enable-fts3", "--enable-fts5",
			"--enable-rtree", "CFLAGS=-O1 -g1"); err != nil {
			return nil, fmt.Errorf("configure SQLite: %w", err)
		}
	}
	if err := command(dir, "make", "-s", "sqlite3.c", "tclsqlite-ex.c"); err != nil {
		return nil, fmt.Errorf("generate SQLite's sources: %w", err)
	}
	plan, err := output(dir, "make", "-n", "testfixture")
	if err != nil {
		return nil, err
	}
	plan = strings.ReplaceAll(plan, "\\\n", " ")
	specs, err := output(dir, "sh", "-c", ". "+tcl+"; echo $TCL_INCLUDE_SPEC; echo $TCL_LIB_SPEC $TCL_LIBS")
	if err != nil {
		return nil, err
	}
	include, lib, _ := strings.Cut(specs, "\n")
	f := &fixture{tcl: strings.Fields(include), libs: strings.Fields(lib)}
	for line := range strings.Lines(plan) {
		if strings.Contains(line, "-o testfixture ") {
			f.read(line)
		}
	}
	if len(f.sources) < 50 || len(f.flags) < 10 {
		return nil, fmt.Errorf("SQLite's makefile doesn't say how testfixture is built in a way that is understood here:\n%s", plan)
	}
	return f, nil
}

// tclConfig finds the file that says how to link with Tcl.
func tclConfig() (string, error) {
	for _, pattern := range []string{"/usr/lib/tcl8*/tclConfig.sh", "/usr/lib/*/tcl8*/tclConfig.sh", "/usr/local/lib/tclConfig.sh"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0], nil
		}
	}
	return "", errors.New("there is no tclConfig.sh: install Tcl with its headers (Debian: apt-get install tcl-dev)")
}

// read takes the compiler's flags and the sources from the makefile's command.
func (f *fixture) read(line string) {
	for _, word := range strings.Fields(line) {
		switch word = strings.ReplaceAll(word, `"`, ""); {
		case strings.HasSuffix(word, ".c"):
			f.sources = append(f.sources, word)
		case strings.HasPrefix(word, "-DTCLSH_INIT_PROC="):
			f.flags = append(f.flags, "-DTCLSH_INIT_PROC=suiteInit")
		case strings.HasPrefix(word, "-D"), strings.HasPrefix(word, "-I"), strings.HasPrefix(word, "-O"),
			strings.HasPrefix(word, "-g"), strings.HasPrefix(word, "-f"):
			f.flags = append(f.flags, word)
		case strings.HasPrefix(word, "-l"):
			f.libs = append(f.libs, word)
		}
	}
	f.flags = append(f.flags, "-DSQLITE_ENABLE_SNAPSHOT", "-DSQLITE_EXTRA_INIT=suiteExtraInit")
}

// compile makes an object of each source and returns them.
func (f *fixture) compile(dir string) ([]string, error) {
	if err := os.MkdirAll(filepath.Join(dir, "o"), 0o755); err != nil {
		return nil, err
	}
	objects, errs := make([]string, len(f.sources)), make([]error, len(f.sources))
	slots := make(chan struct{}, runtime.NumCPU())
	var wg sync.WaitGroup
	for i, source := range f.sources {
		objects[i] = filepath.Join(dir, "o", strings.TrimSuffix(filepath.Base(source), ".c")+".o")
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if source = absolute(dir, source); !isOlder(objects[i], source) {
				return
			}
			args := append([]string{"-c", "-w", "-o", objects[i], source}, f.flags...)
			errs[i] = command(dir, compiler(), append(args, f.tcl...)...)
		})
	}
	wg.Wait()
	return objects, errors.Join(errs...)
}

func compiler() string {
	if cc := os.Getenv("CC"); cc != "" {
		return cc
	}
	return "cc"
}

func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// isOlder says whether a file is to be made again from another one.
func isOlder(name, from string) bool {
	a, err := os.Stat(name)
	if err != nil {
		return true
	}
	b, err := os.Stat(from)
	return err != nil || a.ModTime().Before(b.ModTime())
}

// library makes a libsqlite3.so of the object, for cgo's own linking alone: it looks for one.
func (f *fixture) library(dir, stub string) error {
	object, lib := filepath.Join(dir, "o", "sqlite3.o"), filepath.Join(stub, "libsqlite3.so")
	if !isOlder(lib, object) {
		return nil
	}
	if err := os.MkdirAll(stub, 0o755); err != nil {
		return err
	}
	return command(dir, compiler(), "-shared", "-o", lib, object)
}

// link makes a program of the objects, the glue and what is given.
func (f *fixture) link(root, dir, to string, objects []string, more ...string) error {
	args := []string{"-o", to, "-g1", "-I" + filepath.Join(root, "vfs"), filepath.Join(root, "test/suites/glue/glue.c")}
	args = append(append(append(args, f.tcl...), objects...), more...)
	args = append(append(args, f.libs...), "-lpthread", "-lresolv")
	if err := command(dir, compiler(), args...); err != nil {
		return fmt.Errorf("link %s: %w", filepath.Base(to), err)
	}
	return nil
}
