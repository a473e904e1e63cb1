package shipper

import (
	"errors"
	"fmt"
	"time"

	"seawal/internal/replica"
	"seawal/store"
)

// Word is how a replica is, in one word.
type Word string

// The words, from the best to the worst.
const (
	WordOK            Word = "ok"             // what is committed is in the replica, or will be within moments
	WordBehind        Word = "behind"         // it isn't yet, and it is tried: the store doesn't answer, or is slower than the writers
	WordBlocked       Word = "blocked"        // a person has to do something before it goes on, or writers wait
	WordDamaged       Word = "damaged"        // something of the replica or of the database is damaged
	WordGone          Word = "gone"           // the replica isn't there any more
	WordFenced        Word = "fenced"         // another writer has it, and nothing is shipped from here
	WordNotReplicated Word = "not replicated" // nothing is shipped from here, for another reason
)

// Words are all of them.
var Words = []Word{WordOK, WordBehind, WordBlocked, WordDamaged, WordGone, WordFenced, WordNotReplicated}

// Health is what an operator needs to know of a replica.
type Health struct {
	Word     Word   `json:"word"`
	Sentence string `json:"sentence"`
}

// LateAfter is the lag from which a replica is behind though nothing has failed.
const LateAfter = 10 * time.Second

// causes are what a Health other than ok can come from, the worst first: the first one whose sentence isn't empty counts.
var causes = []struct {
	word     Word
	sentence func(*Status) string
}{
	{WordFenced, func(st *Status) string {
		return when(st.Fenced, "nothing is shipped from here any more: %v", st.Err)
	}},
	{WordNotReplicated, func(st *Status) string {
		return when(st.Mode == ModeStopped, "nothing is shipped from here any more: %v", st.Err)
	}},
	{WordNotReplicated, func(st *Status) string {
		return when(st.ending != nil, "what is committed from now on is not shipped: %v", st.ending)
	}},
	{WordGone, func(st *Status) string {
		return when(errors.Is(st.Err, ErrReplicaGone), "%v", st.Err)
	}},
	{WordDamaged, func(st *Status) string {
		return when(replica.IsDamage(st.Err), "the replica can't be read: %v", st.Err)
	}},
	{WordDamaged, func(st *Status) string {
		return when(st.Damaged != "", "%s", st.Damaged)
	}},
	{WordBlocked, func(st *Status) string {
		return when(store.IsPermanent(st.Err) || st.Mode == ModeBehind, "nothing is shipped until somebody acts: %v", st.Err)
	}},
	{WordBehind, func(st *Status) string {
		return when(st.Err != nil, "shipping is held up, and tried again: %v", st.Err)
	}},
	{WordBehind, func(st *Status) string {
		return when(st.Storm != "", "%s", st.Storm)
	}},
	{WordBehind, func(st *Status) string {
		return when(st.Lag >= LateAfter, "the replica lacks %d transactions, the oldest for %v", st.LagTx, st.Lag.Round(time.Second))
	}},
}

// when is a sentence if it applies.
func when(applies bool, format string, args ...any) string {
	if !applies {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

// health is the Health of a Status, which has everything else.
func health(st *Status) Health {
	for _, c := range causes {
		if s := c.sentence(st); s != "" {
			return Health{c.word, s}
		}
	}
	if !st.Attached && st.Mode == ModeAttaching {
		return Health{WordOK, "the database is being compared with the replica"}
	}
	return Health{WordOK, fmt.Sprintf("the replica has everything up to %v", st.Durable)}
}
