//go:build unix

package restore

import (
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/fsops/powertest"
)

// A loss of power at any moment of a restore leaves the database that was there, or the restored one, whole; never the restored one with
// the log, the journal or the state of the one before. Once Run has returned it is the restored one.
func TestRestoreLosesPower(t *testing.T) {
	for name, before := range map[string]map[string]string{
		"nothing there": nil,
		"a database":    {"app.db": "old"},
		"with its log":  {"app.db": "old", "app.db-wal": "log", "app.db-shm": "index"},
		"its journal":   {"app.db": "old", "app.db-journal": "journal"},
	} {
		t.Run(name, func(t *testing.T) {
			m := small(t)
			dir := files(t, before)
			path := filepath.Join(dir, "app.db")
			disk := powertest.Watch(t, dir, func(l powertest.Left) string {
				content, exists, whole := l.Content(path)
				switch {
				case !exists && before["app.db"] != "":
					return "there is no database any more"
				case exists && !whole:
					return "the database is not whole"
				case !exists || string(content) == before["app.db"]:
					return ""
				case string(content) != string(m.state):
					return "the database is neither the old one nor the restored one"
				}
				for _, suffix := range sidecars {
					if _, exists, _ := l.Content(path + suffix); exists {
						return "the restored database has the " + strings.TrimPrefix(suffix, "-") + " of the old one"
					}
				}
				return ""
			})
			if _, err := Run(t.Context(), m.store, Options{Output: path, Force: len(before) > 0}); err != nil {
				t.Fatal(err)
			}
			if content, _, whole := disk.Settled().Content(path); !whole || string(content) != string(m.state) {
				t.Errorf("Run has returned, and a loss of power takes the restored database away")
			}
		})
	}
}
