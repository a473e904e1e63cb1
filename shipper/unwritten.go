package shipper

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
)

// # Has a transaction written it?
//
// A database that nobody has open is closed cleanly, and opened again with other pages. Another program may have used it, and what
// that has committed belongs into the replica. Or the disk failed, or something wrote into the file that isn't SQLite, and then it
// doesn't. What SQLite can't do without a trace tells the two apart:
//
//	rollback journal modes   the first transaction of a connection adds one to the change counter in the file's header, and none
//	                         changes pages without it. A header that is the same: no transaction.
//	WAL mode                 page 1 stays as it is while no page is allocated or freed, so that the header proves nothing. But before
//	                         its first write a connection creates -wal. A directory in which nothing was created or deleted since: no
//	                         transaction. It is looked at once SQLite has deleted the log at the last close.
//
// In both the header has to be what it was, and the pages at no earlier point of the replica: else a copy of the file was put over it,
// which is somebody's wish and no damage. Where other files come and go in the directory, WAL mode leaves no proof, and what differs is
// shipped as the difference and named. A rollback may have changed pages on the freelist, in any mode: these are no damage (markFree).

// headerBytes is how much of the file its header takes: the change counter, the size, the freelist and the journal mode are in it.
const headerBytes = 100

// headerFormat is where the header says how the database is written: twice 1 in the rollback journal modes, 2 in WAL mode.
const headerFormat = 18

// closedFile says what the directory of the database was after a clean close.
const closedFile = "closed.json"

// closed is the content of closedFile.
type closed struct {
	Clean  fileStat `json:"clean"`  // state.Clean of this close
	Folder fileStat `json:"folder"` // the directory, when there was neither a log nor a journal in it
}

// NoteClosed looks at the directory of a database that this process has closed, of which stateDir is a state directory. Nothing but a
// proof is missing without it, so that it has no error. It waits for the clock of the file system, for 10 ms at most on Linux.
func NoteClosed(dbPath, stateDir string) {
	st, err := readState(stateDir)
	if err != nil || st == nil || st.Clean == nil || !isAlone(dbPath) {
		return
	}
	folder := statSettled(filepath.Dir(dbPath), stateDir, statFile)
	now := statFile(dbPath)
	if folder == nil || now == nil || *now != *st.Clean || !isAlone(dbPath) {
		return // somebody else has it
	}
	raw, err := json.Marshal(closed{Clean: *st.Clean, Folder: *folder})
	if err != nil {
		return
	}
	_ = os.WriteFile(filepath.Join(stateDir, closedFile), raw, 0o600) // one that is cut off is none
}

// isAlone says that a database file has neither a log nor a journal.
func isAlone(dbPath string) bool {
	for _, suffix := range []string{"-wal", "-journal"} {
		if _, err := os.Lstat(dbPath + suffix); !os.IsNotExist(err) {
			return false
		}
	}
	return true
}

// Unwritten asks, before the database is opened, whether a file that is another one than at the clean close can be shown to be so by no
// transaction, and returns what shows it; "": nothing does, or the file is the same. open is as of RollForwardConfig.
func Unwritten(dbPath, stateDir string, open func(path string) (DBFile, error)) string {
	st, err := readState(stateDir)
	now := statFile(dbPath)
	if err != nil || st == nil || st.Clean == nil || now == nil || *now == *st.Clean || !isAlone(dbPath) {
		return ""
	}
	if now.Inode != st.Clean.Inode || now.Dev != st.Clean.Dev {
		return "" // another file was put in its place
	}
	was, err := hex.DecodeString(st.Header)
	if err != nil || len(was) != headerBytes {
		return ""
	}
	f, err := open(dbPath)
	if err != nil {
		return ""
	}
	defer f.Close() // read only
	header := make([]byte, headerBytes)
	if n, _ := f.ReadAt(header, 0); n < headerBytes || !bytes.Equal(header, was) {
		return "" // another state of the database was copied over it, as like as not
	}
	if header[headerFormat] == 1 {
		return "its change counter is what it was when it was closed"
	}
	var c closed
	if raw, err := os.ReadFile(filepath.Join(stateDir, closedFile)); err == nil && json.Unmarshal(raw, &c) == nil && c.Clean == *st.Clean {
		if folder := statFile(filepath.Dir(dbPath)); folder != nil && *folder == c.Folder {
			return "no log or journal was made beside it since it was closed"
		}
	}
	return ""
}

// headerOf is the header of a database whose file is the whole of it, for the state; "" when it can't be read.
func headerOf(p ReadTx) string {
	b := make([]byte, p.PageSize())
	if len(b) < headerBytes || p.ReadFile(1, b) != nil {
		return ""
	}
	return hex.EncodeToString(b[:headerBytes])
}

// planUnwritten plans for a database of which nothing but damage differs from the point that the state knows: what was committed
// since it was opened follows on that, and the damage isn't shipped. It says whether there is damage. base is the table of what the
// file was when it was opened; nil where what was committed since can't be told from it any more.
func (s *Shipper) planUnwritten(p *pinned, pl *plan, base *pagesum.Table) (bool, error) {
	if base != nil {
		damage, err := s.damageOf(p, pl.table, base)
		if err != nil || len(damage) == 0 {
			return false, err
		}
		pl.damage = damage
		s.damageShown = ": it changed while nobody had it open, and " + s.cfg.Judgement.Unwritten
	}
	pl.unread = true
	if p.log != nil {
		if ok, err := s.planWholeLog(p, pl); ok || err != nil {
			return true, err
		}
	}
	pl.captured = true // all tickets of the source
	return true, nil
}

// damageOf are the pages in which two tables differ, of the file and of what was committed, without those on the freelist.
func (s *Shipper) damageOf(p *pinned, table, file *pagesum.Table) ([]seenPage, error) {
	g := sight{}
	for page := uint32(1); page <= max(table.Len(), file.Len()); page++ {
		if sum := file.Get(page); sum != table.Get(page) && page != s.lockPage {
			g.pages = append(g.pages, seenPage{page: page, sum: sum})
		}
	}
	var err error
	if g.trunks, err = markFree(p, s.hasher, g.pages); err != nil {
		return nil, err
	}
	return g.wrong(table), nil
}

// isAccepted says that a person takes the file for right although no transaction wrote it so.
func (s *Shipper) isAccepted() bool {
	return s.isAdopted(s.rep) && (len(s.damage) > 0 || s.cfg.Judgement.Unwritten != "")
}

// whyUnwritten is what shows that no transaction wrote the file since the state was saved for a position; "": nothing does.
func (s *Shipper) whyUnwritten(pos replica.Pos) string {
	if s.state == nil || s.state.Clean == nil || !s.isSame(s.state.Position, pos) {
		return ""
	}
	return s.cfg.Judgement.Unwritten
}
