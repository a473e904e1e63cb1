package shipper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
		if file.Inode != st.File.Inode && log.Inode == st.Log.Inode && isDescendant(dbPath+"-wal", dir, st) {
			return "another file was put in the place of the one that the log was written for"
		}
	}
	return ""
}

// isDescendant says whether a log is one that the state knows, or what that has become by being started again. The number of an inode is
// given to a new file when the old one is gone, and the log of a new file, with its commits, must not be taken for the old one's. Salts
// tell: SQLite adds one to the first when it starts a log again, and draws it at random for a new one.
func isDescendant(path, dir string, st *state) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() // read only
	h, err := readLogHeader(f)
	if err != nil {
		return false
	}
	const restarts = 1 << 16 // of the log, at the most, since the state was saved
	known := [][2]uint32{st.Place.Salt}
	if told, ok := readPosition(dir); ok && !told.mark.Rollback {
		known = append(known, told.mark.Salt)
	}
	for _, salt := range known {
		if salt != [2]uint32{} && h.Salt[0]-salt[0] < restarts {
			return true
		}
	}
	return false
}

// MoveLogAside moves the log of a database into its state directory. Nobody has the database open.
func MoveLogAside(dbPath string) (to string, err error) { return setAside(dbPath, dbPath+"-wal") }

// setAside moves a log to a name in the state directory that nothing else has.
func setAside(dbPath, log string) (to string, err error) {
	dir, suffix := dbPath+StateSuffix, log[strings.LastIndexByte(log, '-')+1:] // wal or journal
	for n := 1; ; n++ {
		to = filepath.Join(dir, fmt.Sprintf("stray-%d-%s", n, suffix))
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return to, moveLog(log, to)
}
