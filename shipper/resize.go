package shipper

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/wal"
)

// The pages of a database get another size by a VACUUM in a rollback journal mode, or by another database in its place.
// No delta leads there. So a new timeline leaves the one before at the newest point that the replica has, and
// begins with a snapshot; transaction numbers go on.

// resized is the reason of such a timeline.
func resized(from, to int) string {
	return fmt.Sprintf("page size changed from %d to %d by VACUUM, or by a database copied over it", from, to)
}

// firstPage is how the first page of a database begins; its page size follows.
const firstPage = "SQLite format 3\x00"

// resizes says that a commit in a rollback journal mode gives the pages another size. A VACUUM writes the file in
// pieces of the old size, which it may not be a multiple of any more: they are no pages.
func (c *Commit) resizes() bool {
	if c.Kind != CommitFrames || !c.To.IsZero() {
		return false // a database in WAL mode keeps its page size
	}
	size := wal.FrameHeaderSize + c.PageSize
	for _, frames := range c.Frames {
		for ; len(frames) >= size; frames = frames[size:] {
			page := frames[wal.FrameHeaderSize:size]
			if wal.ParseFrameHeader(frames).Page == 1 && bytes.HasPrefix(page, []byte(firstPage)) && pageSizeOf(page) != c.PageSize {
				return true
			}
		}
	}
	return false
}

// pageSizeOf is what the header of a database says, in its bytes 16 and 17.
func pageSizeOf(header []byte) int {
	if n := int(binary.BigEndian.Uint16(header[len(firstPage):])); n != 1 {
		return n
	}
	return 1 << 16
}

// turn ships what was committed while the pages had the size of the timeline, and begins the next one.
func (s *Shipper) turn(ctx context.Context) error {
	if err := s.closeBatch(ctx); err != nil {
		return err
	}
	if err := s.waitLanded(ctx); err != nil {
		return err
	}
	p, err := s.pin(ctx)
	if err != nil {
		return err
	}
	defer s.closePinned(p)
	if p.PageSize() == s.pageSize {
		return errors.New("pages of another size were written, and of the old one again") // the difference is shipped
	}
	return s.beginResized(ctx, p)
}

// beginResized opens the timeline for the page size of a pinned state, unless an earlier attempt did, and begins it with that. Nothing
// is under way. An error that isn't fatal means to call it again, with a new pinned state: see resync.
func (s *Shipper) beginResized(ctx context.Context, p *pinned) error {
	at, size, number := s.Durable(), p.PageSize(), s.base+p.Ticket()
	switch {
	case p.PageCount() == 0:
		return errors.New("the database has no page any more")
	case number <= at.Tx:
		return fmt.Errorf("page size changed: the database is at transaction %d, the replica at %d", number, at.Tx)
	}
	if !s.unbegun || size != s.pageSize {
		o := origin{takeover: s.apart}
		t, err := s.openTimeline(ctx, replica.Timeline{
			Timeline: s.newest + 1, Parent: at.Timeline, ParentTx: at.Tx, PageSize: size, Reason: o.because(resized(s.pageSize, size)),
		})
		if err != nil {
			return err
		}
		s.noticeTimeline(t.Timeline, at, t.Reason)
		s.startResized(replica.Pos{Timeline: t.Timeline, Tx: at.Tx}, s.base, size)
		s.apart = ""
	}
	err := s.shipSnapshot(ctx, p, number)
	if errors.Is(err, errSnapshotStored) {
		// Of an earlier attempt: from there on it goes by difference.
		if err := s.lookForClose(ctx, at.Tx); err != nil {
			return err
		}
		s.unbegun = false
		s.publish(replica.Pos{Timeline: s.timeline, Tx: number}, 0)
	}
	if err != nil {
		return err
	}
	s.unbegun, s.place = false, p.place
	s.caughtUp(p)
	s.saveNow(s.stateNow())
	s.setMode(ModeShipping)
	return nil
}

// setPageSize makes the memory of the encode path fit pages of this size.
func (s *Shipper) setPageSize(size int) {
	if s.pageSize == size {
		return
	}
	s.releaseCache()
	s.pageSize, s.lockPage = size, pagesum.LockPage(size)
	s.cache = newImageCache(size, s.cfg.CacheBytes)
	s.enc.base = make([]byte, size)
	s.enc.delta = make([]byte, 0, size)
}

func (s *Shipper) releaseCache() {
	if s.cache == nil {
		return
	}
	if err := s.cache.release(); err != nil {
		s.log.Warn("giving the cache's memory back", "err", err)
	}
	s.cache = nil
}

// startResized goes over to a timeline that has no snapshot yet.
func (s *Shipper) startResized(at replica.Pos, base uint64, size int) {
	s.unbegun = true
	s.setPageSize(size)
	s.publish(at, base)
}

// meetResized attaches a database whose pages have another size than those of the newest point, o: one that is at an earlier point, or
// one that changed while nobody looked. newest has its page size.
func (s *Shipper) meetResized(ctx context.Context, newest replica.Timeline, o origin, p *pinned) error {
	local, err := p.sums(ctx, s.hasher)
	if err != nil {
		return err
	}
	found, err := s.compareEarlier(ctx, o, local, nil, p)
	if err != nil {
		return err
	}
	if found != nil {
		s.setPageSize(p.PageSize())
		return s.carryOut(ctx, newest, found, p)
	}
	if s.state == nil && !s.isAdopted(s.rep) {
		return s.stranger(s.rep, fmt.Sprintf("at %v it has pages of %d bytes, %s has pages of %d", o.pos, o.pageSize, s.cfg.DBPath, p.PageSize()))
	}
	own, ok, err := s.ownEnd(ctx, o)
	if err != nil {
		return err
	}
	if ok {
		return s.meetAt(ctx, newest, own, p)
	}
	s.latest, s.apart = max(s.latest, o.time), o.takeover
	if at := o.pos; newest.PageSize == p.PageSize() && newest.Writer == s.writer && at == (replica.Pos{Timeline: newest.Timeline, Tx: newest.ParentTx}) {
		s.startResized(at, at.Tx+1, p.PageSize()) // it was opened for this, and then the process died
		s.noticeTimeline(at.Timeline, at, newest.Reason)
	} else {
		s.setPageSize(o.pageSize)
		s.publish(at, at.Tx+1)
	}
	err = s.beginResized(ctx, p)
	if err == nil || fatal(err) || ctx.Err() != nil {
		return err
	}
	s.closePinned(p) // a source has one pinned state at a time
	return s.resync(ctx, err)
}
