// Package machine describes the machine that a benchmark ran on, and what a process on it used.
package machine

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Machine is the environment of a run: whatever a reader needs to judge its numbers.
type Machine struct {
	CPU        string  `json:"cpu"`
	CPUs       int     `json:"cpus"`
	Memory     int64   `json:"memory"` // bytes
	OS         string  `json:"os"`     // name and release of the kernel
	FileSystem string  `json:"file_system"`
	Device     string  `json:"device"`
	Load       float64 `json:"load"` // average of the minute before
	Go         string  `json:"go"`
	SQLite     string  `json:"sqlite"`
	Driver     string  `json:"driver"`               // module and version of the SQLite driver
	Litestream string  `json:"litestream,omitempty"` // its version, where it is on PATH
	Revision   string  `json:"revision"`

	// Fsync is how long appending 4 KiB and fdatasync take in the folder of the databases.
	FsyncP50 time.Duration `json:"fsync_p50_ns"`
	FsyncP99 time.Duration `json:"fsync_p99_ns"`
}

// Describe looks at the machine and measures the disk that holds dir. What
// cannot be found out stays empty.
func Describe(dir string) (Machine, error) {
	m := Machine{
		CPU: cpuModel(), CPUs: runtime.GOMAXPROCS(0), Memory: memory(), OS: kernel(), Load: load(),
		Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, Revision: revision(),
	}
	m.FileSystem, m.Device = mount(dir)
	var err error
	m.FsyncP50, m.FsyncP99, err = fsyncTime(dir)
	return m, err
}

// Quiet reports whether the machine had nothing else to do before the run.
func (m Machine) Quiet() bool { return m.Load < 0.5*float64(m.CPUs) }

// OnDisk reports whether fsync means anything in the folder of the databases.
func (m Machine) OnDisk() bool { return m.FileSystem != "tmpfs" && m.FileSystem != "ramfs" }

func cpuModel() string {
	return field("/proc/cpuinfo", "model name")
}

func memory() int64 {
	return kilobytes(field("/proc/meminfo", "MemTotal"))
}

// field returns what follows the first "name:" at the start of a line.
func field(path, name string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// kilobytes parses "123 kB" into bytes.
func kilobytes(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSuffix(s, " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return "Linux " + strings.TrimSpace(string(b))
}

func load() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}

// mount finds the file system below dir: the mount point that is its longest prefix.
func mount(dir string) (fs, device string) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", ""
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", ""
	}
	best := -1
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		f := strings.Fields(sc.Text())
		if len(f) < 3 || len(f[1]) < best {
			continue
		}
		if f[1] == "/" || abs == f[1] || strings.HasPrefix(abs, f[1]+"/") {
			device, fs, best = f[0], f[2], len(f[1])
		}
	}
	return fs, device
}

// revision names the commit of the source tree, for a report that says which code made it.
func revision() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	rev := strings.TrimSpace(string(out))
	if out, err := exec.Command("git", "status", "--porcelain", "-uno").Output(); err == nil && len(out) > 0 {
		rev += " (modified)"
	}
	return rev
}

// fsyncs is how many are measured: two seconds' worth on a disk that takes 10 ms.
const fsyncs = 200

// fsyncTime measures appending a page and syncing it, which is what a commit with synchronous=FULL waits for.
func fsyncTime(dir string) (p50, p99 time.Duration, err error) {
	f, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return 0, 0, fmt.Errorf("measuring the disk: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	page := make([]byte, 4096)
	took := make([]time.Duration, 0, fsyncs)
	limit := time.Now().Add(2 * time.Second)
	for len(took) < fsyncs && (len(took) < 10 || time.Now().Before(limit)) {
		start := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, 0, fmt.Errorf("measuring the disk: %w", err)
		}
		if err := DataSync(f); err != nil {
			return 0, 0, fmt.Errorf("measuring the disk: %w", err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], nil
}
