package segment

import (
	"encoding/binary"
	"errors"

	"seawal/internal/pagesum"
)

// Tags of the records in a block.
const (
	tagBegin byte = iota + 1
	tagFull
	tagDelta
	tagEnd
)

// recordState is what the records of one block are relative to. It starts as
// zero in each block, so that a block can be read on its own.
type recordState struct {
	time int64  // of the transaction before
	page uint32 // number of the page before
}

func appendBegin(b []byte, s *recordState, tx Tx) []byte {
	b = append(b, tagBegin)
	b = binary.AppendUvarint(b, tx.Span)
	b = binary.AppendVarint(b, tx.Time-s.time) // wraps around, and back when read
	s.time = tx.Time
	return binary.AppendUvarint(b, uint64(tx.PageCount))
}

// appendPage appends a page's record, its checksum apart.
func appendPage(b []byte, s *recordState, p *Page) []byte {
	step := int64(p.Number) - int64(s.page)
	s.page = p.Number
	if p.Kind == Full {
		b = append(b, tagFull)
		b = binary.AppendVarint(b, step)
	} else {
		b = append(b, tagDelta)
		b = binary.AppendVarint(b, step)
		b = binary.AppendUvarint(b, uint64(len(p.Data)))
	}
	return append(b, p.Data...)
}

var errRecord = errors.New("record is cut short or impossible")

// recordReader reads the records of one block.
type recordReader struct {
	records  []byte
	at       int
	sums     []byte
	state    recordState
	pageSize int
}

// done says that all records have been read.
func (r *recordReader) done() bool { return r.at == len(r.records) }

// tag returns the tag of the next record, 0 at the end.
func (r *recordReader) tag() byte {
	if r.done() {
		return 0
	}
	return r.records[r.at]
}

func (r *recordReader) uvarint() (uint64, error) {
	v, n := binary.Uvarint(r.records[r.at:])
	if n <= 0 {
		return 0, errRecord
	}
	r.at += n
	return v, nil
}

func (r *recordReader) varint() (int64, error) {
	v, n := binary.Varint(r.records[r.at:])
	if n <= 0 {
		return 0, errRecord
	}
	r.at += n
	return v, nil
}

// sum takes the next checksum.
func (r *recordReader) sum() (pagesum.Sum, error) {
	if len(r.sums) < sumSize {
		return 0, errors.New("checksum is missing")
	}
	s := binary.LittleEndian.Uint64(r.sums)
	r.sums = r.sums[sumSize:]
	return pagesum.Sum(s), nil
}

// begin reads a transaction's first record; Number is left to the caller.
func (r *recordReader) begin() (tx Tx, err error) {
	r.at++
	if tx.Span, err = r.uvarint(); err != nil {
		return Tx{}, err
	}
	step, err := r.varint()
	if err != nil {
		return Tx{}, err
	}
	count, err := r.uvarint()
	if err != nil || count > 1<<32-1 || tx.Span == 0 {
		return Tx{}, errRecord
	}
	r.state.time += step
	tx.Time, tx.PageCount = r.state.time, uint32(count)
	return tx, nil
}

// page reads a page's record into p; p.Data points into the block.
func (r *recordReader) page(p *Page) error {
	p.Kind = Full
	if r.records[r.at] == tagDelta {
		p.Kind = Delta
	}
	r.at++
	step, err := r.varint()
	if err != nil {
		return err
	}
	if step < -(1<<32) || step > 1<<32 {
		return errRecord
	}
	number := int64(r.state.page) + step
	if number < 1 || number > 1<<32-1 {
		return errRecord
	}
	length := uint64(r.pageSize)
	if p.Kind == Delta {
		if length, err = r.uvarint(); err != nil {
			return err
		}
		if length > uint64(r.pageSize+deltaSlack) {
			return errRecord
		}
	}
	if length > uint64(len(r.records)-r.at) {
		return errRecord
	}
	if p.Sum, err = r.sum(); err != nil {
		return err
	}
	p.Number = uint32(number)
	r.state.page = p.Number
	end := r.at + int(length)
	p.Data = r.records[r.at:end:end]
	r.at = end
	return nil
}
