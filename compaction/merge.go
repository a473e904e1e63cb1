package compaction

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/internal/wal"
)

// merger composes transactions into their net effect: each page once, in the order of their numbers, as a merged segment has
// them. No image of the database is needed for it, because a delta is the XOR of two images, and two of them in a row compose
// to one.
//
// Memory is bounded by limit, plus what one page takes: what is more goes into runs, files of pages in ascending order, and
// the runs are read side by side in the end. A database that shrinks on the way loses the pages behind its new end in all of
// them.
//
// It is not safe for concurrent use.
type merger struct {
	header segment.Header // of the merged segment; First is the first transaction, Before the state in front of it
	limit  int            // of images in memory, bytes
	spill  func() (*os.File, error)

	pages map[uint32]*pageState // of the run in memory
	free  [][]byte              // images for it
	used  int                   // bytes of images in pages
	runs  []*run                // older first

	last  segment.Tx // with After
	place wal.Place  // behind last; zero: not known
	bare  bare
}

// pageState is what the transactions of one run do to a page.
type pageState struct {
	image []byte // the page's image, or the XOR of the images before and after
	full  bool   // it is the image
	sum   pagesum.Sum
}

// newMerger returns a merger of what follows a state of count pages. count is math.MaxUint32 where that isn't known.
func newMerger(h segment.Header, count uint32, limit int, spill func() (*os.File, error)) *merger {
	h.Kind = segment.Merged
	return &merger{
		header: h, limit: limit, spill: spill, pages: map[uint32]*pageState{},
		bare: bare{base: count, low: count, count: count, lock: pagesum.LockPage(h.PageSize), set: map[uint32]uint64{}},
	}
}

// begin starts a transaction. Its pages follow, and then end.
func (m *merger) begin(tx segment.Tx) {
	for page, p := range m.pages {
		if page > tx.PageCount {
			m.drop(page, p)
		}
	}
	for _, r := range m.runs {
		r.keep = min(r.keep, tx.PageCount)
	}
	m.bare.resize(tx.PageCount)
}

func (m *merger) drop(page uint32, p *pageState) {
	delete(m.pages, page)
	m.free = append(m.free, p.image)
	m.used -= len(p.image)
}

// page takes a page of the current transaction.
func (m *merger) page(p *segment.Page) error {
	s := m.pages[p.Number]
	if s == nil {
		if m.used+m.header.PageSize > m.limit && m.used > 0 {
			if err := m.spillPages(); err != nil {
				return err
			}
		}
		s = &pageState{image: m.image()}
		m.pages[p.Number] = s
	}
	if err := s.apply(p); err != nil {
		return err
	}
	m.bare.list(p.Number)
	return nil
}

// image returns zeros of the size of a page.
func (m *merger) image() []byte {
	m.used += m.header.PageSize
	if n := len(m.free); n > 0 {
		b := m.free[n-1]
		m.free = m.free[:n-1]
		clear(b)
		return b
	}
	return make([]byte, m.header.PageSize)
}

// apply makes p what comes after s.
func (s *pageState) apply(p *segment.Page) error {
	s.sum = p.Sum
	if p.Kind == segment.Full {
		copy(s.image, p.Data)
		s.full = true
		return nil
	}
	if err := segment.ApplyDelta(s.image, p.Data); err != nil {
		return fmt.Errorf("page %d: %w", p.Number, err)
	}
	return nil
}

// end ends a transaction.
func (m *merger) end(tx segment.Tx) { m.last, m.place = tx, wal.Place{} }

// isExpressible says whether a merged segment can say what was composed so far. It can't where the database shrank and grew
// again, and a page in between is not listed: whoever applies the segment would keep the page that there was before.
func (m *merger) isExpressible() bool { return len(m.bare.set) == 0 }

// write writes the merged segment.
func (m *merger) write(w io.Writer) (segment.Info, error) {
	enc, err := segment.NewEncoder(w, m.header)
	if err != nil {
		return segment.Info{}, err
	}
	if err := enc.Begin(segment.Tx{Number: m.last.Number, Span: m.last.Number - m.header.First + 1, Time: m.last.Time, PageCount: m.last.PageCount}); err != nil {
		return segment.Info{}, err
	}
	if err := m.each(enc.Page); err != nil {
		return segment.Info{}, err
	}
	if err := enc.End(m.last.After); err != nil {
		return segment.Info{}, err
	}
	return enc.Close(m.place)
}

// each yields the pages of all runs, composed, in ascending order. A page is valid until f returns.
func (m *merger) each(f func(segment.Page) error) error {
	readers := make([]pageSource, 0, len(m.runs)+1)
	for _, r := range m.runs {
		in, err := r.open(m.header.PageSize, len(m.runs))
		if err != nil {
			return err
		}
		readers = append(readers, in)
	}
	readers = append(readers, newMemoryRun(m.pages))
	c := composer{low: m.bare.low, image: make([]byte, m.header.PageSize), delta: make([]byte, 0, m.header.PageSize)}
	for {
		least := uint32(math.MaxUint32)
		for _, r := range readers {
			least = min(least, r.page())
		}
		if least == math.MaxUint32 {
			return nil
		}
		p, err := c.compose(least, readers)
		if err != nil {
			return err
		}
		if err := f(p); err != nil {
			return err
		}
	}
}

// spillPages makes a run of what is in memory.
func (m *merger) spillPages() error {
	if len(m.runs) >= maxRuns {
		if err := m.joinRuns(); err != nil {
			return err
		}
	}
	r, err := m.newRun()
	if err != nil {
		return err
	}
	m.runs = append(m.runs, r)
	for _, page := range slices.Sorted(maps.Keys(m.pages)) {
		s := m.pages[page]
		if err := r.add(page, s); err != nil {
			return err
		}
		m.drop(page, s)
	}
	return r.flush()
}

// joinRuns makes one run of all that there are, so that no more than maxRuns files are ever read side by side.
func (m *merger) joinRuns() error {
	all, err := m.newRun()
	if err != nil {
		return err
	}
	in := m.pages
	m.pages = nil
	err = m.each(all.put)
	m.pages = in
	if err == nil {
		err = all.flush()
	}
	if err != nil {
		return errors.Join(err, all.close())
	}
	err = m.close()
	m.runs = []*run{all}
	return err
}

// close gives back the files.
func (m *merger) close() error {
	var errs []error
	for _, r := range m.runs {
		errs = append(errs, r.close())
	}
	m.runs = nil
	return errors.Join(errs...)
}

// composer composes what several runs have of a page.
type composer struct {
	low   uint32 // pages behind it didn't exist at some moment: what comes first of them begins with zeros
	image []byte // of a page
	delta []byte
}

// compose takes a page from all sources that stand at it.
func (c *composer) compose(page uint32, sources []pageSource) (segment.Page, error) {
	clear(c.image)
	s := pageState{image: c.image, full: page > c.low}
	for _, r := range sources {
		if r.page() != page {
			continue
		}
		if err := r.applyTo(&s); err != nil {
			return segment.Page{}, err
		}
		if err := r.next(); err != nil {
			return segment.Page{}, err
		}
	}
	p, delta, err := s.page(page, c.delta)
	c.delta = delta
	return p, err
}

// zeroPage is read only.
var zeroPage [segment.MaxPageSize]byte

// bare knows the pages that a merged segment could not say the truth about: they were there in front of it, were cut off on the
// way, lie within the database again, and are listed nowhere since.
type bare struct {
	base  uint32 // size of the database in front of the first transaction, pages
	low   uint32 // the smallest size since then
	count uint32 // the size now
	lock  uint32
	set   map[uint32]uint64 // such pages, 64 to a word: 1 bit for each page that was cut off and is back
}

// resize takes note of the size of the database after the next transaction, whose pages follow.
func (b *bare) resize(count uint32) {
	switch {
	case count < b.count:
		b.low = min(b.low, count)
		for w := range b.set {
			b.keep(w, count)
		}
	case count > b.count:
		for page := b.count + 1; page <= min(count, b.base); page++ {
			if page != b.lock {
				b.set[page/64] |= 1 << (page % 64)
			}
			if page == math.MaxUint32 {
				break
			}
		}
	}
	b.count = count
}

// keep drops the pages of a word that lie behind count.
func (b *bare) keep(w, count uint32) {
	for i := range uint32(64) {
		if w*64+i > count {
			b.set[w] &^= 1 << i
		}
	}
	if b.set[w] == 0 {
		delete(b.set, w)
	}
}

// list takes note of a page that a transaction has.
func (b *bare) list(page uint32) {
	w := page / 64
	if bits, ok := b.set[w]; ok {
		if bits &^= 1 << (page % 64); bits == 0 {
			delete(b.set, w)
		} else {
			b.set[w] = bits
		}
	}
}

// pageSource yields pages of a run, ascending.
type pageSource interface {
	page() uint32 // that the source stands at; math.MaxUint32 behind the last one
	applyTo(s *pageState) error
	next() error
}

// memoryRun is the run in memory.
type memoryRun struct {
	pages map[uint32]*pageState
	order []uint32
}

func newMemoryRun(pages map[uint32]*pageState) *memoryRun {
	return &memoryRun{pages: pages, order: slices.Sorted(maps.Keys(pages))}
}

func (r *memoryRun) page() uint32 {
	if len(r.order) == 0 {
		return math.MaxUint32
	}
	return r.order[0]
}

func (r *memoryRun) applyTo(s *pageState) error {
	s.add(r.pages[r.order[0]])
	return nil
}

func (r *memoryRun) next() error {
	r.order = r.order[1:]
	return nil
}
