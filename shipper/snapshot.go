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
//
// The state stays pinned while the store takes it, and that may be for as long as an outage lasts; so the source gives it up when the
// log grows too large (Loser). The next attempt then takes the disk for it: the snapshot is written to a file first, which takes as
// long as reading the database, and nothing is pinned while the store takes its time. What was committed meanwhile
// follows as ever, as the difference where the log had to be let go.
func (s *Shipper) shipSnapshot(ctx context.Context, p *pinned, number uint64) error {
	s.setMode(ModeSnapshot)
	if y, ok := p.ReadTx.(Syncer); ok {
		if err := y.Sync(); err != nil {
			return fmt.Errorf("ship snapshot: %w", err)
		}
		s.synced = replica.Pos{Timeline: s.timeline, Tx: number}
	}
	name := segment.SnapshotName(s.timeline, number)
	at := s.commitTime(s.timeOf(p))
	var last, whole *snapshotBody // of the attempts; whole: of one that may have got there
	body := func() (io.ReadCloser, error) {
		if last != nil && last.done {
			whole = last
		}
		var err error
		last, err = s.newSnapshotBody(ctx, p, segment.Tx{Number: number, Span: 1, Time: at, PageCount: p.PageCount()})
		return last, err
	}
	if s.spoolSnapshot && s.hasRoomFor(p) {
		out, err := s.spooled(body)
		if err != nil {
			return fmt.Errorf("ship snapshot: read the database: %w", err)
		}
		defer s.freeSpool(out)
		s.closePinned(p)
		whole, body = last, out.body
	}
	s.noteSent(sent{pos: replica.Pos{Timeline: s.timeline, Tx: number}})
	err := s.store.Create(ctx, name, body)
	if l, ok := p.ReadTx.(Loser); ok && err != nil && l.Lost() != nil {
		s.spoolSnapshot = true
	}
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
	if err := s.lookForClose(ctx, s.Durable().Tx); err != nil {
		return fmt.Errorf("ship snapshot: %w", err)
	}
	s.setTable(last.table)
	s.awaitNoted()
	pos := replica.Pos{Timeline: s.timeline, Tx: number}
	s.noteConfirmed(pos, last.info.After)
	// With it the next process knows the page checksums; and nobody meets the files half written who has been told.
	s.saveNow(&state{Format: stateFormat, Replica: s.id, Writer: s.writer, Position: pos, Time: last.info.LastTime, After: last.info.After.String(), Place: last.info.Place, Census: s.censusNow()})
	s.noteSuccess() // before anybody is told that it is durable
	s.mu.Lock()
	s.durable, s.goneErr = number, nil
	s.countedLocked(number, 1)
	s.stat.mode = ModeShipping // with it, or whoever waited for it reads in the status that it is still under way
	s.stat.snapshots++
	s.stat.snapBytes += uint64(last.info.Size)
	s.broadcastLocked()
	s.mu.Unlock()
	s.forget(number)
	s.Tell() // the next process goes by it
	return nil
}

func (s *Shipper) newSnapshotBody(ctx context.Context, p *pinned, tx segment.Tx) (*snapshotBody, error) {
	b := &snapshotBody{ctx: ctx, p: p, hasher: s.hasher, table: pagesum.New(), tx: tx}
	var err error
	b.enc, err = segment.NewEncoder(&b.out, segment.Header{
		Kind: segment.Snapshot, PageSize: s.pageSize, Timeline: s.timeline, First: tx.Number, Replica: s.id, Writer: s.writer, Key: s.hasher.Key(),
	})
	if err != nil {
		return nil, err
	}
	return b, b.enc.Begin(tx)
}

// spooled writes a snapshot to a file of the state folder.
func (s *Shipper) spooled(body store.Body) (*spool, error) {
	in, err := body()
	if err != nil {
		return nil, err
	}
	out := s.newSpool()
	if _, err := io.Copy(out, in); err != nil {
		s.freeSpool(out)
		return nil, err
	}
	return out, nil
}

func (s *Shipper) freeSpool(out *spool) {
	if err := out.free(); err != nil {
		s.log.Warn("removing a spool file", "err", err)
	}
	s.spare.put(out.mem)
}

// hasRoomFor says whether the disk has room for a snapshot of p beside the state: with as much again left for the application.
func (s *Shipper) hasRoomFor(p *pinned) bool {
	free, ok := freeSpace(s.cfg.StateDir)
	return ok && free/2 >= int64(p.PageCount())*int64(p.PageSize())
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
	ctx    context.Context
	p      *pinned
	hasher *pagesum.Hasher
	tx     segment.Tx
	enc    *segment.Encoder
	table  *pagesum.Table
	out    bytes.Buffer
	page   uint32 // last one encoded
	image  []byte
	info   segment.Info // when done
	done   bool
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
	sum := b.hasher.Of(b.page, b.image)
	b.table.Set(b.page, sum)
	return b.enc.Page(segment.Page{Number: b.page, Kind: segment.Full, Data: b.image, Sum: sum})
}

func (b *snapshotBody) Close() error { return nil }
