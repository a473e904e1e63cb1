package powervfs

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

const path = "/db"

func write(name string, at int64, c byte, n int) operation {
	return operation{kind: opWrite, name: name, arg: at, data: bytes.Repeat([]byte{c}, n)}
}

// contents are the contents of a file in many losses of power after the operations; "none" where it isn't there.
func contents(name string, ops ...operation) map[string]int {
	seen := map[string]int{}
	for seed := range uint64(400) {
		d := disk{}
		for _, op := range ops {
			d.do(op)
		}
		b, ok := d.survivors(rand.New(rand.NewPCG(seed, 1)))[name]
		if !ok {
			seen["none"]++
			continue
		}
		seen[string(b)]++
	}
	return seen
}

func TestWhatIsSyncedIsLeft(t *testing.T) {
	a := strings.Repeat("a", 1024)
	got := contents(path, operation{kind: opCreate, name: path}, write(path, 0, 'a', 1024), operation{kind: opSync, name: path})
	if len(got) != 1 || got[a] == 0 {
		t.Errorf("%d contents of a synced file", len(got))
	}
}

func TestWhatIsNotSyncedMayBeLeft(t *testing.T) {
	half := func(c string) string { return strings.Repeat(c, 512) }
	got := contents(path, operation{kind: opOpen, name: path, data: []byte(half("a") + half("a"))}, write(path, 0, 'b', 1024))
	for _, want := range []string{half("a") + half("a"), half("a") + half("b"), half("b") + half("a"), half("b") + half("b")} {
		if got[want] == 0 {
			t.Errorf("never seen: %.1q... and %.1q...", want, want[512:])
		}
		delete(got, want)
	}
	if len(got) > 0 {
		t.Errorf("torn within a sector: %d contents", len(got))
	}
}

// Who syncs a file without the VFS makes durable what was done through it. A file that nobody opened through it is no file.
func TestSyncOfSomebodyElse(t *testing.T) {
	open := operation{kind: opOpen, name: path, data: []byte("aaaa")}
	truncate := operation{kind: opTruncate, name: path}
	if got := contents(path, open, truncate); got["aaaa"] == 0 || got[""] == 0 {
		t.Errorf("cut off without a sync: %v", got)
	}
	if got := contents(path, open, truncate, operation{kind: opSync, name: path}, operation{kind: opDelete, name: path}); got[""] == 0 || len(got) != 2 {
		t.Errorf("cut off and synced: %v", got)
	}
	if got := contents(path, open, operation{kind: opSync, name: "/other"}); got["aaaa"] != 400 {
		t.Errorf("another file was synced: %v", got)
	}
}

func TestOrderOfWrites(t *testing.T) {
	got := contents(path, operation{kind: opOpen, name: path}, write(path, 0, 'a', 512), write(path, 512, 'b', 512))
	late := string(make([]byte, 512)) + strings.Repeat("b", 512)
	if got[late] == 0 {
		t.Error("the second write never came without the first")
	}
}

func TestRemovalMayBeUndone(t *testing.T) {
	ops := []operation{{kind: opOpen, name: path, data: []byte("x")}, {kind: opDelete, name: path}}
	if got := contents(path, ops...); got["none"] == 0 || got["x"] == 0 {
		t.Errorf("after a removal: %v", got)
	}
	ops[1].arg = 1
	if got := contents(path, ops...); got["none"] != 400 {
		t.Errorf("after a removal and a sync of the folder: %v", got)
	}
	ops[1].arg = 0
	if got := contents(path, append(ops, operation{kind: opFolder})...); got["none"] != 400 {
		t.Errorf("after a removal and somebody else's sync of the folder: %v", got)
	}
	// A new log is synced with its folder: what was removed before is gone for good.
	ops[1].arg = 0
	ops = append(ops, operation{kind: opCreate, name: "/wal", arg: 1}, operation{kind: opSync, name: "/wal"})
	if got := contents(path, ops...); got["none"] != 400 {
		t.Errorf("after the folder was synced with another file: %v", got)
	}
}

func TestTruncationMayBeUndone(t *testing.T) {
	ops := []operation{{kind: opOpen, name: path, data: []byte("abc")}, {kind: opTruncate, name: path, arg: 1}}
	if got := contents(path, ops...); got["abc"] == 0 || got["a"] == 0 {
		t.Errorf("after a truncation: %v", got)
	}
	ops = append(ops, operation{kind: opSync, name: path})
	if got := contents(path, ops...); got["a"] != 400 {
		t.Errorf("after a truncation and a sync: %v", got)
	}
}
