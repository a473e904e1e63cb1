package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/zeebo/xxh3"

	"seawal/internal/pagesum"
)

// Version is the highest format version that this package reads and writes. A segment of a replica whose page sums have a key is of
// version 2, one of a replica without is of version 1: a replica goes on as it began, and programs of then read it.
const Version = 2

// versionOf is the format version of a segment.
func versionOf(k pagesum.Key) uint16 {
	if k == 0 {
		return 1
	}
	return 2
}

// HeaderSize is the number of bytes of the header at the start of every object.
const HeaderSize = headerFields + 8

// Smallest and largest page of SQLite, bytes.
const (
	MinPageSize = 512
	MaxPageSize = 65536
)

const (
	startMagic   = "\x89SEAWAL\n" // the first byte is no text, the last is hurt by line-end conversion
	headerFields = 72             // bytes of the header before its checksum; repeated at the start of the footer
)

// flagEncrypted is reserved. No version writes it yet, so it is as unknown as any other.
const flagEncrypted uint32 = 1 << 0

// flagClose is set in a Close and in nothing else: who doesn't know that kind says so, and doesn't take it for damage.
const flagClose uint32 = 1 << 1

// knownFlags are the flags that this version reads.
const knownFlags uint32 = flagClose

// flags are those of an object of this kind.
func (k Kind) flags() uint32 {
	if k == Closing {
		return flagClose
	}
	return 0
}

// Kind says what a segment holds.
type Kind uint8

const (
	// Log: every transaction from First to Last, each with its pages.
	Log Kind = iota + 1
	// Merged: the net effect of the transactions First to Last, each page once, in page order.
	Merged
	// Snapshot: every page of the database after transaction First, which is also Last.
	Snapshot
	// Closing: nothing; the log of the timeline ends before First. See Close.
	Closing
)

// String is "log", "merged", "snapshot" or "close".
func (k Kind) String() string {
	switch k {
	case Log:
		return "log"
	case Merged:
		return "merged"
	case Snapshot:
		return "snapshot"
	case Closing:
		return "close"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Header is what is known of a segment before its first transaction.
type Header struct {
	Kind     Kind
	PageSize int         // bytes, a power of two from MinPageSize to MaxPageSize
	Timeline uint32      // from 1
	First    uint64      // first transaction, from 1; of a Snapshot the one it is of, which may be 0
	Replica  ID          // replica that the segment belongs to
	Writer   ID          // process that wrote it
	Before   pagesum.Sum // of the database before First; 0 for a Snapshot, which needs nothing before it
	Key      pagesum.Key // of the page sums; 0: none. It stands in the footer: a Decoder knows it at the end of the object
}

// Validate says what is wrong with the header, if anything.
func (h Header) Validate() error {
	if h.Kind < Log || h.Kind > Closing {
		return fmt.Errorf("unknown kind %d", uint8(h.Kind))
	}
	if err := validatePageSize(h.PageSize); err != nil {
		return err
	}
	if h.Timeline == 0 {
		return errors.New("timeline 0")
	}
	if h.Kind != Snapshot && h.First == 0 {
		return errors.New("first transaction 0")
	}
	if h.Kind == Snapshot && h.Before != 0 {
		return errors.New("snapshot with a checksum before")
	}
	return nil
}

func validatePageSize(n int) error {
	if n < MinPageSize || n > MaxPageSize || bits.OnesCount(uint(n)) != 1 {
		return fmt.Errorf("page size %d is no power of two from %d to %d", n, MinPageSize, MaxPageSize)
	}
	return nil
}

// Tx is one transaction record.
type Tx struct {
	Number    uint64      // of the last commit in it
	Span      uint64      // commits that it stands for, at least 1 (0 given to Begin means 1), ending in Number; more than 1 after a squash and in a Merged segment: history has no point in between. 1 in a Snapshot
	Time      int64       // of the commit, unix nanoseconds; clocks jump, so not always ascending
	PageCount uint32      // size of the database after it, pages
	After     pagesum.Sum // of the database after it. Begin ignores it (End takes it); NextTx leaves it 0 (TxEnd returns it)
}

// PageKind says how a page is stored.
type PageKind uint8

const (
	// Full: Data is the page's image.
	Full PageKind = iota + 1
	// Delta: Data leads from the image before the transaction to the one after it (ApplyDelta).
	Delta
)

// String is "full" or "delta".
func (k PageKind) String() string {
	switch k {
	case Full:
		return "full"
	case Delta:
		return "delta"
	}
	return fmt.Sprintf("PageKind(%d)", uint8(k))
}

// Page is one page as a transaction left it.
type Page struct {
	Number uint32 // from 1
	Kind   PageKind
	Data   []byte      // image or delta
	Sum    pagesum.Sum // of the image after the transaction
}

// appendHeaderFields appends the header without its checksum.
func appendHeaderFields(b []byte, h Header) []byte {
	b = append(b, startMagic...)
	b = binary.LittleEndian.AppendUint16(b, versionOf(h.Key))
	b = append(b, byte(h.Kind), 0)
	b = binary.LittleEndian.AppendUint32(b, h.Kind.flags())
	b = binary.LittleEndian.AppendUint32(b, uint32(h.PageSize))
	b = binary.LittleEndian.AppendUint32(b, h.Timeline)
	b = binary.LittleEndian.AppendUint64(b, h.First)
	b = append(b, h.Replica[:]...)
	b = append(b, h.Writer[:]...)
	return binary.LittleEndian.AppendUint64(b, uint64(h.Before))
}

// parseHeader reads the HeaderSize bytes at the start of an object, and returns
// their checksum, which seeds the blocks' checksums, and the format version.
func parseHeader(b []byte) (h Header, sum uint64, version uint16, err error) {
	if !bytes.HasPrefix(b, []byte(startMagic)) {
		return h, 0, 0, corrupt(0, "not a segment: wrong magic")
	}
	if version = binary.LittleEndian.Uint16(b[8:]); version > Version {
		return h, 0, version, &VersionError{Version: version}
	}
	sum = xxh3.Hash(b[:headerFields])
	if binary.LittleEndian.Uint64(b[headerFields:]) != sum {
		return h, 0, version, corrupt(headerFields, "header: wrong checksum")
	}
	h, err = parseHeaderFields(b, 0, version)
	return h, sum, version, err
}

// parseHeaderFields reads header fields whose checksum has been verified. offset is where they lie, version the object's.
func parseHeaderFields(b []byte, offset int64, version uint16) (Header, error) {
	le := binary.LittleEndian
	if !bytes.HasPrefix(b, []byte(startMagic)) {
		return Header{}, corrupt(offset, "header: wrong magic")
	}
	if v := le.Uint16(b[8:]); v == 0 || v != version {
		return Header{}, corrupt(offset+8, "header: format version %d", v)
	}
	if flags := le.Uint32(b[12:]); flags&^knownFlags != 0 {
		return Header{}, &VersionError{Version: version, Flags: flags &^ knownFlags}
	}
	if flags := le.Uint32(b[12:]); flags != Kind(b[10]).flags() {
		return Header{}, corrupt(offset+12, "header: flags %#08x of a %v", flags, Kind(b[10]))
	}
	if b[11] != 0 {
		return Header{}, corrupt(offset+11, "header: reserved byte is not 0")
	}
	h := Header{
		Kind:     Kind(b[10]),
		PageSize: int(le.Uint32(b[16:])),
		Timeline: le.Uint32(b[20:]),
		First:    le.Uint64(b[24:]),
		Replica:  ID(b[32:48]),
		Writer:   ID(b[48:64]),
		Before:   pagesum.Sum(le.Uint64(b[64:])),
	}
	if err := h.Validate(); err != nil {
		return Header{}, corrupt(offset, "header: %w", err)
	}
	return h, nil
}
