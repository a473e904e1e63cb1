package restore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"

	"seawal/internal/fsops"
)

// Check says how much is verified.
type Check uint8

const (
	// CheckQuick compares every page image with its checksum, and the checksum
	// of the whole database after every transaction, while they are written.
	CheckQuick Check = iota
	// CheckNone leaves out the hashing of page images. The objects' own
	// checksums are verified, and the sums that they declare have to add up.
	CheckNone
	// CheckFull is CheckQuick, and then reads the finished file back, from the
	// file system, and hashes every page of it again; page 1 has to be that of a
	// database of this page size. It proves that the file is the source file. Whether the source
	// was logically sound is SQLite's to say: PRAGMA integrity_check.
	CheckFull
)

// String is the name as the command line has it.
func (c Check) String() string {
	switch c {
	case CheckQuick:
		return "quick"
	case CheckNone:
		return "none"
	case CheckFull:
		return "full"
	}
	return fmt.Sprintf("Check(%d)", uint8(c))
}

// ParseCheck reads what String wrote.
func ParseCheck(s string) (Check, error) {
	for c := CheckQuick; c <= CheckFull; c++ {
		if c.String() == s {
			return c, nil
		}
	}
	return 0, fmt.Errorf("unknown check %q: write none, quick or full", s)
}

// readBackSize is how much a worker reads back at once, bytes.
const readBackSize = 1 << 20

// finish brings the file to stable storage and, if that is asked for, reads it back.
func (b *builder) finish(ctx context.Context, check Check) error {
	if err := fsops.Sync(b.file); err != nil {
		return fmt.Errorf("sync restored file: %w", err)
	}
	if check != CheckFull {
		return nil
	}
	if err := b.readBack(ctx); err != nil {
		return fmt.Errorf("check restored file: %w", err)
	}
	return nil
}

// readBack compares every page of the file with the table of checksums.
func (b *builder) readBack(ctx context.Context) error {
	if b.count == 0 {
		return nil
	}
	perRead := uint32(readBackSize / b.pageSize)
	var next atomic.Uint32
	g := newGroup(ctx)
	for range b.workers {
		g.run(func(ctx context.Context) error {
			buf := make([]byte, readBackSize)
			for ctx.Err() == nil {
				first := next.Add(1) - 1
				if uint64(first)*uint64(perRead) >= uint64(b.count) {
					return nil
				}
				page := first*perRead + 1
				if err := b.readBackPages(buf, page, min(perRead, b.count-page+1)); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.wait()
}

// readBackPages checks n pages from first on. Many may call it at once: it only reads.
func (b *builder) readBackPages(buf []byte, first, n uint32) error {
	size := b.pageSize
	buf = buf[:int(n)*size]
	if _, err := b.file.ReadAt(buf, int64(first-1)*int64(size)); err != nil && err != io.EOF {
		return fmt.Errorf("read pages from %d: %w", first, err)
	}
	for i := range n {
		page, img := first+i, buf[int(i)*size:int(i+1)*size]
		want := b.table.Get(page)
		if want == 0 { // the lock page, or one that SQLite never wrote: zeros
			if bytes.ContainsFunc(img, func(r rune) bool { return r != 0 }) {
				return fmt.Errorf("page %d should be empty", page)
			}
			continue
		}
		if got := b.hasher.Of(page, img); got != want {
			return fmt.Errorf("page %d has checksum %v, want %v: the disk gave back other bytes than were written", page, got, want)
		}
		if page == 1 {
			if err := checkFirstPage(img); err != nil {
				return err
			}
		}
	}
	return nil
}

// sqliteMagic is how every database file begins.
const sqliteMagic = "SQLite format 3\x00"

// checkFirstPage checks that a page can be the first one of a database.
func checkFirstPage(img []byte) error {
	if !bytes.HasPrefix(img, []byte(sqliteMagic)) {
		return fmt.Errorf("page 1 is not that of a SQLite database")
	}
	size := int(binary.BigEndian.Uint16(img[16:]))
	if size == 1 {
		size = 65536
	}
	if size != len(img) {
		return fmt.Errorf("page 1 says that pages have %d bytes, they were to have %d", size, len(img))
	}
	return nil
}
