package replica

import (
	"errors"
	"fmt"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/store"
)

// testify holds the table of a snapshot against the log where that tells the same state. A snapshot has a name that the log
// doesn't have, so whoever may create objects can create one of any content, with right checksums, and without
// changing or deleting anything. The names of the log are taken up to its end.
func (w *walk) testify(snapshot store.Object, pos Pos) error {
	sum, witness, err := w.logAt(pos)
	if err != nil || witness == "" || sum == w.table.Total() {
		return err
	}
	return InObject(snapshot.Name, &segment.CorruptError{
		Err: fmt.Errorf("it says that the database has checksum %v after transaction %d, and the log has %v (%s)", w.table.Total(), pos.Tx, sum, witness),
	})
}

// logAt is the checksum of the database at a position, as the log of its timeline has it, and the segment that says so. That is ""
// when none does, or when it can't be read.
func (w *walk) logAt(pos Pos) (sum pagesum.Sum, witness string, err error) {
	o, n, err := holder(w.ctx, w.s, pos)
	if errors.Is(err, store.ErrNotExist) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	_, info, err := Inspect(w.ctx, w.s, o)
	switch {
	case err != nil && IsDamage(err):
		return 0, "", nil // who needs it will meet it
	case err != nil:
		return 0, "", err
	case info.Last < pos.Tx:
		return 0, "", nil
	case info.Last == pos.Tx:
		return info.After, o.Name, nil
	}
	sum, err = sumInLog(w.ctx, w.s, o, n, pos.Tx)
	if err != nil && (IsDamage(err) || errors.Is(err, ErrNoPoint)) {
		return 0, "", nil
	}
	return sum, o.Name, err
}
