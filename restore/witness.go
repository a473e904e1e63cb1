package restore

import (
	"context"
	"errors"
	"math"
	"slices"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
)

// A snapshot or a merged segment has a name that the log doesn't have, so whoever may create objects can create one
// that says of a transaction what it likes, with right checksums, and without changing or deleting anything. The log
// can't be added to in front of its end: every name there is taken. So where the log holds the transaction that such
// an object ends with, the log is the witness, and an object that contradicts it is not used.

// testify holds the objects of a plan that have names of their own against the log. The error blames the first one that
// says otherwise. It costs a short read for each and one of the log, or the reading of a whole log segment where the
// transaction is inside it.
func (p *planner) testify(ctx context.Context, steps []Step) error {
	for _, s := range steps {
		if s.name.Kind == segment.Log || s.Last != s.name.Last {
			continue
		}
		sum, witness, err := p.logAt(ctx, s.name)
		if err != nil {
			return err
		}
		if witness == "" {
			continue
		}
		info, err := readInfo(ctx, p.store, s.name, s.Size)
		if err != nil {
			return err
		}
		if info.After != sum {
			return unfit(s.Object, "says that the database has checksum %v after transaction %d, and the log has %v (%s)",
				info.After, s.Last, sum, witness)
		}
	}
	return nil
}

// logAt returns the checksum that the database has after the last transaction of an object, as the log tells, and the
// log segment that tells it. That is "" when none does: the log doesn't hold the transaction, or has squashed it, or
// can't be read there.
func (p *planner) logAt(ctx context.Context, n segment.Name) (sum pagesum.Sum, witness string, err error) {
	tx := n.Last
	o, err := p.holder(ctx, n)
	if err != nil || o.Timeline == 0 {
		return 0, "", err
	}
	var bad *badObject
	info, err := readInfo(ctx, p.store, o.Name, o.size)
	switch {
	case errors.As(err, &bad):
		return 0, "", nil // whoever needs it will meet it, and blame it
	case err != nil:
		return 0, "", err
	case info.Last < tx:
		return 0, "", nil // there is a gap
	case info.Last == tx:
		return info.After, o.String(), nil
	}
	txs, err := scan(ctx, p.store, o.Name, tx)
	if err != nil && !errors.As(err, &bad) {
		return 0, "", err
	}
	if n := len(txs); n > 0 && txs[n-1].Number == tx {
		return txs[n-1].After, o.String(), nil
	}
	return 0, "", nil
}

// listFurther are the numbers of transactions in front of an object from which the log is listed, one after the other, for
// the segment that holds its last one.
var listFurther = []uint64{listBack, 1 << 14, 1 << 18, math.MaxUint64}

// holder returns the log segment that holds the last transaction of an object; the zero object when none does.
func (p *planner) holder(ctx context.Context, n segment.Name) (object, error) {
	h, tx := p.hist, n.Last
	if n.Kind == segment.Snapshot && h.isResized(n.Timeline) && h.branchOf(n.Timeline).from == tx {
		return object{}, nil // the log in front of it is of pages of another size
	}
	for i := 0; ; i++ {
		for _, o := range slices.Backward(h.without(p.bad).logs) {
			if o.First <= tx {
				if o.end < tx {
					return object{}, nil
				}
				return o, nil
			}
		}
		if h.complete || i == len(listFurther) {
			return object{}, nil
		}
		if h.branchOf(h.timelineOf(tx)).timeline != h.timeline() {
			if err := h.loadAll(ctx, p.store); err != nil {
				return object{}, err
			}
			continue
		}
		first := h.firstLog(tx)
		from := tx - min(tx, listFurther[i])
		if err := h.list(ctx, p.store, segment.LogPrefix(h.timeline()), segment.LogName(h.timeline(), from), first-1); err != nil {
			return object{}, err
		}
		h.sort()
	}
}

// firstLog is where the first log segment that is listed begins, or the one after tx.
func (h *history) firstLog(tx uint64) uint64 {
	if len(h.logs) > 0 {
		return h.logs[0].First
	}
	return tx + 1
}
