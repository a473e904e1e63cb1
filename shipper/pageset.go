package shipper

import "math/bits"

// PageSetWords is how many words of 64 pages a [PageSet] keeps together: 4 KiB for 32,768 pages.
const PageSetWords = 512

// PageSet is a set of pages of a database. It takes a bit for each page of those stretches of PageSetWords words that have one: at
// most 32 MiB for a database of 1 TiB. The nil set stands for every page. It is not safe for concurrent use.
type PageSet struct {
	chunks []*[PageSetWords]uint64 // page n is bit n%64 of word n/64 of all chunks; nil: none of them is in it
	from   uint32                  // this page and all behind it are in the set; 0: no such page
}

// Add adds a page.
func (p *PageSet) Add(page uint32) {
	word := page / 64
	p.chunk(word / PageSetWords)[word%PageSetWords] |= 1 << (page % 64)
}

// AddFrom adds a page and all behind it; 0, which is behind the last page that there can be, adds none.
func (p *PageSet) AddFrom(page uint32) {
	if page != 0 && (p.from == 0 || page < p.from) {
		p.from = page
	}
}

// AddChunk adds the pages of a chunk, of which the first one is page chunk*PageSetWords*64.
func (p *PageSet) AddChunk(chunk uint32, words *[PageSetWords]uint64) {
	into := p.chunk(chunk)
	for i, w := range words {
		into[i] |= w
	}
}

func (p *PageSet) chunk(n uint32) *[PageSetWords]uint64 {
	for uint32(len(p.chunks)) <= n {
		p.chunks = append(p.chunks, nil)
	}
	if p.chunks[n] == nil {
		p.chunks[n] = new([PageSetWords]uint64)
	}
	return p.chunks[n]
}

// Next returns the first page of the set behind a page, which may be 0; 0 when there is none.
func (p *PageSet) Next(page uint32) uint32 {
	page++
	if p == nil {
		return page
	}
	for word := page / 64; word/PageSetWords < uint32(len(p.chunks)); word++ {
		chunk := p.chunks[word/PageSetWords]
		if chunk == nil {
			word |= PageSetWords - 1 // its last one
			continue
		}
		w := chunk[word%PageSetWords]
		if word == page/64 {
			w &= ^uint64(0) << (page % 64)
		}
		if w != 0 {
			found := word*64 + uint32(bits.TrailingZeros64(w))
			if p.from == 0 || found < p.from {
				return found
			}
			break
		}
	}
	if p.from == 0 {
		return 0
	}
	return max(page, p.from)
}
