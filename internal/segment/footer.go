package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"seawal/internal/pagesum"
	"seawal/internal/wal"
)

// FooterSize is the number of bytes at the end of an object that hold its Info.
const FooterSize = 200

// Offsets in the footer; the header's fields come first.
const (
	footerLast        = headerFields
	footerFirstTime   = footerLast + 8
	footerLastTime    = footerFirstTime + 8
	footerAfter       = footerLastTime + 8
	footerPageCount   = footerAfter + 8
	footerPlace       = footerPageCount + 4
	footerTxs         = footerPlace + 20
	footerPages       = footerTxs + 8
	footerIndexOffset = footerPages + 8
	footerKey         = footerIndexOffset + 8
	footerSize        = footerKey + 8
	footerChecksum    = footerSize + 8     // of the object before this field
	footerOwnSum      = footerChecksum + 8 // of the footer before this field
	footerTail        = footerOwnSum + 8   // version, footer size, zeros: the same place from the end in every version
	footerMagic       = FooterSize - len(endMagic)
)

const endMagic = "\nSEAWAL\x89"

// minSize is the size of the shortest object that could be complete.
const minSize = HeaderSize + blockHeaderSize + FooterSize

// Footer is what is known of a segment once its last transaction is in.
type Footer struct {
	Last        uint64      // last transaction
	FirstTime   int64       // commit time of the first transaction record, unix nanoseconds
	LastTime    int64       // of the last
	After       pagesum.Sum // of the database after the last transaction
	PageCount   uint32      // size of the database after it, pages
	Place       wal.Place   // of the end of the last transaction in the WAL; zero when it was in none
	Txs         uint64      // transaction records
	Pages       uint64      // pages stored, over all transactions
	IndexOffset int64       // bytes from the start of the object to the part of the index that ReadIndex reads first
}

// Info is all that is known of a segment without reading its pages.
type Info struct {
	Header
	Footer
	Size     int64  // of the object, bytes
	Checksum uint64 // xxh3-64 of the object up to this field: equal for equal content
}

// appendFooter appends the footer up to the object's checksum.
func appendFooter(b []byte, info Info) []byte {
	le := binary.LittleEndian
	b = appendHeaderFields(b, info.Header)
	b = le.AppendUint64(b, info.Last)
	b = le.AppendUint64(b, uint64(info.FirstTime))
	b = le.AppendUint64(b, uint64(info.LastTime))
	b = le.AppendUint64(b, uint64(info.After))
	b = le.AppendUint32(b, info.PageCount)
	for _, v := range [...]uint32{info.Place.Salt[0], info.Place.Salt[1], info.Place.Frame, info.Place.Cksum[0], info.Place.Cksum[1]} {
		b = le.AppendUint32(b, v)
	}
	b = le.AppendUint64(b, info.Txs)
	b = le.AppendUint64(b, info.Pages)
	b = le.AppendUint64(b, uint64(info.IndexOffset))
	b = le.AppendUint64(b, uint64(info.Key))
	return le.AppendUint64(b, uint64(info.Size))
}

// sealFooter appends what follows: the object's checksum, the footer's own, and the tail.
func sealFooter(footer []byte, checksum uint64) []byte {
	le := binary.LittleEndian
	version := le.Uint16(footer[len(startMagic):]) // as the header has it
	footer = le.AppendUint64(footer, checksum)
	footer = le.AppendUint64(footer, xxh3.Hash(footer))
	footer = le.AppendUint16(footer, version)
	footer = le.AppendUint16(footer, FooterSize)
	footer = le.AppendUint32(footer, 0)
	return append(footer, endMagic...)
}

// ReadInfo reads what the footer says of an object of size bytes, with one
// ReadAt of FooterSize bytes. It verifies the footer, not the object: for that,
// a Decoder has to read all of it. Errors: ErrTorn, *CorruptError, *VersionError,
// or what r returned. Safe for concurrent use if r is.
func ReadInfo(r io.ReaderAt, size int64) (Info, error) {
	if size < int64(minSize) {
		return Info{}, fmt.Errorf("read footer: object of %d bytes: %w", size, ErrTorn)
	}
	var tail [FooterSize]byte
	if n, err := r.ReadAt(tail[:], size-FooterSize); n < len(tail) {
		return Info{}, readError("read footer", err)
	}
	return ParseFooter(tail[:], size)
}

// ParseFooter is ReadInfo for callers that have read the last FooterSize bytes
// of an object of size bytes themselves.
func ParseFooter(tail []byte, size int64) (Info, error) {
	le := binary.LittleEndian
	if len(tail) < FooterSize || size < int64(minSize) {
		return Info{}, fmt.Errorf("read footer: object of %d bytes: %w", size, ErrTorn)
	}
	b := tail[len(tail)-FooterSize:]
	start := size - FooterSize
	if !bytes.Equal(b[footerMagic:], []byte(endMagic)) {
		return Info{}, fmt.Errorf("read footer: no end mark: %w", ErrTorn)
	}
	version := le.Uint16(b[footerTail:])
	if version > Version {
		return Info{}, &VersionError{Version: version}
	}
	if version == 0 || le.Uint16(b[footerTail+2:]) != FooterSize || le.Uint32(b[footerTail+4:]) != 0 {
		return Info{}, corrupt(start+int64(footerTail), "footer: wrong version or size")
	}
	if xxh3.Hash(b[:footerOwnSum]) != le.Uint64(b[footerOwnSum:]) {
		return Info{}, corrupt(start+int64(footerOwnSum), "footer: wrong checksum")
	}
	h, err := parseHeaderFields(b, start, version)
	if err != nil {
		return Info{}, fmt.Errorf("read footer: %w", err)
	}
	h.Key = pagesum.Key(le.Uint64(b[footerKey:]))
	info := Info{
		Header: h,
		Footer: Footer{
			Last:      le.Uint64(b[footerLast:]),
			FirstTime: int64(le.Uint64(b[footerFirstTime:])),
			LastTime:  int64(le.Uint64(b[footerLastTime:])),
			After:     pagesum.Sum(le.Uint64(b[footerAfter:])),
			PageCount: le.Uint32(b[footerPageCount:]),
			Place: wal.Place{
				Salt:  [2]uint32{le.Uint32(b[footerPlace:]), le.Uint32(b[footerPlace+4:])},
				Frame: le.Uint32(b[footerPlace+8:]),
				Cksum: [2]uint32{le.Uint32(b[footerPlace+12:]), le.Uint32(b[footerPlace+16:])},
			},
			Txs:         le.Uint64(b[footerTxs:]),
			Pages:       le.Uint64(b[footerPages:]),
			IndexOffset: int64(le.Uint64(b[footerIndexOffset:])),
		},
		Size:     int64(le.Uint64(b[footerSize:])),
		Checksum: le.Uint64(b[footerChecksum:]),
	}
	switch {
	case info.Size != size:
		return Info{}, corrupt(start+footerSize, "object has %d bytes, its footer says %d", size, info.Size)
	case info.IndexOffset < HeaderSize || info.IndexOffset > start-blockHeaderSize:
		return Info{}, corrupt(start+footerIndexOffset, "footer: index outside the object")
	case info.Kind != Closing && (info.Last < info.First || info.Txs == 0):
		return Info{}, corrupt(start+footerLast, "footer: no transactions")
	case versionOf(h.Key) != version && version == 1:
		return Info{}, corrupt(start+footerKey, "footer: reserved bytes are not 0")
	case versionOf(h.Key) != version:
		return Info{}, corrupt(start+footerKey, "footer: no key")
	}
	if err := info.validateCounts(); err != nil {
		return Info{}, corrupt(start+footerTxs, "footer: %w", err)
	}
	return info, nil
}

// validateCounts holds what the footer counts against the size of the object: each page and each transaction has a
// checksum in it that isn't compressed. Whoever takes memory or disk by these numbers would take as much as
// somebody has written into a footer.
func (i Info) validateCounts() error {
	room := uint64(i.Size) / sumSize
	switch {
	case i.Kind == Closing:
		if i.Txs != 0 || i.Pages != 0 || i.PageCount != 0 || i.Last != i.First-1 {
			return fmt.Errorf("a close with %d transactions up to %d", i.Txs, i.Last)
		}
		return nil
	case i.Txs > room || i.Pages > room-i.Txs:
		return fmt.Errorf("%d transactions and %d pages don't fit into %d bytes", i.Txs, i.Pages, i.Size)
	case i.Kind != Log && i.Txs != 1:
		return fmt.Errorf("a %v with %d transactions", i.Kind, i.Txs)
	case i.Kind == Snapshot && i.Pages != snapshotPages(i.PageCount, pagesum.LockPage(i.PageSize)):
		return fmt.Errorf("a snapshot with %d pages of a database of %d pages", i.Pages, i.PageCount)
	case i.Kind != Log && i.Pages > uint64(i.PageCount):
		return fmt.Errorf("a %v with %d pages of a database of %d pages", i.Kind, i.Pages, i.PageCount)
	case i.Kind == Log && i.Txs > i.Last-i.First+1:
		return fmt.Errorf("%d records of %d transactions", i.Txs, i.Last-i.First+1)
	}
	return nil
}
