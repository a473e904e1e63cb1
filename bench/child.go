package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/bench/internal/design"
	"seawal/bench/internal/machine"
	"seawal/bench/internal/result"
	"seawal/bench/internal/workload"
)

// childArg makes this program do one measurement: a workload.Job comes in on stdin, a result.Run goes
// out on stdout. Each has a process of its own so that processor time, memory and the
// garbage collector's work are that of one design, and nothing is inherited from the measurement before.
const childArg = "-measure-one"

// child is the whole program of such a process. It returns the exit code.
func child(in io.Reader, out io.Writer) int {
	var j workload.Job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		fmt.Fprintln(os.Stderr, "reading the job:", err)
		return 2
	}
	r, err := workload.Do(context.Background(), j)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err := json.NewEncoder(out).Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "writing the result:", err)
		return 2
	}
	return 0
}

// grace is how long a measurement may take beyond the limit of its operations: copying, warming
// up, shipping, closing, and the operations of a workload that has no limit.
const grace = 3 * time.Minute

// measure does a job in a new process. A job that fails is a Run with an Error; the error returned
// is about the run as a whole.
func (m *measurer) measure(ctx context.Context, j workload.Job) (result.Run, error) {
	jobCtx, cancel := context.WithTimeout(ctx, j.Limit+grace)
	defer cancel()
	in, err := json.Marshal(j)
	if err != nil {
		return result.Run{}, err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(jobCtx, m.exe, childArg)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &stdout, &stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		return result.Run{}, errors.New("interrupted")
	}
	r := result.Run{Design: j.Design, Pair: j.Pair, Order: j.Order}
	switch {
	case jobCtx.Err() != nil:
		r.Error = fmt.Sprintf("not done after %v; killed", j.Limit+grace)
	case err != nil:
		r.Error = fmt.Sprintf("%v: %s", err, lastLines(stderr.String()))
	default:
		if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
			r.Error = fmt.Sprintf("result not understood: %v: %s", err, lastLines(stdout.String()))
		}
	}
	return r, nil
}

// lastLines is the end of what a process had to say.
func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], " | ")
}

// describeDesigns fills in the versions of what is compared.
func describeDesigns(m *machine.Machine) {
	version, _, _ := sqlite3.Version()
	m.SQLite, m.Litestream = version, design.LitestreamVersion()
	const path = "github.com/mattn/go-sqlite3"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				m.Driver = d.Path + " " + d.Version
			}
		}
	}
}

// writeFile writes a file with fn; a path of "" is none.
func writeFile(path string, fn func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(fn(f), f.Close())
}

// readFile reads what -json wrote.
func readFile(path string) (*result.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return result.Read(f)
}
