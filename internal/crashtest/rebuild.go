package crashtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"seawal/restore"
	"seawal/store"
)

// run is the process that restores.
func (o *rebuild) run(ctx context.Context) (err error) {
	s, err := store.Open(ctx, replicaURL(o.Dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	_, err = restore.Run(ctx, s, restore.Options{Output: o.Output, Force: o.Force})
	return err
}

// checkRebuilt looks at what a restore has left: the whole new database or, if it was killed, what was there before.
// Another one then has to come to the end.
func (d *database) checkRebuilt(ctx context.Context, o *rebuild, killed bool) error {
	want, err := os.ReadFile(filepath.Join(d.dir, "restored.db"))
	if err != nil {
		return err
	}
	got, err := os.ReadFile(o.Output)
	switch {
	case err == nil && bytes.Equal(got, want):
		_, err := os.Stat(o.Output + "-wal")
		if killed && o.Force && err == nil {
			// The database that was to be replaced may be at that point itself, with its own log beside it, whose frames are in it.
			err = d.checkSpared(ctx, o)
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		} else {
			err = errors.Join(err, errors.New("nothing was to be there"))
		}
		if err != nil {
			return fmt.Errorf("the restored file is in place, and so is the log of another one (%v)", err)
		}
	case !killed:
		return fmt.Errorf("restore has ended, and the file is not the replica's newest point (%v)", err)
	case o.Force:
		if err := d.checkSpared(ctx, o); err != nil {
			return fmt.Errorf("restore was killed before the file was in place: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("restore was killed, and the file is half of something (%v)", err)
	}
	again := *o
	again.Force = true
	if err := again.run(ctx); err != nil {
		return fmt.Errorf("restore again: %w", err)
	}
	if got, err = os.ReadFile(o.Output); err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("restored again, the file is not the replica's newest point (%v)", err)
	}
	return nil
}

// checkSpared looks for the database that was to be replaced: it must be there, and whole without its log if that was moved aside.
func (d *database) checkSpared(ctx context.Context, o *rebuild) error {
	dir := filepath.Dir(o.Output)
	hidden := "." + filepath.Base(o.Output) + ".replaced"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		suffix, ok := strings.CutPrefix(e.Name(), hidden)
		if !ok {
			continue
		}
		suffix = suffix[:strings.LastIndexByte(suffix, '-')] // without what makes the name its own
		if suffix == "-wal" || suffix == "-shm" {
			continue
		}
		if suffix == "-seawal-state.json" {
			suffix = "-seawal/state.json"
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), o.Output+suffix); err != nil {
			return err
		}
	}
	b, err := readFile(ctx, o.Output)
	if err != nil {
		return err
	}
	if b.last() != d.local.last() || b.head() != d.local.head() {
		return fmt.Errorf("the database that was to be replaced is at transaction %d (%x), and was at %d", b.last(), b.head(), d.local.last())
	}
	return nil
}
