package shipper

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/wal"
)

// plan is how the database and the replica come together.
type plan struct {
	at       replica.Pos    // point of the replica that the local history goes on from
	table    *pagesum.Table // of at
	place    wal.Place      // of at in the log; zero when it isn't known
	takeover string         // why a new timeline is opened at this point; empty: it isn't
	offline  uint64         // transactions behind at that come before the source's first ticket, modulo 2^64
	log      *logRange      // they, and the source's up to the pinned state; nil: what there is, is shipped as the difference
	captured bool           // the source has all that follows at, from its ticket -offline on
	reason   string         // why it is a difference
	unread   bool           // proven by the WAL: nobody has read the pages of the file
	changed  string         // which pages differ from at, where nobody knows who wrote them
	damage   []seenPage     // that are not what they are at at, and no transaction wrote that
}

// close ends what was opened to carry the plan out.
func (pl *plan) close() error {
	if pl.log == nil {
		return nil
	}
	return pl.log.close()
}

// searchBytes bounds how much of the log is read to find an earlier point, when
// the state folder is there. What a loss of power takes is what SQLite has not
// synced, at most a log or so, and that is far less encoded.
const searchBytes = 256 << 20

// compare finds out how the pinned state and the end of the replica are related.
func (s *Shipper) compare(ctx context.Context, o origin, table *pagesum.Table, p *pinned) (*plan, error) {
	pl := &plan{at: o.pos, table: table, place: o.place, takeover: o.takeover}
	if pl.takeover == "" && o.writer != s.writer {
		pl.takeover = "taken over from another writer, or the state folder was lost"
	}
	s.rememberDamage()
	accepted := s.isAccepted()
	if accepted {
		s.damage = nil
	} else {
		if ok, err := s.proveByLog(o.place, p, pl); ok || err != nil {
			return pl, err
		}
		if ok, err := s.proveByLeft(o, p, pl); ok || err != nil {
			return pl, err
		}
	}
	if !accepted && s.proveByStat(o.pos) {
		ok := p.log == nil
		if !ok {
			var err error
			if ok, err = s.planWholeLog(p, pl); err != nil {
				return nil, err
			}
		}
		if ok {
			return pl, nil
		}
	}
	local, err := p.sums(ctx, s.hasher)
	if err != nil {
		return nil, err
	}
	if local.Total() == o.after {
		return pl, nil
	}
	file, err := p.fileSums(ctx, s.hasher)
	if err != nil {
		return nil, err
	}
	h := &logHistory{p: p, hasher: s.hasher, file: file}
	if err := h.read(ctx); err != nil {
		return nil, err
	}
	if i := slices.Index(h.states, o.after); i >= 0 {
		if ok, err := s.planLogFrom(p, pl, len(h.states)-1, h.places[i]); ok || err != nil {
			return pl, err
		}
	}
	found, err := s.compareEarlier(ctx, o, local, h, p)
	if found != nil || err != nil {
		return found, err
	}
	if !accepted && s.whyUnwritten(o.pos) != "" {
		base := local
		switch {
		case p.log != nil:
			base = file
		case p.Ticket() > 0:
			base = nil
		}
		if ok, err := s.planUnwritten(p, pl, base); ok || err != nil {
			return pl, err
		}
	}
	if s.state == nil && !s.isAdopted(s.rep) {
		return nil, s.stranger(s.rep, fmt.Sprintf("%s is at no point of it up to %v, and nothing else tells that it is its", s.cfg.DBPath, o.pos))
	}
	pl.offline = 1
	pl.reason = "the database went on while nothing was captured, and its log is gone"
	if accepted {
		pl.reason = "the file was changed by no transaction, and is to count as it is (_adopt)"
	}
	pl.changed = changedPages(local, table, o.pos)
	if pl.takeover == "" {
		pl.takeover = s.whyApart(o)
	}
	return pl, nil
}

// whyApart is why a database that is at no point of the replica, and whose log doesn't tell how it left the end of it, goes on on a
// timeline of its own; "": what the replica has up to there is from here, and the difference leads on from it.
func (s *Shipper) whyApart(end origin) string {
	switch {
	case s.anew() != "":
		return s.anew()
	case s.state != nil && s.cfg.Judgement.Replaced:
		return fmt.Sprintf("%s, and the database is at no point of the replica up to %v", s.cfg.Judgement.Reason, end.pos)
	case s.mayHaveLost(end.pos):
		// What the replica has may be lost here: its history ends, and another one goes on from its pages.
		return fmt.Sprintf("the machine was started again, and the database is at no point of the replica up to %v: it may have lost some, and was written since", end.pos)
	case s.state != nil && !s.isOurs(end):
		return fmt.Sprintf("the database is at no point of the replica up to %v, of which no more than what leads to %v is known to be from here: "+
			"a clone of this machine ships too, or the state folder is an older one", end.pos, s.shippedHere())
	case s.isRecreated(s.rep):
		// Another database may have been made in its place: a file system gives a new file the inode of the old one.
		return fmt.Sprintf("the database is at no point of the replica up to %v: it was made again, replaced, or written by another program", end.pos)
	}
	return ""
}

// isOurs says whether all that leads to a point is known to be from here.
func (s *Shipper) isOurs(o origin) bool {
	if s.isSame(s.shippedHere(), o.pos) || s.isSent(o) {
		return true
	}
	s.rememberOthers()
	known := s.shippedHere()
	older := s.elsewhere && o.pos.Timeline == known.Timeline && o.pos.Tx < known.Tx
	return older || s.isSame(known, o.pos) || s.isSent(o)
}

// shippedHere is the newest position that the replica is known to have from this state folder: what the process before has saved, or told since.
func (s *Shipper) shippedHere() replica.Pos {
	if s.state == nil {
		return replica.Pos{}
	}
	if t := s.prior; t.Compare(s.state.Position) > 0 {
		return t
	}
	return s.state.Position
}

// isSame says that two positions are one point: that of a timeline on which nothing was shipped yet is its parent's.
func (s *Shipper) isSame(a, b replica.Pos) bool {
	return replica.PointOf(s.all, a) == replica.PointOf(s.all, b)
}

// ownEnd is the newest point that the replica is known to have from here: where a database goes on from, on a timeline of its own, that is
// at no point up to o. ok is false when o is that point itself, or when no better one can be had.
func (s *Shipper) ownEnd(ctx context.Context, o origin) (own origin, ok bool, err error) {
	known := s.shippedHere()
	if s.state == nil || known.Tx == 0 || s.isOurs(o) || s.mayHaveLost(o.pos) {
		return o, false, nil
	}
	if replica.LostIn(s.all, known.Timeline) != nil {
		return o, false, nil
	}
	table, err := s.tableAt(ctx, known)
	if replica.IsDamage(err) || errors.Is(err, replica.ErrNoPoint) {
		return o, false, nil
	}
	if err != nil {
		return o, false, err
	}
	own = origin{pos: known, after: table.Total(), writer: s.writer, takeover: o.because(s.whyApart(o))}
	if s.state.Position == known {
		own.place, own.time = s.state.Place, s.state.Time
	}
	own.pageSize = replica.PageSizeAt(s.rep, s.all, known)
	return own, true, nil
}

// mayHaveLost says whether the database may lack what the replica has up to end: the machine stopped since the state was
// saved, or the state is that of an older disk.
func (s *Shipper) mayHaveLost(end replica.Pos) bool {
	st := s.state
	return st != nil && st.mayBeBehind(s.cfg.DBPath) && (st.Behind || st.Clean == nil || st.Position != end)
}

// compareEarlier looks for a point before the end of the replica that the database is at, or that it was at before what its log
// has last. h may be nil. The plan is nil when there is none.
func (s *Shipper) compareEarlier(ctx context.Context, o origin, local *pagesum.Table, h *logHistory, p *pinned) (*plan, error) {
	f := &search{states: map[pagesum.Sum]int{}, left: math.MaxInt64}
	if s.state != nil {
		f.left = searchBytes
	}
	if h != nil && p.log != nil {
		f.inLog = h.hasPlace
		for i, sum := range h.states {
			f.states[sum] = i
		}
	}
	now := len(f.states) + 1
	f.states[local.Total()] = now
	m, err := f.find(ctx, s.store, o.pos)
	if err != nil || m.at.IsZero() {
		return nil, err
	}
	// The search passes over what is damaged; nothing may go on from a point that can't be restored.
	table, err := replica.SoundTableAt(ctx, s.store, m.at, nil, replica.Pos{})
	switch {
	case err != nil:
		return nil, err
	case m.state == now && s.state != nil && s.lostByPower(m.at):
		return nil, s.behind(&lostPoint{at: m.at, end: o.pos, table: local, place: p.place, pageSize: p.PageSize(), ticket: p.Ticket()})
	case m.state == now && s.state != nil:
		return &plan{at: m.at, table: local, place: p.place, offline: -p.Ticket(), takeover: o.because(s.whyEarlier(m.at, o.pos))}, nil
	case m.state == now:
		return &plan{at: m.at, table: local, takeover: o.because(fmt.Sprintf("the database was brought back to %v", m.at))}, nil
	}
	pl := &plan{at: m.at, table: table, place: m.place, takeover: o.because(fmt.Sprintf("the database diverged after %v", m.at))}
	if m.state >= 0 {
		pl.place = h.places[m.state]
	}
	if ok, err := s.planLogFrom(p, pl, len(h.states)-1, pl.place); !ok || err != nil || pl.log == nil {
		return nil, err
	}
	return pl, nil
}

// lostByPower says whether a loss of power has brought the database back to an earlier point, so that the next open may bring it forward again.
func (s *Shipper) lostByPower(at replica.Pos) bool {
	if s.cfg.Judgement.Loss != LossOfPower || s.state.Synced.Compare(at) > 0 && !s.isSame(s.state.Synced, at) {
		return false
	}
	if found, _, ok := s.cfg.Judgement.foundAt(); ok && found != at {
		return false
	}
	s.rememberOthers()
	known := s.shippedHere()
	return at.Compare(known) < 0 && !s.isSame(at, known)
}

// whyEarlier is why a database that is at an earlier point than the replica goes on from there on a timeline of its own.
func (s *Shipper) whyEarlier(at, end replica.Pos) string {
	s.rememberOthers()
	if known := s.shippedHere(); s.isSame(at, known) {
		return fmt.Sprintf("the replica has transactions up to %v that are not from here: a clone of this machine ships too, or the state folder is an older one; "+
			"they stay readable on timeline %d", end, end.Timeline)
	}
	reason := s.cfg.Judgement.Reason
	if reason == "" {
		reason = "nothing tells of a loss of power"
	}
	return fmt.Sprintf("the database was brought back from %v to %v (%s); what came after stays readable on timeline %d", end, at, reason, end.Timeline)
}

// planWholeLog plans to ship all that the log has on top of what the file had. It says whether that can be done; an error
// says that nobody knows.
func (s *Shipper) planWholeLog(p *pinned, pl *plan) (bool, error) {
	r, err := openRange(s.src, p.header.Start(), p.Place().Frame)
	if err != nil {
		return false, unlessMoved(err)
	}
	n := uint64(len(r.commits))
	if n < p.Ticket() {
		r.close() // read only
		return false, nil
	}
	pl.log, pl.offline = r, n-p.Ticket()
	return true, nil
}

// planLogFrom plans to ship what the log has behind a place. The log has commits in all.
func (s *Shipper) planLogFrom(p *pinned, pl *plan, commits int, place wal.Place) (bool, error) {
	if uint64(commits) < p.Ticket() {
		return false, nil // it was started again since the source began
	}
	r, err := openRange(s.src, place, p.Place().Frame)
	if err != nil {
		return false, unlessMoved(err)
	}
	s.planRange(p, pl, r)
	return true, nil
}

// planRange plans to ship a range that ends where p does. The last of the source's commits are the last ones in the log. Those that
// are not behind its start are in the replica: offline is negative then.
func (s *Shipper) planRange(p *pinned, pl *plan, r *logRange) {
	n := uint64(len(r.commits))
	pl.offline = n - p.Ticket()
	if n > 0 {
		pl.log = r
	} else if err := r.close(); err != nil {
		s.log.Warn("closing the log", "err", err)
	}
}

// unlessMoved is err, or nil when that says no more than that the log isn't the one that was looked for.
func unlessMoved(err error) error {
	if errors.Is(err, errMoved) {
		return nil
	}
	return err
}

// proveByLog sees whether the log still holds the place where the replica stands.
// Then what follows there is all that the replica lacks.
func (s *Shipper) proveByLog(place wal.Place, p *pinned, pl *plan) (bool, error) {
	end := p.Place()
	if place.IsZero() || !place.SameGeneration(end) || place.Frame > end.Frame {
		return false, nil
	}
	at, err := completePlace(s.src, wal.Place{Salt: place.Salt, Frame: place.Frame})
	if err != nil || at != place {
		return false, unlessMoved(err)
	}
	r, err := openRange(s.src, place, end.Frame)
	if err != nil {
		return false, unlessMoved(err)
	}
	s.planRange(p, pl, r)
	pl.unread = true
	return true, nil
}

// proveByStat sees whether nobody wrote the database file since it held what the replica has,
// cleanly. Then no checkpoint did either, and what there is in the log is all that followed.
func (s *Shipper) proveByStat(pos replica.Pos) bool {
	st := s.state
	return st != nil && st.Position == pos && st.isAsClosed(s.cfg.DBPath)
}

// isAsClosed says whether nobody wrote the database file since it held what the replica has.
func (st *state) isAsClosed(dbPath string) bool {
	now := statFile(dbPath)
	return now != nil && st.Clean != nil && *now == *st.Clean
}
