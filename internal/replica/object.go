package replica

import (
	"context"
	"errors"
	"fmt"
	"io"

	"seawal/internal/segment"
	"seawal/store"
)

// readAhead is how much an objectReader asks for at least, in bytes. A part of a
// segment's index is shorter, so each costs one request.
const readAhead = 768 << 10

// objectReader reads an object at random with few requests. It is not safe for
// concurrent use.
type objectReader struct {
	ctx   context.Context
	s     store.Store
	o     store.Object
	ahead int64  // bytes to ask for at least
	buf   []byte // of the object, from off on
	off   int64
}

func (r *objectReader) ReadAt(p []byte, off int64) (int, error) {
	if off < r.off || off+int64(len(p)) > r.off+int64(len(r.buf)) {
		if err := r.fetch(off, int64(len(p))); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[off-r.off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fetch makes buf hold n bytes at off, or what there is of them, and what comes behind.
func (r *objectReader) fetch(off, n int64) error {
	n = min(max(n, r.ahead), r.o.Size-off)
	r.buf, r.off = r.buf[:0], off
	if n <= 0 {
		return nil
	}
	if int64(cap(r.buf)) < n {
		r.buf = make([]byte, 0, n)
	}
	in, err := r.s.Read(r.ctx, r.o.Name, off, n)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := io.ReadFull(in, r.buf[:n]); err != nil {
		return err
	}
	r.buf = r.buf[:n]
	return nil
}

// Inspect reads what the footer of a segment says, with one request, and compares
// it with the name. The object is as List or Stat gave it. The error is a *ClosedError when it is a close.
func Inspect(ctx context.Context, s store.Store, o store.Object) (segment.Name, segment.Info, error) {
	return inspectTail(&objectReader{ctx: ctx, s: s, o: o})
}

func inspectTail(r *objectReader) (segment.Name, segment.Info, error) {
	name, err := ParseName(r.o.Name)
	if err != nil {
		return segment.Name{}, segment.Info{}, err
	}
	info, err := segment.ReadInfo(r, r.o.Size)
	if err != nil {
		return segment.Name{}, segment.Info{}, InObject(r.o.Name, err)
	}
	if info.Kind == segment.Closing {
		return segment.Name{}, segment.Info{}, inspectClose(r)
	}
	if err := Matches(name, info.Header); err != nil {
		return segment.Name{}, segment.Info{}, InObject(r.o.Name, err)
	}
	if info.Last > MaxTx {
		return segment.Name{}, segment.Info{}, InObject(r.o.Name, &segment.CorruptError{
			Err: fmt.Errorf("it ends with transaction %d, which is out of range", info.Last),
		})
	}
	if name.Kind != segment.Log && info.Last != name.Last {
		return segment.Name{}, segment.Info{}, InObject(r.o.Name, &segment.CorruptError{
			Err: fmt.Errorf("it ends with transaction %d, not with the one that its name says", info.Last),
		})
	}
	return name, info, nil
}

// Matches compares what a segment says it is with its name.
func Matches(n segment.Name, h segment.Header) error {
	if h.Kind != n.Kind || h.Timeline != n.Timeline || h.First != n.First {
		return &segment.CorruptError{Err: fmt.Errorf("it is a %v of timeline %d from transaction %d on, not what its name says",
			h.Kind, h.Timeline, h.First)}
	}
	return nil
}

// InObject says which object an error is about.
func InObject(name string, err error) error {
	var c *segment.CorruptError
	if errors.As(err, &c) {
		c.Object = name
		return err
	}
	return fmt.Errorf("read segment %s: %w", name, err)
}
