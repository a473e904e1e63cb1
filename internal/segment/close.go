package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

// closePayload is the number of bytes of a Close's block behind the block's header.
const closePayload = 4 + 4 + 8

// CloseSize is the size of every Close, in bytes. No other object of this package is that short but torn, so a
// listing alone tells which objects of a log may be one.
const CloseSize = HeaderSize + blockHeaderSize + closePayload + FooterSize

// Close ends the log of a timeline: whoever opens the next timeline creates it under the name of the segment that the
// writer of this one needs next. A name is created once, so that writer can't ship anything after it.
type Close struct {
	Header          // Kind is Closing. First is the first transaction that isn't on the timeline any more; Before is 0 where it isn't known
	Next     uint32 // timeline that goes on
	Parent   uint32 // timeline that Next leaves, and
	ParentTx uint64 // the last transaction that it shares with that; both are 0 when Next begins anew
	Time     int64  // unix nanoseconds
}

func (c Close) validate() error {
	switch {
	case c.Kind != Closing:
		return fmt.Errorf("a close of kind %v", c.Kind)
	case c.Next <= c.Timeline:
		return fmt.Errorf("timeline %d is closed for timeline %d", c.Timeline, c.Next)
	case c.Parent >= c.Next || c.Parent == 0 && c.ParentTx != 0:
		return fmt.Errorf("timeline %d leaves timeline %d at transaction %d", c.Next, c.Parent, c.ParentTx)
	}
	return nil
}

// Encode returns the object, of CloseSize bytes.
func (c Close) Encode() ([]byte, error) {
	c.Kind = Closing
	if err := errors.Join(c.Header.Validate(), c.validate()); err != nil {
		return nil, fmt.Errorf("encode close: %w", err)
	}
	le := binary.LittleEndian
	payload := le.AppendUint32(make([]byte, 0, closePayload), c.Next)
	payload = le.AppendUint32(payload, c.Parent)
	payload = le.AppendUint64(payload, c.ParentTx)
	b := appendHeaderFields(make([]byte, 0, CloseSize), c.Header)
	sum := xxh3.Hash(b)
	b = le.AppendUint64(b, sum)
	b = append(b, appendBlock(nil, typeClose, payload, nil, false, blockSeed(sum, HeaderSize))...)
	b = appendFooter(b, Info{Header: c.Header, Footer: c.footer(), Size: CloseSize})
	footer := b[CloseSize-FooterSize : len(b) : len(b)]
	return append(b[:CloseSize-FooterSize], sealFooter(footer, xxh3.Hash(b))...), nil
}

// footer is the one that a Close has: nothing is in it.
func (c Close) footer() Footer {
	return Footer{Last: c.First - 1, FirstTime: c.Time, LastTime: c.Time, After: c.Before, IndexOffset: HeaderSize}
}

// ParseClose reads what Encode returned. Errors: ErrTorn, *CorruptError (also for another kind of object), *VersionError.
func ParseClose(b []byte) (Close, error) {
	if len(b) < CloseSize {
		return Close{}, readError("read close", io.ErrUnexpectedEOF)
	}
	h, sum, version, err := parseHeader(b)
	if err != nil {
		return Close{}, err
	}
	if h.Kind != Closing {
		return Close{}, corrupt(0, "not a close: it is a %v segment", h.Kind)
	}
	info, err := ParseFooter(b, int64(len(b)))
	if err != nil {
		return Close{}, err
	}
	if len(b) != CloseSize {
		return Close{}, corrupt(CloseSize, "a close of %d bytes", len(b))
	}
	if n, err := blockLength(b[HeaderSize:], HeaderSize); err != nil || n != blockHeaderSize+closePayload {
		return Close{}, corrupt(HeaderSize, "block: not the one of a close")
	}
	k, err := parseBlock(b[HeaderSize:CloseSize-FooterSize], HeaderSize, blockSeed(sum, HeaderSize))
	if err != nil {
		return Close{}, err
	}
	if k.kind != typeClose || k.codec != codecNone || len(k.records) != closePayload {
		return Close{}, corrupt(HeaderSize, "block: of type %d, not the one of a close", k.kind)
	}
	at := CloseSize - FooterSize + footerChecksum
	if xxh3.Hash(b[:at]) != info.Checksum {
		return Close{}, corrupt(int64(at), "wrong checksum of the object")
	}
	le := binary.LittleEndian
	c := Close{
		Header: h, Next: le.Uint32(k.records), Parent: le.Uint32(k.records[4:]), ParentTx: le.Uint64(k.records[8:]), Time: info.LastTime,
	}
	h.Key, c.Key = info.Key, info.Key
	if info.Header != h || versionOf(h.Key) != version || info.Footer != c.footer() {
		return Close{}, corrupt(CloseSize-FooterSize, "footer: doesn't fit the block")
	}
	if err := c.validate(); err != nil {
		return Close{}, corrupt(HeaderSize, "block: %w", err)
	}
	return c, nil
}
