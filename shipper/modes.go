package shipper

import (
	"os"
	"path/filepath"
	"strings"
)

// The state directory can be read by whoever can read the database, and by nobody else: what is in it tells no more than the
// database does, and a backup of the database's directory, run by another user, must not fail on it.

// fitModes gives the state directory, and what is in it already, the mode of the database: what may be read there may be listed
// here. What is somebody else's stays as it is.
func fitModes(dir, dbPath string) {
	if top := filepath.Dir(dir); strings.HasSuffix(top, StateSuffix) {
		fitModes(top, dbPath) // one of several replicas
	}
	db, err := os.Stat(dbPath)
	if err != nil {
		return
	}
	file := db.Mode().Perm() & 0o666
	mode := file | file&0o444>>2 | 0o700
	if fi, err := os.Stat(dir); err == nil && fi.Mode().Perm() != mode {
		_ = os.Chmod(dir, mode)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() && fi.Mode().Perm() != file|0o600 {
			_ = os.Chmod(filepath.Join(dir, e.Name()), file|0o600)
		}
	}
}

// fileMode is the mode for a file in the state directory.
func fileMode(dir string) os.FileMode {
	fi, err := os.Stat(dir)
	if err != nil {
		return 0o600
	}
	return fi.Mode().Perm()&0o666 | 0o600
}

// openStateFile opens a file of the state directory; one that is made has the mode that fits there, whatever the umask is. It follows
// no symbolic link: where others may write to the directory, one could lead our writing to any file of the user's.
func openStateFile(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	mode := fileMode(filepath.Dir(path))
	if fi, err := f.Stat(); err == nil && fi.Mode().Perm() != mode {
		_ = f.Chmod(mode) // it may be somebody else's, who has seen to it
	}
	return f, nil
}
