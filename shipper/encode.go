package shipper

import (
	"bytes"
	"fmt"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/internal/wal"
)

// encodeScratch is memory of the encode path, reused from commit to commit.
type encodeScratch struct {
	delta []byte
	base  []byte // an image read back from the file
	keep  []int  // offsets of the frames that count
	seen  map[uint32]struct{}
}

// fewFrames is up to how many frames a linear search finds a page faster than a map.
const fewFrames = 16

// keptFrames is the number of frames of a transaction up to which the memory that it took is kept for the next one: a VACUUM of
// 10 GB would leave 100 MB behind for as long as the database is open.
const keptFrames = 1 << 14

// clockNotice is how far a clock has to be set back to be spoken of. Less is what time servers do all day.
const clockNotice = time.Second

// transaction is what the caller of begin knows of one.
type transaction struct {
	number, span uint64
	time         int64
	pageCount    uint32
	place        wal.Place // behind it
}

// begin starts a transaction in the open batch. From here to end, an error
// means that the batch is broken: see resync.
func (s *Shipper) begin(t transaction) error {
	if err := s.openBatch(t.number-t.span+1, t.time); err != nil {
		return err
	}
	return s.batch.enc.Begin(segment.Tx{Number: t.number, Span: t.span, Time: s.commitTime(t.time), PageCount: t.pageCount})
}

// commitTime is the time that a transaction gets in the replica, where each one of a timeline is later than the one before: so
// a moment has one point, and the time of a point means that point. When the clock was set back, or several were captured as
// one range, they follow each other by a nanosecond.
func (s *Shipper) commitTime(at int64) int64 {
	if at > s.latest {
		s.latest, s.isBack = at, false
		return at
	}
	if back := time.Duration(s.latest - at); back >= clockNotice && !s.isBack {
		s.isBack = true
		s.noteClock(back)
	}
	s.latest++
	return s.latest
}

// end completes the transaction.
func (s *Shipper) end(t transaction) error {
	if err := s.fillGrowth(t.pageCount); err != nil {
		return err
	}
	s.table.Truncate(t.pageCount)
	b := s.batch
	if err := b.enc.End(s.table.Total()); err != nil {
		return err
	}
	b.last, b.place = t.number, t.place
	b.ticket = uint64(max(0, int64(t.number-s.base)))
	s.place = t.place
	return nil
}

// fillGrowth adds the pages that the database grew by and that nobody wrote: in
// the rollback journal modes SQLite leaves out a new page that was freed again,
// and the file has zeros there or what it had.
func (s *Shipper) fillGrowth(pageCount uint32) error {
	for n := s.grown; n < pageCount; n++ {
		page := n + 1
		if s.table.Get(page) != 0 || page == pagesum.LockPage(s.pageSize) {
			continue
		}
		image := s.enc.base[:s.pageSize]
		if err := s.src.ReadFile(page, image); err != nil {
			clear(image)
		}
		if err := s.page(page, image, false); err != nil {
			return err
		}
	}
	s.grown = pageCount
	return nil
}

// encodeFrames encodes a commit whose frames are in memory.
func (s *Shipper) encodeFrames(c *Commit, t transaction) error {
	if err := s.begin(t); err != nil {
		return err
	}
	size := wal.FrameHeaderSize + s.pageSize
	first := len(c.Frames[0]) / size
	n := first + len(c.Frames[1])/size
	at := func(i int) []byte {
		if i < first {
			return c.Frames[0][i*size : (i+1)*size]
		}
		return c.Frames[1][(i-first)*size : (i-first+1)*size]
	}
	s.lastFrames(n, func(i int) uint32 { return wal.ParseFrameHeader(at(i)).Page })
	for k := len(s.enc.keep) - 1; k >= 0; k-- {
		frame := at(s.enc.keep[k])
		page := wal.ParseFrameHeader(frame).Page
		if page > t.pageCount {
			continue // cut off by the same transaction
		}
		if err := s.page(page, frame[wal.FrameHeaderSize:], true); err != nil {
			return err
		}
	}
	return s.end(t)
}

// lastFrames collects, from the last to the first, the frames that no later one
// of the n supersedes.
func (s *Shipper) lastFrames(n int, page func(i int) uint32) {
	e := &s.enc
	if cap(e.keep) > 2*keptFrames {
		e.keep = nil
	}
	e.keep = e.keep[:0]
	if n <= fewFrames {
	next:
		for i := n - 1; i >= 0; i-- {
			for _, k := range e.keep {
				if page(k) == page(i) {
					continue next
				}
			}
			e.keep = append(e.keep, i)
		}
		return
	}
	if e.seen == nil {
		e.seen = make(map[uint32]struct{})
	}
	clear(e.seen)
	for i := n - 1; i >= 0; i-- {
		p := page(i)
		if _, ok := e.seen[p]; !ok {
			e.seen[p] = struct{}{}
			e.keep = append(e.keep, i)
		}
	}
	if n > keptFrames {
		e.seen = nil
	}
}

// page encodes one page of the current transaction, unless it is what it was.
// keep says that its image is worth a place in the cache.
func (s *Shipper) page(number uint32, image []byte, keep bool) error {
	if number == 0 {
		return fmt.Errorf("encode transaction: page number 0")
	}
	if number == s.lockPage {
		return nil
	}
	old, sum := s.table.Get(number), s.hasher.Of(number, image)
	var base []byte
	var cached bool
	if sum != old {
		base, cached = s.proven(number, old)
	} else if base, cached = s.sameSum(number, old, keep); base == nil || bytes.Equal(base, image) {
		return nil
	}
	p := segment.Page{Number: number, Kind: segment.Full, Data: image, Sum: sum}
	if base != nil {
		// Larger deltas save little, and cost more to apply than an image.
		if delta, ok := segment.AppendDelta(s.enc.delta[:0], base, image, s.pageSize/2); ok {
			s.enc.delta = delta
			p.Kind, p.Data = segment.Delta, delta
		}
	}
	if err := s.batch.enc.Page(p); err != nil {
		return err
	}
	s.table.Set(number, sum)
	switch {
	case cached && p.Kind == segment.Delta:
		return s.cache.patch(number, sum, p.Data)
	case keep || cached:
		s.cache.put(number, sum, image)
	}
	return nil
}

// sameSum returns the image of a page whose new one has the same checksum, where that costs little: the checksum says that they are the
// same, the bytes prove it. nil when it isn't at hand.
func (s *Shipper) sameSum(number uint32, old pagesum.Sum, keep bool) (image []byte, cached bool) {
	if keep {
		return s.proven(number, old)
	}
	image = s.cache.get(number, old)
	return image, image != nil
}

// proven returns the image of a page that has the sum old, from the cache or from
// the file; nil when neither has it.
func (s *Shipper) proven(number uint32, old pagesum.Sum) (image []byte, cached bool) {
	if old == 0 {
		return nil, false
	}
	if image := s.cache.get(number, old); image != nil {
		return image, true
	}
	image = s.enc.base[:s.pageSize]
	if err := s.src.ReadFile(number, image); err != nil || s.hasher.Of(number, image) != old {
		return nil, false // the file is at another transaction
	}
	return image, false
}
