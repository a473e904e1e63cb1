package vfstest

import "encoding/binary"

// Index is the start of region 0 of the wal-index as it was during a call: two
// copies of the header, then the checkpoint information.
type Index [indexSize]byte

// Layout of the wal-index header, from SQLite's WalIndexHdr and WalCkptInfo.
// Numbers are in the machine's byte order, except the salts, which are the
// bytes of the WAL header as they are.
const (
	indexVersion   = 0
	indexChange    = 8
	indexInit      = 12
	indexBigEnd    = 13
	indexPageSize  = 14
	indexMxFrame   = 16
	indexPageCount = 20
	indexCksum     = 24
	indexSalt      = 32
	indexHdrSize   = 48 // the second copy follows

	indexBackfill  = 96
	indexReadMark  = 100 // five of them
	indexAttempted = 128
	indexSize      = 136
)

// IndexHeader is one copy of the wal-index header.
type IndexHeader struct {
	Version   uint32
	Change    uint32 // counts commits
	Init      bool
	BigEndian bool      // the checksums of the WAL are over big-endian words
	PageSize  int       // bytes
	MxFrame   uint32    // last committed frame
	PageCount uint32    // size of the database at that frame
	Cksum     [2]uint32 // running checksum of the WAL at that frame
	Salt      [2]uint32 // of the WAL header, read as big-endian
}

// Header decodes a copy of the header: 0 is what readers go by, 1 is written first.
func (x *Index) Header(n int) IndexHeader {
	b := x[n*indexHdrSize:]
	size := int(binary.NativeEndian.Uint16(b[indexPageSize:]))
	return IndexHeader{
		Version:   binary.NativeEndian.Uint32(b[indexVersion:]),
		Change:    binary.NativeEndian.Uint32(b[indexChange:]),
		Init:      b[indexInit] != 0,
		BigEndian: b[indexBigEnd] != 0,
		PageSize:  size&0xfe00 + size&1<<16,
		MxFrame:   binary.NativeEndian.Uint32(b[indexMxFrame:]),
		PageCount: binary.NativeEndian.Uint32(b[indexPageCount:]),
		Cksum:     [2]uint32{binary.NativeEndian.Uint32(b[indexCksum:]), binary.NativeEndian.Uint32(b[indexCksum+4:])},
		Salt:      [2]uint32{binary.BigEndian.Uint32(b[indexSalt:]), binary.BigEndian.Uint32(b[indexSalt+4:])},
	}
}

// Backfill is the number of frames that a checkpoint has dealt with: in the database file,
// or superseded by a later frame that is not there yet.
func (x *Index) Backfill() uint32 { return binary.NativeEndian.Uint32(x[indexBackfill:]) }

// Attempted is the number of frames that a checkpoint has tried to copy.
func (x *Index) Attempted() uint32 { return binary.NativeEndian.Uint32(x[indexAttempted:]) }

// ReadMark is the frame that readers with WAL_READ_LOCK(n) may need, n from 0 to 4.
func (x *Index) ReadMark(n int) uint32 {
	return binary.NativeEndian.Uint32(x[indexReadMark+4*n:])
}
