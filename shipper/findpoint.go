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
	"seawal/store"
)

// search is what is known of a database whose point in a replica is looked for.
type search struct {
	states map[pagesum.Sum]int  // checksums of states that it has or had, each with its number
	inLog  func(wal.Place) bool // says that its log has a place; nil: there is no log
	left   int64                // bytes of segments that may be read
}

// match is a point of the replica that a search has found.
type match struct {
	at    replica.Pos // zero: none
	state int         // number of the state that the database has at this point; -1: only the place of it is known
	place wal.Place   // in the log; zero when it isn't known
}

// find returns the newest point in the history of end that the database is or was at. What is damaged is passed over:
// who needs it will say so.
func (f *search) find(ctx context.Context, st store.Store, end replica.Pos) (match, error) {
	legs, err := replica.Lineage(ctx, st, end)
	if err != nil {
		return match{}, err
	}
	for i := len(legs) - 1; i >= 0; i-- {
		m, err := f.inLeg(ctx, st, legs[i])
		if err != nil || !m.at.IsZero() {
			return m, err
		}
	}
	return match{}, nil
}

func (f *search) inLeg(ctx context.Context, st store.Store, leg replica.Leg) (match, error) {
	var all []store.Object
	for _, prefix := range []string{segment.SnapshotPrefix(leg.Timeline), segment.LogPrefix(leg.Timeline)} {
		for o, err := range st.List(ctx, prefix, "") {
			if err != nil {
				return match{}, fmt.Errorf("look for an earlier point: %w", err)
			}
			if n, err := segment.ParseName(o.Name); err == nil && n.First <= leg.Last {
				all = append(all, o)
			}
		}
	}
	ahead := replica.NewAhead(ctx, st)
	defer ahead.Close()
	fetch := len(all) - 1 // those behind it are being fetched
	var best match
	for i := len(all) - 1; i >= 0 && f.left > 0; i-- {
		for fetch = min(fetch, i); best.at.IsZero() && fetch >= 0 && isLog(all[fetch].Name) && ahead.Start(all[fetch]); fetch-- {
		}
		n, err := segment.ParseName(all[i].Name)
		if err != nil || n.Kind == segment.Log && !best.at.IsZero() {
			continue // the log is read from its end: what comes before is older
		}
		var m match
		if n.Kind == segment.Log {
			f.left -= all[i].Size
			m, err = f.inSegment(ahead, all[i], leg.Last)
		} else if n.Last > best.at.Tx {
			m, err = f.inSnapshot(ctx, st, all[i])
		}
		if err != nil && !replica.IsDamage(err) {
			return match{}, fmt.Errorf("look for an earlier point in %s: %w", all[i].Name, err)
		}
		if m.at.Tx > best.at.Tx {
			best = m
		}
	}
	return best, nil
}

func isLog(name string) bool {
	n, err := segment.ParseName(name)
	return err == nil && n.Kind == segment.Log
}

// inSegment returns the newest match of a log segment, up to transaction last. The state before the segment counts.
func (f *search) inSegment(ahead *replica.Ahead, o store.Object, last uint64) (m match, err error) {
	in, err := ahead.Open(o)
	if err != nil {
		return m, err
	}
	defer in.Close()
	d, err := segment.NewDecoder(in)
	if err != nil {
		return m, err
	}
	h := d.Header()
	offer := func(tx uint64, sum pagesum.Sum) {
		if i, ok := f.states[sum]; ok && tx > 0 {
			m = match{at: replica.Pos{Timeline: h.Timeline, Tx: tx}, state: i}
		}
	}
	offer(h.First-1, h.Before)
	var p segment.Page
	for {
		t, err := d.NextTx()
		if err == io.EOF {
			if info := d.Info(); f.hasPlace(info.Place) && m.at.Tx != info.Last {
				m = match{at: replica.Pos{Timeline: h.Timeline, Tx: info.Last}, state: -1, place: info.Place}
			}
			return m, nil
		}
		if err == nil && t.Number > last {
			return m, nil
		}
		for err == nil {
			err = d.NextPage(&p)
		}
		if !errors.Is(err, io.EOF) {
			return m, err // with what the whole transactions before say
		}
		offer(t.Number, d.TxEnd())
	}
}

func (f *search) inSnapshot(ctx context.Context, st store.Store, o store.Object) (match, error) {
	_, info, err := replica.Inspect(ctx, st, o)
	if err != nil {
		return match{}, err
	}
	at := replica.Pos{Timeline: info.Timeline, Tx: info.Last}
	if i, ok := f.states[info.After]; ok {
		return match{at: at, state: i}, nil
	}
	if f.hasPlace(info.Place) {
		return match{at: at, state: -1, place: info.Place}, nil
	}
	return match{}, nil
}

func (f *search) hasPlace(p wal.Place) bool { return f.inLog != nil && p.Frame > 0 && f.inLog(p) }
