package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/zeebo/xxh3"

	"seawal/internal/pagesum"
)

// forged is one block of an object that no Encoder would write.
type forged struct {
	kind    byte
	records []byte
	sums    int // number of checksums
}

// forgeObject builds an object of blocks with a right checksum each, and completes it with the index and the footer
// that a Decoder wants to see behind them, so that whatever is wrong with the blocks is the only thing that is.
// Where the Decoder refuses the blocks there is neither.
func forgeObject(h Header, blocks ...forged) []byte {
	b := appendHeaderFields(nil, h)
	seed := xxh3.Hash(b)
	b = binary.LittleEndian.AppendUint64(b, seed)
	for _, k := range blocks {
		sums := make([]byte, k.sums*sumSize)
		b = append(b, appendBlock(nil, k.kind, k.records, sums, true, blockSeed(seed, int64(len(b))))...)
	}
	d, err := NewDecoder(bytes.NewReader(b))
	for err == nil {
		_, err = d.NextTx()
	}
	if !errors.Is(err, ErrTorn) || d.index.blocks == 0 && len(d.index.root) == 0 && h.Kind == Log {
		return b
	}
	return d.complete(b)
}

// complete appends to b, the blocks that d has read, what has to follow on them.
func (d *Decoder) complete(b []byte) []byte {
	info := Info{Header: d.header, Footer: d.footer}
	info.IndexOffset = int64(len(b))
	x := d.index
	if x.blocks > 0 {
		k := appendBlock(nil, typePartition, x.partition, nil, false, blockSeed(d.headerSum, int64(len(b))))
		x.endPartition(int64(len(b)), len(k))
		b = append(b, k...)
	}
	b = append(b, appendBlock(nil, typeRoot, x.root, nil, false, blockSeed(d.headerSum, int64(len(b))))...)
	info.Size = int64(len(b)) + FooterSize
	f := appendFooter(nil, info)
	sum := xxh3.Hash(append(bytes.Clone(b), f...))
	return append(b, sealFooter(f, sum)...)
}

// script reads bytes of a fuzzer as blocks: type, number of checksums and length of the records, a byte each, then these.
func script(b []byte) (blocks []forged) {
	for len(b) >= 3 && len(blocks) < 16 {
		k := forged{kind: typeRecords + b[0]%typeRoot, sums: int(b[1] % 32)}
		n := min(int(b[2]), len(b)-3)
		k.records, b = b[3:3+n], b[3+n:]
		blocks = append(blocks, k)
	}
	return blocks
}

func records(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func forgedPage(number uint32) []byte {
	return appendPage(nil, new(recordState), &Page{Number: number, Kind: Delta})
}

func forgedBegin(pageCount uint32) []byte {
	return appendBegin(nil, new(recordState), Tx{Span: 1, PageCount: pageCount})
}

var forgedEnd = []byte{tagEnd}

// TestForgedObjects: an object whose checksums are all right, and which no Encoder writes, is an error and nothing else,
// whichever way it is read.
func TestForgedObjects(t *testing.T) {
	tests := []struct {
		name   string
		kind   Kind
		blocks []forged
		is     error // nil: *CorruptError
	}{
		{name: "begin in a block of pages", kind: Merged, blocks: []forged{{typePages, forgedBegin(9), 0}}},
		{name: "begin in a block of pages of a snapshot", kind: Snapshot, blocks: []forged{{typePages, forgedBegin(9), 0}}},
		{name: "begin in a block of pages, and another block", kind: Merged, blocks: []forged{
			{typePages, forgedBegin(9), 0}, {typePages, forgedPage(1), 1}, {typeRecords, forgedEnd, 1}}},
		{name: "begin and pages in one block", kind: Merged, blocks: []forged{
			{typePages, records(forgedBegin(9), forgedPage(1)), 1}, {typeRecords, forgedEnd, 1}}},
		{name: "end in a block of pages", kind: Merged, blocks: []forged{
			{typeRecords, forgedBegin(9), 0}, {typePages, records(forgedPage(1), forgedEnd), 2}}},
		{name: "second transaction", kind: Merged, blocks: []forged{
			{typeRecords, records(forgedBegin(9), forgedEnd, forgedBegin(9), forgedEnd), 2}}},
		{name: "17 pages in a block", kind: Merged, blocks: []forged{
			{typeRecords, forgedBegin(99), 0}, {typePages, bytes.Repeat(forgedPage(1), blockPages+1), blockPages + 1}, {typeRecords, forgedEnd, 1}}},
		{name: "page twice", kind: Merged, blocks: []forged{
			{typeRecords, forgedBegin(9), 0}, {typePages, forgedPage(1), 1}, {typePages, forgedPage(1), 1}, {typeRecords, forgedEnd, 1}}},
		{name: "lock page in a log", kind: Log, blocks: []forged{
			{typeRecords, records(forgedBegin(math.MaxUint32), forgedPage(pagesum.LockPage(MinPageSize)), forgedEnd), 2}}},
		{name: "lock page in a merged segment", kind: Merged, blocks: []forged{
			{typeRecords, forgedBegin(math.MaxUint32), 0}, {typePages, forgedPage(pagesum.LockPage(MinPageSize)), 1}, {typeRecords, forgedEnd, 1}}},
		{name: "snapshot without pages", kind: Snapshot, blocks: []forged{{typeRecords, records(forgedBegin(math.MaxUint32), forgedEnd), 1}}},
		{name: "transaction without end", kind: Log, blocks: []forged{{typeRecords, records(forgedBegin(9), forgedPage(1)), 1}}},
		{name: "empty block", kind: Log, blocks: []forged{{typeRecords, nil, 0}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := forgeObject(testHeader(test.kind, MinPageSize), test.blocks...)
			readAll(t, b)
			_, _, err := decode(bytes.NewReader(b))
			var c *CorruptError
			if !errors.As(err, &c) {
				t.Errorf("decode: %v, want a *CorruptError", err)
			}
		})
	}
}

// TestForgedObjectThatIsRight: forgeObject's index and footer are taken, so that the cases above fail by their blocks.
func TestForgedObjectThatIsRight(t *testing.T) {
	for _, kind := range kinds {
		blocks := []forged{{typeRecords, forgedBegin(9), 0}, {typePages, forgedPage(1), 1}, {typeRecords, forgedEnd, 1}}
		switch kind {
		case Log:
			blocks = []forged{{typeRecords, records(forgedBegin(9), forgedPage(1), forgedEnd), 2}}
		case Snapshot:
			image := appendPage(nil, new(recordState), &Page{Number: 1, Kind: Full, Data: make([]byte, MinPageSize)})
			blocks = []forged{{typeRecords, forgedBegin(1), 0}, {typePages, image, 1}, {typeRecords, forgedEnd, 1}}
		}
		b := forgeObject(testHeader(kind, MinPageSize), blocks...)
		if _, _, err := decode(bytes.NewReader(b)); err != nil {
			t.Errorf("%v: %v", kind, err)
		}
		readAll(t, b)
	}
}

// TestFooterCounts: what a footer counts has to fit into the object, because memory and disk are taken by it.
func TestFooterCounts(t *testing.T) {
	put := func(at int, v uint64) func([]byte) {
		return func(f []byte) { binary.LittleEndian.PutUint64(f[at:], v) }
	}
	tests := []struct {
		name   string
		kind   Kind
		change func(f []byte)
	}{
		{"more transactions than bytes", Log, put(footerTxs, 1<<40)},
		{"more pages than bytes", Log, put(footerPages, 1<<40)},
		{"numbers that overflow", Log, func(f []byte) { put(footerTxs, 2)(f); put(footerPages, math.MaxUint64)(f) }},
		{"more records than transactions", Log, put(footerTxs, 13)},
		{"two transactions in a merged segment", Merged, put(footerTxs, 2)},
		{"snapshot of a larger database", Snapshot, func(f []byte) { binary.LittleEndian.PutUint32(f[footerPageCount:], 1<<31) }},
		{"merged segment of a smaller one", Merged, func(f []byte) { binary.LittleEndian.PutUint32(f[footerPageCount:], 1) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := smallObject(t, test.kind)
			test.change(b[len(b)-FooterSize:])
			reseal(b)
			var c *CorruptError
			if _, err := ReadInfo(bytes.NewReader(b), int64(len(b))); !errors.As(err, &c) {
				t.Errorf("ReadInfo: %v", err)
			}
		})
	}
}

// TestLockPageByWayOfTheIndex: whoever reads an object by its index, and not from its start, doesn't get the page that SQLite locks either,
// neither from the index nor from a block.
func TestLockPageByWayOfTheIndex(t *testing.T) {
	h := testHeader(Merged, MinPageSize)
	seed := xxh3.Hash(appendHeaderFields(nil, h))
	for _, page := range []uint32{pagesum.LockPage(MinPageSize) - 1, pagesum.LockPage(MinPageSize)} {
		isLock := page == pagesum.LockPage(MinPageSize)
		var b indexBuilder
		raw := appendBlock(nil, typePages, forgedPage(page), make([]byte, sumSize), true, blockSeed(seed, HeaderSize))
		b.addPages(HeaderSize, len(raw), []uint32{page}, make([]byte, sumSize))
		x := &Index{info: Info{Header: h, Footer: Footer{PageCount: math.MaxUint32}}, headerSum: seed}
		if err := x.addPartition(b.partition, int64(HeaderSize+len(raw))); (err != nil) != isLock {
			t.Errorf("page %d in the index: %v", page, err)
		}
		x.Blocks = []Block{{Offset: HeaderSize, Length: len(raw), FirstPage: page, Pages: 1}}
		if err := x.Decode(0, raw, func(Page) error { return nil }); (err != nil) != isLock {
			t.Errorf("page %d in a block: %v", page, err)
		}
	}
}

// TestFooterThatLies: a footer that could be that of another object is held against the blocks.
func TestFooterThatLies(t *testing.T) {
	for _, kind := range kinds {
		for name, at := range map[string]int{
			"last": footerLast, "first time": footerFirstTime, "last time": footerLastTime, "after": footerAfter,
			"pages": footerPages, "transactions": footerTxs, "index": footerIndexOffset,
		} {
			b := smallObject(t, kind)
			f := b[len(b)-FooterSize:]
			f[at]++
			reseal(b)
			if _, _, err := decode(bytes.NewReader(b)); !isDamage(err) {
				t.Errorf("%v with another %s in its footer: %v", kind, name, err)
			}
		}
		b := smallObject(t, kind)
		b[len(b)-FooterSize+footerPageCount]++
		reseal(b)
		if _, _, err := decode(bytes.NewReader(b)); !isDamage(err) {
			t.Errorf("%v with another page count in its footer: %v", kind, err)
		}
	}
}

// TestFooterOfAnotherVersion: the header says by which version the blocks are read, and the footer whether the page sums have
// a key. Where the two contradict each other, the sums would be held against those of another hash.
func TestFooterOfAnotherVersion(t *testing.T) {
	setFooter := func(b []byte, version byte, key uint64) {
		f := b[len(b)-FooterSize:]
		f[8], f[footerTail] = version, version
		binary.LittleEndian.PutUint64(f[footerKey:], key)
	}
	for name, change := range map[string]func(b []byte){
		"keyed footer": func(b []byte) { setFooter(b, 2, 7) },
		"keyed header": func(b []byte) { b[8] = 2; setFooter(b, 1, 0) },
	} {
		for _, kind := range kinds {
			b := smallObject(t, kind)
			change(b)
			reseal(b)
			if _, err := ReadInfo(bytes.NewReader(b), int64(len(b))); err != nil {
				t.Fatalf("%v, %s: the footer alone is %v", kind, name, err)
			}
			if _, _, err := decode(bytes.NewReader(b)); !isDamage(err) {
				t.Errorf("%v, %s: %v", kind, name, err)
			}
		}
		b, err := testClose().Encode()
		if err != nil {
			t.Fatal(err)
		}
		change(b)
		reseal(b)
		if _, err := ParseClose(b); !isDamage(err) {
			t.Errorf("close, %s: %v", name, err)
		}
	}
}

// TestSplicedObject: a block of one object in the place of another's, whose header is the same.
func TestSplicedObject(t *testing.T) {
	o := testObject(Log, MinPageSize)
	a, _ := o.mustEncode(t)
	o.Txs[0].After++
	b, _ := o.mustEncode(t)
	n, err := blockLength(a[HeaderSize:], HeaderSize)
	if err != nil || len(a) != len(b) || bytes.Equal(a[HeaderSize:HeaderSize+n], b[HeaderSize:HeaderSize+n]) {
		t.Fatalf("the objects have no block of one size with different content: %v", err)
	}
	copy(a[HeaderSize:HeaderSize+n], b[HeaderSize:])
	_, _, err = decode(bytes.NewReader(a))
	var c *CorruptError
	if !errors.As(err, &c) || c.Offset < int64(HeaderSize+n) {
		t.Errorf("decode: %v, want a *CorruptError at the object's checksum", err)
	}
}

// TestBlockBounds: the lengths in a block's header are held against the limits before memory is taken for them, and
// decompression ends where the header says.
func TestBlockBounds(t *testing.T) {
	const seed = 7
	sealed := func(change func(b []byte), records []byte) []byte {
		b := appendBlock(nil, typeRecords, records, nil, true, seed)
		change(b)
		binary.LittleEndian.PutUint64(b, xxh3.HashSeed(b[blockType:], seed))
		return b
	}
	put := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
	}
	bomb, packed := make([]byte, maxBlockSize), make([]byte, 1000)
	tests := []struct {
		name    string
		change  func(b []byte)
		records []byte
		parses  bool // and fails when it is decompressed
	}{
		{name: "payload above the limit", change: put(blockPayload, maxBlockSize+1)},
		{name: "records above the limit", change: put(blockRaw, maxBlockSize+1)},
		{name: "compressed records above the limit", change: put(blockRaw, maxBlockSize+1), records: packed},
		{name: "checksums above the limit", change: put(blockSums, maxBlockSize/sumSize+1)},
		{name: "records and checksums above the limit together", change: func(b []byte) {
			put(blockRaw, maxBlockSize)(b)
			put(blockSums, 1)(b)
		}},
		{name: "more checksums than payload", change: put(blockSums, 1)},
		{name: "decompresses to more", change: put(blockRaw, 10), records: bomb, parses: true},
		{name: "decompresses to less", change: put(blockRaw, maxBlockSize), records: bomb[:maxBlockSize-1], parses: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.records == nil {
				test.records = []byte("x")
			}
			b := sealed(test.change, test.records)
			k, err := parseBlock(b, 0, seed)
			if (err == nil) != test.parses {
				t.Fatalf("parse: %v", err)
			}
			if err != nil {
				return
			}
			got, err := k.appendRecords(nil, 0)
			var c *CorruptError
			if !errors.As(err, &c) || cap(got) > maxBlockSize {
				t.Errorf("decompressed to %d bytes of %d, %v", len(got), cap(got), err)
			}
		})
	}
	if _, err := parseBlock(sealed(put(blockRaw, maxBlockSize), bomb), 0, seed); err != nil {
		t.Errorf("the largest block there may be: %v", err)
	}
}
