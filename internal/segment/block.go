package segment

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"
)

// blockHeaderSize is the number of bytes before a block's payload.
const blockHeaderSize = 24

// Offsets in a block header.
const (
	blockSum     = 0 // of the rest of the header and the payload
	blockType    = 8
	blockCodec   = 9
	blockZero    = 10
	blockPayload = 12 // length of the payload, bytes
	blockRaw     = 16 // length of the records, uncompressed, bytes
	blockSums    = 20 // number of checksums at the end of the payload
)

// Types of blocks.
const (
	typeRecords   byte = iota + 1 // transaction and page records
	typePages                     // page records only, up to blockPages of them
	typePartition                 // index of the blocks before it
	typeRoot                      // index of the partitions, last block
	typeClose                     // the only block of a Close
)

// Codecs of a block's records.
const (
	codecNone byte = iota
	codecZstd
)

const (
	// blockPages is the number of pages in a block of a Merged segment or a Snapshot.
	blockPages = 16

	// logBlockSize is the amount of records and checksums, in bytes, at which a block of
	// a Log segment is closed. On a log of single-row commits 1 MiB ships 8 % fewer
	// bytes than 512 KiB and 17 % fewer than 256 KiB, in 12 and 26 % less time.
	logBlockSize = 1 << 20

	// maxBlockSize is the most that the records and checksums of one block may
	// take, uncompressed, bytes. A reader refuses more: it is what bounds memory.
	maxBlockSize = 2 << 20

	sumSize = 8 // bytes of a page's or the database's checksum

	// zstdWindow is the largest block of records there is: 16 pages of 64 KiB.
	zstdWindow = 1 << 20
)

// zstdEncoders holds encoders: one has more than 1 MiB of tables and history, too much to
// build for each segment and to keep for each database. On a log of single-row
// commits SpeedDefault ships 10 % fewer bytes than SpeedFastest and takes 60 %
// longer; the writer's CPU is what is scarce.
var zstdEncoders = sync.Pool{New: func() any {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true),
		zstd.WithWindowSize(zstdWindow),
		zstd.WithEncoderCRC(false), // blocks carry their own
	)
	if err != nil {
		panic(fmt.Sprintf("segment: zstd options: %v", err)) // constants, so a mistake of ours
	}
	return enc
}}

var zstdDecoders = sync.Pool{New: func() any {
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxBlockSize),
		zstd.WithDecoderMaxWindow(maxBlockSize),
		zstd.WithDecodeAllCapLimit(true),
	)
	if err != nil {
		panic(fmt.Sprintf("segment: zstd options: %v", err))
	}
	return dec
}}

// blockSeed ties a block's checksum to the object and to the place in it, so
// that bytes of another object or offset don't pass for it.
func blockSeed(headerSum uint64, offset int64) uint64 { return headerSum ^ uint64(offset) }

// appendBlock appends a whole block to out, which must be empty: header, records (compressed if that is
// shorter and compress allows it), checksums.
func appendBlock(out []byte, kind byte, records, sums []byte, compress bool, seed uint64) []byte {
	var header [blockHeaderSize]byte
	out = append(out, header[:]...)
	codec := codecNone
	if compress {
		enc := zstdEncoders.Get().(*zstd.Encoder)
		out = enc.EncodeAll(records, out)
		zstdEncoders.Put(enc)
		codec = codecZstd
	}
	if codec == codecNone || len(out)-blockHeaderSize >= len(records) {
		out = append(out[:blockHeaderSize], records...)
		codec = codecNone
	}
	out = append(out, sums...)
	out[blockType], out[blockCodec] = kind, codec
	binary.LittleEndian.PutUint32(out[blockPayload:], uint32(len(out)-blockHeaderSize))
	binary.LittleEndian.PutUint32(out[blockRaw:], uint32(len(records)))
	binary.LittleEndian.PutUint32(out[blockSums:], uint32(len(sums)/sumSize))
	binary.LittleEndian.PutUint64(out, xxh3.HashSeed(out[blockType:], seed))
	return out
}

// block is a block whose checksum has been verified.
type block struct {
	kind    byte
	codec   byte
	raw     int    // length of the records, bytes
	records []byte // as stored
	sums    []byte // sumSize bytes each
}

// blockLength returns the length of the whole block that starts with header,
// after checks that bound it; nothing is verified yet.
func blockLength(header []byte, offset int64) (int, error) {
	payload := binary.LittleEndian.Uint32(header[blockPayload:])
	raw := binary.LittleEndian.Uint32(header[blockRaw:])
	sums := binary.LittleEndian.Uint32(header[blockSums:])
	if payload > maxBlockSize || uint64(raw)+sumSize*uint64(sums) > maxBlockSize || uint64(payload) < sumSize*uint64(sums) {
		return 0, corrupt(offset, "block: impossible lengths")
	}
	return blockHeaderSize + int(payload), nil
}

// parseBlock verifies the block that b, all of it, holds.
func parseBlock(b []byte, offset int64, seed uint64) (block, error) {
	if len(b) < blockHeaderSize {
		return block{}, corrupt(offset, "block: cut short")
	}
	n, err := blockLength(b, offset)
	if err != nil {
		return block{}, err
	}
	if n != len(b) {
		return block{}, corrupt(offset, "block: has %d bytes, its header says %d", len(b), n)
	}
	if xxh3.HashSeed(b[blockType:], seed) != binary.LittleEndian.Uint64(b) {
		return block{}, corrupt(offset, "block: wrong checksum")
	}
	split := n - sumSize*int(binary.LittleEndian.Uint32(b[blockSums:]))
	k := block{
		kind:    b[blockType],
		codec:   b[blockCodec],
		raw:     int(binary.LittleEndian.Uint32(b[blockRaw:])),
		records: b[blockHeaderSize:split],
		sums:    b[split:],
	}
	switch {
	case b[blockZero] != 0 || b[blockZero+1] != 0:
		return block{}, corrupt(offset, "block: reserved bytes are not 0")
	case k.codec > codecZstd || k.codec == codecNone && k.raw != len(k.records):
		return block{}, corrupt(offset, "block: impossible codec")
	case k.raw == 0 && k.kind != typeRoot:
		return block{}, corrupt(offset, "block: empty")
	}
	return k, nil
}

// appendRecords appends the block's records, uncompressed, to dst, which must be empty.
func (k block) appendRecords(dst []byte, offset int64) ([]byte, error) {
	if k.codec == codecNone {
		return append(dst, k.records...), nil
	}
	if cap(dst) < k.raw {
		dst = make([]byte, 0, k.raw)
	}
	dec := zstdDecoders.Get().(*zstd.Decoder)
	out, err := dec.DecodeAll(k.records, dst[:0:k.raw])
	zstdDecoders.Put(dec)
	if err != nil {
		return dst, corrupt(offset, "block: decompress: %w", err)
	}
	if len(out) != k.raw {
		return dst, corrupt(offset, "block: decompresses to %d bytes, its header says %d", len(out), k.raw)
	}
	return out, nil
}

// readGrow reads from r until dst has n bytes. Memory grows with what has arrived, not with n.
func readGrow(r io.Reader, dst []byte, n int) ([]byte, error) {
	const step = 64 << 10
	for len(dst) < n {
		have := len(dst)
		more := min(n-have, max(step, have, cap(dst)-have))
		if cap(dst)-have < more {
			grown := make([]byte, have, have+more)
			copy(grown, dst)
			dst = grown
		}
		k, err := io.ReadFull(r, dst[have:have+more])
		dst = dst[:have+k]
		if err != nil {
			return dst, err
		}
	}
	return dst, nil
}
