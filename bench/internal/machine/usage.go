package machine

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is processor time that a process has used.
type Usage struct {
	User, System time.Duration
}

// Sub is the usage since o.
func (u Usage) Sub(o Usage) Usage { return Usage{u.User - o.User, u.System - o.System} }

// Self returns the usage of this process, all threads.
func Self() Usage {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return Usage{}
	}
	return Usage{time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())}
}

// clockTicks a second in /proc: 100 on every Linux that Go runs on.
const clockTicks = 100

// Of returns the usage of another process, to a hundredth of a second.
func Of(pid int) (Usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	// The name, in parentheses, may hold anything; utime and stime are fields 14 and 15.
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 13 {
		return Usage{}, fmt.Errorf("usage of process %d: %d fields", pid, len(f))
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return Usage{}, fmt.Errorf("usage of process %d: %q %q", pid, f[11], f[12])
	}
	tick := time.Second / clockTicks
	return Usage{time.Duration(user) * tick, time.Duration(system) * tick}, nil
}

// Memory is what a process holds, in bytes.
type Memory struct {
	PeakRSS int64 // since the start or ResetPeak; pages of mapped files count, once for each mapping
	Anon    int64 // its own memory now: heap, stacks, rings
}

// MemoryOf looks at a process; pid 0 is this one.
func MemoryOf(pid int) Memory {
	path := "/proc/self/status"
	if pid != 0 {
		path = fmt.Sprintf("/proc/%d/status", pid)
	}
	return Memory{
		PeakRSS: kilobytes(field(path, "VmHWM")),
		Anon:    kilobytes(field(path, "RssAnon")) + kilobytes(field(path, "RssShmem")),
	}
}

// ResetPeak makes the peak of this process its present size, where the kernel knows how.
func ResetPeak() {
	// Without it the peak holds the warm-up too, which is a little high and the same for all designs.
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}
