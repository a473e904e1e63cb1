package restore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// objectReader reads ranges of an object, one request for each.
type objectReader struct {
	ctx   context.Context
	store store.Store
	name  string
}

var _ io.ReaderAt = objectReader{}

func (r objectReader) ReadAt(p []byte, off int64) (n int, err error) {
	body, err := r.store.Read(r.ctx, r.name, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	if n, err = io.ReadFull(body, p); errors.Is(err, io.ErrUnexpectedEOF) {
		err = r.short(err, off+int64(len(p)))
	}
	return n, err
}

// short tells an object that ends before byte end from a connection that broke:
// both look like err.
func (r objectReader) short(err error, end int64) error {
	o, serr := r.store.Stat(r.ctx, r.name)
	switch {
	case errors.Is(serr, io.ErrUnexpectedEOF):
		// Broken off again: nothing is known of the object.
	case serr != nil:
		return serr
	case o.Size < end:
		return fmt.Errorf("object has %d bytes, its listing said %d or more: %w", o.Size, end, segment.ErrTorn)
	}
	return fmt.Errorf("the store broke off: %v", err) // not wrapped: the object's end is not what was met
}

// stream returns all of the object, as one request. The caller closes it.
func (r objectReader) stream() (io.ReadCloser, error) {
	body, err := r.store.Read(r.ctx, r.name, 0, -1)
	if err != nil {
		return nil, err
	}
	return &objectStream{objectReader: r, body: body}, nil
}

// objectStream reads an object from start to end.
type objectStream struct {
	objectReader
	body io.ReadCloser
	n    int64 // bytes read
}

func (s *objectStream) Read(p []byte) (int, error) {
	n, err := s.body.Read(p)
	s.n += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = s.short(err, s.n+1)
	}
	return n, err
}

func (s *objectStream) Close() error { return s.body.Close() }

// readInfo reads what a segment's footer says, and checks that it says what the name does. Of a log segment
// the name doesn't tell the end, and name.Last is what the caller takes for it: planner.info compares.
func readInfo(ctx context.Context, s store.Store, name segment.Name, size int64) (segment.Info, error) {
	info, err := segment.ReadInfo(objectReader{ctx, s, name.String()}, size)
	if err != nil {
		return segment.Info{}, blame("read footer of", name.String(), err)
	}
	if err := checkHeader(name, info.Header); err != nil {
		return segment.Info{}, err
	}
	if info.Last > replica.MaxTx {
		return segment.Info{}, unfit(name.String(), "ends with transaction %d, which is out of range", info.Last)
	}
	if name.Kind != segment.Log && info.Last != name.Last {
		return segment.Info{}, unfit(name.String(), "ends with transaction %d", info.Last)
	}
	return info, nil
}

// checkHeader checks that an object is what its name says.
func checkHeader(name segment.Name, h segment.Header) error {
	if h.Kind != name.Kind || h.Timeline != name.Timeline || h.First != name.First {
		return unfit(name.String(), "holds a %v segment of timeline %d from transaction %d on: it lies under another object's name", h.Kind, h.Timeline, h.First)
	}
	return nil
}

// openDecoder begins to read a whole segment. The caller closes body.
func openDecoder(ctx context.Context, s store.Store, name segment.Name) (d *segment.Decoder, body io.ReadCloser, err error) {
	body, err = objectReader{ctx, s, name.String()}.stream()
	if err != nil {
		return nil, nil, blame("read", name.String(), err)
	}
	d, err = segment.NewDecoder(bufio.NewReaderSize(body, 64<<10))
	if err == nil {
		err = checkHeader(name, d.Header())
	}
	if err != nil {
		return nil, nil, errors.Join(blame("read", name.String(), err), body.Close())
	}
	return d, body, nil
}

// scan reads the transaction records of a segment up to the one that holds
// until. It returns what it has read also with an error.
func scan(ctx context.Context, s store.Store, name segment.Name, until uint64) (txs []segment.Tx, err error) {
	d, body, err := openDecoder(ctx, s, name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	for {
		tx, err := d.NextTx()
		if err == io.EOF {
			return txs, nil
		}
		if err != nil {
			return txs, blame("read", name.String(), err)
		}
		if tx.Number > replica.MaxTx {
			return txs, unfit(name.String(), "holds transaction %d, which is out of range", tx.Number)
		}
		var p segment.Page
		for err == nil {
			err = d.NextPage(&p)
		}
		if err != io.EOF {
			return txs, blame("read", name.String(), err)
		}
		tx.After = d.TxEnd()
		txs = append(txs, tx)
		if tx.Number >= until {
			return txs, nil
		}
	}
}
