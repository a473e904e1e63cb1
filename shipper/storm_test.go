package shipper

import (
	"testing"
	"time"
)

func TestStorm(t *testing.T) {
	type diff struct{ after, took time.Duration }
	for _, c := range []struct {
		name  string
		diffs []diff
		want  int // the first one that is said to be one of a row without an end; 0: none
	}{
		{"one follows the other", []diff{{0, time.Second}, {100 * time.Millisecond, time.Second}, {time.Second, 2 * time.Second}}, 3},
		{"two by chance", []diff{{0, time.Second}, {time.Millisecond, time.Second}}, 0},
		{"with time between them", []diff{{0, time.Second}, {2 * time.Second, time.Second}, {2 * time.Second, time.Second}, {2 * time.Second, time.Second}}, 0},
		{"a pause ends a row", []diff{{0, time.Second}, {0, time.Second}, {time.Hour, time.Second}, {0, time.Second}, {0, time.Second}}, 5},
		{"of a small database", []diff{{0, time.Millisecond}, {0, time.Millisecond}, {0, time.Millisecond}, {0, time.Millisecond}}, 0},
	} {
		var m storm
		now, got := time.Unix(1e9, 0), 0
		for i, d := range c.diffs {
			began := now.Add(d.after)
			now = began.Add(d.took)
			if m.add(began, now) && got == 0 {
				got = i + 1
			}
		}
		if got != c.want {
			t.Errorf("%s: said at difference %d, want %d", c.name, got, c.want)
		}
	}
}
