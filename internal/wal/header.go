package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes of the fixed parts of a log, in bytes.
const (
	HeaderSize      = 32 // of the log
	FrameHeaderSize = 24 // of a frame, in front of its page
)

const (
	magicLittle = 0x377f0682 // checksums read little-endian words
	magicBig    = 0x377f0683 // checksums read big-endian words
	version     = 3007000

	headerSummed = 24 // bytes of the header under its checksum
	frameSummed  = 8  // bytes of a frame header under the frame's checksum

	minPageSize = 512
	maxPageSize = 65536
)

// ErrTorn says that a log ends inside its header. To SQLite it is an empty log.
var ErrTorn = errors.New("WAL header is cut short")

// CorruptError says that the header of a log is whole but wrong. SQLite takes
// such a log for an empty one, unless it is the version that differs: then
// SQLite refuses to open the database.
type CorruptError struct {
	Offset int64 // bytes from the start of the log
	Err    error // what is wrong there
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("WAL is corrupt at byte %d: %v", e.Offset, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// Header is the header of a log, which begins a generation of it.
type Header struct {
	PageSize int       // bytes
	Seq      uint32    // checkpoint sequence number: how often the log was restarted
	Salt     [2]uint32 // names the generation
	Cksum    [2]uint32 // where the running checksum starts

	bigEndian bool // checksums read big-endian words
}

// ParseHeader parses and verifies the header of a log, which is in the first
// HeaderSize bytes of b. It returns ErrTorn when b is shorter, and *CorruptError.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, ErrTorn
	}
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	corrupt := func(off int64, format string, args ...any) (Header, error) {
		return Header{}, &CorruptError{Offset: off, Err: fmt.Errorf(format, args...)}
	}
	h := Header{
		Seq:       u32(12),
		Salt:      [2]uint32{u32(16), u32(20)},
		Cksum:     [2]uint32{u32(24), u32(28)},
		bigEndian: u32(0) == magicBig,
	}
	if m := u32(0); m != magicLittle && m != magicBig {
		return corrupt(0, "magic is %08x", m)
	}
	size := u32(8)
	if size < minPageSize || size > maxPageSize || size&(size-1) != 0 {
		return corrupt(8, "page size is %d", size)
	}
	h.PageSize = int(size)
	if got := h.Checksum([2]uint32{}, b[:headerSummed]); got != h.Cksum {
		return corrupt(headerSummed, "checksum of the header is %08x, its bytes have %08x", h.Cksum, got)
	}
	if v := u32(4); v != version {
		return corrupt(4, "version is %d, want %d", v, version)
	}
	return h, nil
}

// ReadHeader reads and verifies the header of a log. It returns io.EOF when the
// log is empty, which it is after a checkpoint that truncated it, the errors of
// ParseHeader, and read errors wrapped.
func ReadHeader(r io.ReaderAt) (Header, error) {
	var b [HeaderSize]byte
	n, err := r.ReadAt(b[:], 0)
	switch {
	case n == len(b):
		return ParseHeader(b[:])
	case err != io.EOF:
		return Header{}, fmt.Errorf("read WAL header: %w", err)
	case n == 0:
		return Header{}, io.EOF
	}
	return Header{}, ErrTorn
}

// Start is the place in front of the first frame of the generation.
func (h Header) Start() Place { return Place{Salt: h.Salt, Cksum: h.Cksum} }

// FrameSize is the size of a frame with its header, in bytes.
func (h Header) FrameSize() int { return FrameHeaderSize + h.PageSize }

// FrameOffset is where the header of a frame is, in bytes from the start of the
// log. Frames are numbered from 1.
func (h Header) FrameOffset(frame uint32) int64 {
	return HeaderSize + (int64(frame)-1)*int64(h.FrameSize())
}

// Checksum continues the running checksum sum over b, in the byte order that the
// header asks for. It panics when the length of b is not a multiple of 8.
func (h Header) Checksum(sum [2]uint32, b []byte) [2]uint32 {
	if len(b)%8 != 0 {
		panic(fmt.Sprintf("wal: Checksum of %d bytes, which is not a multiple of 8", len(b)))
	}
	s0, s1 := sum[0], sum[1]
	if h.bigEndian {
		for ; len(b) >= 8; b = b[8:] {
			s0 += binary.BigEndian.Uint32(b) + s1
			s1 += binary.BigEndian.Uint32(b[4:]) + s0
		}
	} else {
		for ; len(b) >= 8; b = b[8:] {
			w := binary.LittleEndian.Uint64(b)
			s0 += uint32(w) + s1
			s1 += uint32(w>>32) + s0
		}
	}
	return [2]uint32{s0, s1}
}

// FrameHeader is what stands in front of a page in the log.
type FrameHeader struct {
	Page   uint32    // page number; 0 makes a frame invalid
	Commit uint32    // of a commit frame: size of the database after it, pages; else 0
	Salt   [2]uint32 // of the generation that the frame belongs to
	Cksum  [2]uint32 // running checksum up to this frame
}

// ParseFrameHeader parses the first FrameHeaderSize bytes of b, which must be
// there. It verifies nothing.
func ParseFrameHeader(b []byte) FrameHeader {
	b = b[:FrameHeaderSize]
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	return FrameHeader{
		Page:   u32(0),
		Commit: u32(4),
		Salt:   [2]uint32{u32(8), u32(12)},
		Cksum:  [2]uint32{u32(16), u32(20)},
	}
}
