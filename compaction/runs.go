package compaction

import (
	"bufio"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
)

// maxRuns is how many runs are read side by side, at most. Tests set it.
var maxRuns = 64

const (
	// runBuffers is the memory for reading runs, bytes, for all of them.
	runBuffers = 4 << 20
	// minRunBuffer and maxRunBuffer bound what one run takes of it, bytes.
	minRunBuffer = 16 << 10
	maxRunBuffer = 256 << 10
)

// run is a file of pages in ascending order. It has no name, so that nothing is left of it however the process ends.
//
// A page is a head of 17 bytes (number, whether it is an image, checksum of the page afterwards, length) and the image or
// delta.
type run struct {
	file  *os.File
	out   *bufio.Writer
	keep  uint32 // pages behind it were cut off later
	delta []byte
}

const runHead = 17

func (m *merger) newRun() (*run, error) {
	f, err := m.spill()
	if err != nil {
		return nil, fmt.Errorf("put pages aside: %w", err)
	}
	return &run{file: f, out: bufio.NewWriterSize(f, maxRunBuffer), keep: math.MaxUint32}, nil
}

// add appends a page: its image, or the XOR of two.
func (r *run) add(page uint32, s *pageState) (err error) {
	var p segment.Page
	if p, r.delta, err = s.page(page, r.delta); err != nil {
		return fmt.Errorf("put pages aside: %w", err)
	}
	return r.put(p)
}

func (r *run) put(p segment.Page) error {
	var head [runHead]byte
	binary.LittleEndian.PutUint32(head[0:], p.Number)
	head[4] = byte(p.Kind)
	binary.LittleEndian.PutUint64(head[5:], uint64(p.Sum))
	binary.LittleEndian.PutUint32(head[13:], uint32(len(p.Data)))
	if _, err := r.out.Write(head[:]); err != nil {
		return fmt.Errorf("put pages aside: %w", err)
	}
	if _, err := r.out.Write(p.Data); err != nil {
		return fmt.Errorf("put pages aside: %w", err)
	}
	return nil
}

func (r *run) flush() error {
	if err := r.out.Flush(); err != nil {
		return fmt.Errorf("put pages aside: %w", err)
	}
	r.out, r.delta = nil, nil
	return nil
}

func (r *run) close() error { return r.file.Close() }

// open returns the pages of the run, of several runs that are read side by side.
func (r *run) open(pageSize, runs int) (*runReader, error) {
	size := min(max(runBuffers/max(1, runs), minRunBuffer), maxRunBuffer)
	in := &runReader{
		in:   bufio.NewReaderSize(io.NewSectionReader(r.file, 0, math.MaxInt64), size),
		keep: r.keep,
		data: make([]byte, 0, pageSize+16),
	}
	return in, in.next()
}

// runReader reads a run.
type runReader struct {
	in   *bufio.Reader
	keep uint32

	number uint32
	kind   segment.PageKind
	sum    pagesum.Sum
	data   []byte
}

func (r *runReader) page() uint32 { return r.number }

func (r *runReader) next() error {
	var head [runHead]byte
	_, err := io.ReadFull(r.in, head[:])
	if errors.Is(err, io.EOF) {
		r.number = math.MaxUint32
		return nil
	}
	if err == nil {
		r.number = binary.LittleEndian.Uint32(head[0:])
		r.kind = segment.PageKind(head[4])
		r.sum = pagesum.Sum(binary.LittleEndian.Uint64(head[5:]))
		r.data = append(r.data[:0], make([]byte, binary.LittleEndian.Uint32(head[13:]))...)
		_, err = io.ReadFull(r.in, r.data)
	}
	if err != nil {
		return fmt.Errorf("read pages that were put aside: %w", err)
	}
	if r.number > r.keep {
		r.number = math.MaxUint32 // ascending: all that follow were cut off, too
	}
	return nil
}

func (r *runReader) applyTo(s *pageState) error {
	return s.apply(&segment.Page{Number: r.number, Kind: r.kind, Data: r.data, Sum: r.sum})
}

// add makes next what comes after s.
func (s *pageState) add(next *pageState) {
	s.sum = next.sum
	if next.full {
		copy(s.image, next.image)
		s.full = true
		return
	}
	subtle.XORBytes(s.image, s.image, next.image)
}

// page is s as a segment has it. delta is memory for it, which is returned.
func (s *pageState) page(number uint32, delta []byte) (segment.Page, []byte, error) {
	if s.full {
		return segment.Page{Number: number, Kind: segment.Full, Data: s.image, Sum: s.sum}, delta, nil
	}
	// A delta that is as long as the page saves nothing, but the image isn't known: it is stored all the same.
	delta, ok := segment.AppendDelta(delta[:0], zeroPage[:len(s.image)], s.image, math.MaxInt)
	if !ok {
		return segment.Page{}, delta, fmt.Errorf("page %d: the composed delta doesn't fit", number)
	}
	return segment.Page{Number: number, Kind: segment.Delta, Data: delta, Sum: s.sum}, delta, nil
}
