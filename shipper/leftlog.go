package shipper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"seawal/internal/fsops"
)

// # A log beside another file
//
// A process that is killed leaves its log beside the file. Where another file is moved into the place of that one, and the log is forgotten, SQLite
// would play it over the new file without a word, and the result is neither of the two. The state says which file and which log a process had
// open: the same log beside another file is moved into the state directory.

// StrayLog says why the log beside a database that nobody has open is not that of the file; "" when it is, or nothing is known of it.
func StrayLog(dbPath string, stateDirs []string) string {
	fi, err := os.Stat(dbPath + "-wal")
	if err != nil || fi.Size() == 0 {
		return ""
	}
	file, log := identify(dbPath), identify(dbPath+"-wal")
	for _, dir := range stateDirs {
		st, err := readState(dir)
		if err != nil || st == nil || st.File == nil || st.Log == nil || file == nil || log == nil {
			continue
		}
		if file.Inode != st.File.Inode && log.Inode == st.Log.Inode {
			return "another file was put in the place of the one that the log was written for"
		}
	}
	return ""
}

// MoveLogAside moves the log of a database into its state directory. Nobody has the database open.
func MoveLogAside(dbPath string) (to string, err error) {
	dir := dbPath + StateSuffix
	for n := 1; ; n++ {
		to = filepath.Join(dir, fmt.Sprintf("stray-%d-wal", n))
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err := fsops.Rename(dbPath+"-wal", to); err != nil {
		return "", err
	}
	return to, errors.Join(fsops.SyncDir(dir), fsops.SyncDir(filepath.Dir(dbPath)))
}
