package shipper

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"seawal/internal/fsops"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/wal"
)

// # A close that can't ship everything
//
// What the replica lacks stays in the WAL, for the next open to ship one by one. A WAL that lies beside the file is a danger there: a
// copy of the file alone lacks its commits, and SQLite plays it over whatever is put in the place of the file. So package vfs brings
// it into the file, as the last connection does with plain SQLite, and moves it into the state directory (KeepLog). The next open
// moves it back (RestoreLog), if the file still is what the WAL has made of it: to play it again changes nothing then.
//
// With the WAL in the file nothing in the pages tells at which transaction it began. Its salts and frames do where the replica ends
// in this WAL, since every segment names its place. Where the replica ends at the start of the WAL, only this process knows
// that, and leaves it in the state:
//
//	              the replica has          the replica lacks
//	before        ──────────────┤ WAL ├────────────────────── state.Left names the start
//	in the WAL    ────── WAL ├───────┤ segment's place ├───── the segment names its end

// leftLog is where the replica ended in the WAL when it was left to the next process.
type leftLog struct {
	At    replica.Pos `json:"at"`
	After string      `json:"after"` // checksum of the database at At, hex
	Place wal.Place   `json:"place"`
}

// leaveLog notes, at the end, where the replica ends in the WAL, if nothing else tells the next process. The Shipper works no more and still
// has the lock of its state directory. A failure costs the transactions in the WAL their points, or (isPlaced) leaves it beside the file.
func (s *Shipper) leaveLog() {
	placed, err := s.placeLog()
	if err != nil {
		s.log.Warn("noting where the replica ends in the log", "err", err)
	}
	s.mu.Lock()
	s.isPlaced = placed && err == nil
	s.mu.Unlock()
}

// LogIsPlaced says, after Close, whether the WAL may be brought into the database file: the next process finds the transactions in it
// that the replica lacks all the same, or never could.
func (s *Shipper) LogIsPlaced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isPlaced
}

func (s *Shipper) placeLog() (placed bool, err error) {
	f, err := openLog(s.src)
	if err != nil {
		return false, unlessMoved(err)
	}
	defer f.Close() // read only
	h, err := readLogHeader(f)
	if err != nil {
		return false, unlessMoved(err)
	}
	st, err := readState(s.cfg.StateDir)
	if err != nil {
		return false, err
	}
	if st == nil {
		// Else the state directory may have been lost, and what the file was before the WAL is all that proves anything.
		return s.cfg.BeganEmpty || s.cfg.LogKept, nil
	}
	if s.isMapped() {
		return true, s.leaveMapped(st, h)
	}
	return s.leaveUnmapped(st, h)
}

// leaveMapped is leaveLog of a Shipper that has attached: it knows by their numbers which commits came before the WAL.
func (s *Shipper) leaveMapped(st *state, h wal.Header) error {
	src, ok := s.src.(LogWatcher)
	if !ok {
		return nil
	}
	salt, before, ok := src.LogBegan()
	s.mu.Lock()
	durable, at := replica.Pos{Timeline: s.timeline, Tx: s.durable}, s.base+before
	s.mu.Unlock()
	if !ok || salt != h.Salt || at != durable.Tx {
		return nil // it ends in the WAL, or what came between is in no file any more
	}
	pos, after := lastConfirmed(s.cfg.StateDir, st)
	if pos != durable {
		return nil
	}
	return s.saveLeft(st, leftLog{At: pos, After: after, Place: h.Start()})
}

// leaveUnmapped is leaveLog of a Shipper that no store has answered.
func (s *Shipper) leaveUnmapped(st *state, h wal.Header) (placed bool, err error) {
	if !isConfirmed(s.cfg.StateDir, st) {
		return true, nil // the replica has nothing
	}
	if st.Left != nil && st.Left.Place.Salt == h.Salt {
		return true, nil
	}
	if st.isAsClosed(s.cfg.DBPath) {
		return true, s.saveLeft(st, leftLog{At: st.Position, After: st.After, Place: h.Start()})
	}
	if st.Place.Salt == h.Salt {
		return true, nil
	}
	// The process before was killed. Its last word names the WAL, and how many of the commits in it the replica lacked.
	told, ok := s.readPosition()
	if !ok || told.mark.Rollback || told.mark.Salt != h.Salt {
		return false, nil
	}
	r, err := openRange(s.src, h.Start(), told.mark.Frame)
	if err != nil {
		return false, unlessMoved(err)
	}
	defer r.close() // read only
	return told.captured-told.durable < uint64(len(r.commits)), nil
}

func (s *Shipper) saveLeft(st *state, left leftLog) error {
	st.Left = &left
	return s.saveState(st)
}

// lastConfirmed is the newest position that a state directory knows to be in the replica, with the checksum of the database there.
func lastConfirmed(dir string, st *state) (pos replica.Pos, after string) {
	if x := readConfirmed(dir, st.Replica); x.pos.Compare(st.Position) > 0 {
		return x.pos, x.after.String()
	}
	return st.Position, st.After
}

// proveByLeft sees whether the process before has left word of where the replica ends in the WAL.
func (s *Shipper) proveByLeft(o origin, p *pinned, pl *plan) (bool, error) {
	st := s.state
	if st == nil || st.Left == nil || st.Left.After != o.after.String() || !s.isSame(st.Left.At, o.pos) {
		return false, nil
	}
	return s.proveByLog(st.Left.Place, p, pl)
}

// LogWatcher is a Source that knows when a WAL began.
type LogWatcher interface {
	// LogBegan returns the salts of the WAL and the last ticket before its first commit; ok is false when the Source did not see it begin.
	LogBegan() (salt [2]uint32, ticket uint64, ok bool)
}

// keptFile is the name of a WAL in the state directory of its database.
const keptFile = "unshipped-wal"

// KeptLog is where the WAL of a database is kept while that is closed with something unshipped.
func KeptLog(dbPath string) string { return filepath.Join(dbPath+StateSuffix, keptFile) }

// HasKeptLog says whether there is one.
func HasKeptLog(dbPath string) bool {
	_, err := os.Lstat(KeptLog(dbPath))
	return err == nil
}

// errUnlike says that a database file doesn't have in it what its WAL has.
var errUnlike = errors.New("the file doesn't have in it what the log has")

// KeepLog moves the WAL of a database into its state directory. The caller has the database to itself. It is an error when not all of the
// WAL is in file, which is size bytes long. A WAL without a commit is left alone: nobody would play it over anything.
func KeepLog(dbPath string, file io.ReaderAt, size int64) error {
	from := dbPath + "-wal"
	switch n, err := compareLog(from, file, size); {
	case errors.Is(err, fs.ErrNotExist), err == nil && n == 0:
		return nil
	case err != nil:
		return err
	}
	if HasKeptLog(dbPath) {
		if _, err := setAside(dbPath, KeptLog(dbPath)); err != nil {
			return err
		}
	}
	if err := moveLog(from, KeptLog(dbPath)); err != nil {
		return err
	}
	return removeIndex(dbPath)
}

// RestoreLog moves the WAL that KeepLog has moved back to its place. The caller has the database to itself. Where file, which is size bytes
// long, is not what the WAL has made of it, or has another one beside it, the WAL is set aside, and text says so.
func RestoreLog(dbPath string, file io.ReaderAt, size int64) (text string, err error) {
	why := ""
	if fi, err := os.Stat(dbPath + "-wal"); err == nil && fi.Size() > 0 {
		why = "another program has left a log beside the database since"
	} else {
		_, err := compareLog(KeptLog(dbPath), file, size)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return "", nil // another process was faster
		case errors.Is(err, errUnlike):
			why = "the database file was replaced or written since it was closed"
		case err != nil:
			return "", err
		}
	}
	if why == "" {
		if err := removeIndex(dbPath); err != nil {
			return "", err
		}
		return "", moveLog(KeptLog(dbPath), dbPath+"-wal")
	}
	return setKeptAside(dbPath, why)
}

// SetKeptLogAside takes a kept WAL out of the way whose database is gone.
func SetKeptLogAside(dbPath string) (text string, err error) {
	return setKeptAside(dbPath, "the database file that it was kept for is gone")
}

func setKeptAside(dbPath, why string) (text string, err error) {
	to, err := setAside(dbPath, KeptLog(dbPath))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil // another process was faster
	case err != nil:
		return "", err
	}
	return fmt.Sprintf("%s: the log with the transactions that had not been shipped was moved to %s, and they have no points of their own in the replica", why, to), nil
}

// removeIndex removes the wal-index, which nobody has open.
func removeIndex(dbPath string) error {
	if err := os.Remove(dbPath + "-shm"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func moveLog(from, to string) error {
	if err := fsops.Rename(from, to); err != nil {
		return err
	}
	return errors.Join(fsops.SyncDir(filepath.Dir(to)), fsops.SyncDir(filepath.Dir(from)))
}

// compareLog reads a WAL, and returns how many commits it has. The error is errUnlike when they are not in the database file, to the byte. It takes 8
// bytes of memory a page that the WAL has.
func compareLog(path string, file io.ReaderAt, size int64) (commits int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close() // read only
	h, err := readLogHeader(f)
	if err != nil {
		return 0, unlessMoved(err)
	}
	newest, pages, commits, err := lastFrames(f, h, nil)
	if err != nil || commits == 0 {
		return commits, err
	}
	if size != int64(pages)*int64(h.PageSize) {
		return commits, fmt.Errorf("%w: it has %d bytes, and %d pages of %d are to be there", errUnlike, size, pages, h.PageSize)
	}
	was, is := make([]byte, h.PageSize), make([]byte, h.PageSize)
	lock := pagesum.LockPage(h.PageSize)
	for page, frame := range newest {
		if page > pages || page == lock {
			continue
		}
		if _, err := f.ReadAt(was, h.FrameOffset(frame)+wal.FrameHeaderSize); err != nil {
			return commits, fmt.Errorf("read frame %d of %s: %w", frame, path, err)
		}
		if _, err := file.ReadAt(is, int64(page-1)*int64(h.PageSize)); err != nil {
			return commits, fmt.Errorf("read page %d of the database: %w", page, err)
		}
		if string(was) != string(is) {
			return commits, fmt.Errorf("%w: page %d", errUnlike, page)
		}
	}
	return commits, nil
}

// lastFrames finds the newest committed frame of each page in a WAL, and the size of the database after them, in pages. end, unless it is nil,
// gets the place of the last commit.
func lastFrames(f *os.File, h wal.Header, end *wal.Place) (newest map[uint32]uint32, pages uint32, commits int, err error) {
	newest = map[uint32]uint32{}
	var open []uint32 // pages since the last commit
	rd := wal.NewReader(f, h, h.Start())
	for frame := (wal.Frame{}); ; {
		switch err := rd.Next(&frame); {
		case err == io.EOF:
			return newest, pages, commits, nil
		case err != nil:
			return nil, 0, 0, err
		}
		open = append(open, frame.Page)
		if frame.Commit == 0 {
			continue
		}
		for i, page := range open {
			newest[page] = frame.Index - uint32(len(open)-1-i)
		}
		open, pages = open[:0], frame.Commit
		commits++
		if end != nil {
			*end = rd.Place()
		}
	}
}
