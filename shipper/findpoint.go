package shipper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// findPoint returns the newest point in the history of end whose database has one of
// the checksums totals, and which; zero when there is none. At most left bytes of segments are read.
func findPoint(ctx context.Context, st store.Store, end replica.Pos, totals []pagesum.Sum, left int64) (at replica.Pos, which int, err error) {
	legs, err := replica.Lineage(ctx, st, end)
	if err != nil {
		return replica.Pos{}, 0, err
	}
	for i := len(legs) - 1; i >= 0; i-- {
		at, which, err := findInLeg(ctx, st, legs[i], totals, &left)
		if err != nil || !at.IsZero() {
			return at, which, err
		}
	}
	return replica.Pos{}, 0, nil
}

func findInLeg(ctx context.Context, st store.Store, leg replica.Leg, totals []pagesum.Sum, left *int64) (at replica.Pos, which int, err error) {
	var logs []store.Object
	for o, err := range st.List(ctx, segment.LogPrefix(leg.Timeline), "") {
		if err != nil {
			return at, 0, fmt.Errorf("look for an earlier point: %w", err)
		}
		if n, err := segment.ParseName(o.Name); err == nil && n.First <= leg.Last {
			logs = append(logs, o)
		}
	}
	for i := len(logs) - 1; i >= 0 && *left > 0; i-- {
		*left -= logs[i].Size
		tx, which, err := findInSegment(ctx, st, logs[i].Name, leg.Last, totals)
		if err != nil {
			return at, 0, fmt.Errorf("look for an earlier point in %s: %w", logs[i].Name, err)
		}
		if which >= 0 {
			return replica.Pos{Timeline: leg.Timeline, Tx: tx}, which, nil
		}
	}
	return at, 0, nil
}

// findInSegment returns the newest transaction, up to last, after which the
// database had one of the checksums, and which, or -1; the one before the segment counts.
func findInSegment(ctx context.Context, st store.Store, name string, last uint64, totals []pagesum.Sum) (tx uint64, which int, err error) {
	in, err := st.Read(ctx, name, 0, -1)
	if err != nil {
		return 0, -1, err
	}
	defer in.Close()
	d, err := segment.NewDecoder(in)
	if err != nil {
		return 0, -1, err
	}
	h := d.Header()
	tx, which = h.First-1, slices.Index(totals, h.Before)
	var p segment.Page
	for {
		t, err := d.NextTx()
		if err == io.EOF || err == nil && t.Number > last {
			return tx, which, nil
		}
		for err == nil {
			err = d.NextPage(&p)
		}
		if !errors.Is(err, io.EOF) {
			return 0, -1, err
		}
		if i := slices.Index(totals, d.TxEnd()); i >= 0 {
			tx, which = t.Number, i
		}
	}
}
