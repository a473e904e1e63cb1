package segment

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ReplicaName is the object that says what the replica is of.
const ReplicaName = "replica.json"

// MaxLevel is the highest level of a Merged segment: names have one digit.
const MaxLevel = 9

// ErrName says that a name is none that this package gives to segments.
var ErrName = errors.New("not the name of a segment")

// Name says what a segment's name tells of it. Names have fixed width, so that
// the store's listing order is replay order.
type Name struct {
	Kind     Kind
	Timeline uint32 // from 1
	Level    int    // of a Merged segment, 1 to MaxLevel; else 0
	First    uint64 // first transaction; of a Snapshot the one it is of, as Last
	Last     uint64 // last transaction; of a Log segment 0, because its name doesn't tell (its footer does)
}

// TimelineName is the object that says where a timeline comes from.
func TimelineName(timeline uint32) string { return timelinePrefix(timeline) + "timeline.json" }

// LogPrefix is what the names of a timeline's Log segments start with.
func LogPrefix(timeline uint32) string { return timelinePrefix(timeline) + "log/" }

// MergedPrefix is what the names of a timeline's Merged segments of every level start with.
func MergedPrefix(timeline uint32) string { return timelinePrefix(timeline) + "merged/" }

// SnapshotPrefix is what the names of a timeline's Snapshots start with.
func SnapshotPrefix(timeline uint32) string { return timelinePrefix(timeline) + "snapshot/" }

func timelinePrefix(timeline uint32) string { return fmt.Sprintf("%08x/", timeline) }

// LogName is "<timeline>/log/<first>", numbers in hex. The last transaction is not in it, so that two segments
// that begin with the same transaction have one name: to create it is to own that transaction.
func LogName(timeline uint32, first uint64) string {
	return Name{Kind: Log, Timeline: timeline, First: first}.String()
}

// MergedName is "<timeline>/merged/<level>/<first>-<last>", numbers in hex.
func MergedName(timeline uint32, level int, first, last uint64) string {
	return Name{Kind: Merged, Timeline: timeline, Level: level, First: first, Last: last}.String()
}

// SnapshotName is "<timeline>/snapshot/<tx>", numbers in hex.
func SnapshotName(timeline uint32, tx uint64) string {
	return Name{Kind: Snapshot, Timeline: timeline, First: tx, Last: tx}.String()
}

// String is the name in the store. What LogName, MergedName and SnapshotName
// return is ParseName's inverse.
func (n Name) String() string {
	switch n.Kind {
	case Log:
		return fmt.Sprintf("%s%016x", LogPrefix(n.Timeline), n.First)
	case Merged:
		return fmt.Sprintf("%s%d/%016x-%016x", MergedPrefix(n.Timeline), n.Level, n.First, n.Last)
	case Snapshot:
		return fmt.Sprintf("%s%016x", SnapshotPrefix(n.Timeline), n.Last)
	}
	return "invalid segment name"
}

// ParseName reads a segment's name. It accepts only what String would write;
// anything else is an error that wraps ErrName.
func ParseName(name string) (Name, error) {
	n, ok := parseName(name)
	if !ok || n.validate() != nil || n.String() != name {
		return Name{}, fmt.Errorf("parse %q: %w", name, ErrName)
	}
	return n, nil
}

func parseName(name string) (n Name, ok bool) {
	part := strings.Split(name, "/")
	if len(part) < 3 {
		return Name{}, false
	}
	timeline, err := strconv.ParseUint(part[0], 16, 32)
	if err != nil {
		return Name{}, false
	}
	n.Timeline = uint32(timeline)
	switch {
	case len(part) == 3 && part[1] == "log":
		n.Kind = Log
		n.First, err = strconv.ParseUint(part[2], 16, 64)
		return n, err == nil
	case len(part) == 4 && part[1] == "merged":
		n.Kind = Merged
		if n.Level, err = strconv.Atoi(part[2]); err != nil {
			return Name{}, false
		}
	case len(part) == 3 && part[1] == "snapshot":
		n.Kind = Snapshot
		n.First, err = strconv.ParseUint(part[2], 16, 64)
		n.Last = n.First
		return n, err == nil
	default:
		return Name{}, false
	}
	first, last, _ := strings.Cut(part[len(part)-1], "-")
	var err1, err2 error
	n.First, err1 = strconv.ParseUint(first, 16, 64)
	n.Last, err2 = strconv.ParseUint(last, 16, 64)
	return n, err1 == nil && err2 == nil
}

func (n Name) validate() error {
	switch {
	case n.Timeline == 0:
		return errors.New("timeline 0")
	case n.Kind == Snapshot && n.First != n.Last:
		return errors.New("a snapshot is of one transaction")
	case n.Kind == Log && n.First == 0:
		return errors.New("transactions begin with 1")
	case n.Kind == Merged && (n.First == 0 || n.First > n.Last):
		return errors.New("transactions out of order")
	case n.Kind == Merged && (n.Level < 1 || n.Level > MaxLevel):
		return errors.New("level out of range")
	}
	return nil
}
