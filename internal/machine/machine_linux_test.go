package machine

import (
	"path/filepath"
	"testing"
	"time"
)

func TestBootTime(t *testing.T) {
	for _, tt := range []struct {
		name, stat string
		want       int64
	}{
		{name: "as the kernel writes it", stat: "cpu  1 2 3\nctxt 5\nbtime 1700000000\nprocesses 9\n", want: 1700000000e9},
		{name: "no such line", stat: "cpu  1 2 3\n"},
		{name: "empty", stat: ""},
		{name: "not a number", stat: "btime soon\n"},
		{name: "the clock was not set", stat: "btime 0\n"},
		{name: "beyond what nanoseconds hold", stat: "btime 9223372036854775807\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := bootTime([]byte(tt.stat)); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// What the kernel says of this machine is before now, and the same for all paths until somebody pretends.
func TestLast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	b := Last(path)
	if !b.Known() || b.Time > time.Now().UnixNano() || b != Last("/") {
		t.Errorf("the machine was started at %+v", b)
	}
	Pretend(path, Boot{ID: "another", Time: 5})
	if got := Last(path); got != (Boot{ID: "another", Time: 5}) {
		t.Errorf("got %+v", got)
	}
	if got := Last("/"); got != b {
		t.Errorf("another file: %+v", got)
	}
}
