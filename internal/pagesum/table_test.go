package pagesum

import (
	"testing"

	"pgregory.net/rapid"
)

// model is what a Table has to be equal to.
type model []Sum

func (m *model) set(page uint32, s Sum) {
	for uint32(len(*m)) < page {
		*m = append(*m, 0)
	}
	(*m)[page-1] = s
}

func (m *model) truncate(n uint32) { *m = (*m)[:min(n, uint32(len(*m)))] }

func (m model) equal(t rapid.TB, tab *Table) {
	t.Helper()
	var total Sum
	var sums uint32
	if tab.Len() != uint32(len(m)) {
		t.Fatalf("Len is %d, want %d", tab.Len(), len(m))
	}
	for i, s := range m {
		total ^= s
		if s != 0 {
			sums++
		}
		if got := tab.Get(uint32(i) + 1); got != s {
			t.Fatalf("page %d has %v, want %v", i+1, got, s)
		}
	}
	if tab.Sums() != sums {
		t.Fatalf("Sums is %d, want %d", tab.Sums(), sums)
	}
	if tab.Total() != total {
		t.Fatalf("Total is %v, want %v", tab.Total(), total)
	}
	if s := tab.Get(uint32(len(m)) + 1); s != 0 {
		t.Fatalf("page behind the last has %v", s)
	}
}

func TestTableIsAListOfSums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab, m := New(), model{}
		page := rapid.Uint32Range(1, 3*chunkPages+2)
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				p, s := page.Draw(t, "page"), Sum(rapid.Uint64().Draw(t, "sum"))
				tab.Set(p, s)
				m.set(p, s)
			},
			"truncate": func(t *rapid.T) {
				n := rapid.SampledFrom([]uint32{0, 1, chunkPages - 1, chunkPages, chunkPages + 1, 2 * chunkPages, page.Draw(t, "n")}).Draw(t, "at")
				tab.Truncate(n)
				m.truncate(n)
			},
			"clone": func(t *rapid.T) {
				old := tab
				tab = tab.Clone()
				old.Set(1, old.Get(1)+1)
				old.Truncate(0)
			},
			"": func(t *rapid.T) { m.equal(t, tab) },
		})
	})
}

func TestTableForgetsTruncatedPages(t *testing.T) {
	tab := New()
	for p := uint32(1); p <= 10; p++ {
		tab.Set(p, Sum(p))
	}
	tab.Truncate(4)
	tab.Set(10, 1)
	want := model{1, 2, 3, 4, 0, 0, 0, 0, 0, 1}
	want.equal(t, tab)
}

func TestTableWithAWildPageNumberStaysSmall(t *testing.T) {
	tab := New()
	tab.Set(1<<32-1, 5)
	if tab.Len() != 1<<32-1 || tab.Get(1<<32-1) != 5 || tab.Total() != 5 || tab.Get(1<<31) != 0 {
		t.Fatalf("Len %d, Total %v", tab.Len(), tab.Total())
	}
	chunks := 0
	for _, c := range tab.chunks {
		if c != nil {
			chunks++
		}
	}
	if chunks != 1 {
		t.Errorf("%d chunks allocated for one sum", chunks)
	}
	tab.Truncate(3)
	if tab.Len() != 3 || tab.Total() != 0 {
		t.Errorf("after Truncate(3): Len %d, Total %v", tab.Len(), tab.Total())
	}
}

func TestTableRefusesPageZero(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Set(0) did not panic")
		}
	}()
	if New().Get(0) != 0 {
		t.Error("Get(0) is not 0")
	}
	New().Set(0, 1)
}
