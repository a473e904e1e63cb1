package wal

import (
	"fmt"
	"io"
	"math"
)

// readSize is how much a Reader asks for at a time, in bytes, rounded down to
// whole frames but never less than one. One pread a frame costs more than the checksum.
const readSize = 256 << 10

// Frame is one frame of a log.
type Frame struct {
	Index  uint32 // number of the frame in its generation, from 1
	Page   uint32 // number of the page, from 1
	Commit uint32 // of a commit frame: size of the database after it, pages; else 0
	Data   []byte // the page; valid until the next call of Next
}

// Reader reads the valid frames of one generation of a log. It is not safe for
// concurrent use. It holds up to 256 KiB and reads that far ahead, so a frame may
// be as old as a call of Next long before it: who comes back later to a log that
// is being written takes a new Reader.
type Reader struct {
	r     io.ReaderAt
	h     Header
	place Place  // behind the last frame returned
	buf   []byte // read ahead: whole frames, the first one follows place
	mem   []byte // what buf is cut from; allocated by the first read
}

// NewReader returns a Reader for the frames behind from, in the log whose header
// is h. The chain of checksums is verified from there: that from itself is in the
// log is for the caller to know, or to ask with PlaceAt. Behind a place of another
// generation there is nothing: Next returns io.EOF.
func NewReader(r io.ReaderAt, h Header, from Place) *Reader {
	return &Reader{r: r, h: h, place: from}
}

// Place is the place behind the last frame that Next returned.
func (r *Reader) Place() Place { return r.place }

// Next reads the next frame. It returns io.EOF where the chain ends: at the end of
// the file, inside a frame, or at a frame that is of another generation, has page
// number 0 or a wrong checksum. That is where SQLite stops too; what was returned
// behind the last commit frame is then no part of the database. After io.EOF, Next
// may be called again and looks at the file anew. Read errors are wrapped.
func (r *Reader) Next(f *Frame) error {
	if r.place.Salt != r.h.Salt || r.place.Frame == math.MaxUint32 {
		return io.EOF
	}
	if len(r.buf) == 0 {
		if err := r.fill(); err != nil {
			return err
		}
	}
	raw := r.buf[:r.h.FrameSize()]
	head, data := ParseFrameHeader(raw), raw[FrameHeaderSize:]
	if head.Page == 0 || head.Salt != r.h.Salt {
		r.buf = nil
		return io.EOF
	}
	sum := r.h.Checksum(r.place.Cksum, raw[:frameSummed])
	if r.h.Checksum(sum, data) != head.Cksum {
		r.buf = nil
		return io.EOF
	}
	r.buf = r.buf[len(raw):]
	r.place.Frame++
	r.place.Cksum = head.Cksum
	*f = Frame{Index: r.place.Frame, Page: head.Page, Commit: head.Commit, Data: data}
	return nil
}

// fill reads whole frames into the empty buf, at least one.
func (r *Reader) fill() error {
	size := r.h.FrameSize()
	if r.mem == nil {
		r.mem = make([]byte, max(1, readSize/size)*size)
	}
	next := r.place.Frame + 1
	n, err := r.r.ReadAt(r.mem, r.h.FrameOffset(next))
	if n < size {
		if err == io.EOF {
			return io.EOF
		}
		return fmt.Errorf("read WAL frame %d: %w", next, err)
	}
	// A read error behind a whole frame comes back when its turn has come.
	r.buf = r.mem[:n-n%size]
	return nil
}

// PlaceAt returns the place behind a frame as the frame's own header has it; of
// frame 0 it is Start. It returns io.EOF when the log has no such frame of h's
// generation. Neither the page nor the frames before it are verified: a place
// that is equal to one known from before says that the log still has it, one
// that differs says that the log was written anew in between.
func (h Header) PlaceAt(r io.ReaderAt, frame uint32) (Place, error) {
	if frame == 0 {
		return h.Start(), nil
	}
	var b [FrameHeaderSize]byte
	n, err := r.ReadAt(b[:], h.FrameOffset(frame))
	if n < len(b) {
		if err == io.EOF {
			return Place{}, io.EOF
		}
		return Place{}, fmt.Errorf("read header of WAL frame %d: %w", frame, err)
	}
	f := ParseFrameHeader(b[:])
	if f.Page == 0 || f.Salt != h.Salt {
		return Place{}, io.EOF
	}
	return Place{Salt: f.Salt, Frame: frame, Cksum: f.Cksum}, nil
}
