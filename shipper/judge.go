package shipper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"seawal/internal/machine"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
)

// # Is it what a loss of power has left?
//
// A database that lacks what its replica has was robbed by a loss of power, or somebody has put an older one in its place. The first
// one wants its transactions back, the second one has gone back on purpose and must not be brought forward again. Nothing in the pages
// tells the two apart; what surrounds them does. A loss of power
//
//   - takes from what a process wrote that didn't end well: after a clean close everything is on the disk;
//   - lies between two starts of the machine, and nobody has written the file since the second one;
//   - leaves each file the inode that it had, and the log where it was: SQLite syncs the log's header, and so its name, before any frame;
//   - takes nothing that was synced: the database is at no point before the one that it was at when this process, or the one
//     before, attached (state.Synced).
//
// All of that is asked before SQLite opens the file. What the replica is asked afterwards (rollforward.go) only ends in fewer
// cases: the database is at a point, and the transactions behind it were confirmed to this state folder.

// Loss says whether a database may have lost its newest transactions.
type Loss uint8

const (
	// LossNone: it has not. Where it is at an earlier point than its replica, that was somebody's wish.
	LossNone Loss = iota
	// LossPossible: it may have, and nothing proves it.
	LossPossible
	// LossOfPower: if it is at an earlier point than its replica, a loss of power has brought it there.
	LossOfPower
)

// Judgement is what the state folders tell of how a database that nobody has open came to be what it is.
type Judgement struct {
	Loss     Loss
	Reason   string // for it, for people
	Replaced bool   // the file isn't the one that the last process had open

	// Unwritten is what shows that no transaction has made the file another one than it was at the clean close; "": nothing does.
	Unwritten string

	found *found // LossOfPower: where it was found after it; nil: it wasn't looked for yet
}

// found is where a database was found behind its replica, in the state. The application may have opened and closed
// it since, which changes its file and not its content.
type found struct {
	At  replica.Pos `json:"at"`
	Sum string      `json:"sum"` // checksum of the database, hex
}

// fileID tells one file from another one at the same path. Numbers of devices are not kept from one start of a machine to the next,
// so that the inode has to do there.
type fileID struct {
	Dev   uint64 `json:"dev"`
	Inode uint64 `json:"inode"`
}

func identify(path string) *fileID {
	if st := statFile(path); st != nil {
		return &fileID{st.Dev, st.Inode}
	}
	return nil
}

// Judge asks the state folder of a database. Where that knows nothing, the one of its other replicas decides that came the furthest. No
// store is asked.
func Judge(dbPath, stateDir string, others []string) Judgement {
	best, _ := judgeBy(dbPath, stateDir)
	if best != nil {
		return *best
	}
	var newest replica.Pos
	for _, dir := range others {
		if j, seen := judgeBy(dbPath, dir); j != nil && (best == nil || seen.Compare(newest) > 0) {
			best, newest = j, seen
		}
	}
	if best == nil {
		return Judgement{Reason: "nothing was shipped from here before"}
	}
	return *best
}

// judgeBy is nil when the folder tells nothing. seen is how far it came.
func judgeBy(dbPath, dir string) (j *Judgement, seen replica.Pos) {
	st, err := readState(dir)
	if err != nil || st == nil {
		return nil, seen // what attaches says why it can't be read
	}
	is := st.judge(dbPath)
	seen = st.Position
	told, ok := readPosition(dir)
	if durable := (replica.Pos{Timeline: told.timeline, Tx: told.durable}); durable.Compare(seen) > 0 {
		seen = durable
	}
	if is.Loss == LossOfPower && is.found == nil && ok && !told.mark.Rollback && told.mark.Frame > 0 {
		if _, err := os.Stat(dbPath + "-wal"); errors.Is(err, fs.ErrNotExist) {
			is.Loss, is.Reason = LossPossible, "its log was removed"
		}
	}
	return &is, seen
}

func (st *state) judge(dbPath string) Judgement {
	boot, now := machine.Last(dbPath), identify(dbPath)
	no := func(loss Loss, format string, args ...any) Judgement {
		return Judgement{Loss: loss, Reason: fmt.Sprintf(format, args...)}
	}
	known := st.File != nil && now != nil
	switch {
	case known && st.File.Inode != now.Inode, known && st.Boot == boot.ID && *st.File != *now:
		j := no(LossNone, "another file was put in its place")
		j.Replaced = true
		return j
	case st.Behind && st.Found != nil && known:
		return Judgement{Loss: LossOfPower, Reason: fmt.Sprintf("it was found at %v after a loss of power", st.Found.At), found: st.Found}
	case st.Clean != nil, st.Left != nil:
		return no(LossNone, "it was closed cleanly")
	case !boot.Known():
		return no(LossNone, "this system doesn't say when it was started, so that a loss of power can't be told from an older file that was put back")
	case st.Boot == boot.ID:
		return no(LossNone, "the machine is up since it was last shipped")
	case st.Boot == "" || !known:
		return no(LossPossible, "the state folder doesn't say which file it is of, or when the machine was started")
	}
	for _, path := range []string{dbPath, dbPath + "-wal"} {
		if file := statFile(path); file != nil && file.Ctime >= boot.Time {
			return no(LossPossible, "%s was changed at %s, after the machine had been started at %s", path,
				time.Unix(0, file.Ctime).UTC().Format(time.RFC3339), time.Unix(0, boot.Time).UTC().Format(time.RFC3339))
		}
	}
	return no(LossOfPower, "the machine was started again while it was open, and nobody has changed it since")
}

// foundAt is nil unless the judgement says where the database was found. ok is false when it says so in a way that can't be read.
func (j Judgement) foundAt() (at replica.Pos, sum pagesum.Sum, ok bool) {
	if j.found == nil {
		return at, 0, false
	}
	sum, err := pagesum.ParseSum(j.found.Sum)
	return j.found.At, sum, err == nil
}
