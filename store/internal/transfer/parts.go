// Package transfer has what the stores share that reach a service over a network: sending large objects in parts,
// receiving them in ranges, and how long to wait for either.
package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Parts of a large object, whose size nobody knows when it is begun.
const (
	PartSize  = 8 << 20 // bytes, of the first parts; services ask for 5 MiB at least
	partCount = 10_000  // that most services take
	growSteps = 10      // times that the size of a part doubles until the last one is reached
	atATime   = 2       // parts in flight; one more is being read
)

// Limits are what a service asks of the parts of an object. The zero value is what most of them ask.
type Limits struct {
	Count int  // parts at most; 0: 10,000
	Equal bool // all parts but the last one have to have the same size
}

// Most is how many parts an object may have.
func (l Limits) Most() int {
	if l.Count == 0 {
		return partCount
	}
	return l.Count
}

// size is that of a part in bytes. Parts grow with their number, so that a large object has room in the parts that there may be;
// where they have to be equal, it has room in as many of the first size.
func (l Limits) size(number int) int {
	if l.Equal {
		return PartSize
	}
	return PartSize << ((min(number, l.Most()) - 1) * growSteps / l.Most())
}

// ErrTooLarge says that an object has no room in the parts that a service takes.
var ErrTooLarge = errors.New("the object is too large for the parts that the service takes")

// RequestTimeout bounds a request that carries little, and the wait for a peer that has gone silent.
const RequestTimeout = 45 * time.Second

// slowest is the line, in bytes a second, for which an upload is still waited.
const slowest = 32 << 10

// UploadTimeout is how long sending n bytes may take: generous for a slow line, and finite for a silent one.
func UploadTimeout(n int64) time.Duration {
	return RequestTimeout + time.Duration(n/slowest)*time.Second
}

// First reads the first part of a body; whole says that it is all of it.
func First(in io.Reader) (part []byte, whole bool, err error) { return readPart(in, nil, PartSize) }

// readPart reads the next n bytes of the body, into buf if that is large enough; last says that it ended before.
func readPart(in io.Reader, buf []byte, n int) (part []byte, last bool, err error) {
	if cap(buf) < n {
		var b bytes.Buffer // a segment is small as a rule: memory grows with what there is
		_, err = io.CopyN(&b, in, int64(n))
		part = b.Bytes()
	} else {
		part = buf[:n]
		var k int
		k, err = io.ReadFull(in, part)
		part = part[:k]
	}
	switch {
	case err == nil:
		return part, false, nil
	case err == io.EOF || err == io.ErrUnexpectedEOF && cap(buf) >= n: // ReadFull's own
		return part, true, nil
	}
	return nil, false, &BodyError{err}
}

// BodyError is an error of the body, which is the caller's, and none of the service.
type BodyError struct{ Err error }

func (e *BodyError) Error() string { return "read the body: " + e.Err.Error() }
func (e *BodyError) Unwrap() error { return e.Err }

// Part is a piece of a body.
type Part struct {
	Number  int   // from 1
	Offset  int64 // in the body
	Content []byte
}

// Put sends a part and returns what the service calls it. It gives up when ctx ends.
type Put func(ctx context.Context, p Part) (tag string, err error)

// Upload sends first and the rest of a body in parts, two at a time, and returns their tags in order. Nothing that it
// began is under way when it returns. Memory: four parts at most.
func Upload(ctx context.Context, in io.Reader, first []byte, put Put) (tags []string, err error) {
	return UploadWithin(ctx, Limits{}, in, first, put)
}

// UploadWithin is Upload to a service with limits of its own. An object that is larger than they allow is ErrTooLarge, after as
// much of it was sent as there is room for.
func UploadWithin(ctx context.Context, limits Limits, in io.Reader, first []byte, put Put) (tags []string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	u := &upload{put: put, results: make(chan result, atATime)}
	defer func() {
		if err != nil {
			cancel()
		}
		for u.flying > 0 {
			if _, failed := u.collect(); err == nil {
				err = failed
			}
		}
		tags = u.tags
	}()
	part, last := Part{Number: 1, Content: first}, false
	for ; ; part.Number++ {
		var buf []byte // of a part that has arrived
		for u.flying >= atATime {
			if buf, err = u.collect(); err != nil {
				return nil, err
			}
		}
		if len(part.Content) > 0 {
			if part.Number > limits.Most() {
				return nil, ErrTooLarge
			}
			u.flying++
			go u.send(ctx, part)
		}
		if last {
			return nil, nil
		}
		part.Offset += int64(len(part.Content))
		size := limits.size(part.Number + 1)
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		if part.Content, last, err = readPart(in, buf, size); err != nil {
			return nil, err
		}
	}
}

// Stream calls write with first, and then with what follows in the body, a part at a time and always in the same memory, which
// write must not keep.
func Stream(in io.Reader, first []byte, write func([]byte) error) error {
	for part, last := first, false; ; {
		if err := write(part); err != nil || last {
			return err
		}
		var err error
		if part, last, err = readPart(in, part[:cap(part)], PartSize); err != nil {
			return err
		}
	}
}

// upload is of one goroutine, but for send.
type upload struct {
	put     Put
	tags    []string
	results chan result
	flying  int // parts that are not collected
}

type result struct {
	number int
	tag    string
	buf    []byte
	err    error
}

func (u *upload) send(ctx context.Context, p Part) {
	timed, cancel := context.WithTimeout(ctx, UploadTimeout(int64(len(p.Content))))
	defer cancel()
	tag, err := u.put(timed, p)
	if err != nil {
		err = fmt.Errorf("upload part %d: %w", p.Number, err)
	}
	u.results <- result{p.Number, tag, p.Content[:cap(p.Content)], err}
}

// collect waits for a part and returns its buffer.
func (u *upload) collect() ([]byte, error) {
	r := <-u.results
	u.flying--
	for len(u.tags) < r.number {
		u.tags = append(u.tags, "")
	}
	u.tags[r.number-1] = r.tag
	return r.buf, r.err
}
