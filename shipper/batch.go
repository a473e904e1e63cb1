package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"seawal/internal/killpoint"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
)

// batch is one log segment from its first transaction until it is durable.
type batch struct {
	enc    *segment.Encoder
	out    *spool
	first  uint64 // transaction
	last   uint64 // transaction; 0 before the first is complete
	ticket uint64 // last one in it
	place  wal.Place
	save   bool // the state of its end lies ready, to be made valid when it is durable
	info   segment.Info
}

// growOnce is the size from which a spool takes all the memory it may have at once.
// Most segments of a quiet database stay below.
const growOnce = 256 << 10

// spool is the object being built: in memory, and in a file of the state folder
// as far as a transaction is larger than a batch may be.
type spool struct {
	dir   string
	limit int64
	mem   []byte
	file  *os.File
	size  int64
}

func (p *spool) Write(b []byte) (int, error) {
	if p.file == nil && int64(len(p.mem)+len(b)) > p.limit {
		f, err := os.CreateTemp(p.dir, "spool-*")
		if err != nil {
			return 0, fmt.Errorf("open spool file for a large transaction: %w", err)
		}
		p.file = f
	}
	if p.file == nil {
		if n := len(p.mem) + len(b); n > cap(p.mem) && n > growOnce {
			// Growing by and by would leave several times the memory to the collector.
			p.mem = slices.Grow(p.mem, int(p.limit)-len(p.mem))
		}
		p.mem = append(p.mem, b...)
		p.size += int64(len(b))
		return len(b), nil
	}
	n, err := p.file.Write(b)
	p.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write spool file: %w", err)
	}
	return n, nil
}

// body yields the object from its start.
func (p *spool) body() (io.ReadCloser, error) {
	mem := store.BytesBody(p.mem)
	if p.file == nil {
		return mem()
	}
	m, err := mem()
	if err != nil {
		return nil, err
	}
	rest := io.NewSectionReader(p.file, 0, p.size-int64(len(p.mem)))
	return io.NopCloser(io.MultiReader(m, rest)), nil
}

// free removes the file.
func (p *spool) free() error {
	if p.file == nil {
		return nil
	}
	err := errors.Join(p.file.Close(), os.Remove(p.file.Name()))
	p.file = nil
	return err
}

// removeSpools deletes what a killed process left. The state folder is locked.
func removeSpools(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "spool-*"))
	for _, f := range left {
		err = errors.Join(err, os.Remove(f))
	}
	return err
}

// spares is the memory of batches that are done: open, waiting and in flight take
// turns, and nothing is allocated per segment.
type spares struct {
	mu   sync.Mutex
	free [][]byte // guarded by mu
}

func (p *spares) get() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b[:0]
	}
	return nil
}

func (p *spares) put(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < 2 {
		p.free = append(p.free, b)
	}
}

func (s *Shipper) newSpool() *spool {
	return &spool{dir: s.cfg.StateDir, limit: s.cfg.BatchBytes + s.cfg.BatchBytes/4, mem: s.spare.get()}
}

// openBatch makes sure that a batch is open, which begins with transaction first
// when it is new.
func (s *Shipper) openBatch(first uint64, since int64) error {
	if s.batch != nil {
		return nil
	}
	out := s.newSpool()
	enc, err := segment.NewEncoder(out, segment.Header{
		Kind: segment.Log, PageSize: s.pageSize, Timeline: s.timeline, First: first,
		Replica: s.id, Writer: s.writer, Before: s.table.Total(), Key: s.hasher.Key(),
	})
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	s.batch = &batch{enc: enc, out: out, first: first}
	s.mu.Lock()
	s.pending = append(s.pending, pendingBatch{batch: s.batch, since: since})
	s.mu.Unlock()
	return nil
}

// dropBatch forgets the open batch, after an error in it.
func (s *Shipper) dropBatch() {
	b := s.batch
	if b == nil {
		return
	}
	s.batch = nil
	s.releaseBatch(b)
}

// releaseBatch gives back the memory of a batch and forgets it. Of the goroutine that owns it.
func (s *Shipper) releaseBatch(b *batch) {
	s.freeBatch(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.pending {
		if s.pending[i].batch == b {
			s.pending = append(s.pending[:i], s.pending[i+1:]...)
			break
		}
	}
}

// freeBatch gives back the memory of a batch that stays in pending: it is part of
// what was not shipped.
func (s *Shipper) freeBatch(b *batch) {
	if err := b.out.free(); err != nil {
		s.log.Warn("removing a spool file", "err", err)
	}
	s.spare.put(b.out.mem)
	b.out.mem = nil
}

// full says that the open batch has to close because of its size.
func (s *Shipper) full() bool {
	return s.batch != nil && s.batch.last != 0 && s.batch.enc.Size() >= s.cfg.BatchBytes
}

// isSaveDue says whether the state is saved with the segment that was just closed.
func (s *Shipper) isSaveDue() bool {
	often := s.saved >= saveOften && s.table.Len() <= fewPages && time.Since(s.savedAt) >= saveWait
	return often || s.saved >= saveEvery
}

// closeBatch hands the open batch, if there is one, to the uploader, and waits
// for room in front of it.
func (s *Shipper) closeBatch(ctx context.Context) error {
	b := s.batch
	if b == nil {
		return nil
	}
	info, err := b.enc.Close(b.place)
	if err != nil {
		return fmt.Errorf("close segment: %w", err)
	}
	killpoint.Hit("shipper/segment-encoded")
	b.info = info
	s.saved++
	if s.isSaveDue() {
		b.save = s.prepareState(b)
		s.saved, s.savedAt = 0, time.Now()
	}
	s.mu.Lock()
	s.flying++
	s.closed = max(s.closed, b.ticket)
	s.setPendingLocked(b, info.Size)
	s.mu.Unlock()
	s.batch = nil
	select {
	case s.uploads <- b:
		killpoint.Hit("shipper/segment-handed-over")
		return nil
	case <-ctx.Done():
		s.freeBatch(b)
		return ctx.Err()
	}
}

func (s *Shipper) setPendingLocked(b *batch, bytes int64) {
	for i := range s.pending {
		if s.pending[i].batch == b {
			s.pending[i].bytes = bytes
		}
	}
}
