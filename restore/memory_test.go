package restore

import (
	"context"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

// TestMemoryIsBounded restores a snapshot, a transaction and a merged segment
// of many times the buffers' size, and looks at the heap as they go by.
func TestMemoryIsBounded(t *testing.T) {
	const limit = 32 << 20 // bytes; the promise is 64 MiB for the process
	m := newModel(t, 51, 4096)
	var txs []*modelTx
	noise := make([]byte, 1<<20)
	m.scribble(noise, true)
	for k := range 3 {
		state := make([]byte, 40<<20)
		for i := 0; i < len(state); i += 4096 { // differs from page to page and compresses to an eighth
			copy(state[i:i+512], noise[(i/4096*509+k*77)%(len(noise)-512):])
		}
		txs = append(txs, m.commitState(1, state))
	}
	m.snapshot(txs[0])
	m.log(txs[1])
	m.merge(1, txs[2])

	defer debug.SetGCPercent(debug.SetGCPercent(5))
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	runtime.GC()
	before, most := heap(), uint64(0)
	garbage := before / 20 // that a collector of 5 percent leaves lying about
	path := filepath.Join(t.TempDir(), "app.db")
	_, err := Run(context.Background(), m.store, Options{Output: path, Progress: func(_, _ int64) { most = max(most, heap()) }})
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, path, m.state)
	used := int64(most) - int64(before) - int64(garbage)
	t.Logf("%d MiB above what was there", used>>20)
	if used > limit {
		t.Errorf("%d MiB, want at most %d", used>>20, limit>>20)
	}
}

// TestMemoryOfManySegments restores more large log segments than are fetched ahead: they are read as they are decoded, a few at a time.
func TestMemoryOfManySegments(t *testing.T) {
	const (
		limit    = 32 << 20 // bytes
		segments = 36
		size     = 3 << 19 // of a segment, bytes: together more than the limit
	)
	m := newModel(t, 52, 4096)
	for range segments {
		state := make([]byte, size)
		m.scribble(state, true)
		m.log(m.commitState(1, state))
	}
	defer debug.SetGCPercent(debug.SetGCPercent(5))
	heap := func() int64 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	runtime.GC()
	before, most := heap(), int64(0)
	path := filepath.Join(t.TempDir(), "app.db")
	_, err := Run(context.Background(), m.store, Options{Output: path, Progress: func(_, _ int64) { most = max(most, heap()) }})
	if err != nil {
		t.Fatal(err)
	}
	if used := most - before - before/20; used > limit { // garbage that a collector of 5 percent leaves
		t.Errorf("%d MiB for %d segments of %d KiB, want at most %d", used>>20, segments, size>>10, limit>>20)
	}
	checkState(t, path, m.state)
}
