package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// envJob makes the test binary a workload process.
const envJob = "SEAWAL_CRASHTEST_JOB"

// patience is after how long without an event an incarnation is taken to hang.
const patience = 60 * time.Second

// incarnate runs a workload process, kills it at its n-th event, or never if n is
// 0, and returns every event that it got out.
func incarnate(ctx context.Context, j job, n int) (events []event, err error) {
	log := j.log()
	text, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	stderr, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	fmt.Fprintf(stderr, "job %s, killed at event %d\n", text, n)
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), envJob+"="+string(text), "GOTRACEBACK=all")
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	// A process that hangs prints what its goroutines do.
	hangs := false
	watch := time.AfterFunc(patience, func() { hangs = true; _ = cmd.Process.Signal(syscall.SIGQUIT) })
	var rerr error
	for dec := json.NewDecoder(out); ; {
		var e event
		if rerr = dec.Decode(&e); rerr != nil {
			break
		}
		watch.Reset(patience)
		// What is in the pipe after the kill was written before it.
		if events = append(events, e); len(events) == n {
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return events, err
			}
		}
	}
	err = cmd.Wait()
	watch.Stop()
	var exit *exec.ExitError
	switch {
	case len(events) > 0 && events[len(events)-1].Kind == broken:
		return events, fmt.Errorf("the workload found: %s", events[len(events)-1].Text)
	case hangs:
		return events, fmt.Errorf("the workload made no progress for %v; its goroutines are in %s", patience, log)
	case n > 0 && errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return events, nil // its last line may be cut short
	case err != nil:
		return events, fmt.Errorf("the workload ended by itself: %w (%s)", err, log)
	case rerr != io.EOF:
		return events, fmt.Errorf("reading events: %w", rerr)
	}
	return events, nil
}
