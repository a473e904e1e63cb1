package replica

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"seawal/internal/segment"
)

// Pos is a position in a replica: the state after transaction Tx of a timeline.
// As text and in JSON it is "timeline/transaction" in decimal. The zero Pos,
// "0/0", is before everything.
type Pos struct {
	Timeline uint32
	Tx       uint64
}

// String is "1/42" for transaction 42 of timeline 1.
func (p Pos) String() string { return fmt.Sprintf("%d/%d", p.Timeline, p.Tx) }

// IsZero says that p is before everything.
func (p Pos) IsZero() bool { return p == Pos{} }

// Compare returns a negative number when p is earlier than q, 0 when they are
// equal, and a positive number when p is later. A position on a later timeline is
// later: it was written later, though its transaction number may be smaller.
func (p Pos) Compare(q Pos) int {
	return cmp.Or(cmp.Compare(p.Timeline, q.Timeline), cmp.Compare(p.Tx, q.Tx))
}

// MaxTx is the largest number of a transaction in a replica: at a million in a second it is reached after 292,000 years. Names
// beyond it are none of ours, and footers and documents are corrupt, so that who counts on from them never wraps around.
const MaxTx = 1<<63 - 1

// ParseName is segment.ParseName for names that can be those of a replica's segments.
func ParseName(name string) (segment.Name, error) {
	n, err := segment.ParseName(name)
	if err == nil && max(n.First, n.Last) > MaxTx {
		return segment.Name{}, fmt.Errorf("parse %q: the transaction's number is out of range: %w", name, segment.ErrName)
	}
	return n, err
}

// ParsePos reads what String wrote.
func ParsePos(s string) (Pos, error) {
	timeline, tx, ok := strings.Cut(s, "/")
	t, err1 := strconv.ParseUint(timeline, 10, 32)
	n, err2 := strconv.ParseUint(tx, 10, 64)
	if !ok || err1 != nil || err2 != nil {
		return Pos{}, fmt.Errorf("parse position %q: want timeline/transaction, such as 1/42", s)
	}
	return Pos{Timeline: uint32(t), Tx: n}, nil
}

// MarshalText writes String.
func (p Pos) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *Pos) UnmarshalText(text []byte) error {
	parsed, err := ParsePos(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}
