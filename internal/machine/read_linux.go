package machine

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"time"
)

// read asks the kernel. A container that hides /proc gets the zero Boot.
func read() (b Boot) {
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		b.ID = strings.TrimSpace(string(id))
	}
	if stat, err := os.ReadFile("/proc/stat"); err == nil {
		b.Time = bootTime(stat)
	}
	return b
}

// bootTime is the line "btime SECONDS" of /proc/stat, in nanoseconds; 0 when there is none.
func bootTime(stat []byte) int64 {
	for line := range bytes.Lines(stat) {
		text, ok := bytes.CutPrefix(line, []byte("btime "))
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(text)), 10, 64)
		if err != nil || n <= 0 || n > int64(1<<62)/int64(time.Second) {
			return 0
		}
		return n * int64(time.Second)
	}
	return 0
}
