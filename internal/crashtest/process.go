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

// envOrders makes a program that calls Child a process to be killed.
const envOrders = "SEAWAL_CRASHTEST_ORDERS"

// What a program built with the tag seawal_killpoints reads: see internal/killpoint.
const (
	envKill    = "SEAWAL_KILL"
	envKillLog = "SEAWAL_KILL_LOG"
)

// patience is after how long without an event a process is taken to hang.
const patience = 2 * time.Minute

// end is how a process ends. The zero value: by itself.
type end struct {
	event  int    // it is killed at its n-th event
	point  string // or kills itself at an arrival at this point
	n      int    // the n-th one
	survey string // arrivals at points are written to this file
}

// Child runs the process that was ordered by the environment, and ends the program with it. A program whose Executable histories
// use calls it first; it returns if nothing was ordered.
func Child() {
	text := os.Getenv(envOrders)
	if text == "" {
		return
	}
	if err := obey(text); err != nil {
		fmt.Fprintln(os.Stderr, "crashtest:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func obey(text string) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	if o.Restore != nil {
		return o.Restore.run(context.Background())
	}
	return runJobs(context.Background(), o.Jobs)
}

// incarnate runs a process of exe, has it end as told, and returns every event that it got out. killed is false if it ended by
// itself, which is an error unless the end is at a point or there is none.
func incarnate(ctx context.Context, exe, log string, o orders, e end) (events []event, killed bool, err error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, false, err
	}
	stderr, err := os.Create(log)
	if err != nil {
		return nil, false, err
	}
	defer stderr.Close()
	fmt.Fprintf(stderr, "orders %s, ends %+v\n", text, e)
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), envOrders+"="+string(text), "GOTRACEBACK=all", envKillLog+"="+e.survey)
	if e.point != "" {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%s:%d", envKill, e.point, e.n))
	}
	cmd.Stderr = stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, false, err
	}
	if err := cmd.Start(); err != nil {
		return nil, false, err
	}
	// A process that hangs prints what its goroutines do.
	hangs := make(chan struct{})
	watch := time.AfterFunc(patience, func() { close(hangs); _ = cmd.Process.Signal(syscall.SIGQUIT) })
	var rerr error
	for dec := json.NewDecoder(out); ; {
		var ev event
		if rerr = dec.Decode(&ev); rerr != nil {
			break
		}
		watch.Reset(patience)
		// What is in the pipe after the kill was written before it.
		if events = append(events, ev); len(events) == e.event {
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return events, false, err
			}
		}
	}
	err = cmd.Wait()
	isHanging := !watch.Stop() && isClosed(hangs)
	var exit *exec.ExitError
	wasKilled := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
	switch {
	case len(events) > 0 && events[len(events)-1].Kind == broken:
		return events, false, fmt.Errorf("the workload found: %s", events[len(events)-1].Text)
	case isHanging:
		return events, false, fmt.Errorf("the process made no progress for %v; its goroutines are in %s", patience, log)
	case wasKilled && (e.event > 0 || e.point != ""):
		return events, true, nil // its last line may be cut short
	case err != nil:
		return events, false, fmt.Errorf("the process ended by itself: %w (%s)", err, log)
	case rerr != io.EOF:
		return events, false, fmt.Errorf("reading events: %w", rerr)
	}
	return events, false, nil
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
