package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"

	"seawal/internal/pagesum"
)

// Decoder reads and verifies a whole segment, as a stream. Order of calls:
// NextTx, NextPage until io.EOF, TxEnd; and again until NextTx returns
// io.EOF. Nothing of the object is proven whole before that last io.EOF: until then each
// block has been verified on its own. The first error is sticky. Not safe for
// concurrent use. Memory: at most 12 MiB, whatever the object says; 3 MiB with what an Encoder writes.
type Decoder struct {
	r         io.Reader
	header    Header
	version   uint16 // of the format
	headerSum uint64
	lock      uint32 // page that is never part of a database
	hash      xxh3.Hasher
	offset    int64 // of the next byte of r

	buf        []byte // current block as stored
	raw        []byte // its records
	records    recordReader
	blockAt    int64 // offset of the current block
	blockSize  int   // bytes, as stored
	kind       byte  // type of the current block, 0 before the first
	index      indexBuilder
	indexStart int64  // offset of the partition that ends where the next block begins, 0 when there is none
	blockTx    uint64 // first transaction that begins in the current block
	blockTxs   uint64 // number of them
	numbers    []uint32

	open     bool // inside a transaction
	tx       Tx
	lastPage uint32
	txPages  uint64
	footer   Footer // as it must be, from what was read
	info     Info
	err      error
}

// NewDecoder reads the header from r. Errors: ErrTorn, *CorruptError, *VersionError, or what r returned.
func NewDecoder(r io.Reader) (*Decoder, error) {
	var b [HeaderSize]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, readError("read header", err)
	}
	h, sum, version, err := parseHeader(b[:])
	if err != nil {
		return nil, err
	}
	if h.Kind == Closing {
		return nil, corrupt(0, "it closes the timeline, and has no transactions")
	}
	d := &Decoder{
		r:         r,
		header:    h,
		version:   version,
		headerSum: sum,
		lock:      pagesum.LockPage(h.PageSize),
		offset:    HeaderSize,
	}
	d.hash.Reset()
	d.hash.Write(b[:])
	return d, nil
}

// Header returns the object's header; its Key is known once NextTx has returned io.EOF.
func (d *Decoder) Header() Header { return d.header }

// NextTx returns the next transaction, without After, which TxEnd
// returns. Pages of the one before that haven't been read are skipped. io.EOF means that the object is
// complete and its checksum right. Errors as of NewDecoder.
func (d *Decoder) NextTx() (Tx, error) {
	var p Page
	for d.open && d.err == nil {
		d.NextPage(&p)
	}
	if d.err != nil {
		return Tx{}, d.err
	}
	if err := d.nextRecord(); err != nil {
		return Tx{}, d.fail(err)
	}
	if d.records.tag() != tagBegin || d.kind != typeRecords || d.header.Kind != Log && d.footer.Txs > 0 {
		return Tx{}, d.fail(corrupt(d.blockAt, "block: no transaction begins where one should"))
	}
	tx, err := d.records.begin()
	if err != nil {
		return Tx{}, d.fail(corrupt(d.blockAt, "block: %w", err))
	}
	before := d.tx.Number
	if d.footer.Txs == 0 {
		before = d.header.First - 1
		d.footer.FirstTime = tx.Time
	}
	if d.header.Kind == Snapshot && tx.Span != 1 {
		return Tx{}, d.fail(corrupt(d.blockAt, "block: snapshot of %d transactions", tx.Span))
	}
	if tx.Number = before + tx.Span; tx.Number < tx.Span && d.header.Kind != Snapshot {
		return Tx{}, d.fail(corrupt(d.blockAt, "block: transaction number overflows"))
	}
	if d.blockTxs == 0 {
		d.blockTx = tx.Number
	}
	d.blockTxs++
	d.footer.Txs++
	d.open, d.tx, d.lastPage, d.txPages = true, tx, 0, 0
	return tx, nil
}

// NextPage reads the next page of the current transaction into p; io.EOF is the end of the
// transaction. p.Data is valid until the next call. Errors as of NewDecoder.
func (d *Decoder) NextPage(p *Page) error {
	if d.err != nil {
		return d.err
	}
	if !d.open {
		return io.EOF
	}
	if err := d.nextRecord(); err != nil {
		if err == io.EOF {
			err = corrupt(d.offset, "block: transaction %d doesn't end", d.tx.Number)
		}
		return d.fail(err)
	}
	switch tag := d.records.tag(); {
	case tag == tagEnd && d.kind == typeRecords:
		if err := d.endTx(); err != nil {
			return d.fail(err)
		}
		return io.EOF
	case tag == tagFull, tag == tagDelta && d.header.Kind != Snapshot:
	default:
		return d.fail(corrupt(d.blockAt, "block: record with tag %d", tag))
	}
	if err := d.records.page(p); err != nil {
		return d.fail(corrupt(d.blockAt, "block: %w", err))
	}
	if p.Number > d.tx.PageCount || p.Number == d.lock ||
		d.header.Kind != Log && (p.Number <= d.lastPage || d.kind != typePages || len(d.numbers) == blockPages) {
		return d.fail(corrupt(d.blockAt, "block: page %d out of order", p.Number))
	}
	d.lastPage = p.Number
	d.txPages++
	d.footer.Pages++
	if d.header.Kind != Log {
		d.numbers = append(d.numbers, p.Number)
	}
	return nil
}

func (d *Decoder) endTx() error {
	d.records.at++
	after, err := d.records.sum()
	if err != nil {
		return corrupt(d.blockAt, "block: %w", err)
	}
	if d.header.Kind == Snapshot && d.txPages != snapshotPages(d.tx.PageCount, d.lock) {
		return corrupt(d.blockAt, "snapshot has %d pages of a database of %d pages", d.txPages, d.tx.PageCount)
	}
	d.open = false
	d.tx.After = after
	d.footer.Last, d.footer.LastTime = d.tx.Number, d.tx.Time
	d.footer.After, d.footer.PageCount = after, d.tx.PageCount
	return nil
}

// TxEnd returns the checksum of the database after the last transaction whose pages
// NextPage has read to the end.
func (d *Decoder) TxEnd() pagesum.Sum { return d.tx.After }

// Info returns what ReadInfo would, once NextTx has returned io.EOF; before, the zero Info.
func (d *Decoder) Info() Info { return d.info }

func (d *Decoder) fail(err error) error {
	d.err = err
	return err
}

// nextRecord makes sure that there is a record to read, from the next block if
// need be. io.EOF: the object ended, complete.
func (d *Decoder) nextRecord() error {
	for d.records.done() {
		if err := d.endBlock(); err != nil {
			return err
		}
		if err := d.nextBlock(); err != nil {
			return err
		}
	}
	return nil
}

// endBlock enters the current block, all of whose records have been read, in the index.
func (d *Decoder) endBlock() error {
	if len(d.records.sums) != 0 {
		return corrupt(d.blockAt, "block: more checksums than pages")
	}
	switch {
	case d.kind == typePages && len(d.numbers) == 0:
		return corrupt(d.blockAt, "block: of pages, and has none")
	case d.kind == typePages:
		sums := d.buf[d.blockSize-len(d.numbers)*sumSize : d.blockSize]
		d.index.addPages(d.blockAt, d.blockSize, d.numbers, sums)
	case d.kind == typeRecords && d.header.Kind == Log:
		d.index.addTxs(d.blockAt, d.blockSize, d.blockTx, d.blockTxs)
	}
	if len(d.index.partition) > maxBlockSize || len(d.index.root) > maxBlockSize {
		return corrupt(d.offset, "index: more entries than a block may have")
	}
	d.numbers, d.blockTx, d.blockTxs = d.numbers[:0], 0, 0
	return nil
}

// nextBlock reads a block: of records, which it makes ready, or of the index,
// which it compares with the one that must be.
func (d *Decoder) nextBlock() error {
	k, err := d.readBlock()
	if err != nil {
		return err
	}
	d.kind = k.kind
	switch {
	case k.kind == typeRecords, k.kind == typePages && d.header.Kind != Log:
		if d.raw, err = k.appendRecords(d.raw[:0], d.blockAt); err != nil {
			return err
		}
		d.indexStart = 0
		d.records = recordReader{records: d.raw, sums: k.sums, pageSize: d.header.PageSize}
		return nil
	case k.codec != codecNone || len(k.sums) != 0:
	case k.kind == typePartition && d.index.blocks > 0 && bytes.Equal(k.records, d.index.partition):
		d.index.endPartition(d.blockAt, d.blockSize)
		d.indexStart = d.blockAt
		return nil
	case k.kind == typeRoot && d.index.blocks == 0 && bytes.Equal(k.records, d.index.root):
		return d.readFooter()
	}
	return corrupt(d.blockAt, "block: of type %d, or not as it must be", k.kind)
}

func (d *Decoder) readBlock() (block, error) {
	var err error
	if d.buf, err = readGrow(d.r, d.buf[:0], blockHeaderSize); err != nil {
		return block{}, readError("read block", err)
	}
	n, err := blockLength(d.buf, d.offset)
	if err != nil {
		return block{}, err
	}
	if d.buf, err = readGrow(d.r, d.buf, n); err != nil {
		return block{}, readError("read block", err)
	}
	k, err := parseBlock(d.buf, d.offset, blockSeed(d.headerSum, d.offset))
	if err != nil {
		return block{}, err
	}
	d.hash.Write(d.buf)
	d.blockAt, d.blockSize = d.offset, n
	d.offset += int64(n)
	return k, nil
}

// readFooter reads the rest of the object behind the index. It returns io.EOF when all of it is right.
func (d *Decoder) readFooter() error {
	var b [FooterSize]byte
	if _, err := io.ReadFull(d.r, b[:]); err != nil {
		return readError("read footer", err)
	}
	info, err := ParseFooter(b[:], d.offset+FooterSize)
	if errors.Is(err, ErrTorn) { // the bytes are there
		return corrupt(d.offset+int64(footerMagic), "footer: wrong end mark")
	}
	if err != nil {
		return err
	}
	d.hash.Write(b[:footerChecksum])
	if d.hash.Sum64() != info.Checksum {
		return corrupt(d.offset+int64(footerChecksum), "wrong checksum of the object")
	}
	want := d.footer
	want.Place = info.Place
	if want.IndexOffset = d.indexStart; want.IndexOffset == 0 {
		want.IndexOffset = d.blockAt
	}
	d.header.Key = info.Key
	if info.Header != d.header || versionOf(info.Key) != d.version || info.Footer != want || d.open {
		return corrupt(d.offset, "footer: doesn't fit the blocks")
	}
	var more [1]byte
	if _, err := io.ReadFull(d.r, more[:]); err == nil {
		return corrupt(d.offset+FooterSize, "bytes behind the end")
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read footer: %w", err)
	}
	d.info = info
	return io.EOF
}
