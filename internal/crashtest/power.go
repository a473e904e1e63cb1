package crashtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"seawal/internal/machine"
	"seawal/internal/wal"
	"seawal/restore"
)

// Of the wal-index, which outlives the process: how many frames a checkpoint may have
// brought into the database file, in native byte order, and the salts that it is about.
const (
	shmSalt             = 32
	shmBackfillAttempts = 128
)

// anywhere is a random byte.
func (d *database) anywhere(floor, size int64) int64 { return floor + d.r.Int64N(size-floor) }

// losePower cuts the log, at a byte that at draws: what SQLite had not synced is gone. Frames
// that a checkpoint has copied were synced before, and stay. It returns false if there is nothing to cut.
func (d *database) losePower(ctx context.Context, at func(floor, size int64) int64) (bool, error) {
	path := databasePath(d.dir) + "-wal"
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) <= wal.HeaderSize {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	header, err := wal.ParseHeader(b)
	if err != nil {
		return false, nil // nothing was ever committed there
	}
	shm, err := os.ReadFile(databasePath(d.dir) + "-shm")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // with locking_mode=EXCLUSIVE nobody but the process knew
	}
	if err != nil {
		return false, err
	}
	if len(shm) < shmBackfillAttempts+4 || !bytes.Equal(shm[shmSalt:shmSalt+8], b[16:24]) {
		return false, nil // the log was about to be restarted: all of it was synced
	}
	copied := max(binary.NativeEndian.Uint32(shm[shmBackfillAttempts:]), syncedTo(d.dir, header))
	floor := header.FrameOffset(copied + 1)
	if floor >= int64(len(b)) {
		return false, nil
	}
	cut := at(floor, int64(len(b)))
	if err := os.Truncate(path, cut); err != nil {
		return false, err
	}
	before := d.local.last()
	if d.local, err = d.readCopy(ctx); err != nil {
		return false, fmt.Errorf("the log was cut at byte %d of %d: %w", cut, len(b), err)
	}
	d.hasLostPower = true
	d.stats.Lost += int(before - d.local.last())
	if !d.newest.IsZero() {
		d.stale = d.held
	}
	d.isCut, d.cutT = true, d.local.last()
	if d.isReboot = d.r.IntN(4) > 0; d.isReboot {
		if err := d.reboot(); err != nil {
			return false, err
		}
	}
	d.durableT = min(d.durableT, d.local.last())
	d.keptT = d.durableT
	return true, nil
}

// bootFile says, in the folder of a database, when its machine was started last: a process pretends that.
const bootFile = "boot.json"

// reboot starts the machine again: what the files of the database are now is what the power has left. Without it,
// seawal takes the cut for something that a person did.
func (d *database) reboot() error {
	b := machine.Boot{ID: fmt.Sprint("boot ", d.r.Uint64()), Time: time.Now().UnixNano()}
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.dir, bootFile), text, 0o600); err != nil {
		return err
	}
	// The clock of the file system ticks every few milliseconds: what is written from now on has to show.
	time.Sleep(fileTick)
	return nil
}

// fileTick is longer than a tick of the clock by which the kernel tells the times of files.
const fileTick = 20 * time.Millisecond

// pretendBoot makes a process believe what reboot has written.
func pretendBoot(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, bootFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var b machine.Boot
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	machine.Pretend(databasePath(dir), b)
	return err
}

// syncedTo is the frame of a log that seawal has synced, as far as its state folder says: what it was at when it attached, or since.
func syncedTo(dir string, h wal.Header) (frame uint32) {
	b, err := os.ReadFile(filepath.Join(statePath(dir), "state.json"))
	var st struct{ Place wal.Place }
	if err == nil && json.Unmarshal(b, &st) == nil && st.Place.Salt == h.Salt {
		return st.Place.Frame
	}
	return 0
}

// afterPowerLoss looks at what became of a database whose log was cut, in the next incarnation.
func (d *database) afterPowerLoss(ctx context.Context, j job, events []event) error {
	for _, e := range events {
		switch {
		case e.Kind == refused && d.isReboot && !j.Store.isBad():
			return fmt.Errorf("refused with %q, and not rolled forward, after the machine was started again", e.Text)
		case e.Kind == refused:
			return d.mend(ctx, e)
		case e.Kind == seen && e.T > d.cutT:
			d.stats.Rolled++
		case e.Kind != confirmed || e.Stat == nil:
			continue
		case d.stale != nil && !d.local.has(d.stale.last(), d.stale.head()) && e.Pos.Timeline == d.newest.Timeline && !d.resynced:
			return fmt.Errorf("the replica had transaction %d at %v, the database lost it, and shipping went on to %v without a word", d.stale.last(), d.newest, e.Pos)
		}
		d.stats.Resumed++
		d.isCut = false
		return nil
	}
	return nil // killed before it came to that
}

// mend restores a database that is behind its replica, or goes on without what it lost.
func (d *database) mend(ctx context.Context, e event) error {
	d.stats.Behind++
	if e.Stat.Mode != "behind" || e.Stat.LastError == "" {
		return fmt.Errorf("refused with %q, and the status is %+v", e.Text, e.Stat)
	}
	d.isCut = false
	at := d.newest
	if d.local.last() != d.cutT || d.r.IntN(2) == 0 {
		_, res, err := d.restoreTo(ctx, "app.db", 0, restore.Newest())
		if err != nil {
			return err
		}
		if res.Point.Pos != at {
			return fmt.Errorf("refused, and the replica went from %v to %v", at, res.Point.Pos)
		}
		d.local, d.stale = d.held, nil
		d.durableT = d.held.last()
		return nil
	}
	// A database that is far from the replica would be taken for another one without its state folder.
	d.keptT, d.askFirst = d.durableT, true
	return os.RemoveAll(databasePath(d.dir) + "-seawal")
}
