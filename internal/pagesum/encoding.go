package pagesum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// A stored table, all numbers little-endian:
//
//	0      8   magic "seawalPS"
//	8      4   format version, 1
//	12     4   n, number of pages
//	16     8   checksum of the database: XOR of the sums
//	24     8n  sum of page 1, 2, ... n
//	24+8n  8   XXH3-64 of everything before it
//
// The checksum at the end is over the bytes of this file only; that the table
// belongs to the database beside it is for the caller to prove.
const (
	magic       = "seawalPS"
	version     = 1
	headSize    = 24
	sumSize     = 8
	trailerSize = 8
)

// ErrTorn says that a stored table ends too early.
var ErrTorn = errors.New("pagesum: table is cut short")

// CorruptError says that a stored table is whole but wrong.
type CorruptError struct {
	Offset int64 // bytes from the start of the table
	Err    error // what is wrong there
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("pagesum: table is corrupt at byte %d: %v", e.Offset, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// VersionError says that a stored table has a format that this program does not know.
type VersionError struct{ Version uint32 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("pagesum: table has format version %d, this program knows %d: it was written by a newer seawal", e.Version, version)
}

var _ io.WriterTo = (*Table)(nil)

// WriteTo writes the table in a form that ReadTable reads: 32 bytes and 8 a
// page, in pieces of 8 KiB.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	hash := xxh3.New()
	var written int64
	put := func(b []byte) error {
		hash.Write(b)
		n, err := w.Write(b)
		written += int64(n)
		return err
	}
	buf := make([]byte, 0, chunkPages*sumSize)
	buf = append(buf, magic...)
	buf = binary.LittleEndian.AppendUint32(buf, version)
	buf = binary.LittleEndian.AppendUint32(buf, t.n)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(t.total))
	if err := put(buf); err != nil {
		return written, fmt.Errorf("write page checksums: %w", err)
	}
	for i, c := range t.chunks {
		buf = buf[:0]
		for _, s := range c.image()[:min(chunkPages, int64(t.n)-int64(i)*chunkPages)] {
			buf = binary.LittleEndian.AppendUint64(buf, uint64(s))
		}
		if err := put(buf); err != nil {
			return written, fmt.Errorf("write page checksums: %w", err)
		}
	}
	buf = binary.LittleEndian.AppendUint64(buf[:0], hash.Sum64())
	if err := put(buf); err != nil {
		return written, fmt.Errorf("write page checksums: %w", err)
	}
	return written, nil
}

// ReadTable reads what WriteTo wrote, and not a byte more. It returns ErrTorn
// when r ends too early, *CorruptError when the content is wrong and
// *VersionError when it is of an unknown format; an error of r is wrapped.
// Memory grows with what was read, not with what the head says.
func ReadTable(r io.Reader) (*Table, error) {
	in := &tableReader{r: r, hash: xxh3.New()}
	buf := make([]byte, chunkPages*sumSize)
	head := buf[:headSize]
	if err := in.read(head); err != nil {
		return nil, err
	}
	if string(head[:8]) != magic {
		return nil, &CorruptError{Offset: 0, Err: errors.New("no table of page checksums")}
	}
	if v := binary.LittleEndian.Uint32(head[8:]); v != version {
		return nil, &VersionError{Version: v}
	}
	n := binary.LittleEndian.Uint32(head[12:])
	total := Sum(binary.LittleEndian.Uint64(head[16:]))

	t := New()
	for t.n < n {
		k := min(chunkPages, n-t.n)
		b := buf[:k*sumSize]
		if err := in.read(b); err != nil {
			return nil, err
		}
		c := new(chunk)
		for i := range k {
			s := Sum(binary.LittleEndian.Uint64(b[i*sumSize:]))
			c.set(uint16(i), s)
			t.total ^= s
			if s != 0 {
				t.sums++
			}
		}
		t.chunks = append(t.chunks, c)
		t.n += k
	}
	want, at := in.hash.Sum64(), in.n
	if err := in.read(buf[:trailerSize]); err != nil {
		return nil, err
	}
	if got := binary.LittleEndian.Uint64(buf); got != want {
		return nil, &CorruptError{Offset: at, Err: fmt.Errorf("checksum is %016x, content has %016x", got, want)}
	}
	if t.total != total {
		return nil, &CorruptError{Offset: 16, Err: fmt.Errorf("checksum of the database is %v, its pages have %v", total, t.total)}
	}
	return t, nil
}

// tableReader counts and hashes what it reads.
type tableReader struct {
	r    io.Reader
	hash *xxh3.Hasher
	n    int64
}

func (t *tableReader) read(b []byte) error {
	n, err := io.ReadFull(t.r, b)
	t.n += int64(n)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ErrTorn
	case err != nil:
		return fmt.Errorf("read page checksums: %w", err)
	}
	t.hash.Write(b)
	return nil
}
