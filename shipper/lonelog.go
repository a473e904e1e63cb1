package shipper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"seawal/internal/replica"
	"seawal/internal/wal"
	"seawal/store"
)

// # A log without its file
//
// A process was killed, and the database file is gone while its log or its journal is still there. SQLite would play either over what is
// rebuilt in the place of the file, so it has to go before that. A WAL may hold transactions that nobody else has: it is moved away only where the
// replica ends at its end or beyond. A journal holds what pages were before an unfinished transaction, and nothing that was committed.

// LoneLogs are the files beside a database that is missing or empty which SQLite would play over a new one.
func LoneLogs(dbPath string) (all []string, err error) {
	for _, path := range []string{dbPath + "-wal", dbPath + "-journal"} {
		fi, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case fi.Size() > 0:
			all = append(all, path)
		}
	}
	return all, nil
}

// MoveLoneLogs moves the files that LoneLogs finds into the state directory of the database, where they are kept. It is an error, and nothing is
// moved, when the WAL has commits that s, the store of a replica, doesn't have at its newest point.
func MoveLoneLogs(ctx context.Context, s store.Store, dbPath string) (to []string, err error) {
	lone, err := LoneLogs(dbPath)
	if err != nil || len(lone) == 0 {
		return nil, err
	}
	if err := hasLog(ctx, s, dbPath+"-wal"); err != nil {
		return nil, err
	}
	dir := dbPath + StateSuffix
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	for _, path := range lone {
		kept, err := setAside(dbPath, path)
		if err != nil {
			return to, fmt.Errorf("move %s away: %w", path, err)
		}
		to = append(to, kept)
	}
	return to, removeIndex(dbPath)
}

// hasLog is nil when the newest point of a replica has all that a WAL has.
func hasLog(ctx context.Context, s store.Store, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close() // read only
	end, commits, err := endOfLog(f)
	if err != nil || commits == 0 {
		return err
	}
	at, pos, err := newestPlace(ctx, s)
	switch {
	case err != nil:
		return fmt.Errorf("see whether the replica has what is in %s: %w", path, err)
	case at == end, at.SameGeneration(end) && at.Frame > end.Frame:
		return nil
	case at.SameGeneration(end):
		return fmt.Errorf("%s goes on after %v, where the replica ends: it has transactions that nothing else has", path, pos)
	}
	return fmt.Errorf("nothing tells that the replica, which ends at %v, has the %d transactions in %s", pos, commits, path)
}

// endOfLog is the place of the last commit in a WAL, and how many it has.
func endOfLog(f *os.File) (end wal.Place, commits int, err error) {
	h, err := readLogHeader(f)
	if err != nil {
		return end, 0, unlessMoved(err)
	}
	_, _, commits, err = lastFrames(f, h, &end)
	return end, commits, err
}

// newestPlace is the newest point of a replica, and where that is in the WAL of its database.
func newestPlace(ctx context.Context, s store.Store) (at wal.Place, pos replica.Pos, err error) {
	all, err := replica.Timelines(ctx, s)
	if err != nil || len(all) == 0 {
		return at, pos, err
	}
	tl := all[len(all)-1]
	end, err := replica.EndOf(ctx, s, tl.Timeline, replica.Pos{})
	if errors.Is(err, store.ErrNotExist) && tl.Parent != 0 {
		// Nothing was shipped on it yet: it is where it left its parent.
		pos = replica.Pos{Timeline: tl.Timeline, Tx: tl.ParentTx}
		if end, err = replica.EndOf(ctx, s, tl.Parent, replica.Pos{}); err == nil && end.Info.Last != tl.ParentTx {
			return at, pos, nil
		}
	}
	if err != nil {
		return at, pos, err
	}
	return end.Info.Place, replica.Pos{Timeline: tl.Timeline, Tx: end.Info.Last}, nil
}
