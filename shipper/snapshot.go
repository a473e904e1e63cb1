package shipper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"seawal/internal/killpoint"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// shipSnapshot ships the whole pinned state as transaction number, and makes its
// table ours.
func (s *Shipper) shipSnapshot(ctx context.Context, p *pinned, number uint64) error {
	s.setMode(ModeSnapshot)
	if y, ok := p.ReadTx.(Syncer); ok {
		if err := y.Sync(); err != nil {
			return fmt.Errorf("ship snapshot: %w", err)
		}
	}
	name := segment.SnapshotName(s.timeline, number)
	at := s.commitTime(s.timeOf(p))
	var last, whole *snapshotBody // of the attempts; whole: of one that may have got there
	body := func() (io.ReadCloser, error) {
		if last != nil && last.done {
			whole = last
		}
		last = &snapshotBody{ctx: ctx, p: p, table: pagesum.New(), tx: segment.Tx{
			Number: number, Span: 1, Time: at, PageCount: p.PageCount(),
		}}
		var err error
		last.enc, err = segment.NewEncoder(&last.out, segment.Header{
			Kind: segment.Snapshot, PageSize: s.pageSize, Timeline: s.timeline, First: number, Replica: s.id, Writer: s.writer,
		})
		if err != nil {
			return nil, err
		}
		return last, last.enc.Begin(last.tx)
	}
	s.noteSent(sent{pos: replica.Pos{Timeline: s.timeline, Tx: number}})
	err := s.store.Create(ctx, name, body)
	if errors.Is(err, store.ErrExist) {
		if last != nil && last.done {
			whole = last
		}
		if whole == nil || s.ours(ctx, name, whole.info) != nil {
			return s.snapshotExists(ctx, name, err)
		}
		last, err = whole, nil // only the acknowledgement was lost
	}
	if err != nil {
		return fmt.Errorf("ship snapshot: %w", err)
	}
	killpoint.Hit("shipper/snapshot-stored")
	s.setTable(last.table)
	s.mu.Lock()
	s.durable, s.goneErr = number, nil
	s.stat.snapshots++
	s.stat.snapBytes += uint64(last.info.Size)
	s.broadcastLocked()
	s.mu.Unlock()
	s.Tell() // the next process goes by it
	s.noteSuccess()
	return nil
}

// errSnapshotStored says that the snapshot is there, from an attempt whose acknowledgement got lost.
var errSnapshotStored = errors.New("an earlier attempt succeeded")

// snapshotExists returns what is to be done about a snapshot whose name was taken:
// attach again, if it is ours, from an acknowledgement that got lost.
func (s *Shipper) snapshotExists(ctx context.Context, name string, exist error) error {
	err := s.ours(ctx, name, segment.Info{Header: segment.Header{Writer: s.writer}})
	var w *foreignError
	if errors.As(err, &w) && w.got == s.writer || err == nil {
		return fmt.Errorf("ship snapshot: %w: %w", errSnapshotStored, exist)
	}
	return err
}

// snapshotBody is a snapshot, encoded as it is read. The pinned state doesn't
// change, so every body of it has the same bytes.
type snapshotBody struct {
	ctx   context.Context
	p     *pinned
	tx    segment.Tx
	enc   *segment.Encoder
	table *pagesum.Table
	out   bytes.Buffer
	page  uint32 // last one encoded
	image []byte
	info  segment.Info // when done
	done  bool
}

func (b *snapshotBody) Read(dst []byte) (int, error) {
	for b.out.Len() == 0 {
		if b.done {
			return 0, io.EOF
		}
		if err := b.next(); err != nil {
			return 0, err
		}
	}
	return b.out.Read(dst)
}

// next encodes a page, or the end.
func (b *snapshotBody) next() error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if b.page == b.tx.PageCount {
		if err := b.p.stayed(); err != nil {
			return err
		}
		if err := b.enc.End(b.table.Total()); err != nil {
			return err
		}
		b.done = true
		var err error
		b.info, err = b.enc.Close(b.p.place)
		return err
	}
	b.page++
	if killpoint.Enabled && b.page == (b.tx.PageCount+1)/2 {
		killpoint.Hit("shipper/snapshot-halfway")
	}
	if b.page == pagesum.LockPage(b.p.PageSize()) {
		return nil
	}
	if b.image == nil {
		b.image = make([]byte, b.p.PageSize())
	}
	if err := b.p.image(b.page, b.image); err != nil {
		return err
	}
	sum := pagesum.Of(b.page, b.image)
	b.table.Set(b.page, sum)
	return b.enc.Page(segment.Page{Number: b.page, Kind: segment.Full, Data: b.image, Sum: sum})
}

func (b *snapshotBody) Close() error { return nil }
