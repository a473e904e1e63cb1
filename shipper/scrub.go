package shipper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
)

// The file of a database can change although no transaction wrote it: a failing disk, a program that writes past SQLite, or an older copy
// of it that comes to stand beside the newer WAL of a killed process. SQLite doesn't notice, and neither does a replica that follows
// what is committed. So the pages are held against the page checksums now and then, a few at a time:
//
//	attach, proven by the WAL alone; damage is known --> at once
//	everything else -----------------------------------> a pass every 36 hours
//
// A step reads scrubPages pages of the file, without any lock: nearly all are what the table says, whatever is being written
// elsewhere. The few that aren't may be in the WAL, half written, or newer than what is encoded. So they are read again in a
// pinned state, for some milliseconds, and what they were there waits until exactly the commits of that state are encoded:
//
//	file != table --> open --> pinned at ticket 17 --> sight --> encoded is 17: file != table was written by no transaction
//	                   ^                                 |
//	                   '--- encoded jumped over 17 ------'
//
// What is found isn't shipped. The replica has the right page, and the application is told how to get it back. A page on the
// freelist may be anything: a rollback leaves such pages as they are.

const (
	scrubPages    = 256                    // of one step
	scrubShare    = 100                    // a step is one part in so many of the time
	scrubPause    = time.Second            // between two steps at least
	scrubEvery    = 36 * time.Hour         // from the end of a pass to the next one
	scrubAgain    = time.Hour              // likewise, after one that found damage
	scrubPatience = 100 * time.Millisecond // for a lock: commits wait to be shipped meanwhile
	scrubLog      = 64 << 20               // bytes of the WAL up to which a state is pinned
	scrubNamed    = 5                      // pages that are named at most
	scrubTrunks   = 4096                   // of the freelist that are read at most
)

// scrub is where the comparison stands. Of the drain goroutine.
type scrub struct {
	due   time.Time              // of the next step
	page  uint32                 // last one that was read in this pass
	open  []uint32               // pages that aren't in the file as the table has them
	sight *sight                 // they, in a pinned state; nil: none waits to be judged
	wrong map[uint32]pagesum.Sum // what was found in this pass
}

// sight is what some pages were after the commit with a ticket.
type sight struct {
	ticket uint64
	pages  []seenPage
	trunks []seenPage // pages that say which of them are free
}

// seenPage is a page by the checksum of its image; 0 when the database has no such page.
type seenPage struct {
	page   uint32
	sum    pagesum.Sum
	isFree bool // on the freelist, or perhaps
}

// planScrub says when the next pass begins: soon, where nobody has read the file's pages.
func (s *Shipper) planScrub(soon bool) {
	s.scrub = scrub{due: time.Now().Add(scrubEvery)}
	if soon {
		s.scrub.due = time.Now().Add(scrubPause)
	}
}

// untilScrub is how long it is to the next step; negative when there is none.
func (s *Shipper) untilScrub() time.Duration {
	if s.scrub.due.IsZero() {
		return -1
	}
	return max(0, time.Until(s.scrub.due))
}

// scrubSome makes a step when it is due. What keeps it from that is tried again: nothing depends on it.
func (s *Shipper) scrubSome(ctx context.Context) {
	began := time.Now()
	if s.scrub.due.IsZero() || began.Before(s.scrub.due) {
		return
	}
	if s.table == nil || s.unbegun {
		s.scrub.due = began.Add(scrubPause)
		return
	}
	err := s.scrubStep(ctx)
	if err != nil {
		s.log.Debug("comparing the database file with its page checksums", "err", err)
	}
	if err == nil && s.scrub.page >= s.table.Len() && len(s.scrub.open) == 0 {
		s.endScrub()
		return
	}
	s.scrub.due = time.Now().Add(max(scrubPause, scrubShare*time.Since(began)))
}

// scrubStep reads some pages of the file, or pins those that are open.
func (s *Shipper) scrubStep(ctx context.Context) error {
	s.judgeSight()
	if s.scrub.sight != nil {
		return nil // its last commit has yet to be encoded
	}
	if len(s.scrub.open) == 0 {
		if err := s.scrubFile(); err != nil || len(s.scrub.open) == 0 {
			return err
		}
	}
	return s.pinSight(ctx)
}

// scrubFile goes on with the pass over the file.
func (s *Shipper) scrubFile() error {
	sc := &s.scrub
	image := make([]byte, s.pageSize)
	for n := 0; n < scrubPages && sc.page < s.table.Len(); n++ {
		page := sc.page + 1
		if page != s.lockPage {
			switch err := s.src.ReadFile(page, image); {
			case errors.Is(err, io.ErrUnexpectedEOF):
				sc.open = append(sc.open, page) // the file ends before it
			case err != nil:
				return err
			case s.hasher.Of(page, image) != s.table.Get(page):
				sc.open = append(sc.open, page)
			}
		}
		sc.page = page
	}
	return nil
}

// pinSight reads the open pages in a pinned state. In a rollback journal mode nobody can commit meanwhile.
func (s *Shipper) pinSight(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, scrubPatience)
	defer cancel()
	tx, err := s.src.BeginRead(ctx)
	if err != nil {
		return err
	}
	p := &pinned{ReadTx: tx}
	defer s.closePinned(p)
	switch log := int64(p.Place().Frame) * int64(p.PageSize()); {
	case p.PageSize() != s.pageSize:
		return nil // what was written of another size is about to be shipped
	case log > scrubLog:
		return fmt.Errorf("the log has %d bytes: it is read once it is smaller", log)
	}
	if err := p.index(s.src); err != nil {
		return err
	}
	g, differ, err := s.see(p, s.scrub.open)
	if err == nil && differ {
		g.trunks, err = markFree(p, s.hasher, g.pages)
	}
	if err == nil {
		err = p.stayed()
	}
	if err != nil {
		return err
	}
	s.scrub.sight = g
	s.judgeSight()
	return nil
}

// see reads pages of a pinned state, and says whether one of them isn't what the table has now.
func (s *Shipper) see(p *pinned, pages []uint32) (g *sight, differ bool, err error) {
	g = &sight{ticket: p.Ticket()}
	image := make([]byte, s.pageSize)
	for _, page := range pages {
		seen, err := p.see(s.hasher, page, image)
		if err != nil {
			return nil, false, err
		}
		differ = differ || seen.sum != s.table.Get(page)
		g.pages = append(g.pages, seen)
	}
	return g, differ, nil
}

// see reads a page, which the database or its file may be too short for. image is zeros then.
func (p *pinned) see(h *pagesum.Hasher, page uint32, image []byte) (seenPage, error) {
	err := io.ErrUnexpectedEOF
	if page <= p.PageCount() {
		err = p.image(page, image)
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		clear(image)
		return seenPage{page: page}, nil
	case err != nil:
		return seenPage{}, err
	}
	return seenPage{page: page, sum: h.Of(page, image)}, nil
}

// judgeSight holds pages of a pinned state against the table, when that is of this very state.
func (s *Shipper) judgeSight() {
	g := s.scrub.sight
	if g == nil || int64(s.encoded-g.ticket) < 0 {
		return
	}
	s.scrub.sight = nil
	if s.encoded != g.ticket {
		return // several commits were encoded as one: the pages are open still
	}
	s.scrub.open = s.scrub.open[:0]
	if wrong := g.wrong(s.table); len(wrong) > 0 {
		s.noteDamage(wrong, s.encodedPos())
	}
}

// wrong are the pages that differ from a table and are in use, as far as that tells.
func (g *sight) wrong(t *pagesum.Table) (all []seenPage) {
	told := true // what is free
	for _, p := range g.trunks {
		told = told && p.sum == t.Get(p.page)
	}
	for _, p := range g.pages {
		if p.sum != t.Get(p.page) && !(told && p.isFree) {
			all = append(all, p)
		}
	}
	return all
}

// Bytes of a database's header, and of a trunk page of the freelist.
const (
	headerFreeTrunk = 32 // first trunk page
	headerFreeCount = 36 // pages on the freelist
	trunkNext       = 0  // next trunk page
	trunkCount      = 4  // leaves that it names
	trunkLeaves     = 8  // the first of them
)

// markFree marks those pages that are leaves of the freelist, and returns the pages that say so. A list that is cut off
// ends there, and what it says doesn't count: see wrong.
func markFree(p *pinned, h *pagesum.Hasher, pages []seenPage) (trunks []seenPage, err error) {
	b := make([]byte, p.PageSize())
	read := func(page uint32) error {
		seen, err := p.see(h, page, b)
		trunks = append(trunks, seen)
		return err
	}
	if err := read(1); err != nil {
		return nil, err
	}
	index := make(map[uint32]int, len(pages))
	for i, p := range pages {
		index[p.page] = i
	}
	next := binary.BigEndian.Uint32(b[headerFreeTrunk:])
	for left := binary.BigEndian.Uint32(b[headerFreeCount:]); next != 0 && left > 0; {
		if len(trunks) > scrubTrunks {
			for i := range pages {
				pages[i].isFree = true // nobody has looked
			}
			break
		}
		if err := read(next); err != nil {
			return nil, err
		}
		n := min(int(binary.BigEndian.Uint32(b[trunkCount:])), (len(b)-trunkLeaves)/4)
		for i := range n {
			if k, ok := index[binary.BigEndian.Uint32(b[trunkLeaves+4*i:])]; ok {
				pages[k].isFree = true
			}
		}
		next = binary.BigEndian.Uint32(b[trunkNext:])
		left -= min(left, uint32(n)+1)
	}
	return trunks, nil
}

// endScrub ends a pass. What was wrong before and isn't any more was written by the application, or restored.
func (s *Shipper) endScrub() {
	found := s.scrub.wrong
	s.planScrub(false)
	if len(found) > 0 {
		s.scrub.due = time.Now().Add(scrubAgain)
	}
	s.setDamage(found)
}

// changedPages names the pages of a database that differ from a point.
func changedPages(local, table *pagesum.Table, at replica.Pos) string {
	var pages []uint32
	count := 0
	for page := uint32(1); page <= max(local.Len(), table.Len()); page++ {
		if local.Get(page) == table.Get(page) {
			continue
		}
		if count++; count <= scrubNamed {
			pages = append(pages, page)
		}
	}
	return fmt.Sprintf("%s differ from %v, and no transaction that was captured wrote that: another program did, or the file is damaged; "+
		"restore has the database as of %v", pageList(pages, count), at, at)
}

// pageList names some pages of count.
func pageList(pages []uint32, count int) string {
	var b strings.Builder
	b.WriteString("page")
	if count > 1 {
		b.WriteString("s")
	}
	for i, p := range pages[:min(len(pages), scrubNamed)] {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, " %d", p)
	}
	if more := count - min(len(pages), scrubNamed); more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}
