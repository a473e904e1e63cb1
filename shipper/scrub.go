package shipper

import (
	"context"
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
// the WAL. So the pages are held against the page checksums now and then, a few at a time:
//
//	attach, proven by the WAL alone --> at once, a pass of its own
//	everything else ------------------> a pass every 36 hours
//
// A step pins the newest state, which costs what reading the WAL and scrubPages pages costs, and the next one comes scrubShare times as
// much later. It counts only while every commit of that state is encoded: what differs then was written by no transaction. It isn't shipped. The
// replica has the right page, and the application is told how to get it back.

const (
	scrubPages = 256            // of one step
	scrubShare = 100            // a step is one part in so many of the time
	scrubPause = time.Second    // between two steps at least
	scrubEvery = 36 * time.Hour // from the end of a pass to the next one
	scrubNamed = 5              // pages that are named at most
)

// scrub is where the comparison stands. Of the drain goroutine.
type scrub struct {
	due   time.Time // of the next step
	page  uint32    // last one that was compared in this pass
	wrong []uint32  // pages that differed in this pass, the first scrubNamed of them
	count int       // of all that did
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
	if s.scrub.due.IsZero() || began.Before(s.scrub.due) || s.table == nil {
		return
	}
	done, err := s.scrubPinned(ctx)
	if err != nil {
		s.log.Debug("comparing the database file with its page checksums", "err", err)
	}
	if done {
		s.endScrub()
		return
	}
	s.scrub.due = time.Now().Add(max(scrubPause, scrubShare*time.Since(began)))
}

// scrubPinned compares some pages. done says that the pass is over.
func (s *Shipper) scrubPinned(ctx context.Context) (done bool, err error) {
	p, err := s.pin(ctx)
	if err != nil {
		return false, err
	}
	defer s.closePinned(p)
	if p.Place().IsZero() || p.PageSize() != s.pageSize {
		return true, nil // outside of WAL mode a rollback may leave pages that are free as they are
	}
	if p.Ticket() != s.encoded {
		return false, nil
	}
	end := min(p.PageCount(), s.table.Len())
	image := make([]byte, s.pageSize)
	var wrong []uint32
	page := s.scrub.page
	for range scrubPages {
		if page++; page > end {
			break
		}
		if page == s.lockPage {
			continue
		}
		err := p.image(page, image)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			wrong = append(wrong, page) // the file ends before it
			continue
		}
		if err != nil {
			return false, err
		}
		if s.hasher.Of(page, image) != s.table.Get(page) {
			wrong = append(wrong, page)
		}
	}
	if err := p.stayed(); err != nil {
		return false, err
	}
	s.scrub.page = page
	if len(wrong) > 0 {
		s.scrub.count += len(wrong)
		s.scrub.wrong = append(s.scrub.wrong, wrong[:min(len(wrong), scrubNamed-len(s.scrub.wrong))]...)
		s.noticeDamage()
	}
	return page > end, nil
}

// endScrub ends a pass. What was wrong before and isn't any more was written by the application, or restored.
func (s *Shipper) endScrub() {
	if s.scrub.count == 0 {
		s.mu.Lock()
		s.stat.damaged = ""
		s.mu.Unlock()
	}
	s.planScrub(false)
}

// noticeDamage tells of pages that no transaction wrote as they are.
func (s *Shipper) noticeDamage() {
	s.mu.Lock()
	text := fmt.Sprintf("the database file is damaged: no transaction wrote %s as it is. It may be an older copy of the file beside the newer WAL, a failing disk, "+
		"or a program that wrote past SQLite. The replica has what was committed, at %v, and nothing of the difference was shipped: "+
		"stop the application and run restore --force to have it back", pageList(s.scrub.wrong, s.scrub.count), s.posLocked(s.encoded))
	s.stat.damaged = text
	s.noticeLocked(text)
	s.mu.Unlock()
	s.log.Error("the database file is damaged", "pages", s.scrub.count, "first", s.scrub.wrong[0])
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
