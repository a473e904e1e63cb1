package pagesum

// chunkPages is how many sums a Table allocates at a time: 8 KiB of them. So a
// table wastes little on a small database, and growing never copies the sums.
const chunkPages = 1024

type chunk [chunkPages]Sum

// Table holds the sums of the pages of one state of a database: 8 bytes a page,
// rounded up to 8 KiB. It is not safe for concurrent use.
type Table struct {
	chunks []*chunk // nil: all sums are 0
	n      uint32   // pages
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
	return c[(page-1)%chunkPages]
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
	p := &t.chunks[i][(page-1)%chunkPages]
	t.total ^= *p ^ s
	*p = s
}

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
			t.drop(c[used:])
		}
	}
	for i, c := range t.chunks[keep:] {
		if c != nil {
			t.drop(c[:])
		}
		t.chunks[keep+i] = nil // lets the chunk go
	}
	t.chunks = t.chunks[:keep]
	t.n = n
}

func (t *Table) drop(sums []Sum) {
	for i, s := range sums {
		t.total ^= s
		sums[i] = 0
	}
}

// Clone returns a copy that shares nothing with t.
func (t *Table) Clone() *Table {
	c := &Table{chunks: make([]*chunk, len(t.chunks)), n: t.n, total: t.total}
	for i, p := range t.chunks {
		if p != nil {
			q := *p
			c.chunks[i] = &q
		}
	}
	return c
}
