//go:build cgo

package vfs

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/restore"
	"seawal/shipper"
	"seawal/store"
)

// expect says why a database that is missing can't be rebuilt from what a store has, or begin there: its state directory knows a replica, and
// there is none (id is zero, and what tells so), or another database's. An empty database in its place would hide that there ever was one.
func expect(path, url string, cfg Config, id segment.ID, what error) error {
	dir := stateFolder(path, url, max(1, len(cfg.Replicas)))
	known, last, ok := shipper.Known(dir)
	if !ok || known == id {
		return nil
	}
	if !id.IsZero() {
		what = fmt.Errorf("%w, %v", shipper.ErrOtherDatabase, id)
	}
	return fmt.Errorf("restoring %s from %s: %w", path, store.Redact(url),
		&shipper.GoneError{Replica: known, Last: last, DBPath: path, StateDir: dir, Err: what})
}

// expectPoint is the error of a restore. That a replica has no point yet is none, unless there were some.
func expectPoint(path, url string, cfg Config, err error) error {
	if errors.Is(err, restore.ErrNoPoint) {
		return expect(path, url, cfg, segment.ID{}, err)
	}
	return err
}

// adopted is Config.Adopt.
func (c Config) adopted() (id segment.ID, err error) {
	if c.Adopt == "" {
		return id, nil
	}
	if id, err = segment.ParseID(c.Adopt); err != nil {
		return id, fmt.Errorf("%w: Adopt (_adopt) is %q; use the id of a replica, 32 hex digits, as the error that asks for it names it", ErrConfig, c.Adopt)
	}
	return id, nil
}

// ofAnother says that a replica was made for another database, which is on this machine too: a missing one isn't rebuilt from it.
func ofAnother(path, url string, rep replica.Replica) error {
	other := shipper.OriginHere(rep, path)
	if other == "" {
		return nil
	}
	return fmt.Errorf("%w: %s is the replica of %q, which is here too, and %s is missing; give it a URL of its own (_replica=…, or %s with {dir} or {path} in it), "+
		"or restore it there with the command restore", shipper.ErrOtherDatabase, store.Redact(url), other, path, EnvReplica)
}

// hasNothing says that a database is missing or empty, and no log has anything of it.
func hasNothing(path string) bool {
	return !slices.ContainsFunc([]string{path, path + "-wal"}, func(name string) bool {
		fi, err := os.Stat(name)
		return err == nil && fi.Size() > 0
	})
}
