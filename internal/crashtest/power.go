package crashtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"seawal/internal/wal"
	"seawal/restore"
)

// Of the wal-index, which outlives the process: how many frames a checkpoint may have
// brought into the database file, in native byte order, and the salts that it is about.
const (
	shmSalt             = 32
	shmBackfillAttempts = 128
)

// losePower cuts the log at a random byte: what SQLite had not synced is gone. Frames
// that a checkpoint has copied were synced before, and stay.
func (h *history) losePower(ctx context.Context) error {
	path := databasePath(h.dir) + "-wal"
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) <= wal.HeaderSize {
		return nil
	}
	if err != nil {
		return err
	}
	header, err := wal.ParseHeader(b)
	if err != nil {
		return nil // nothing was ever committed there
	}
	shm, err := os.ReadFile(databasePath(h.dir) + "-shm")
	if err != nil {
		return err
	}
	if len(shm) < shmBackfillAttempts+4 || !bytes.Equal(shm[shmSalt:shmSalt+8], b[16:24]) {
		return nil // the log was about to be restarted: all of it was synced
	}
	copied := binary.NativeEndian.Uint32(shm[shmBackfillAttempts:])
	floor := header.FrameOffset(copied + 1)
	if floor >= int64(len(b)) {
		return nil
	}
	cut := floor + h.r.Int64N(int64(len(b))-floor)
	if err := os.Truncate(path, cut); err != nil {
		return err
	}
	before := h.local.last()
	if h.local, err = h.readCopy(ctx); err != nil {
		return fmt.Errorf("the log was cut at byte %d of %d: %w", cut, len(b), err)
	}
	h.stats.PowerLosses++
	h.stats.Lost += int(before - h.local.last())
	if !h.newest.IsZero() {
		h.stale = h.held
	}
	h.isCut, h.cutT = true, h.local.last()
	if h.isReboot = h.r.IntN(4) > 0; h.isReboot {
		if err := h.reboot(); err != nil {
			return err
		}
	}
	h.durableT = min(h.durableT, h.local.last())
	h.keptT = h.durableT
	return nil
}

// boot is the line of state.json that names the machine's boot.
var boot = regexp.MustCompile(`"boot": "[^"]*"`)

// reboot makes the state folder one that was written before the machine was started again. Without it, seawal takes
// the cut for something that a person did.
func (h *history) reboot() error {
	name := filepath.Join(databasePath(h.dir)+"-seawal", "state.json")
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(name, boot.ReplaceAll(b, []byte(`"boot": "the one before"`)), 0o600)
}

// afterPowerLoss looks at what became of a database whose log was cut, in the next incarnation.
func (h *history) afterPowerLoss(ctx context.Context, events []event) error {
	for _, e := range events {
		switch {
		case e.Kind == refused && h.isReboot:
			return fmt.Errorf("refused with %q, and not rolled forward, after the machine was started again", e.Text)
		case e.Kind == refused:
			return h.mend(ctx, e)
		case e.Kind == seen && e.T > h.cutT:
			h.stats.Rolled++
		case e.Kind != confirmed || e.Stat == nil:
			continue
		case h.stale != nil && !h.local.has(h.stale.last(), h.stale.head()) && e.Pos.Timeline == h.newest.Timeline && !h.resynced:
			return fmt.Errorf("the replica had transaction %d at %v, the database lost it, and shipping went on to %v without a word", h.stale.last(), h.newest, e.Pos)
		}
		h.stats.Resumed++
		h.isCut = false
		return nil
	}
	return nil // killed before it came to that
}

// mend restores a database that is behind its replica, or goes on without what it lost.
func (h *history) mend(ctx context.Context, e event) error {
	h.stats.Behind++
	if e.Stat.Mode != "behind" || e.Stat.LastError == "" {
		return fmt.Errorf("refused with %q, and the status is %+v", e.Text, e.Stat)
	}
	h.isCut = false
	at := h.newest
	if h.local.last() != h.cutT || h.r.IntN(2) == 0 {
		_, res, err := h.restoreTo(ctx, "app.db", 0, restore.Newest())
		if err != nil {
			return err
		}
		if res.Point.Pos != at {
			return fmt.Errorf("refused, and the replica went from %v to %v", at, res.Point.Pos)
		}
		h.local, h.stale = h.held, nil
		h.durableT = h.held.last()
		return nil
	}
	// A database that is far from the replica would be taken for another one without its state folder.
	h.keptT, h.askFirst = h.durableT, true
	return os.RemoveAll(databasePath(h.dir) + "-seawal")
}
