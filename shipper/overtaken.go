package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"

	"seawal/internal/segment"
	"seawal/store"
)

// overtaken deals with a name that is taken, under our writer id, by a segment that was cut in another way. A process of
// ours that was killed may have sent it, and it arrived after we had looked where the replica ends. When its
// transactions are those that b begins with, they are in the replica: b is cut down to the rest, which begins where that segment
// ends; done says that there is no rest. When they are others, or more than b has, the error is ErrFenced.
func (s *Shipper) overtaken(ctx context.Context, o store.Object, b *batch) (done bool, err error) {
	in, err := s.store.Read(ctx, o.Name, 0, o.Size)
	if err != nil {
		return false, err
	}
	defer in.Close() // read only
	own, err := b.out.body()
	if err != nil {
		return false, err
	}
	defer own.Close()
	theirs, err := segment.NewDecoder(in)
	if err != nil {
		return false, err
	}
	ours, err := segment.NewDecoder(own)
	if err != nil {
		return false, err
	}
	if theirs.Header() != ours.Header() {
		return false, &foreignError{object: o.Name, got: theirs.Header().Writer, own: s.writer}
	}
	for {
		their, err := nextWhole(theirs)
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		our, err := nextWhole(ours)
		if err != nil && err != io.EOF {
			return false, err
		}
		if their.Time = our.Time; err == io.EOF || their != our { // commits that are read back from the log have other times
			return false, &foreignError{object: o.Name, got: s.writer, own: s.writer}
		}
	}
	return s.cutDown(b, ours, theirs.Info())
}

// nextWhole reads a transaction, past its pages.
func nextWhole(d *segment.Decoder) (segment.Tx, error) {
	tx, err := d.NextTx()
	if err != nil {
		return tx, err
	}
	var p segment.Page
	for err == nil {
		err = d.NextPage(&p)
	}
	if err != io.EOF {
		return tx, err
	}
	tx.After = d.TxEnd()
	return tx, nil
}

// cutDown makes b begin behind what is in the replica already. rest has read that far in b.
func (s *Shipper) cutDown(b *batch, rest *segment.Decoder, there segment.Info) (done bool, err error) {
	h := rest.Header()
	h.First, h.Before = there.Last+1, there.After
	out := s.newSpool()
	enc, err := segment.NewEncoder(out, h)
	if err != nil {
		return false, err
	}
	done = true
	for {
		tx, err := rest.NextTx()
		if err == io.EOF {
			break
		}
		if err == nil {
			done = false
			err = copyTx(enc, rest, tx)
		}
		if err != nil {
			return false, errors.Join(fmt.Errorf("cut down segment: %w", err), out.free())
		}
	}
	if done {
		s.spare.put(out.mem)
		return true, nil
	}
	info, err := enc.Close(b.place)
	if err != nil {
		return false, errors.Join(fmt.Errorf("cut down segment: %w", err), out.free())
	}
	s.freeBatch(b)
	b.first, b.out, b.info = h.First, out, info
	return false, nil
}

// copyTx copies the pages of a transaction, which d is at the begin of.
func copyTx(enc *segment.Encoder, d *segment.Decoder, tx segment.Tx) error {
	err := enc.Begin(tx)
	var p segment.Page
	for err == nil {
		if err = d.NextPage(&p); err == nil {
			err = enc.Page(p)
		}
	}
	if err != io.EOF {
		return err
	}
	return enc.End(d.TxEnd())
}
