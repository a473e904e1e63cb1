package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Object is what a store knows of an object without reading it.
type Object struct {
	Name string // full name below the store's root, as given to Create
	Size int64  // bytes
}

// Body yields the bytes of an object, from the first one, at each call.
//
// A store calls it once for each attempt, never twice at the same time, and
// closes what it got before it calls again. Every call must yield the same
// bytes: a retried upload that differs from the first may end as either.
type Body func() (io.ReadCloser, error)

// BytesBody is the Body of an object that is in memory. It keeps b, which must
// not change before Create returns.
func BytesBody(b []byte) Body {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
}

// Store is a flat set of named objects that are written once and never change:
// the six things seawal needs of a bucket, a container or a folder.
//
// # Names
//
// A name is one or more components of the bytes a-z 0-9 . _ - joined by single
// slashes; see ValidateName for the exact rule. Every method that takes a name
// returns an error marked Permanent for one that breaks the rule, and asks
// nothing of the storage behind it. Callers never use a name that continues
// another object's with a slash ("a" and "a/b"): a bucket can hold both, a folder
// cannot.
//
// # Concurrency
//
// Every method may be called from any number of goroutines at once. Close may
// be called once nothing else runs, and a second time.
//
// # Consistency
//
// Once Create has returned nil, every Read, Stat and List that starts later, in
// any process, sees the object whole. The same holds the other way for Delete.
// A List that runs beside a Create or a Delete may show that object or not; it
// shows every object that was there from its start to its end, once.
//
// # Errors
//
// ErrExist and ErrNotExist are answers, found with errors.Is. Permanent marks an
// error that will come back until a person changes something: credentials, a
// missing bucket, a read-only folder. Any other error may go away by itself, and
// Retry repeats it. An error names the store and the object, never a credential.
// When the context ends a method returns soon, with an error for which
// errors.Is(err, ctx.Err()) holds. A store that waits for a network bounds each
// such wait, so that a peer gone silent becomes an error within a minute or
// so: nobody above does that. A store returns its errors and logs nothing.
type Store interface {
	// Create writes a new object. It succeeds at most once for a name until the
	// name is deleted: of any number of racing calls, in any number of
	// processes, one wins and the others return ErrExist. Nothing is visible
	// under the name before all of it is, and when Create returns nil it is on
	// stable storage.
	//
	// ErrExist may come before body was called, or after it was read to its end.
	// An error from body is returned wrapped. A store that repeats an attempt by
	// itself calls body again.
	//
	// ErrExist also says that the object which holds the name is whole and on
	// stable storage, whoever made it.
	//
	// After any other error, ctx's included, the outcome is unknown: the
	// object is there whole, or not at all, and one that isn't may still appear
	// later. (An error of body is the exception: nothing is created.) So Create is not idempotent: repeated after an unknown outcome it
	// may meet ErrExist from its own first attempt. Whoever has to know reads the
	// object back.
	Create(ctx context.Context, name string, body Body) error

	// Read returns n bytes of the object from offset off, or with n < 0 all from
	// off to its end. ErrNotExist when there is no such object; it may come from
	// Read or, at the latest, from the first Read of the reader.
	//
	// A range that ends behind the object yields what there is and then
	// io.ErrUnexpectedEOF in place of io.EOF; a connection that breaks half-way
	// yields an error too, so io.EOF always means that the range is complete. The
	// end of the object is a valid offset for n <= 0 and reads as empty; behind it
	// every read is io.ErrUnexpectedEOF. A negative off is a Permanent error, and
	// so is a range whose end overflows an int64.
	//
	// ctx governs the reader until Close. The caller closes the reader, which
	// need not be read to its end. Idempotent.
	Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)

	// Stat returns the object's name and size, or ErrNotExist. Idempotent.
	Stat(ctx context.Context, name string) (Object, error)

	// List yields the objects whose names begin with prefix and are greater than
	// after, ascending by the bytes of their names. The prefix may end anywhere in
	// a component, after need not exist, and either may be empty: "" and "" yield
	// everything.
	//
	// It asks as the consumer goes, in pages of the store's choice, holds one page
	// in memory, and stops asking when the consumer stops. No match is no error:
	// nothing is yielded. An error is yielded once, with a zero Object, and
	// ends the sequence; what came before it is good. The sequence may be ranged
	// over more than once and asks anew each time.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]

	// Delete removes the object. That it is absent, before or because another
	// call was faster, is success. Idempotent.
	Delete(ctx context.Context, name string) error

	// Close gives back what the store holds: connections, goroutines. Calls under
	// way may fail. A second Close returns nil.
	Close() error
}

var (
	// ErrExist is Create's answer when the name is taken.
	ErrExist = errors.New("object exists already")

	// ErrNotExist is the answer of Read and Stat when there is no such object.
	ErrNotExist = errors.New("object does not exist")
)

// Permanent marks err as one that no repetition will mend, so that Retry gives
// it back at once. The text stays the same and errors.Is and errors.As still
// reach err. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil || IsPermanent(err) {
		return err
	}
	return &permanentError{err}
}

// IsPermanent reports whether err, or an error that it wraps, was marked with
// Permanent.
func IsPermanent(err error) bool {
	var p *permanentError
	return errors.As(err, &p)
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// RangeReader limits what a Read of a store returns to exactly n bytes: where r
// ends before, its reader says io.ErrUnexpectedEOF in place of io.EOF. A store
// wraps the stream it got from its server with it. Close closes r.
func RangeReader(r io.ReadCloser, n int64) io.ReadCloser { return &rangeReader{r: r, left: n} }

type rangeReader struct {
	r    io.ReadCloser
	left int64 // bytes still due
}

func (r *rangeReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.r.Read(p)
	r.left -= int64(n)
	if errors.Is(err, io.EOF) && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (r *rangeReader) Close() error { return r.r.Close() }

// ValidateRange reports whether off and n are a range that Read takes; the error
// is Permanent.
func ValidateRange(off, n int64) error {
	if off < 0 || n > 0 && off+n < 0 {
		return Permanent(fmt.Errorf("invalid range: %d bytes from offset %d", n, off))
	}
	return nil
}
