package shipper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"seawal/internal/fsops"
	"seawal/internal/killpoint"
	"seawal/internal/machine"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
)

// Files of the state folder. All of it can be rebuilt from the database and the
// replica; what is lost with it is the knowledge that we were the last writer, so
// that the next start opens a new timeline.
const (
	stateFile = "state.json"
	pagesFile = "pages"
	lockFile  = "lock"
	newSuffix = ".new"
)

// saveEvery is after how many segments the state is saved while running. A restart
// after a crash reads what was shipped since, to bring the table of checksums
// up to date: at most 256 segments, some seconds. In return a segment costs
// 1/256 of writing 8 bytes a page.
const saveEvery = 256

// While little is shipped, and the table is small enough (1 MiB for fewPages), the state is saved more often: after saveOften segments, once saveWait has
// passed. A restart after a crash then asks the store for some forty segments where one is shipped each second.
const (
	saveOften = 16
	saveWait  = 30 * time.Second
	fewPages  = 128 << 10
)

// state is state.json. The table in the pages file belongs to it when its total
// is After; a crash between writing the two makes the table worthless, no more.
type state struct {
	Format   int         `json:"format"`
	Replica  segment.ID  `json:"replica"`
	Writer   segment.ID  `json:"writer"` // whose segments are ours
	Position replica.Pos `json:"position"`
	Time     int64       `json:"time,omitempty"`   // commit time of Position, unix nanoseconds; 0: not known
	After    string      `json:"after"`            // checksum of the database at Position, hex
	Place    wal.Place   `json:"place"`            // of Position in the log
	Clean    *fileStat   `json:"clean,omitempty"`  // of the database file, when it held Position and the log was empty
	Boot     string      `json:"boot"`             // of the machine, when this was written: only the end of it loses what was committed
	Behind   bool        `json:"behind,omitempty"` // the database was found at an earlier point than Position
	Census   []census    `json:"census,omitempty"` // how many objects the replica has had
	Found    *found      `json:"found,omitempty"`  // where, when a loss of power had brought it there
	File     *fileID     `json:"file,omitempty"`   // the database file, when this was written
	Log      *fileID     `json:"log,omitempty"`    // its log, likewise; nil: there was none
	Synced   replica.Pos `json:"synced,omitzero"`  // a loss of power can't bring the database back behind it
	Left     *leftLog    `json:"left,omitempty"`   // where Position is in a log that was left to the next process
	Pages    *tableRef   `json:"pages,omitempty"`  // what the pages file is of, where that isn't Position

	Header string        `json:"header,omitempty"` // of the database file, hex, as of Clean
	Damage []damagedPage `json:"damage,omitempty"` // pages that no transaction wrote as they are
}

// tableRef names a table of page checksums.
type tableRef struct {
	At  replica.Pos `json:"at"`
	Sum string      `json:"sum"` // of the whole database, hex
}

const stateFormat = 1

// openFolder makes, locks and reads the state folder, once.
func (s *Shipper) openFolder() error {
	if s.lock != nil {
		return nil
	}
	if err := s.errFileGone(); err != nil {
		return err
	}
	dir := s.cfg.StateDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make state folder: %w", err)
	}
	fitModes(dir, s.cfg.DBPath)
	l, err := s.takeLock()
	if err != nil {
		return err
	}
	st, table, err := loadState(dir)
	if err == nil {
		err = removeSpools(dir)
	}
	if err != nil {
		l.release()
		return err
	}
	s.lock, s.state, s.table = l, st, table
	if st != nil {
		s.mu.Lock()
		s.census = st.Census
		s.mu.Unlock()
		s.synced, s.pages = st.Synced, st.Pages
		if table != nil {
			s.pages = &tableRef{st.Position, st.After}
		}
	}
	s.rememberSent(dir)
	s.writer = segment.NewID()
	if st != nil {
		s.writer = st.Writer
	}
	if err := s.beginTelling(); err != nil {
		s.log.Warn("other processes can't see how far shipping is", "err", err)
	}
	return nil
}

// fileStat tells whether a file was written since.
type fileStat struct {
	Dev   uint64 `json:"dev"`
	Inode uint64 `json:"inode"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime_ns"`
	Ctime int64  `json:"ctime_ns"`
}

// loadState reads the state folder. Both are nil when there is none; the table is
// nil when it doesn't belong to the state. A folder that can't be understood counts
// as lost.
func loadState(dir string) (*state, *pagesum.Table, error) {
	st, err := readState(dir)
	if st == nil || err != nil {
		return nil, nil, err
	}
	return st, loadTable(tablePath(dir), st.After), nil
}

// readState is loadState without the table.
func readState(dir string) (*state, error) {
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read state: %w", err)
	}
	var st state
	if err := json.Unmarshal(raw, &st); err != nil {
		return nil, nil
	}
	if st.Format > stateFormat {
		return nil, fmt.Errorf("read %s: format %d was written by a newer seawal, this one reads up to %d",
			filepath.Join(dir, stateFile), st.Format, stateFormat)
	}
	if st.Replica.IsZero() || st.Writer.IsZero() {
		return nil, nil
	}
	return &st, nil
}

// errNotOurs is ErrOtherDatabase for a replica that isn't the one which a state folder knows.
func (s *Shipper) errNotOurs(rep, known segment.ID, folder string) error {
	return fmt.Errorf("%w: it has the id %v, and %s was shipped to %v; use another URL, or remove %s if the replica is to be that of this database",
		ErrOtherDatabase, rep, s.cfg.DBPath, known, folder)
}

// adopt takes for a new state folder what those of other replicas know of this one.
func (s *Shipper) adopt(id segment.ID) error {
	st, others := stateElsewhere(s.cfg.OtherDirs, id)
	switch {
	case st != nil:
		s.state, s.writer = st, st.Writer
		s.log.Info("the replica was shipped to at another URL before", "id", id)
		// The next process may be at that URL again, and has to know what this one ships.
		return writeState(s.cfg.StateDir, st) // as of the boot when the other one was written
	case s.cfg.Only && len(others) > 0:
		return s.errNotOurs(id, others[0].Replica, s.cfg.DBPath+StateSuffix)
	}
	return nil
}

// stateElsewhere is what the folders of a database's other replicas tell of the one with an id, which was moved or copied to another URL: who
// has written it. Where it ends, the replica itself has to say: a copy may be older. It is nil when they know nothing of it; others are
// the states that they have of other ones that had something.
func stateElsewhere(dirs []string, id segment.ID) (st *state, others []*state) {
	var best *state
	for _, dir := range dirs {
		st, err := readState(dir)
		switch {
		case err != nil || st == nil:
		case st.Replica != id:
			if isConfirmed(dir, st) {
				others = append(others, st)
			}
		case best == nil || st.Position.Compare(best.Position) > 0:
			best = st
		}
	}
	if best == nil {
		return nil, others
	}
	return &state{
		Format: stateFormat, Replica: id, Writer: best.Writer, Position: replica.Pos{Timeline: best.Position.Timeline}, Boot: best.Boot, Behind: best.Behind,
		Found: best.Found, File: best.File, Synced: best.Synced, Left: best.Left,
	}, others
}

func tablePath(dir string) string { return filepath.Join(dir, pagesFile) }

func loadTable(path, after string) *pagesum.Table {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	t, err := pagesum.ReadTable(bufio.NewReaderSize(f, 256<<10))
	if err != nil || t.Total().String() != after {
		return nil
	}
	return t
}

// writeFile writes a file atomically as far as name says: content goes to a
// temporary file and is synced.
func writeFile(path string, write func(*os.File) error) error {
	f, err := openStateFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY)
	if err != nil {
		return err
	}
	return errors.Join(write(f), fsops.Sync(f), f.Close())
}

// saveState writes the state, as of this boot of the machine and of the file that the database is now.
func (s *Shipper) saveState(st *state) error {
	if err := s.errFileGone(); err != nil {
		return err
	}
	defer s.dropLateState()
	st.Boot, st.File, st.Log = machine.Last(s.cfg.DBPath).ID, identify(s.cfg.DBPath), identify(s.cfg.DBPath+"-wal")
	if st.Synced.IsZero() {
		st.Synced = s.synced
	}
	return writeState(s.cfg.StateDir, st)
}

func writeState(dir string, st *state) error {
	raw, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	path := filepath.Join(dir, stateFile)
	err = writeFile(path+newSuffix, func(f *os.File) error {
		_, err := f.Write(append(raw, '\n'))
		return err
	})
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	killpoint.Hit("shipper/state-written")
	if err := fsops.Rename(path+newSuffix, path); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	killpoint.Hit("shipper/state-renamed")
	return syncDir(dir)
}

func syncDir(dir string) error {
	if err := fsops.SyncDir(dir); err != nil {
		return fmt.Errorf("save state: sync folder: %w", err)
	}
	return nil
}

// prepareState writes the table for the end of b, which is what the drain goroutine
// holds right now, so that commitState can make it valid once b is durable.
func (s *Shipper) prepareState(b *batch) bool {
	if err := s.writeTable(); err != nil {
		s.log.Warn("saving the page checksums", "err", err)
		return false
	}
	return true
}

func (s *Shipper) writeTable() error {
	if err := s.errFileGone(); err != nil {
		return err
	}
	defer s.dropLateState()
	return writeFile(filepath.Join(s.cfg.StateDir, pagesFile+newSuffix), func(f *os.File) error {
		w := bufio.NewWriterSize(f, 256<<10)
		_, err := s.table.WriteTo(w)
		return errors.Join(err, w.Flush())
	})
}

// commitState makes what prepareState wrote the state. Of the uploader. A failure
// costs time at the next start, no more.
func (s *Shipper) commitState(b *batch) {
	st := &state{
		Format: stateFormat, Replica: s.id, Writer: s.writer,
		Position: replica.Pos{Timeline: s.timeline, Tx: b.last}, Time: b.info.LastTime, After: b.info.After.String(), Place: b.place, Census: s.censusNow(),
		Damage: s.damageNow(),
	}
	if err := s.installState(st); err != nil {
		s.log.Warn("saving the state", "err", err)
	}
}

func (s *Shipper) installState(st *state) error {
	path := filepath.Join(s.cfg.StateDir, pagesFile)
	killpoint.Hit("shipper/pages-written")
	if err := fsops.Rename(path+newSuffix, path); err != nil {
		return fmt.Errorf("save page checksums: %w", err)
	}
	killpoint.Hit("shipper/pages-renamed")
	return s.saveState(st)
}

// settleWait is how long statSettled waits for the clock of the file system, which ticks every 10 ms at least.
const settleWait = time.Second

// statSettled is the stat of a file once any later write of it would show: the kernel's clock for
// file times stands still for up to 10 ms, and two writes within one of its ticks look like one. It is nil when
// the file was written meanwhile. dir is a folder to try the clock in.
//
// A file that was written before the clock was set back is ahead of it for as long: then the next start has to
// read the database. Nobody waits for that.
func statSettled(path, dir string, statFile func(string) *fileStat) *fileStat {
	st := statFile(path)
	began := time.Now()
	probe := filepath.Join(dir, "clock")
	defer os.Remove(probe) // empty, and removed again when it is left over
	for st != nil {
		if err := os.WriteFile(probe, nil, 0o600); err != nil {
			return nil
		}
		now := statFile(probe)
		if now == nil {
			return nil
		}
		if now.Ctime > st.Ctime {
			break
		}
		if time.Since(began) >= settleWait {
			return nil
		}
		if err := os.Remove(probe); err != nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	if again := statFile(path); st == nil || again == nil || *again != *st {
		return nil
	}
	return st
}

// Settler is a Source that can empty the log into the database file. Close asks for it when
// everything is shipped, so that the file's stat tells the next start that nothing happened since.
type Settler interface {
	// Settle tries; that it does not succeed while others use the database is no error.
	Settle() error
}

// saveClean saves the state at the end, when everything is durable: with the stat of the database
// file, if the file alone is the database, so that the next start needn't read it.
func (s *Shipper) saveClean(ctx context.Context) {
	if s.Durable().Tx != s.base+s.encoded {
		return // the table is ahead of the replica: a segment did not land
	}
	st := s.stateNow()
	killpoint.Hit("shipper/all-shipped")
	if hasStandby(s.statePath(standbyFile)) {
		s.saveNow(st) // the log shows it how to go on; an empty one would not
		return
	}
	if src, ok := s.src.(Settler); ok {
		if err := src.Settle(); err != nil {
			s.log.Warn("emptying the log at the end", "err", err)
		}
	}
	killpoint.Hit("shipper/log-settled")
	// Before the stat: while the table is being synced, the clock of the file system moves past the last write of the
	// database, and statSettled needn't wait for that.
	if err := s.writeTable(); err != nil {
		s.log.Warn("saving the page checksums", "err", err)
		return
	}
	p, err := s.src.BeginRead(ctx)
	if err == nil {
		if p.Place().Frame == 0 && p.Ticket() == s.encoded {
			st.Header = headerOf(p)
			st.Clean = statSettled(s.cfg.DBPath, s.cfg.StateDir, statFile)
		}
		err = p.Close()
	}
	if err != nil {
		s.log.Warn("reading the database at the end", "err", err)
		return
	}
	if err := s.installState(st); err != nil {
		s.log.Warn("saving the state", "err", err)
	}
}

// stateNow is the state when all that is encoded is durable.
func (s *Shipper) stateNow() *state {
	return &state{
		Format: stateFormat, Replica: s.id, Writer: s.writer,
		Position: s.Durable(), Time: s.latest, After: s.table.Total().String(), Place: s.place, Census: s.censusNow(),
		Damage: s.damageNow(),
	}
}

// saveNow makes st the state, with the table as it is. Nothing is under way.
func (s *Shipper) saveNow(st *state) {
	err := s.writeTable()
	if err == nil {
		err = s.installState(st)
	}
	if err != nil {
		s.log.Warn("saving the state", "err", err)
	}
}
