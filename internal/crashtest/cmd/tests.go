package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
)

// suite is the tests of a package that draw what they do.
type suite struct {
	pkg, run string
	rapid    bool // takes its seed as a flag
}

var suites = []suite{
	{"./vfs", "^(TestCaptureRandom|TestHoldFaults|TestReplicasAtRandom|TestAcknowledgementOracle)$", false},
	{"./shipper", "^(TestRandomWorkload|TestHosts|TestClonesAreFenced|TestClonesRace)$", true},
	{"./compaction", "^TestModel$", true},
	{"./internal/segment", "^(TestDeltaProperties|TestObjectProperties|TestAppendDeltaOddLengths)$", true},
}

// tests builds the suites when they are first wanted, with the race detector.
type tests struct {
	root, dir string

	once sync.Once
	err  error // of building
}

func (t *tests) build(ctx context.Context) error {
	for _, s := range suites {
		cmd := exec.CommandContext(ctx, "go", "test", "-race", "-c", "-o", t.binary(s), s.pkg)
		cmd.Dir = t.root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go test -c %s: %w\n%s", s.pkg, err, out)
		}
	}
	return nil
}

func (t *tests) binary(s suite) string { return filepath.Join(t.dir, filepath.Base(s.pkg)+".test") }

// live runs the suite that the seed chooses, with that seed.
func (t *tests) live(ctx context.Context, seed uint64) error {
	t.once.Do(func() { t.err = t.build(ctx) })
	if t.err != nil {
		return t.err
	}
	s := suites[seed%uint64(len(suites))]
	args := []string{"-test.run", s.run, "-test.timeout", "20m"}
	if s.rapid {
		args = append(args, "-rapid.seed", strconv.FormatUint(seed, 10), "-rapid.nofailfile")
	}
	cmd := exec.CommandContext(ctx, t.binary(s), args...)
	cmd.Dir = filepath.Join(t.root, s.pkg)
	cmd.Env = append(os.Environ(), "SEAWAL_SEED="+strconv.FormatUint(seed, 10))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", s.pkg, args, err, out)
	}
	return nil
}
