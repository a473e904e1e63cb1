//go:build cgo

package vfs

import (
	"fmt"

	"seawal/shipper"
)

// moveStrayLog takes a log that isn't that of the file out of SQLite's way, which would play it over the file. It returns what it did.
func moveStrayLog(path string, dirs []string, t target) (text string, err error) {
	why := shipper.StrayLog(path, dirs)
	if why == "" {
		return "", nil
	}
	if t.query.Get("mode") == "ro" || t.query.Get("immutable") != "" {
		return "", fmt.Errorf("%s-wal is not the log of %s: %s; move it away, or open the database for writing once", path, path, why)
	}
	f, err := claimFile(path, t.cfg.VFS)
	if err != nil {
		t.cfg.logger().Warn("the log beside the database isn't that of the file, and others use it", "database", path, "why", why, "error", err)
		return "", nil // SQLite has recovered it for them
	}
	defer f.Close()
	if why = shipper.StrayLog(path, dirs); why == "" {
		return "", nil
	}
	to, err := shipper.MoveLogAside(path)
	if err != nil {
		return "", fmt.Errorf("%s-wal is not the log of %s (%s), and moving it away failed: %w; move it away by hand", path, path, why, err)
	}
	text = fmt.Sprintf("%s: the log was moved to %s, with the transactions in it that had not been shipped", why, to)
	t.cfg.logger().Warn(text, "database", path)
	return text, nil
}
