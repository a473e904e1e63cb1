package store

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"
)

// namesPerList is how many names one request of a listing brings: 1,000 with S3,
// GCS and SFTP's like, more with Azure.
const namesPerList = 1000

// OpUsage is what one class of requests has cost so far.
type OpUsage struct {
	Requests int64 // attempts; of a listing one for each 1,000 names begun
	Errors   int64 // those that failed; ErrExist and ErrNotExist are answers
	Bytes    int64 // of bodies read to be sent, or of objects received
}

// Usage is what all classes have cost so far.
type Usage struct {
	Create, Read, Stat, List, Delete OpUsage
}

// Counts adds up the usage of the stores that Count made with it. The zero value
// is ready; it is safe for concurrent use and must not be copied.
type Counts struct {
	ops [numOps]struct{ requests, errors, bytes atomic.Int64 }
}

// Usage returns the sums so far. Classes are read one after the other, not at
// one instant.
func (c *Counts) Usage() Usage {
	of := func(op Op) OpUsage {
		o := &c.ops[op]
		return OpUsage{o.requests.Load(), o.errors.Load(), o.bytes.Load()}
	}
	return Usage{of(OpCreate), of(OpRead), of(OpStat), of(OpList), of(OpDelete)}
}

func (c *Counts) request(op Op) { c.ops[op].requests.Add(1) }

func (c *Counts) outcome(op Op, err error) {
	if err != nil && !isAnswer(err) {
		c.ops[op].errors.Add(1)
	}
}

// isAnswer says that err is what was asked for, not a failure of the store.
func isAnswer(err error) bool { return errors.Is(err, ErrExist) || errors.Is(err, ErrNotExist) }

// Count returns s with its requests and bytes added to c. Requests that s makes
// on its own, for parts or pages, are not seen.
func Count(s Store, c *Counts) Store { return &countStore{s, c} }

type countStore struct {
	s Store
	c *Counts
}

var _ Store = (*countStore)(nil)

func (s *countStore) Create(ctx context.Context, name string, body Body) error {
	s.c.request(OpCreate)
	err := s.s.Create(ctx, name, func() (io.ReadCloser, error) {
		r, err := body()
		if err != nil {
			return nil, err
		}
		return &countReader{r: r, c: s.c, op: OpCreate}, nil
	})
	s.c.outcome(OpCreate, err)
	return err
}

func (s *countStore) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	s.c.request(OpRead)
	r, err := s.s.Read(ctx, name, off, n)
	s.c.outcome(OpRead, err)
	if err != nil {
		return nil, err
	}
	return &countReader{r: r, c: s.c, op: OpRead}, nil
}

func (s *countStore) Stat(ctx context.Context, name string) (Object, error) {
	s.c.request(OpStat)
	o, err := s.s.Stat(ctx, name)
	s.c.outcome(OpStat, err)
	return o, err
}

func (s *countStore) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		s.c.request(OpList)
		n := 0
		for o, err := range s.s.List(ctx, prefix, after) {
			if n++; n > namesPerList {
				s.c.request(OpList)
				n = 1
			}
			s.c.outcome(OpList, err)
			if !yield(o, err) {
				return
			}
		}
	}
}

func (s *countStore) Delete(ctx context.Context, name string) error {
	s.c.request(OpDelete)
	err := s.s.Delete(ctx, name)
	s.c.outcome(OpDelete, err)
	return err
}

func (s *countStore) Close() error { return s.s.Close() }

// countReader adds up what passes. An error half-way through a Read counts as
// the request's; through a Create it comes back from Create.
type countReader struct {
	r      io.ReadCloser
	c      *Counts
	op     Op
	failed bool
}

func (r *countReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.c.ops[r.op].bytes.Add(int64(n))
	if err != nil && err != io.EOF && r.op == OpRead && !r.failed {
		r.failed = true
		r.c.outcome(r.op, err)
	}
	return n, err
}

func (r *countReader) Close() error { return r.r.Close() }
