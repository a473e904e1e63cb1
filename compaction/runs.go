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
func (r *run) add(page uint32, full bool, image []byte, sum pagesum.Sum) error {
	if full {
		return r.put(page, segment.Full, image, sum)
	}
	var ok bool
	if r.delta, ok = segment.AppendDelta(r.delta[:0], zeroPage[:len(image)], image, math.MaxInt); !ok {
		return fmt.Errorf("put page %d aside: the delta doesn't fit", page)
	}
	return r.put(page, segment.Delta, r.delta, sum)
}

func (r *run) addPage(p segment.Page) error { return r.put(p.Number, p.Kind, p.Data, p.Sum) }

func (r *run) put(page uint32, kind segment.PageKind, data []byte, sum pagesum.Sum) error {
	var head [runHead]byte
	binary.LittleEndian.PutUint32(head[0:], page)
	head[4] = byte(kind)
	binary.LittleEndian.PutUint64(head[5:], uint64(sum))
	binary.LittleEndian.PutUint32(head[13:], uint32(len(data)))
	if _, err := r.out.Write(head[:]); err != nil {
		return fmt.Errorf("put pages aside: %w", err)
	}
	if _, err := r.out.Write(data); err != nil {
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

func (r *runReader) close() {}

// add makes an image, or the XOR of two, what comes after s.
func (s *pageState) add(full bool, image []byte, sum pagesum.Sum) {
	s.sum = sum
	if full {
		copy(s.image, image)
		s.full = true
		return
	}
	subtle.XORBytes(s.image, s.image, image)
}
