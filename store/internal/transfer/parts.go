// Package transfer has what the stores share that reach a service over a network: sending large objects in parts,
// receiving them in ranges, and how long to wait for either.
package transfer

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"
)

// Parts of a large object. Services take 10,000 of at least 5 MiB and more, so the parts grow with their number.
const (
	PartSize  = 8 << 20 // bytes, of the first growEvery parts
	growEvery = 1000    // then it doubles, and so on
	atATime   = 2       // parts in flight; one more is being read
)

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
	part, last, size := Part{Number: 1, Content: first}, false, PartSize
	for ; ; part.Number++ {
		var buf []byte // of a part that has arrived
		for u.flying >= atATime {
			if buf, err = u.collect(); err != nil {
				return nil, err
			}
		}
		if len(part.Content) > 0 {
			u.flying++
			go u.send(ctx, part)
		}
		if last {
			return nil, nil
		}
		part.Offset += int64(len(part.Content))
		if part.Number%growEvery == 0 {
			size *= 2
		}
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
