package vfs

import (
	"errors"
	"fmt"

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
