package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/zeebo/xxh3"

	"seawal/internal/pagesum"
	"seawal/internal/wal"
)

// Encoder writes one segment. Order of calls: for each transaction Begin, Page
// for each of its pages, End; then Close. A Merged segment and a Snapshot have one
// transaction, its pages in strictly ascending order. The first error is
// sticky: every later call returns it. Not safe for concurrent use.
//
// Memory: under 6 MiB, whatever the size of the object (measured: TestEncoderMemory); what isn't needed for long is pooled.
type Encoder struct {
	w         io.Writer
	header    Header
	headerSum uint64
	lock      uint32 // page that is never part of a database

	*encoderBuffers
	index      indexBuilder
	blockLimit int // logBlockSize; tests set less
	state      recordState
	offset     int64 // bytes given to w

	partitionAt int64 // offset of the partition that ends at offset, 0 when there is none

	open     bool   // between Begin and End
	tx       Tx     // current or last transaction
	lastPage uint32 // of the current transaction
	txPages  uint64 // of the current transaction
	footer   Footer
	blockTxs uint64 // transactions that begin in the block being filled
	blockTx  uint64 // number of the first of them
	closed   bool
	info     Info // after Close
	err      error
}

// encoderBuffers is what encoders hand down to each other.
type encoderBuffers struct {
	records []byte   // of the block being filled
	sums    []byte   // likewise
	numbers []uint32 // pages in it, Merged and Snapshot
	out     []byte   // a finished block
	hash    xxh3.Hasher
}

var encoderPool = sync.Pool{New: func() any { return new(encoderBuffers) }}

// NewEncoder writes h to w and returns the Encoder for the rest. w is written
// to in large pieces and is not closed.
func NewEncoder(w io.Writer, h Header) (*Encoder, error) {
	if err := h.Validate(); err != nil {
		return nil, fmt.Errorf("encode segment: %w", err)
	}
	if h.Kind == Closing {
		return nil, errors.New("encode segment: a close has no transactions")
	}
	e := &Encoder{
		w:              w,
		header:         h,
		lock:           pagesum.LockPage(h.PageSize),
		encoderBuffers: encoderPool.Get().(*encoderBuffers),
		index:          indexBuilder{limit: partitionSize},
		blockLimit:     logBlockSize,
	}
	e.hash.Reset()
	e.out = appendHeaderFields(e.out[:0], h)
	e.headerSum = xxh3.Hash(e.out)
	e.out = binary.LittleEndian.AppendUint64(e.out, e.headerSum)
	if e.write(e.out); e.err != nil {
		return nil, e.err
	}
	return e, nil
}

// Begin starts a transaction. Its Number has to follow the one before: previous
// Number (First-1 at the start) plus Span.
func (e *Encoder) Begin(tx Tx) error {
	if tx.Span == 0 || e.header.Kind == Snapshot {
		tx.Span = 1
	}
	switch {
	case e.err != nil:
		return e.err
	case e.closed || e.open:
		return e.fail(errors.New("Begin out of order"))
	case e.footer.Txs > 0 && e.header.Kind != Log:
		return e.fail(fmt.Errorf("a %v segment holds one transaction", e.header.Kind))
	}
	if want := e.next(tx.Span); tx.Number != want || want < tx.Span && e.header.Kind != Snapshot {
		return e.fail(fmt.Errorf("transaction %d of %d commits, want number %d", tx.Number, tx.Span, want))
	}
	if e.footer.Txs == 0 {
		e.footer.FirstTime = tx.Time
	}
	if e.blockTxs == 0 {
		e.blockTx = tx.Number
	}
	e.blockTxs++
	e.footer.Txs++
	e.open, e.tx, e.lastPage, e.txPages = true, tx, 0, 0
	e.records = appendBegin(e.records, &e.state, tx)
	if e.header.Kind != Log {
		e.flush(typeRecords)
	}
	return e.err
}

// next is the number of a next transaction of span commits.
func (e *Encoder) next(span uint64) uint64 {
	if e.footer.Txs == 0 {
		return e.header.First + span - 1
	}
	return e.tx.Number + span
}

// Page adds a page to the current transaction. p.Data is copied before it
// returns. The page has to lie within the transaction's PageCount, and must not
// be pagesum.LockPage.
func (e *Encoder) Page(p Page) error {
	if e.err != nil {
		return e.err
	}
	if err := e.checkPage(&p); err != nil {
		return e.fail(err)
	}
	e.lastPage = p.Number
	e.txPages++
	e.footer.Pages++
	e.records = appendPage(e.records, &e.state, &p)
	e.sums = binary.LittleEndian.AppendUint64(e.sums, uint64(p.Sum))
	if e.header.Kind == Log {
		if len(e.records)+len(e.sums) >= e.blockLimit {
			e.flush(typeRecords)
		}
		return e.err
	}
	e.numbers = append(e.numbers, p.Number)
	if len(e.numbers) == blockPages {
		e.flush(typePages)
	}
	return e.err
}

func (e *Encoder) checkPage(p *Page) error {
	switch {
	case !e.open:
		return errors.New("Page outside a transaction")
	case p.Number == 0 || p.Number > e.tx.PageCount:
		return fmt.Errorf("page %d of a database of %d pages", p.Number, e.tx.PageCount)
	case p.Number == e.lock:
		return fmt.Errorf("page %d is never part of a database", p.Number)
	case p.Kind == Full && len(p.Data) != e.header.PageSize:
		return fmt.Errorf("page %d has %d bytes, want %d", p.Number, len(p.Data), e.header.PageSize)
	case p.Kind == Delta && len(p.Data) > e.header.PageSize+deltaSlack:
		return fmt.Errorf("delta of page %d has %d bytes, more than the page", p.Number, len(p.Data))
	case p.Kind != Full && p.Kind != Delta:
		return fmt.Errorf("page %d is of unknown kind %d", p.Number, uint8(p.Kind))
	case p.Kind == Delta && e.header.Kind == Snapshot:
		return fmt.Errorf("page %d of a snapshot is a delta", p.Number)
	case p.Number <= e.lastPage && e.header.Kind != Log:
		return fmt.Errorf("page %d after page %d", p.Number, e.lastPage)
	}
	return nil
}

// End ends the current transaction; after is the checksum of the database.
// A Snapshot has to be complete.
func (e *Encoder) End(after pagesum.Sum) error {
	switch {
	case e.err != nil:
		return e.err
	case !e.open:
		return e.fail(errors.New("End without Begin"))
	case e.header.Kind == Snapshot && e.txPages != snapshotPages(e.tx.PageCount, e.lock):
		return e.fail(fmt.Errorf("snapshot has %d pages of a database of %d pages", e.txPages, e.tx.PageCount))
	}
	if e.header.Kind != Log {
		e.flush(typePages)
	}
	e.records = append(e.records, tagEnd)
	e.sums = binary.LittleEndian.AppendUint64(e.sums, uint64(after))
	e.open = false
	e.footer.Last, e.footer.LastTime = e.tx.Number, e.tx.Time
	e.footer.After, e.footer.PageCount = after, e.tx.PageCount
	if e.header.Kind != Log || len(e.records)+len(e.sums) >= e.blockLimit {
		e.flush(typeRecords)
	}
	return e.err
}

// snapshotPages is the number of pages that a snapshot has to hold.
func snapshotPages(pageCount, lock uint32) uint64 {
	if pageCount >= lock {
		return uint64(pageCount) - 1
	}
	return uint64(pageCount)
}

// Size estimates the size of the object so far, in bytes: what was given to w
// and what is buffered, not yet compressed.
func (e *Encoder) Size() int64 {
	if e.encoderBuffers == nil {
		return e.offset
	}
	return e.offset + int64(len(e.records)+len(e.sums))
}

// Close writes the rest, the index and the footer. place is where the WAL stands
// after the last transaction. A second Close does nothing and returns the
// same. An Encoder that isn't wanted any more needs no Close.
func (e *Encoder) Close(place wal.Place) (Info, error) {
	if e.err != nil || e.closed {
		return e.info, e.err
	}
	if e.open || e.footer.Txs == 0 {
		return Info{}, e.fail(errors.New("Close without a complete transaction"))
	}
	e.flush(typeRecords)
	e.footer.Place = place
	e.flushPartition()
	if e.footer.IndexOffset = e.partitionAt; e.partitionAt == 0 {
		e.footer.IndexOffset = e.offset
	}
	e.out = appendBlock(e.out[:0], typeRoot, e.index.root, nil, false, blockSeed(e.headerSum, e.offset))
	e.write(e.out)
	info := Info{Header: e.header, Footer: e.footer, Size: e.offset + FooterSize}
	e.out = appendFooter(e.out[:0], info)
	e.hash.Write(e.out)
	info.Checksum = e.hash.Sum64()
	e.out = sealFooter(e.out, info.Checksum)
	e.put(e.out)
	if e.err != nil {
		return Info{}, e.err
	}
	e.closed, e.info = true, info
	encoderPool.Put(e.encoderBuffers)
	e.encoderBuffers = nil
	return info, nil
}

// flush writes the block being filled, if there is anything in it.
func (e *Encoder) flush(kind byte) {
	if len(e.records) == 0 || e.err != nil {
		return
	}
	e.out = appendBlock(e.out[:0], kind, e.records, e.sums, true, blockSeed(e.headerSum, e.offset))
	switch {
	case kind == typePages:
		e.index.addPages(e.offset, len(e.out), e.numbers, e.sums)
	case e.header.Kind == Log:
		e.index.addTxs(e.offset, len(e.out), e.blockTx, e.blockTxs)
	}
	e.write(e.out)
	e.records, e.sums, e.numbers = e.records[:0], e.sums[:0], e.numbers[:0]
	e.state, e.blockTxs, e.blockTx, e.partitionAt = recordState{}, 0, 0, 0
	if e.index.full() {
		e.flushPartition()
	}
}

func (e *Encoder) flushPartition() {
	if e.index.blocks == 0 || e.err != nil {
		return
	}
	e.out = appendBlock(e.out[:0], typePartition, e.index.partition, nil, false, blockSeed(e.headerSum, e.offset))
	e.index.endPartition(e.offset, len(e.out))
	e.partitionAt = e.offset
	e.write(e.out)
}

// write gives b to w and to the object's checksum.
func (e *Encoder) write(b []byte) {
	e.hash.Write(b)
	e.put(b)
}

func (e *Encoder) put(b []byte) {
	if e.err != nil {
		return
	}
	n, err := e.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	e.offset += int64(n)
	if err != nil {
		e.fail(fmt.Errorf("write: %w", err))
	}
}

func (e *Encoder) fail(err error) error {
	e.err = fmt.Errorf("encode segment: %w", err)
	return e.err
}
