//go:build seawal_killpoints

package killpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled says that points are compiled in.
const Enabled = true

var (
	name, after = plan(os.Getenv("SEAWAL_KILL"))
	hits        atomic.Int64 // of name
	log         = os.Getenv("SEAWAL_KILL_LOG")
)

// plan reads "name:n"; a name alone means its first hit.
func plan(text string) (name string, n int64) {
	name, count, found := strings.Cut(text, ":")
	if !found {
		return name, 1
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		panic("SEAWAL_KILL is name:n, not " + text)
	}
	return name, n
}

// Hit ends the process if the environment names this point and its count is reached. Safe for concurrent use.
func Hit(point string) {
	if log != "" {
		arrived(point)
	}
	if point != name || hits.Add(1) != after {
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL) // nothing but a bug makes it fail, and then
	select {}                                           // the process must not go on
}

// arrived appends the point to the log with one write, so that processes and the C side may share it.
func arrived(point string) {
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err == nil {
		_, err = f.WriteString(point + "\n")
	}
	if err != nil {
		panic("SEAWAL_KILL_LOG: " + err.Error())
	}
	_ = f.Close() // all of it is written
}
