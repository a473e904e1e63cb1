package pagesum

import (
	"math/rand/v2"
	"runtime"
	"testing"
)

// TestTableOfWildPagesStaysSmall: what a table takes is a matter of how many sums are in it, not of where they are.
func TestTableOfWildPagesStaysSmall(t *testing.T) {
	const n = 20_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tab := New()
	for i := range uint32(n) {
		tab.Set(1+i*chunkPages, 1)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 150*n {
		t.Errorf("%d sums, %d pages apart, take %d bytes each", n, chunkPages, used/n)
	}
	runtime.KeepAlive(tab)
}

// TestTableInAnyOrder: a chunk that lists its pages becomes a whole one, whatever the order in which they come.
func TestTableInAnyOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, pages := range []int{chunkFew - 1, chunkFew, chunkFew + 1, 2 * chunkFew, chunkPages} {
		tab, m := New(), model{}
		for _, i := range r.Perm(pages) {
			p := uint32(i*(chunkPages/pages)) + 1
			tab.Set(p, Sum(r.Uint64()))
			m.set(p, tab.Get(p))
		}
		m.equal(t, tab)
		for i := range pages / 2 {
			p := uint32(i*(chunkPages/pages)) + 1
			tab.Set(p, Sum(i%2))
			m.set(p, Sum(i%2))
		}
		m.equal(t, tab)
		c := tab.Clone()
		for n := tab.Len(); n > 0; n -= min(n, 37) {
			tab.Truncate(n)
			was := m
			was.truncate(n)
			was.equal(t, tab)
		}
		m.equal(t, c)
	}
}
