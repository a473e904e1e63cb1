package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/zeebo/xxh3"

	"seawal/internal/pagesum"
)

// partitionSize is the size at which a partition of the index is closed, in
// bytes: about 55,000 pages. The writer has to keep one in memory.
const partitionSize = 512 << 10

// indexBuilder builds the index while blocks go by: in the Encoder, and again
// in the Decoder, which compares.
type indexBuilder struct {
	limit     int    // size at which a partition is closed, bytes; only the Encoder's needs it
	partition []byte // entries since the last partition
	blocks    int    // number of them
	first     uint64 // page or transaction of the first of them
	end       int64  // end of the last block in it
	root      []byte
}

// addPages adds a block of pages of a Merged segment or a Snapshot.
func (x *indexBuilder) addPages(offset int64, length int, numbers []uint32, sums []byte) {
	x.add(offset, length, uint64(numbers[0]), uint64(len(numbers)))
	for i := 1; i < len(numbers); i++ {
		x.partition = binary.AppendUvarint(x.partition, uint64(numbers[i]-numbers[i-1]-1))
	}
	x.partition = append(x.partition, sums...)
}

// addTxs adds a block of records of a Log segment. first is 0 when no transaction begins in it.
func (x *indexBuilder) addTxs(offset int64, length int, first, txs uint64) {
	x.add(offset, length, first, txs)
}

func (x *indexBuilder) add(offset int64, length int, first, count uint64) {
	if x.blocks == 0 {
		x.first, x.end = first, 0
	}
	x.partition = binary.AppendUvarint(x.partition, uint64(offset-x.end))
	x.partition = binary.AppendUvarint(x.partition, uint64(length))
	x.partition = binary.AppendUvarint(x.partition, first)
	x.partition = binary.AppendUvarint(x.partition, count)
	x.blocks++
	x.end = offset + int64(length)
}

func (x *indexBuilder) full() bool { return len(x.partition) >= x.limit }

// endPartition starts the next partition; this one has been written at offset.
func (x *indexBuilder) endPartition(offset int64, length int) {
	x.root = binary.AppendUvarint(x.root, uint64(offset))
	x.root = binary.AppendUvarint(x.root, uint64(length))
	x.root = binary.AppendUvarint(x.root, x.first)
	x.root = binary.AppendUvarint(x.root, uint64(x.blocks))
	x.partition, x.blocks = x.partition[:0], 0
}

// Block is a block of pages (Merged, Snapshot) or of records (Log).
type Block struct {
	Offset    int64  // bytes from the start of the object
	Length    int    // bytes
	FirstPage uint32 // first page in it; 0 in a Log segment
	Pages     int    // pages in it; 0 in a Log segment
	FirstTx   uint64 // first transaction that begins in it; 0 when none does, and in a Merged segment or a Snapshot
	Txs       uint64 // transactions that begin in it; likewise
}

// Index says where the pages of a Merged segment or a Snapshot lie (and where
// the transactions of a Log segment begin). Safe for concurrent use.
type Index struct {
	Blocks []Block // in the order of the object: ascending pages or transactions

	info       Info
	headerSum  uint64
	lastPage   uint32   // that a partition lists, as they are read
	partitions [][]byte // verified; 8 bytes a page and a little more
}

// ReadIndex reads the index of the object that info is of: one ReadAt for the
// last 55,000 pages or so, and one more for each such number before. Errors as
// of ReadInfo. Memory: about 12 bytes a page.
func ReadIndex(r io.ReaderAt, info Info) (*Index, error) {
	x := &Index{info: info, headerSum: xxh3.Hash(appendHeaderFields(nil, info.Header))}
	length := info.Size - FooterSize - info.IndexOffset
	if length < blockHeaderSize || length > 2*(blockHeaderSize+maxBlockSize) {
		return nil, corrupt(info.IndexOffset, "index: impossible length")
	}
	tail, err := readRange(r, info.IndexOffset, int(length))
	if err != nil {
		return nil, err
	}
	n, err := blockLength(tail, info.IndexOffset)
	if err != nil {
		return nil, err
	}
	rootAt := 0
	if n < len(tail) { // the last partition comes first
		rootAt = n
	}
	root, err := x.parse(tail[rootAt:], typeRoot, info.IndexOffset+int64(rootAt))
	if err != nil {
		return nil, err
	}
	if err := x.readPartitions(r, root, tail[:rootAt]); err != nil {
		return nil, err
	}
	var pages uint64
	for _, b := range x.Blocks {
		pages += uint64(b.Pages)
	}
	if info.Kind != Log && pages != info.Pages {
		return nil, corrupt(info.IndexOffset, "index: has %d pages, the footer says %d", pages, info.Pages)
	}
	return x, nil
}

// readPartitions reads the partitions that root lists; last holds the last one if it isn't empty.
func (x *Index) readPartitions(r io.ReaderAt, root, last []byte) error {
	at := recordReader{records: root}
	end := int64(HeaderSize)
	for !at.done() {
		offset, err1 := at.uvarint()
		length, err2 := at.uvarint()
		_, err3 := at.uvarint()
		blocks, err4 := at.uvarint()
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			return corrupt(x.info.IndexOffset, "index root: %w", err)
		}
		if offset < uint64(end) || offset > uint64(x.info.IndexOffset) ||
			length < blockHeaderSize || length > blockHeaderSize+maxBlockSize {
			return corrupt(x.info.IndexOffset, "index root: partition outside the object")
		}
		var b []byte
		if int64(offset) == x.info.IndexOffset {
			b = last
		} else {
			var err error
			if b, err = readRange(r, int64(offset), int(length)); err != nil {
				return err
			}
		}
		if len(b) != int(length) {
			return corrupt(x.info.IndexOffset, "index root: wrong length of a partition")
		}
		entries, err := x.parse(b, typePartition, int64(offset))
		if err != nil {
			return err
		}
		before := len(x.Blocks)
		if err := x.addPartition(entries, int64(offset)); err != nil {
			return err
		}
		if uint64(len(x.Blocks)-before) != blocks {
			return corrupt(int64(offset), "index: partition of %d blocks, the root says %d", len(x.Blocks)-before, blocks)
		}
		end = int64(offset) + int64(length)
	}
	if want := x.info.IndexOffset + int64(len(last)); len(last) > 0 && end != want {
		return corrupt(x.info.IndexOffset, "index root: last partition is missing")
	}
	return nil
}

// parse verifies a block of the index and returns its payload.
func (x *Index) parse(b []byte, kind byte, offset int64) ([]byte, error) {
	k, err := parseBlock(b, offset, blockSeed(x.headerSum, offset))
	if err != nil {
		return nil, err
	}
	if k.kind != kind || k.codec != codecNone || len(k.sums) != 0 {
		return nil, corrupt(offset, "index: block of another type")
	}
	return k.records, nil
}

// addPartition checks the entries of the partition at offset and adds its blocks.
func (x *Index) addPartition(entries []byte, offset int64) error {
	var end int64
	if n := len(x.Blocks); n > 0 {
		end = x.Blocks[n-1].Offset + int64(x.Blocks[n-1].Length)
	}
	e := entryReader{recordReader: recordReader{records: entries}, log: x.info.Kind == Log}
	lock := pagesum.LockPage(x.info.PageSize)
	for !e.done() {
		b, err := e.next(func(page uint32, _ pagesum.Sum) error {
			if page <= x.lastPage || page > x.info.PageCount || page == lock {
				return errors.New("page out of order")
			}
			x.lastPage = page
			return nil
		})
		if err == nil && (b.Offset < max(end, HeaderSize) || b.Offset+int64(b.Length) > offset) {
			err = errors.New("block out of order")
		}
		if err != nil {
			return corrupt(offset, "index: %w", err)
		}
		end = b.Offset + int64(b.Length)
		x.Blocks = append(x.Blocks, b)
	}
	x.partitions = append(x.partitions, entries)
	return nil
}

// entryReader reads the entries of a partition.
type entryReader struct {
	recordReader
	log bool
	end int64
}

// next reads one entry and calls fn for each of its pages.
func (e *entryReader) next(fn func(page uint32, s pagesum.Sum) error) (Block, error) {
	gap, err1 := e.uvarint()
	length, err2 := e.uvarint()
	first, err3 := e.uvarint()
	count, err4 := e.uvarint()
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Block{}, err
	}
	if gap > 1<<62 || int64(gap) > 1<<62-e.end || length < blockHeaderSize || length > blockHeaderSize+maxBlockSize {
		return Block{}, errRecord
	}
	b := Block{Offset: e.end + int64(gap), Length: int(length)}
	e.end = b.Offset + int64(b.Length)
	if e.log {
		b.FirstTx, b.Txs = first, count
		return b, nil
	}
	if first == 0 || first > 1<<32-1 || count == 0 || count > blockPages {
		return Block{}, errRecord
	}
	b.FirstPage, b.Pages = uint32(first), int(count)
	var number [blockPages]uint32
	number[0] = b.FirstPage
	for i := 1; i < b.Pages; i++ {
		gap, err := e.uvarint()
		if err != nil || gap > 1<<32-2-uint64(number[i-1]) {
			return Block{}, errRecord
		}
		number[i] = number[i-1] + uint32(gap) + 1
	}
	if len(e.records)-e.at < b.Pages*sumSize {
		return Block{}, errRecord
	}
	for _, n := range number[:b.Pages] {
		s := binary.LittleEndian.Uint64(e.records[e.at:])
		e.at += sumSize
		if err := fn(n, pagesum.Sum(s)); err != nil {
			return Block{}, err
		}
	}
	return b, nil
}

func readRange(r io.ReaderAt, offset int64, n int) ([]byte, error) {
	b, err := readGrow(io.NewSectionReader(r, offset, int64(n)), nil, n)
	if err != nil {
		return nil, readError("read index", err)
	}
	return b, nil
}

// Sums calls fn for every page of a Merged segment or a Snapshot, in ascending
// order, with the checksum of its image after the segment's last transaction. No page
// data is read.
func (x *Index) Sums(fn func(page uint32, s pagesum.Sum)) {
	if x.info.Kind == Log {
		return
	}
	for _, entries := range x.partitions {
		e := entryReader{recordReader: recordReader{records: entries}}
		for !e.done() {
			// ReadIndex has checked the entries: no error.
			e.next(func(page uint32, s pagesum.Sum) error { fn(page, s); return nil })
		}
	}
}

// Find returns the number of the block that holds page, if there is one that may:
// in a Merged segment the page can still be missing from it.
func (x *Index) Find(page uint32) (i int, ok bool) {
	i = sort.Search(len(x.Blocks), func(i int) bool { return x.Blocks[i].FirstPage > page }) - 1
	return i, i >= 0 && x.info.Kind != Log
}

var decodePool = sync.Pool{New: func() any { return new([]byte) }}

// Decode verifies block i, which raw holds (Blocks[i].Length bytes of the
// object from Blocks[i].Offset), and calls fn for each of its pages, in ascending order. Page.Data is
// valid until fn returns. An error of fn ends it and is returned as it is;
// others are *CorruptError. Log segments have no blocks that can be
// decoded on their own: use a Decoder. Safe for concurrent use; a call takes at most 2 MiB beside raw.
func (x *Index) Decode(i int, raw []byte, fn func(Page) error) error {
	if x.info.Kind == Log {
		return fmt.Errorf("decode block: %v segments are read in order", x.info.Kind)
	}
	if i < 0 || i >= len(x.Blocks) {
		return fmt.Errorf("decode block: no block %d of %d", i, len(x.Blocks))
	}
	b := x.Blocks[i]
	if len(raw) != b.Length {
		return corrupt(b.Offset, "block: has %d bytes, want %d", len(raw), b.Length)
	}
	k, err := parseBlock(raw, b.Offset, blockSeed(x.headerSum, b.Offset))
	if err != nil {
		return err
	}
	if k.kind != typePages {
		return corrupt(b.Offset, "block: not of pages")
	}
	scratch := decodePool.Get().(*[]byte)
	defer decodePool.Put(scratch)
	if *scratch, err = k.appendRecords((*scratch)[:0], b.Offset); err != nil {
		return err
	}
	r := recordReader{records: *scratch, sums: k.sums, pageSize: x.info.PageSize}
	lock := pagesum.LockPage(x.info.PageSize)
	var p Page
	for n := 0; n < b.Pages; n++ {
		last := p.Number
		if tag := r.tag(); tag != tagFull && (tag != tagDelta || x.info.Kind == Snapshot) {
			return corrupt(b.Offset, "block: %w", errRecord)
		}
		if err := r.page(&p); err != nil {
			return corrupt(b.Offset, "block: %w", err)
		}
		if n == 0 && p.Number != b.FirstPage || p.Number <= last || p.Number > x.info.PageCount || p.Number == lock {
			return corrupt(b.Offset, "block: page %d out of order", p.Number)
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	if !r.done() || len(r.sums) != 0 {
		return corrupt(b.Offset, "block: more than its pages")
	}
	return nil
}
