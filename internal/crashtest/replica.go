package crashtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"seawal/internal/replica"
	"seawal/internal/wal"
	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// point is a position whose content is known.
type point struct {
	pos      vfs.Pos
	t, chain int64
	isHeld   bool // the replica had it at some look
}

// restoreTo rebuilds the database from the replica alone into a file of the history's folder.
func (d *database) restoreTo(ctx context.Context, name string, timeline uint32, target restore.Target) (path string, res restore.Result, err error) {
	s, err := store.Open(ctx, replicaURL(d.dir))
	if err != nil {
		return "", res, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	path = filepath.Join(d.dir, name)
	o := restore.Options{Output: path, Timeline: timeline, Target: target, Check: restore.CheckFull, Force: path == databasePath(d.dir)}
	if !o.Force { // for which all open files of the machine would be looked through
		if err := removeDatabase(path); err != nil {
			return path, res, err
		}
	}
	res, err = restore.Run(ctx, s, o)
	return path, res, err
}

// removeDatabase removes a file that was only looked at, and what SQLite may have left beside it.
func removeDatabase(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkReplica restores the replica as it was left, and asks whether that is
// a committed prefix with everything that was confirmed.
func (d *database) checkReplica(ctx context.Context) error {
	path, res, err := d.restoreTo(ctx, "restored.db", 0, restore.Newest())
	if errors.Is(err, restore.ErrNoReplica) || errors.Is(err, restore.ErrNoPoint) {
		if d.durableT > 0 || !d.durable.IsZero() || !d.newest.IsZero() {
			return fmt.Errorf("transaction %d was confirmed at %v: %w", d.durableT, d.durable, err)
		}
		d.points = nil
		return nil
	}
	if err != nil {
		return err
	}
	if len(res.Avoided) > 0 {
		return fmt.Errorf("the replica has bad objects: %v", res.Avoided)
	}
	b, err := readFile(ctx, path)
	if err != nil {
		return fmt.Errorf("restored at %v: %w", res.Point.Pos, err)
	}
	at := res.Point.Pos
	if res.Timeline > d.timeline && d.isDiverged() {
		// The database had diverged. The newest timeline begins with an earlier point; what was
		// confirmed on the old one is there still, as the points show.
		d.newest = at
		if d.durable.Timeline < res.Timeline {
			d.durable, d.durableT = at, min(d.durableT, b.last())
		}
	}
	d.timeline = res.Timeline
	isStale := d.stale != nil && b.last() == d.stale.last() && b.head() == d.stale.head()
	switch {
	case isStale && d.durableT <= d.keptT:
		// Power was lost since, and nothing has been confirmed since.
	case !d.local.has(b.last(), b.head()):
		return fmt.Errorf("the replica at %v ends with transaction %d (%x), which the database never had (it is at %d)", at, b.last(), b.head(), d.local.last())
	case b.last() < d.durableT:
		return fmt.Errorf("the replica at %v ends with transaction %d; %d was confirmed", at, b.last(), d.durableT)
	default:
		d.stale = nil
	}
	// The start of a timeline that has nothing yet is restored under its parent's name.
	if now := (vfs.Pos{Timeline: res.Timeline, Tx: at.Tx}); now.Compare(d.durable) < 0 || at.Compare(d.newest) < 0 {
		return fmt.Errorf("the replica is at %v; %v was confirmed and %v restored before", at, d.durable, d.newest)
	}
	d.newest, d.held = at, b
	if d.canResume, err = d.resumable(ctx); err != nil {
		return err
	}
	return errors.Join(d.checkPoints(ctx), d.checkObjects())
}

// checkPoints restores some of the points that were noted. Those that the
// replica had no part in when the process was killed may get other numbers later.
func (d *database) checkPoints(ctx context.Context) error {
	kept := d.points[:0]
	for _, p := range d.points {
		if p.pos.Compare(d.newest) <= 0 || p.isHeld {
			p.isHeld = true
			kept = append(kept, p)
		}
	}
	d.points = kept
	for range min(3, len(d.points)) {
		p := d.points[d.r.IntN(len(d.points))]
		path, _, err := d.restoreTo(ctx, "point.db", p.pos.Timeline, restore.AtTx(p.pos.Tx))
		var none *restore.PointError
		switch {
		case !errors.As(err, &none):
		case none.Before != nil && d.resyncs > 0:
			d.stats.Squashed++ // a difference was shipped, and was reported
			continue
		case none.First != nil && p.pos.Compare(none.First.Pos) < 0:
			continue // before the first snapshot
		}
		if err != nil {
			return fmt.Errorf("point %v: %w", p.pos, err)
		}
		b, err := readFile(ctx, path)
		if err != nil {
			return fmt.Errorf("point %v: %w", p.pos, err)
		}
		if b.last() != p.t || b.head() != p.chain {
			return fmt.Errorf("point %v restores transaction %d (%x), want %d (%x)", p.pos, b.last(), b.head(), p.t, p.chain)
		}
		d.stats.Restored++
	}
	return nil
}

// checkObjects counts what there must be only one of.
func (d *database) checkObjects() error {
	snapshots, err := filepath.Glob(filepath.Join(d.dir, "replica", "*", "snapshot", "*"))
	if err != nil {
		return err
	}
	if len(snapshots) != 1 {
		return fmt.Errorf("the replica has %d snapshots, want 1: %v", len(snapshots), snapshots)
	}
	n, err := d.timelines()
	if err == nil && n > 1 && !d.isDiverged() {
		err = fmt.Errorf("the replica has %d timelines, and only one process at a time has written it", n)
	}
	return err
}

// isDiverged says that there may be more than one timeline.
func (d *database) isDiverged() bool { return d.hasLostPower || d.newWriter }

func (d *database) timelines() (int, error) {
	all, err := filepath.Glob(filepath.Join(d.dir, "replica", "*", "timeline.json"))
	return len(all), err
}

// checkClosed compares the closed database with what the replica gives back.
func (d *database) checkClosed(ctx context.Context) error {
	source := databasePath(d.dir)
	if fi, err := os.Stat(source + "-wal"); err == nil && fi.Size() > 0 {
		return fmt.Errorf("the database was closed, and its log has %d bytes", fi.Size())
	}
	path, res, err := d.restoreTo(ctx, "restored.db", 0, restore.Newest())
	if err != nil {
		return err
	}
	want, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("closed: the database (%d bytes) and %v restored (%d bytes) differ at byte %d", len(want), res.Point.Pos, len(got), firstDifference(got, want))
	}
	return nil
}

// resumable says that the log still has everything behind the place where the replica stands: the next
// incarnation has no reason to ship a difference.
func (d *database) resumable(ctx context.Context) (ok bool, err error) {
	s, err := store.Open(ctx, replicaURL(d.dir))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	_, info, err := replica.Newest(ctx, s, d.newest.Timeline, replica.Pos{})
	if err != nil {
		return false, err
	}
	f, err := os.Open(databasePath(d.dir) + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	header, err := wal.ReadHeader(f)
	if err != nil || header.Salt != info.Place.Salt {
		return false, nil // restarted, or empty
	}
	at, err := header.PlaceAt(f, info.Place.Frame)
	return err == nil && at == info.Place, nil
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// replicaID is what the database's replica calls itself; "" when there is none.
func (d *database) replicaID(ctx context.Context) (id string, err error) {
	s, err := store.Open(ctx, replicaURL(d.dir))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	rep, err := replica.ReadReplica(ctx, s)
	if errors.Is(err, store.ErrNotExist) {
		return "", nil
	}
	return rep.ID.String(), err
}
