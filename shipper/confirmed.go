package shipper

import (
	"context"
	"errors"
	"fmt"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
)

// confirmedEnd is the newest point of a replica that is known to be from here, by the state folders: that was confirmed to them, or
// that they were about to send and that the replica has, to the byte. Whatever else a replica says of itself, others may have
// made it say: a clone of this machine has our writer's id, and so has who forges a segment.
type confirmedEnd struct {
	pos    replica.Pos
	after  pagesum.Sum // of the database there
	place  wal.Place   // in the log; zero when it isn't known
	legs   []replica.Leg
	synced replica.Pos // as of state.Synced
	hasher *pagesum.Hasher

	base   *pagesum.Table // page checksums that the state folder has; nil: none
	baseAt replica.Pos
}

// confirmedEnd is nil when the state folders know nothing of the replica.
func (cfg RollForwardConfig) confirmedEnd(ctx context.Context) (*confirmedEnd, error) {
	rep, err := replica.ReadReplica(ctx, cfg.Store)
	if err != nil {
		return nil, fmt.Errorf("ask the replica: %w", err)
	}
	end := &confirmedEnd{hasher: pagesum.NewHasher(rep.Key)}
	var all []sent
	for _, dir := range append([]string{cfg.StateDir}, cfg.OtherDirs...) {
		if err := end.learn(dir, rep.ID, &all); err != nil && dir == cfg.StateDir {
			return nil, err
		}
	}
	if end.pos.IsZero() || end.pos.Tx == 0 {
		return nil, nil
	}
	isOurs := func(o origin) bool { return wasSent(all, o) || cfg.weakness == rollsByWriter }
	if err := end.extend(ctx, cfg.Store, rep.ID, isOurs); err != nil {
		return nil, err
	}
	if end.legs, err = replica.Lineage(ctx, cfg.Store, end.pos); err != nil {
		return nil, err
	}
	return end, nil
}

// learn takes in what a state folder knows of the replica.
func (e *confirmedEnd) learn(dir string, id segment.ID, all *[]sent) error {
	st, err := readState(dir)
	if err != nil || st == nil || st.Replica != id {
		return err
	}
	*all = append(*all, readSent(dir)...)
	if sum, err := pagesum.ParseSum(st.After); err == nil && st.Position.Compare(e.pos) > 0 && st.Position.Tx > 0 {
		e.pos, e.after, e.place = st.Position, sum, st.Place
	}
	if x := readConfirmed(dir, id); x.pos.Compare(e.pos) > 0 {
		e.pos, e.after, e.place = x.pos, x.after, wal.Place{}
	}
	if st.Synced.Compare(e.synced) > 0 {
		e.synced = st.Synced
	}
	if t := loadTable(tablePath(dir), st.After); t != nil {
		e.base, e.baseAt = t, st.Position
	} else if st.Pages != nil {
		if t := loadTable(tablePath(dir), st.Pages.Sum); t != nil {
			e.base, e.baseAt = t, st.Pages.At
		}
	}
	return nil
}

// extend moves the end over segments of ours whose acknowledgement never came.
func (e *confirmedEnd) extend(
	ctx context.Context, s store.Store, id segment.ID, isOurs func(origin) bool,
) error {
	for range sentKept {
		o, err := s.Stat(ctx, segment.LogName(e.pos.Timeline, e.pos.Tx+1))
		if errors.Is(err, store.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		_, info, err := replica.Inspect(ctx, s, o)
		if replica.IsDamage(err) {
			return nil // nothing of ours, or nothing any more
		}
		if err != nil {
			return err
		}
		if info.Replica != id || info.Before != e.after || !isOurs(endOf(info)) {
			return nil
		}
		e.pos, e.after, e.place = replica.Pos{Timeline: info.Timeline, Tx: info.Last}, info.After, info.Place
	}
	return nil
}

// pointOf is a position under the name that it has on the leg which holds it; ok is false when it isn't in the history of the end.
func (e *confirmedEnd) pointOf(pos replica.Pos) (p replica.Pos, ok bool) {
	for i, leg := range e.legs {
		if leg.Timeline != pos.Timeline {
			continue
		}
		if pos.Tx > leg.Last {
			return pos, false
		}
		for ; i > 0 && pos.Tx <= e.legs[i].After; i-- {
			pos.Timeline = e.legs[i-1].Timeline
		}
		return pos, true
	}
	return pos, false
}

// isSame says that two positions are one point in the history of the end.
func (e *confirmedEnd) isSame(a, b replica.Pos) bool {
	p, ok := e.pointOf(a)
	q, also := e.pointOf(b)
	return ok && also && p == q
}
