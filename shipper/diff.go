package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/wal"
)

// pinned is a pinned state of the database with the way to each of its pages.
type pinned struct {
	ReadTx
	log    WALFile // nil when no page is there
	header wal.Header
	frames []uint32  // newest frame of page n at n-1, 0: in the file; nil when every page is there
	place  wal.Place // Place with its checksum
	closed bool
}

// pin begins to read. The caller closes what it gets.
func (s *Shipper) pin(ctx context.Context) (*pinned, error) {
	tx, err := s.src.BeginRead(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	p := &pinned{ReadTx: tx}
	if err := p.index(s.src); err != nil {
		return nil, errors.Join(fmt.Errorf("read the log: %w", err), p.Close())
	}
	return p, nil
}

// pinPatiently is pin, repeated until it succeeds.
func (s *Shipper) pinPatiently(ctx context.Context) (*pinned, error) {
	for {
		p, err := s.pin(ctx)
		if err == nil || ctx.Err() != nil || fatal(err) {
			return p, err
		}
		s.noteError(err)
		if err := s.pause(ctx, s.cfg.RetryWait); err != nil {
			return nil, err
		}
	}
}

// index finds the pages that are in the log: 4 bytes for each page of the database.
func (p *pinned) index(src Source) error {
	end := p.Place()
	if end.Frame == 0 {
		// A place without a frame is worth its checksum only if the log is there.
		if place, err := completePlace(src, end); err == nil {
			p.place = place
		}
		return nil
	}
	f, err := src.WAL()
	if err != nil {
		return err
	}
	p.log = f
	if p.header, err = wal.ReadHeader(f); err != nil {
		return err
	}
	if p.header.Salt != end.Salt {
		return errMoved
	}
	var frames []uint32
	if !p.InFile() {
		frames = make([]uint32, p.PageCount())
	}
	rd := wal.NewReader(f, p.header, p.header.Start())
	var frame wal.Frame
	for rd.Place().Frame < end.Frame {
		if err := rd.Next(&frame); err != nil {
			return fmt.Errorf("frame %d of %d: %w", rd.Place().Frame+1, end.Frame, err)
		}
		if frame.Page <= uint32(len(frames)) {
			frames[frame.Page-1] = frame.Index
		}
	}
	p.frames, p.place = frames, rd.Place()
	return nil
}

// image reads a page. What it reads of the log counts only once stayed has said so.
func (p *pinned) image(page uint32, b []byte) error {
	if p.frames == nil || p.frames[page-1] == 0 {
		if err := p.ReadFile(page, b); err != nil {
			return fmt.Errorf("read page %d: %w", page, err)
		}
		return nil
	}
	frame := p.frames[page-1]
	n, err := p.log.ReadAt(b, p.header.FrameOffset(frame)+wal.FrameHeaderSize)
	if n < len(b) {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read page %d from frame %d of the log: %w", page, frame, err)
	}
	if l, ok := p.ReadTx.(Loser); ok {
		if err := l.Lost(); err != nil {
			return fmt.Errorf("read page %d: %w", page, err)
		}
	}
	return nil
}

// stayed says, after the last image, whether the log was the same all the time. SQLite's lock promises that, but POSIX locks are lost
// when anybody in this process closes a descriptor of the file. Whoever starts the log again writes its header before any frame:
// with the salts of the beginning, no image can be one of another generation.
func (p *pinned) stayed() error {
	if p.frames == nil {
		return nil
	}
	h, err := readLogHeader(p.log)
	if err == nil && h.Salt != p.header.Salt {
		err = errMoved
	}
	if err != nil {
		return fmt.Errorf("pages were read from the log: %w", err)
	}
	return nil
}

// Close ends the read. A second Close does nothing.
func (p *pinned) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	var err error
	if p.log != nil {
		err = p.log.Close()
	}
	return errors.Join(err, p.ReadTx.Close())
}

// closePinned ends a read whose result is in. That it doesn't end cleanly changes
// nothing of the result.
func (s *Shipper) closePinned(p *pinned) {
	if err := p.Close(); err != nil {
		s.log.Warn("ending a read of the database", "err", err)
	}
}

// sums computes the table of the pinned state: every page is read.
func (p *pinned) sums(ctx context.Context, h *pagesum.Hasher) (*pagesum.Table, error) {
	return p.sumsWith(ctx, h, func() {})
}

// sumsWith is sums that tells how it gets on.
func (p *pinned) sumsWith(ctx context.Context, h *pagesum.Hasher, progress func()) (*pagesum.Table, error) {
	t := pagesum.New()
	b := make([]byte, p.PageSize())
	lock := pagesum.LockPage(p.PageSize())
	for page := uint32(1); page <= p.PageCount(); page++ {
		if page == lock {
			continue
		}
		if page%1024 == 0 {
			if progress(); ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
		if err := p.image(page, b); err != nil {
			return nil, err
		}
		t.Set(page, h.Of(page, b))
	}
	return t, p.stayed()
}

// fileSums computes the table of the database file alone: what the database was
// before the log, as long as no checkpoint wrote of the log to the file. It is nil
// when the log is empty, so that the file is the pinned state.
func (p *pinned) fileSums(ctx context.Context, h *pagesum.Hasher) (*pagesum.Table, error) {
	if p.log == nil {
		return nil, nil
	}
	t := pagesum.New()
	b := make([]byte, p.PageSize())
	lock := pagesum.LockPage(p.PageSize())
	for page := uint32(1); ; page++ {
		if page%1024 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if page == lock {
			continue
		}
		if p.ReadFile(page, b) != nil {
			return t, nil // its end, most likely; if not, the sums fit nothing
		}
		t.Set(page, h.Of(page, b))
	}
}

// written returns the pages in which a pinned state can differ from the table, which is of the state after since (a ticket, modulo
// 2^64: what was committed before capture began is below zero). nil: in any.
func (s *Shipper) written(since uint64) *PageSet {
	if int64(since) < int64(s.surely) {
		return nil
	}
	set := s.src.Written(since)
	if set != nil {
		set.AddFrom(s.table.Len() + 1)
	}
	return set
}

// shipDiff encodes, as one transaction, what leads from the table to the pinned
// state: every page whose sum differs, of those that may.
func (s *Shipper) shipDiff(ctx context.Context, p *pinned, t transaction, may *PageSet) error {
	t.pageCount, t.place = p.PageCount(), p.place
	if err := s.begin(t); err != nil {
		return err
	}
	began, read := time.Now(), uint64(0)
	defer func() { s.noteDifference(time.Since(began), read, t.span) }()
	b := make([]byte, s.pageSize)
	for page := may.Next(0); page != 0 && page <= p.PageCount(); page = may.Next(page) {
		if page == s.lockPage {
			continue
		}
		if read++; read%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := p.image(page, b); err != nil {
			return err
		}
		if s.isDamaged(page, b) {
			continue
		}
		if err := s.page(page, b, false); err != nil {
			return err
		}
	}
	if err := p.stayed(); err != nil {
		return err
	}
	return s.end(t)
}
