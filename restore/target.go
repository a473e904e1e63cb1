package restore

import (
	"fmt"
	"math"
	"time"

	"seawal/internal/replica"
)

// Pos is a position in a replica's history: a timeline and a transaction on it.
type Pos = replica.Pos

// Target says which state is wanted. The zero Target is the newest one.
type Target struct {
	kind targetKind
	tx   uint64
	at   time.Time
}

type targetKind uint8

const (
	newest targetKind = iota
	atTx
	atTime
)

// Newest is the last transaction of the timeline.
func Newest() Target { return Target{} }

// AtTx is the state right after transaction tx. Transactions count from 1; 0
// is the state that replication began with, when the replica has it.
func AtTx(tx uint64) Target { return Target{kind: atTx, tx: tx} }

// AtTime is the last transaction that was committed at or before t.
//
// Commit times are what the writer's clock said, and clocks are set back. On one timeline each transaction has a later
// time than the one before all the same; where a timeline left another one they may go back. The
// transaction X that is chosen always has a time not after t, and the one
// behind X in the history has a time after t (or X is the last one). Where the clock never
// went back there is only one such X. Where it did there may be several, and
// the one that a binary search over the segments finds is taken; List shows where times go back, and
// AtTx names each point exactly.
//
// A moment between the last commit and now means the last commit: nothing
// happened since, as far as the replica knows. A moment in the future, or
// before the first point, is ErrNoPoint.
func AtTime(t time.Time) Target { return Target{kind: atTime, at: t} }

// String says in words what is wanted.
func (t Target) String() string {
	switch t.kind {
	case atTx:
		return fmt.Sprintf("transaction %d", t.tx)
	case atTime:
		return "time " + FormatTime(t.at)
	}
	return "the newest point"
}

// limit is the last transaction that can matter.
func (t Target) limit() uint64 {
	if t.kind == atTx {
		return t.tx
	}
	return math.MaxUint64
}
