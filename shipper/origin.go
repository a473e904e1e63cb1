package shipper

import (
	"context"
	"errors"
	"path/filepath"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
)

// origin is where a replica stands.
type origin struct {
	pos      replica.Pos // zero: no transaction yet
	time     int64       // of its commit, unix nanoseconds; 0: not known
	after    pagesum.Sum
	place    wal.Place
	writer   segment.ID
	pageSize int          // bytes
	info     segment.Info // of the segment that ends there; zero when none was looked at
	takeover string       // why another timeline has to go on from there; "": for no reason yet
	closed   segment.ID   // who has closed the timeline; zero: nobody
}

// because joins the reason that a new timeline has already with another one.
func (o *origin) because(reason string) string {
	if o.takeover == "" {
		return reason
	}
	return o.takeover + "; " + reason
}

// findOrigin finds the end of the newest timeline.
func (s *Shipper) findOrigin(ctx context.Context, rep replica.Replica, all []replica.Timeline) (origin, error) {
	if len(all) == 0 {
		return origin{}, nil
	}
	s.newestEnd = replica.Pos{}
	tl := all[len(all)-1]
	if err := replica.LostIn(all, tl.Timeline); err != nil {
		return origin{}, err
	}
	var known replica.Pos
	if s.state != nil && s.state.Position.Timeline == tl.Timeline && s.state.Position.Tx > 0 {
		known = s.state.Position
	}
	end, err := replica.EndOf(ctx, s.store, tl.Timeline, known)
	if err != nil && !errors.Is(err, store.ErrNotExist) {
		return origin{}, err
	}
	o := endOf(end.Info)
	if err != nil {
		if o, err = s.originWithout(ctx, rep, all, known); err != nil {
			return origin{}, err
		}
	}
	if c := end.Close; c != nil {
		o.takeover, o.closed = closedBy(c), c.Writer
		if c.Writer == s.writer && c.Next == s.opening.Timeline {
			o.takeover = s.opening.Reason // an attempt of just now
		}
	}
	if o.pos.Timeline == tl.Timeline {
		s.newestEnd = o.pos
	}
	return o, nil
}

// originWithout is findOrigin for a newest timeline on which nothing was shipped behind a position that is known.
func (s *Shipper) originWithout(ctx context.Context, rep replica.Replica, all []replica.Timeline, known replica.Pos) (origin, error) {
	tl := all[len(all)-1]
	o := origin{pos: known, writer: s.writer}
	switch {
	case !known.IsZero():
		o.place, o.time = s.state.Place, s.state.Time
	case tl.Parent != 0:
		o.pos, o.writer = replica.Pos{Timeline: tl.Timeline, Tx: tl.ParentTx}, tl.Writer
	default:
		return origin{}, nil
	}
	o.pageSize = replica.PageSizeAt(rep, all, o.pos)
	t, err := s.tableAt(ctx, o.pos)
	if err != nil {
		return origin{}, err
	}
	o.after = t.Total()
	return o, nil
}

// endOf is the end of a segment.
func endOf(info segment.Info) origin {
	return origin{
		pos:  replica.Pos{Timeline: info.Timeline, Tx: info.Last},
		time: info.LastTime, after: info.After, place: info.Place, writer: info.Writer, pageSize: info.PageSize, info: info,
	}
}

// tableAt is the table at a position of the replica, from the state folder as far as
// that helps.
func (s *Shipper) tableAt(ctx context.Context, pos replica.Pos) (*pagesum.Table, error) {
	if s.table != nil && s.state != nil {
		if s.state.Position == pos {
			return s.table, nil
		}
		if t, err := replica.SoundTableAt(ctx, s.store, pos, s.table, s.state.Position); err == nil || ctx.Err() != nil {
			return t, err
		}
		// What the folder says doesn't lead there: from the replica alone, then.
	}
	return replica.SoundTableAt(ctx, s.store, pos, nil, replica.Pos{})
}

// tableOf is the table at the end of the replica. A replica that is met at another URL for the first time has no table in its own state directory; the
// one of the directory that it had at the old URL leads there, if it is the same replica, and not an older copy of it. The checksum
// that the replica itself has says whether it does.
func (s *Shipper) tableOf(ctx context.Context, o origin) (*pagesum.Table, error) {
	if s.table == nil {
		if at, known := tableElsewhere(s.cfg.OtherDirs, s.rep.ID); known != nil {
			t, err := replica.SoundTableAt(ctx, s.store, o.pos, known, at)
			if ctx.Err() != nil {
				return nil, err
			}
			if err == nil && t.Total() == o.after {
				return t, nil
			}
		}
	}
	return s.tableAt(ctx, o.pos)
}

// tableElsewhere is the newest table that the state directories of other URLs have of a replica; nil for none.
func tableElsewhere(dirs []string, id segment.ID) (at replica.Pos, table *pagesum.Table) {
	for _, dir := range dirs {
		st, err := readState(dir)
		if err != nil || st == nil || st.Replica != id || st.Position.Compare(at) <= 0 {
			continue
		}
		if t := loadTable(filepath.Join(dir, pagesFile), st.After); t != nil {
			at, table = st.Position, t
		}
	}
	return at, table
}
