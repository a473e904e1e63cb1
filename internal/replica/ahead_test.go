package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/storetest"
)

// crowdStore answers the reads of whole log segments once as many are asked for at once as crowd says.
type crowdStore struct {
	store.Store
	crowd int

	mu   sync.Mutex
	now  int
	met  chan struct{} // closed when the crowd is there
	open int           // readers
	most int           // of them at once
}

func newCrowdStore(s store.Store, crowd int) *crowdStore {
	return &crowdStore{Store: s, crowd: crowd, met: make(chan struct{})}
}

func (s *crowdStore) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if !strings.Contains(name, "/log/") || off > 0 { // a footer is read before
		return s.Store.Read(ctx, name, off, n)
	}
	s.mu.Lock()
	if s.now++; s.now == s.crowd {
		close(s.met)
	}
	s.open++
	s.most = max(s.most, s.open)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}()
	select {
	case <-s.met:
		return s.Store.Read(ctx, name, off, n)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// The segments behind a table are fetched at once, sixteen of them at least: a distant store's round trips overlap.
func TestTableReadsOverlap(t *testing.T) {
	src := newSource(t)
	src.log(3, 1)
	src.snapshot(src.pos)
	for range 60 {
		src.log(1, 1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	crowd := newCrowdStore(src.s, 16)
	got, err := TableAt(ctx, crowd, src.pos, nil, Pos{})
	if err != nil || !sameTable(got, src.tables[src.pos]) {
		t.Fatalf("with 16 reads at once asked for: %v", err)
	}
	if crowd.most > aheadObjects {
		t.Errorf("%d reads at once", crowd.most)
	}
	// Segments of which the store has no more than the beginning are named as ever.
	if _, err := TableAt(ctx, tornStore{src.s, io.ErrUnexpectedEOF}, src.pos, nil, Pos{}); !IsDamage(err) || !strings.Contains(err.Error(), "/log/") {
		t.Errorf("of segments that are cut short: %v", err)
	}
}

// A connection that breaks in the middle of a segment says nothing about the segment: taken for damage, it would have a new timeline
// leave one that is whole.
func TestBrokenConnectionIsNoDamage(t *testing.T) {
	src := newSource(t)
	src.log(3, 1)
	src.snapshot(src.pos)
	src.log(3, 1)
	broken := errors.New("connection reset")
	if _, err := TableAt(t.Context(), tornStore{src.s, broken}, src.pos, nil, Pos{}); !errors.Is(err, broken) || IsDamage(err) {
		t.Errorf("of segments whose connection breaks: %v", err)
	}
}

// tornStore has the beginning of each log segment, and then an error.
type tornStore struct {
	store.Store
	err error
}

func (s tornStore) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	in, err := s.Store.Read(ctx, name, off, n)
	if err != nil || off > 0 || !strings.Contains(name, "/log/") { // a footer is read before
		return in, err
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(in, segment.HeaderSize+30), failingReader{s.err})), nil
}

// One request at a time is enough, also for a position in the middle of a segment.
func TestTableWithOneRequestAtATime(t *testing.T) {
	src := newSource(t)
	src.log(3, 1)
	src.snapshot(src.pos)
	for range 5 {
		src.log(10, 1)
	}
	b, err := store.NewBudget(store.Limits{Concurrent: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	at := Pos{1, 3 + 25}
	got, err := SoundTableAt(ctx, store.Limit(src.s, b), at, nil, Pos{})
	if err != nil || !sameTable(got, src.tables[at]) {
		t.Fatal(err)
	}
}

// What is fetched and not yet read is bounded, in objects and in bytes.
func TestAheadIsBounded(t *testing.T) {
	mem := storetest.NewMemory()
	ctx := context.Background()
	fill := func(size int) (n int) {
		a := NewAhead(ctx, mem)
		defer a.Close()
		for ; ; n++ {
			o := store.Object{Name: fmt.Sprintf("o%d-%d", size, n), Size: int64(size)}
			if err := mem.Create(ctx, o.Name, store.BytesBody(make([]byte, size))); err != nil {
				t.Fatal(err)
			}
			if !a.Start(o) {
				break
			}
			if size > wholeBytes && n > 2*aheadObjects {
				break
			}
		}
		if a.bytes > aheadBytes {
			t.Errorf("%d bytes at once", a.bytes)
		}
		return n
	}
	if n := fill(100); n != aheadObjects {
		t.Errorf("%d small objects at once", n)
	}
	if n := fill(wholeBytes); n != aheadBytes/wholeBytes {
		t.Errorf("%d large objects at once", n)
	}
	if n := fill(wholeBytes + 1); n <= aheadObjects {
		t.Errorf("objects that aren't fetched take room: %d", n)
	}
	a := NewAhead(ctx, mem)
	defer a.Close()
	if gone := (store.Object{Name: "gone", Size: 1}); a.Start(gone) {
		if _, err := a.Open(gone); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("an object that isn't there: %v", err)
		}
	}
}

// BenchmarkTableBehindASlowStore is an attach without the page table: 1,000 segments at 10 ms a request.
func BenchmarkTableBehindASlowStore(b *testing.B) {
	src := newSource(b)
	src.log(3, 1)
	src.snapshot(src.pos)
	for range 1000 {
		src.log(1, 1)
	}
	slow := slowStore{src.s}
	for b.Loop() {
		if _, err := TableAt(context.Background(), slow, src.pos, nil, Pos{}); err != nil {
			b.Fatal(err)
		}
	}
}

type slowStore struct{ store.Store }

func (s slowStore) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	time.Sleep(10 * time.Millisecond)
	return s.Store.Read(ctx, name, off, n)
}
