package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"
)

// Limits says how much the stores on one Budget may use together. Zero means no limit.
type Limits struct {
	BytesPerSecond    int64   // sent and received, of bodies and objects
	RequestsPerSecond float64 // of all classes; a listing counts one for each 1,000 names
	Concurrent        int     // requests under way, but for listings

	Clock Clock // nil means SystemClock
}

// Budget is what the stores that Limit made with it share, so that all databases
// of a process stay under one limit. It is safe for concurrent use.
type Budget struct {
	bytes, requests *bucket       // nil: no limit
	slots           chan struct{} // holds one value for each request under way; nil: no limit
}

// NewBudget returns a full Budget: one second's worth may pass at once. A
// negative limit is an error.
func NewBudget(l Limits) (*Budget, error) {
	if l.BytesPerSecond < 0 || l.RequestsPerSecond < 0 || l.Concurrent < 0 {
		return nil, errors.New("store limits must not be negative; zero means no limit")
	}
	if l.Clock == nil {
		l.Clock = SystemClock{}
	}
	b := &Budget{
		bytes:    newBucket(float64(l.BytesPerSecond), l.Clock),
		requests: newBucket(l.RequestsPerSecond, l.Clock),
	}
	if l.Concurrent > 0 {
		b.slots = make(chan struct{}, l.Concurrent)
	}
	return b, nil
}

// begin waits for a slot and for a request; it returns what gives the slot back,
// which may be called more than once.
func (b *Budget) begin(ctx context.Context) (end func(), err error) {
	end = func() {}
	if b.slots != nil {
		select {
		case b.slots <- struct{}{}:
			end = sync.OnceFunc(func() { <-b.slots })
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if err := b.requests.take(ctx, 1); err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// bucket is a token bucket that holds one second's worth and may go into debt:
// what is asked for is taken at once, and the taker waits until the debt is paid,
// so a request larger than the bucket passes and order is kept.
type bucket struct {
	rate  float64 // tokens a second
	clock Clock

	mu     sync.Mutex
	tokens float64   // what is left, negative in debt; under mu
	at     time.Time // when tokens was right; under mu
}

func newBucket(rate float64, c Clock) *bucket {
	if rate == 0 {
		return nil
	}
	return &bucket{rate: rate, clock: c, tokens: max(rate, 1), at: c.Now()}
}

// take waits until n tokens are there. When ctx ends before, they are given back.
func (b *bucket) take(ctx context.Context, n float64) error {
	if b == nil || n == 0 {
		return nil
	}
	b.mu.Lock()
	now := b.clock.Now()
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+d.Seconds()*b.rate, max(b.rate, 1))
	}
	b.at = now
	b.tokens -= n
	debt := -b.tokens
	b.mu.Unlock()
	if debt <= 0 {
		return nil
	}
	err := b.clock.Sleep(ctx, time.Duration(debt/b.rate*float64(time.Second)))
	if err != nil {
		b.mu.Lock()
		b.tokens += n
		b.mu.Unlock()
	}
	return err
}

// Limit returns s within b. A call waits until the budget has room for it or ctx
// ends; the bytes of a body or an object are paid as they pass. A reader holds its
// slot of Limits.Concurrent until it reports its end or an error, or is closed, so
// whoever holds as many readers as that and waits for another waits forever.
func Limit(s Store, b *Budget) Store { return &limitStore{s, b} }

type limitStore struct {
	s Store
	b *Budget
}

var _ Store = (*limitStore)(nil)

func (s *limitStore) Create(ctx context.Context, name string, body Body) error {
	end, err := s.b.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return s.s.Create(ctx, name, func() (io.ReadCloser, error) {
		r, err := body()
		if err != nil {
			return nil, err
		}
		return &limitReader{ctx: ctx, r: r, b: s.b, end: func() {}}, nil
	})
}

func (s *limitStore) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	end, err := s.b.begin(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.s.Read(ctx, name, off, n)
	if err != nil {
		end()
		return nil, err
	}
	return &limitReader{ctx: ctx, r: r, b: s.b, end: end}, nil
}

func (s *limitStore) Stat(ctx context.Context, name string) (Object, error) {
	end, err := s.b.begin(ctx)
	if err != nil {
		return Object{}, err
	}
	defer end()
	return s.s.Stat(ctx, name)
}

// List takes no slot: a consumer may read each object as it comes, and would
// wait for itself.
func (s *limitStore) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		n := namesPerList
		if err := s.b.requests.take(ctx, 1); err != nil {
			yield(Object{}, err)
			return
		}
		for o, err := range s.s.List(ctx, prefix, after) {
			if n--; err == nil && n < 0 {
				n = namesPerList - 1
				err = s.b.requests.take(ctx, 1)
				if err != nil {
					yield(Object{}, err)
					return
				}
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

func (s *limitStore) Delete(ctx context.Context, name string) error {
	end, err := s.b.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return s.s.Delete(ctx, name)
}

func (s *limitStore) Close() error { return s.s.Close() }

// maxGulp is the most that a limitReader lets pass at once, so that the rate is
// even and not one burst a buffer.
const maxGulp = 64 << 10

type limitReader struct {
	ctx context.Context
	r   io.ReadCloser
	b   *Budget
	end func()
}

func (r *limitReader) Read(p []byte) (int, error) {
	if r.b.bytes != nil && len(p) > maxGulp {
		p = p[:maxGulp]
	}
	n, err := r.r.Read(p)
	if err != nil {
		r.end()
	}
	if terr := r.b.bytes.take(r.ctx, float64(n)); terr != nil && (err == nil || err == io.EOF) {
		r.end()
		return 0, terr
	}
	return n, err
}

func (r *limitReader) Close() error {
	r.end()
	return r.r.Close()
}
