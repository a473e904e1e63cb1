package shipper

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"seawal/internal/wal"
)

// logRange is a stretch of the log that was verified and measured: whole
// transactions between two places. It holds 5 bytes a frame, and no page.
type logRange struct {
	file    WALFile
	header  wal.Header
	from    wal.Place
	to      wal.Place // with its checksum
	pages   []uint32  // page number of each frame behind from
	commits []commitFrame
}

// commitFrame is the end of a transaction.
type commitFrame struct {
	end       int // frames of the range up to and with it
	pageCount uint32
}

// openLog opens the log. The error is errMoved when there is none.
func openLog(src Source) (WALFile, error) {
	f, err := src.WAL()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: open the log: %w", errMoved, err)
	case err != nil:
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return f, nil
}

// openRange verifies the frames behind from up to frame to. The error is errMoved
// when they are not there, or don't end with a commit; any other may go away. from needs no checksum.
func openRange(src Source, from wal.Place, to uint32) (*logRange, error) {
	f, err := openLog(src)
	if err != nil {
		return nil, err
	}
	r, err := scanRange(f, from, to)
	if err != nil {
		f.Close() // read only: there is nothing to lose
		return nil, err
	}
	return r, nil
}

func scanRange(f WALFile, from wal.Place, to uint32) (*logRange, error) {
	h, err := readLogHeader(f)
	if err != nil {
		return nil, err
	}
	if h.Salt != from.Salt || from.Frame > to {
		return nil, fmt.Errorf("%w: it was restarted", errMoved)
	}
	if from.Cksum == [2]uint32{} {
		if from, err = h.PlaceAt(f, from.Frame); err != nil {
			return nil, fmt.Errorf("%w: frame %d: %w", errMoved, from.Frame, err)
		}
	}
	r := &logRange{file: f, header: h, from: from, pages: make([]uint32, 0, to-from.Frame)}
	rd := wal.NewReader(f, h, from)
	var frame wal.Frame
	for rd.Place().Frame < to {
		switch err := rd.Next(&frame); {
		case err == io.EOF:
			return nil, fmt.Errorf("%w: it ends at frame %d, before %d", errMoved, rd.Place().Frame, to)
		case err != nil:
			return nil, err
		}
		r.pages = append(r.pages, frame.Page)
		if frame.Commit != 0 {
			r.commits = append(r.commits, commitFrame{len(r.pages), frame.Commit})
		}
	}
	if n := len(r.commits); len(r.pages) > 0 && (n == 0 || r.commits[n-1].end != len(r.pages)) {
		return nil, fmt.Errorf("%w: frame %d is no commit", errMoved, to)
	}
	r.to = rd.Place()
	return r, nil
}

// readLogHeader treats a log without a usable header as SQLite does: it is empty.
func readLogHeader(f WALFile) (wal.Header, error) {
	h, err := wal.ReadHeader(f)
	var corrupt *wal.CorruptError
	if err == io.EOF || errors.Is(err, wal.ErrTorn) || errors.As(err, &corrupt) {
		return wal.Header{}, fmt.Errorf("%w: %w", errMoved, err)
	}
	return h, err
}

// merge makes one transaction of all.
func (r *logRange) merge() {
	if n := len(r.commits); n > 1 {
		r.commits = r.commits[n-1:]
	}
}

// skip drops the first n transactions: a snapshot or a difference has them already.
func (r *logRange) skip(n int) error {
	cut := r.commits[n-1].end
	from, err := r.header.PlaceAt(r.file, r.from.Frame+uint32(cut))
	if err != nil {
		return fmt.Errorf("%w: %w", errMoved, err)
	}
	r.from, r.pages, r.commits = from, r.pages[cut:], r.commits[n:]
	for i := range r.commits {
		r.commits[i].end -= cut
	}
	return nil
}

func (r *logRange) close() error { return r.file.Close() }

// shipRange encodes the transactions of r. t is the first one as far as the caller
// knows it; each next one has the next number. between is called between two of them.
func (s *Shipper) shipRange(r *logRange, t transaction, between func() error) error {
	rd := wal.NewReader(r.file, r.header, r.from)
	done := 0 // frames
	for i, c := range r.commits {
		pages := r.pages[done:c.end]
		s.lastFrames(len(pages), func(k int) uint32 { return pages[k] })
		t.pageCount = c.pageCount
		if err := s.begin(t); err != nil {
			return err
		}
		if err := s.encodeRange(rd, len(pages), t.pageCount); err != nil {
			return err
		}
		t.place = rd.Place()
		if err := s.end(t); err != nil {
			return err
		}
		done = c.end
		if i+1 == len(r.commits) {
			break
		}
		if err := between(); err != nil {
			return err
		}
		t.number++
	}
	return nil
}

// encodeRange encodes the next n frames of rd, of which those in s.enc.keep count.
func (s *Shipper) encodeRange(rd *wal.Reader, n int, pageCount uint32) error {
	keep := s.enc.keep
	var frame wal.Frame
	for i := range n {
		if err := rd.Next(&frame); err != nil {
			return fmt.Errorf("%w: read again: %w", errMoved, err)
		}
		if k := len(keep); k == 0 || keep[k-1] != i {
			continue
		}
		keep = keep[:len(keep)-1]
		if frame.Page > pageCount {
			continue
		}
		if err := s.page(frame.Page, frame.Data, false); err != nil {
			return err
		}
	}
	return nil
}

// completePlace adds to a place the checksum that the log has there.
func completePlace(src Source, p wal.Place) (wal.Place, error) {
	if p.IsZero() {
		return p, nil
	}
	f, err := openLog(src)
	if err != nil {
		return wal.Place{}, err
	}
	defer f.Close()
	h, err := readLogHeader(f)
	if err != nil {
		return wal.Place{}, err
	}
	if h.Salt != p.Salt {
		return wal.Place{}, errMoved
	}
	q, err := h.PlaceAt(f, p.Frame)
	if err != nil {
		return wal.Place{}, fmt.Errorf("%w: %w", errMoved, err)
	}
	return q, nil
}
