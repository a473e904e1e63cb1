package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
)

// plan is how the database and the replica come together.
type plan struct {
	at       replica.Pos    // point of the replica that the local history goes on from
	table    *pagesum.Table // of at
	place    wal.Place      // of at in the log; zero when it isn't known
	takeover string         // why a new timeline is opened at this point; empty: it isn't
	offline  uint64         // transactions to ship that come before the source's first ticket
	log      *logRange      // they, and the source's up to the pinned state; nil: what there is, is shipped as the difference
	reason   string         // why it is a difference
}

// searchBytes bounds how much of the log is read to find an earlier point, when
// the state folder is there. What a loss of power takes is what SQLite has not
// synced, at most a log or so, and that is far less encoded.
const searchBytes = 256 << 20

// compare finds out how the pinned state and the end of the replica are related.
func (s *Shipper) compare(ctx context.Context, o origin, table *pagesum.Table, p *pinned) (*plan, error) {
	pl := &plan{at: o.pos, table: table, place: o.place}
	if o.writer != s.writer {
		pl.takeover = "taken over from another writer, or the state folder was lost"
	}
	if s.proveByLog(o.place, p, pl) || s.proveByStat(o.pos, p) {
		return pl, nil
	}
	local, err := p.sums(ctx)
	if err != nil {
		return nil, err
	}
	if local.Total() == o.after && local.Len() == table.Len() {
		return pl, nil
	}
	earlier, err := s.findPoint(ctx, o.pos, local.Total())
	if err != nil {
		return nil, err
	}
	switch {
	case earlier.IsZero():
	case s.state != nil:
		return nil, &BehindError{Local: earlier, Replica: o.pos, DBPath: s.cfg.DBPath, State: s.cfg.StateDir}
	default:
		return &plan{at: earlier, table: local, takeover: fmt.Sprintf("the database was brought back to %v", earlier)}, nil
	}
	if s.state == nil {
		if n := identical(local, table); 2*uint64(n) < uint64(table.Len()) {
			return nil, fmt.Errorf("%w: of its %d pages at %v, %s has %d; use another URL, or move the old replica away",
				ErrOtherDatabase, table.Len(), o.pos, s.cfg.DBPath, n)
		}
	}
	pl.offline = 1
	pl.reason = "the database went on while nothing was captured, and its log is gone"
	return pl, nil
}

// proveByLog sees whether the log still holds the place where the replica stands.
// Then what follows there is all that the replica lacks.
func (s *Shipper) proveByLog(place wal.Place, p *pinned, pl *plan) bool {
	end := p.Place()
	if place.IsZero() || !place.SameGeneration(end) || place.Frame > end.Frame {
		return false
	}
	at, err := completePlace(s.src, wal.Place{Salt: place.Salt, Frame: place.Frame})
	if err != nil || at != place {
		return false
	}
	r, err := openRange(s.src, place, end.Frame)
	if err != nil {
		return false // what is wrong with the log shows in the scan
	}
	n := uint64(len(r.commits))
	switch {
	case n == 0 && p.Ticket() == 0:
	case n >= p.Ticket() && n > 0:
		pl.log, pl.offline = r, n-p.Ticket()
		return true
	default:
		// Captured commits that left nothing in the log: the difference covers them.
		pl.reason = "captured commits are not in the log"
	}
	if err := r.close(); err != nil {
		s.log.Warn("closing the log", "err", err)
	}
	return true
}

// proveByStat sees whether nobody wrote the database file since it held what the
// replica has, cleanly.
func (s *Shipper) proveByStat(pos replica.Pos, p *pinned) bool {
	st := s.state
	if st == nil || st.Clean == nil || st.Position != pos || p.Ticket() != 0 || p.Place().Frame != 0 {
		return false
	}
	now := statFile(s.cfg.DBPath)
	return now != nil && *now == *st.Clean
}

// identical counts the pages that two states share.
func identical(a, b *pagesum.Table) (n uint32) {
	for page := uint32(1); page <= min(a.Len(), b.Len()); page++ {
		if a.Get(page) == b.Get(page) {
			n++
		}
	}
	return n
}

// findPoint returns the newest point in the history of end whose database has the
// checksum total; zero when there is none.
func (s *Shipper) findPoint(ctx context.Context, end replica.Pos, total pagesum.Sum) (replica.Pos, error) {
	legs, err := replica.Lineage(ctx, s.store, end)
	if err != nil {
		return replica.Pos{}, err
	}
	left := int64(1<<63 - 1)
	if s.state != nil {
		left = searchBytes
	}
	for i := len(legs) - 1; i >= 0; i-- {
		pos, err := s.findInLeg(ctx, legs[i], total, &left)
		if err != nil || !pos.IsZero() {
			return pos, err
		}
	}
	return replica.Pos{}, nil
}

func (s *Shipper) findInLeg(ctx context.Context, leg replica.Leg, total pagesum.Sum, left *int64) (replica.Pos, error) {
	type object struct {
		name string
		size int64
	}
	var logs []object
	for o, err := range s.store.List(ctx, segment.LogPrefix(leg.Timeline), "") {
		if err != nil {
			return replica.Pos{}, fmt.Errorf("look for an earlier point: %w", err)
		}
		if n, err := segment.ParseName(o.Name); err == nil && n.First <= leg.Last {
			logs = append(logs, object{o.Name, o.Size})
		}
	}
	for i := len(logs) - 1; i >= 0 && *left > 0; i-- {
		*left -= logs[i].size
		tx, found, err := s.findInSegment(ctx, logs[i].name, leg.Last, total)
		if err != nil {
			return replica.Pos{}, fmt.Errorf("look for an earlier point in %s: %w", logs[i].name, err)
		}
		if found {
			return replica.Pos{Timeline: leg.Timeline, Tx: tx}, nil
		}
	}
	return replica.Pos{}, nil
}

// findInSegment returns the newest transaction, up to last, after which the
// database had the checksum total; the one before the segment counts.
func (s *Shipper) findInSegment(ctx context.Context, name string, last uint64, total pagesum.Sum) (tx uint64, found bool, err error) {
	in, err := s.store.Read(ctx, name, 0, -1)
	if err != nil {
		return 0, false, err
	}
	defer in.Close()
	d, err := segment.NewDecoder(in)
	if err != nil {
		return 0, false, err
	}
	if h := d.Header(); h.Before == total {
		tx, found = h.First-1, true
	}
	var p segment.Page
	for {
		t, err := d.NextTx()
		if err == io.EOF || err == nil && t.Number > last {
			return tx, found, nil
		}
		for err == nil {
			err = d.NextPage(&p)
		}
		if !errors.Is(err, io.EOF) {
			return 0, false, err
		}
		if d.TxEnd() == total {
			tx, found = t.Number, true
		}
	}
}
