package restore

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"seawal/internal/fsops"
	"seawal/internal/killpoint"
)

// newFileMode is the mode of a restored file that replaces none, and of the temporary one until it has its name. Who may read the database
// isn't known from the replica, so nobody else may.
const newFileMode = 0o600

// sidecars are the files that SQLite keeps beside a database. A log or a journal left there
// by another database would be replayed into the restored one.
var sidecars = []string{"-wal", "-journal", "-shm"}

// stateFolder has a file state.json, or with several replicas a folder with one for each, that says how far the
// database that is replaced was replicated. They must not meet the restored one: what is older
// than they say looks like a loss, which the next open would make good.
const stateFolder = "-seawal"

// besides are the suffixes of the files beside the database at path that must not meet another one.
func besides(path string) (suffixes []string, err error) {
	suffixes = append(slices.Clone(sidecars), stateFolder+"/state.json")
	entries, err := os.ReadDir(path + stateFolder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for the state of the replaced database: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			suffixes = append(suffixes, stateFolder+"/"+e.Name()+"/state.json")
		}
	}
	return suffixes, nil
}

// output is the place where the database will be.
type output struct {
	path    string // a symbolic link is followed: what it points to is replaced
	exists  bool
	info    fs.FileInfo // of what is there
	replace bool        // it may be replaced
}

// openOutput looks at the output and changes nothing. skip says that there is nothing to do.
func openOutput(path string, ifMissing, force bool) (out *output, skip bool, err error) {
	if path == "" {
		return nil, false, errors.New("no output given")
	}
	if path, err = followLink(path); err != nil {
		return nil, false, err
	}
	out = &output{path: path, replace: force}
	fi, err := os.Stat(path)
	switch {
	case err == nil && fi.IsDir():
		return nil, false, fmt.Errorf("%s is a folder: name the file to be written in it", path)
	case err == nil && !fi.Mode().IsRegular():
		return nil, false, fmt.Errorf("%s is not a regular file", path)
	case err == nil:
		out.exists, out.info = true, fi
	case !errors.Is(err, fs.ErrNotExist):
		return nil, false, fmt.Errorf("look at output: %w", err)
	}
	if out.exists && ifMissing && !force {
		return out, true, nil
	}
	if err := out.check(); err != nil {
		return nil, false, err
	}
	return out, false, nil
}

// followLink returns the path that a symbolic link at path leads to, also if nothing is there.
func followLink(path string) (string, error) {
	for range 40 {
		to, err := os.Readlink(path)
		if err != nil {
			return path, nil // no link
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", fmt.Errorf("look at output %s: %w", path, syscall.ELOOP)
}

// check says whether the output may be written.
func (o *output) check() error {
	dir := filepath.Dir(o.path)
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the output's folder: %w", err)
	}
	if !fi.IsDir() {
		return fmt.Errorf("the output's folder %s is a file", dir)
	}
	if o.replace {
		if o.exists {
			return checkUnused(o.path)
		}
		return nil
	}
	if o.exists {
		return fmt.Errorf("%w: %s", ErrExists, o.path)
	}
	return o.checkSidecars()
}

// checkSidecars says whether there is a log or a journal that SQLite would replay into the restored database.
func (o *output) checkSidecars() error {
	for _, suffix := range sidecars[:2] {
		if fi, err := os.Stat(o.path + suffix); err == nil && fi.Size() > 0 {
			return fmt.Errorf("%w: %s%s is there without its database, and SQLite would replay it into the restored one: move it away first, or restore with --force, which removes it", ErrExists, o.path, suffix)
		}
	}
	return nil
}

// create creates the temporary file, beside the output so that a rename is all
// that is left to do.
func (o *output) create() (*os.File, error) {
	f, err := os.OpenFile(o.hidden("restore"), os.O_RDWR|os.O_CREATE|os.O_EXCL, newFileMode)
	if err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	if o.exists { // whose owner and mode are taken as they are
		err := takeOwner(f, o.info)
		if err == nil {
			err = f.Chmod(o.info.Mode().Perm())
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("set mode of temporary file: %w", err), f.Close(), os.Remove(f.Name()))
		}
	}
	return f, nil
}

// hidden is a name beside the output that nothing else uses.
func (o *output) hidden(what string) string {
	var b [8]byte
	rand.Read(b[:])
	return filepath.Join(filepath.Dir(o.path), "."+filepath.Base(o.path)+"."+what+"-"+hex.EncodeToString(b[:]))
}

// publish gives the finished, synced file tmp the output's name. On an error
// everything at the output is as it was, and tmp is still there.
func (o *output) publish(tmp string) error {
	if o.replace {
		return o.publishOver(tmp)
	}
	if err := o.checkSidecars(); err != nil { // again: it was long ago
		return err
	}
	if err := linkNew(tmp, o.path); err != nil {
		return err
	}
	killpoint.Hit("restore/new-in-place")
	return syncFolder(filepath.Dir(o.path))
}

// linkNew gives tmp the name path, unless something has it by now: a rename
// would overwrite that.
func linkNew(tmp, path string) error {
	err := fsops.Link(tmp, path)
	switch {
	case err == nil:
		killpoint.Hit("restore/linked")
		if err := fsops.Remove(tmp); err != nil {
			return fmt.Errorf("remove temporary name: %w", err)
		}
		return nil
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s appeared during the restore", ErrExists, path)
	}
	// A file system without hard links.
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%w: %s appeared during the restore", ErrExists, path)
	}
	if err := fsops.Rename(tmp, path); err != nil {
		return fmt.Errorf("put restored file in place: %w", err)
	}
	return nil
}

func syncFolder(dir string) error {
	if err := fsops.SyncDir(dir); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
