package vfs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/vfs"
)

// A replica is as much worth to a thief as its database; and a backup of the database's directory reads the state directory too.
func TestPermissionsFollowTheDatabase(t *testing.T) {
	for _, tt := range []struct {
		name            string
		db, dir, file   fs.FileMode // the database, then its state directory and what is in there
		stateDirIsThere bool        // with a mode that doesn't fit
	}{
		{name: "for the owner", db: 0o600, dir: 0o700, file: 0o600},
		{name: "for the group", db: 0o660, dir: 0o770, file: 0o660},
		{name: "readable by all", db: 0o644, dir: 0o755, file: 0o644},
		{name: "of an earlier version", db: 0o600, dir: 0o700, file: 0o600, stateDirIsThere: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPlace(t)
			if err := os.WriteFile(p.path, nil, tt.db); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(p.path, tt.db); err != nil { // the umask
				t.Fatal(err)
			}
			if tt.stateDirIsThere {
				if err := os.Mkdir(p.path+"-seawal", 0o755); err != nil {
					t.Fatal(err)
				}
			}
			db := p.open("")
			defer db.Close()
			mustExec(t, db, "CREATE TABLE t(a)")
			if err := vfs.Flush(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			check := func(root string, dir, file fs.FileMode) {
				n := 0
				err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
					if err != nil {
						return err
					}
					fi, err := e.Info()
					if err != nil {
						return err
					}
					want := file
					if e.IsDir() {
						want = dir
					} else if !fi.Mode().IsRegular() {
						t.Errorf("%s is no plain file: %v", path, fi.Mode())
					} else if _, err := os.ReadFile(path); err != nil {
						t.Error(err)
					}
					if fi.Mode().Perm() != want {
						t.Errorf("%s has the mode %v, want %v", path, fi.Mode().Perm(), want)
					}
					n++
					return nil
				})
				if err != nil || n < 3 {
					t.Fatalf("%d files in %s, %v", n, root, err)
				}
			}
			check(p.path+"-seawal", tt.dir, tt.file)
			check(strings.TrimPrefix(p.replica, "file://"), 0o700, 0o600)
		})
	}
}
