package pagesum

import (
	"cmp"
	"slices"
)

// chunkPages is how many pages a chunk is of: the sums of all of them take 8 KiB. So a table wastes little on a small
// database, and growing never copies the sums.
const chunkPages = 1024

// chunkFew is the number of sums up to which a chunk lists its pages one by one. Page numbers come from objects that
// others may have written, and 8 KiB for each of them would make a few hundred KiB of segment take a GiB of memory.
const chunkFew = 64

// chunk holds the sums of chunkPages pages.
type chunk struct {
	few  []entry          // ascending; those that aren't in it are 0
	full *[chunkPages]Sum // not nil: few isn't used any more
}

// entry is the sum of one page of a chunk.
type entry struct {
	page uint16 // within the chunk
	sum  Sum
}

// search returns the place of a page in few.
func (c *chunk) search(page uint16) (int, bool) {
	if n := len(c.few); n > 0 && c.few[n-1].page < page {
		return n, false // how a database grows
	}
	return slices.BinarySearchFunc(c.few, page, func(e entry, page uint16) int { return cmp.Compare(e.page, page) })
}

func (c *chunk) get(page uint16) Sum {
	if c.full != nil {
		return c.full[page]
	}
	if i, ok := c.search(page); ok {
		return c.few[i].sum
	}
	return 0
}

// set returns the sum that was there before.
func (c *chunk) set(page uint16, s Sum) (old Sum) {
	if c.full == nil {
		i, ok := c.search(page)
		switch {
		case ok:
			old, c.few[i].sum = c.few[i].sum, s
			return old
		case s == 0:
			return 0
		case len(c.few) < chunkFew:
			c.few = slices.Insert(c.few, i, entry{page, s})
			return 0
		}
		c.full, c.few = c.image(), nil
	}
	old, c.full[page] = c.full[page], s
	return old
}

// image returns all sums of the chunk, which may be nil. The caller doesn't change them, unless the chunk has few.
func (c *chunk) image() *[chunkPages]Sum {
	if c != nil && c.full != nil {
		return c.full
	}
	all := new([chunkPages]Sum)
	if c != nil {
		for _, e := range c.few {
			all[e.page] = e.sum
		}
	}
	return all
}

// truncate drops the sums of page n of the chunk and those behind it, and returns how many there were and their XOR.
func (c *chunk) truncate(n uint32) (dropped uint32, xor Sum) {
	if c.full != nil {
		for i := n; i < chunkPages; i++ {
			if c.full[i] != 0 {
				dropped, xor = dropped+1, xor^c.full[i]
				c.full[i] = 0
			}
		}
		return dropped, xor
	}
	keep := len(c.few)
	for ; keep > 0 && uint32(c.few[keep-1].page) >= n; keep-- {
		if s := c.few[keep-1].sum; s != 0 {
			dropped, xor = dropped+1, xor^s
		}
	}
	c.few = c.few[:keep]
	return dropped, xor
}

func (c *chunk) clone() *chunk {
	if c.full == nil {
		return &chunk{few: slices.Clone(c.few)}
	}
	q := *c.full
	return &chunk{full: &q}
}

// Table holds the sums of the pages of one state of a database: 8 bytes a page,
// rounded up to 8 KiB, and 20 to 130 bytes for a page that has few others around it. It is not safe for concurrent use.
type Table struct {
	chunks []*chunk // nil: all sums are 0
	n      uint32   // pages
	sums   uint32   // pages with a sum
	total  Sum      // XOR of all sums
}

// New returns the table of the empty database.
func New() *Table { return &Table{} }

// Len returns the number of the last page, which is the size of the database
// in pages.
func (t *Table) Len() uint32 { return t.n }

// Total returns the checksum of the database: the XOR of all sums. It is kept
// up to date by every change and costs nothing.
func (t *Table) Total() Sum { return t.total }

// Get returns the sum of a page; 0 for a page without one, beyond Len for example.
func (t *Table) Get(page uint32) Sum {
	if page == 0 || page > t.n {
		return 0
	}
	c := t.chunks[(page-1)/chunkPages]
	if c == nil {
		return 0
	}
	return c.get(uint16((page - 1) % chunkPages))
}

// Set sets the sum of a page. A page beyond Len grows the table; the pages in
// between have no sum. Pages are counted from 1: page 0 panics.
func (t *Table) Set(page uint32, s Sum) {
	if page == 0 {
		panic("pagesum: Set of page 0")
	}
	if page > t.n {
		t.grow(page)
	}
	i := (page - 1) / chunkPages
	if t.chunks[i] == nil {
		if s == 0 {
			return
		}
		t.chunks[i] = new(chunk)
	}
	old := t.chunks[i].set(uint16((page-1)%chunkPages), s)
	t.total ^= old ^ s
	if old == 0 && s != 0 {
		t.sums++
	} else if old != 0 && s == 0 {
		t.sums--
	}
}

// Sums returns the number of pages that have a sum.
func (t *Table) Sums() uint32 { return t.sums }

// grow makes page the last one. Chunks in between stay nil: a wild page number
// costs one pointer for each 1,024 pages, not 8 bytes for each.
func (t *Table) grow(page uint32) {
	for n := int((page-1)/chunkPages) + 1; len(t.chunks) < n; {
		t.chunks = append(t.chunks, nil)
	}
	t.n = page
}

// Truncate drops all pages behind page n. It does nothing when there are none.
func (t *Table) Truncate(n uint32) {
	if n >= t.n {
		return
	}
	keep := int((uint64(n) + chunkPages - 1) / chunkPages)
	if used := n % chunkPages; used != 0 {
		if c := t.chunks[keep-1]; c != nil {
			t.drop(c, used)
		}
	}
	for i, c := range t.chunks[keep:] {
		if c != nil {
			t.drop(c, 0)
		}
		t.chunks[keep+i] = nil // lets the chunk go
	}
	t.chunks = t.chunks[:keep]
	t.n = n
}

// drop drops the sums of a chunk from page n of it on.
func (t *Table) drop(c *chunk, n uint32) {
	dropped, xor := c.truncate(n)
	t.sums -= dropped
	t.total ^= xor
}

// Clone returns a copy that shares nothing with t.
func (t *Table) Clone() *Table {
	c := &Table{chunks: make([]*chunk, len(t.chunks)), n: t.n, sums: t.sums, total: t.total}
	for i, p := range t.chunks {
		if p != nil {
			c.chunks[i] = p.clone()
		}
	}
	return c
}
