package shipper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"seawal/internal/fsops"
	"seawal/internal/killpoint"
	"seawal/internal/machine"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/store"
)

// mayBeBehind says whether the database may lack what its replica has. A process that dies loses nothing of what SQLite has
// written, only a machine does. It is a reason to be careful about where history goes on, and none to change the database: see judge.go.
func (st *state) mayBeBehind(dbPath string) bool {
	return st.Behind || st.Boot == "" || st.Boot != machine.Last(dbPath).ID
}

// RollForwardConfig is what RollForward needs. All of it has to be set, but where it says otherwise.
type RollForwardConfig struct {
	Store     store.Store // with what goes around it (store.Stack): what may go away is to be repeated there
	DBPath    string
	StateDir  string
	OtherDirs []string  // as of Config
	Judgement Judgement // of these: LossOfPower, or LossPossible for a look that changes nothing
	Logger    *slog.Logger

	// Progress is called while pages are read, so that who limits the time can tell slow from stuck; nil: nobody does.
	Progress func()

	// Open opens the database file for reading, without harm to anybody's locks.
	Open func(path string) (DBFile, error)

	// Exclusive locks the database against everybody and brings its log into the file. release ends that.
	Exclusive func() (release func() error, err error)

	// Recover opens the database with SQLite and closes it: a hot journal is played back.
	Recover func() error

	// Restore rebuilds a point as a new file, verified. It is needed where single pages don't lead to the point: behind a change of the
	// page size, or a timeline that begins with a snapshot.
	Restore func(ctx context.Context, pos replica.Pos, path string) error

	weakness weakness // sound, but in tests
}

// RolledForward is what RollForward did.
type RolledForward struct{ From, To replica.Pos }

// RollForward brings a database that nobody has open, and that a loss of power has robbed of its newest transactions, to the newest
// point that was confirmed to its state folder: the file as it was then, byte for byte. What others have put into the replica
// behind that point, be it under our writer's id, is not brought in. It returns nil and leaves everything as it is when nothing is missing, or when the database
// is at no point: what attaches decides then. The error is a *BehindError when transactions are missing and nothing proves that a loss of
// power took them; for any other error, too, nothing was changed, or the change is complete but not verified.
//
// The pages that differ become a hot rollback journal, which SQLite itself plays back. So a crash at any moment
// leaves the old state, or a journal that leads to the new one. Only pages of transactions behind the database's point, and a sample of the
// others, are read, and the room that it needs on the disk is twice what differs.
func RollForward(ctx context.Context, cfg RollForwardConfig) (*RolledForward, error) {
	if cfg.Progress == nil {
		cfg.Progress = func() {}
	}
	end, err := cfg.confirmedEnd(ctx)
	if err != nil || end == nil {
		return nil, err
	}
	if isHot(cfg.DBPath + "-journal") {
		if err := cfg.recover(); err != nil {
			return nil, err
		}
	}
	// A first look, without a lock: nearly always nothing is missing.
	at, err := cfg.firstLook(ctx, end)
	if err != nil || at.IsZero() {
		return nil, err
	}
	if cfg.Judgement.Loss != LossOfPower {
		return nil, &BehindError{Local: at, Replica: end.pos, DBPath: cfg.DBPath, Reason: cfg.Judgement.Reason}
	}
	done, written, err := cfg.prepareLocked(ctx, end)
	if err != nil || done == nil {
		return nil, err
	}
	killpoint.Hit("shipper/rollforward-unlocked")
	if err := cfg.recover(); err != nil {
		return nil, fmt.Errorf("bring %s to %v: %w", cfg.DBPath, done.To, err)
	}
	killpoint.Hit("shipper/rollforward-recovered")
	if err := cfg.verify(written); err != nil {
		return nil, fmt.Errorf("bring %s to %v: %w; restore it", cfg.DBPath, done.To, err)
	}
	return done, nil
}

// written is what a journal leads to.
type written struct {
	hasher *pagesum.Hasher
	pages  map[uint32]pagesum.Sum
	count  uint32 // pages of the database
}

// verify reads back what SQLite has made of the journal.
func (cfg RollForwardConfig) verify(w *written) error {
	p, err := openOffline(cfg.DBPath, cfg.Open)
	if err != nil {
		return err
	}
	defer p.Close() // read only
	if p.PageCount() != w.count {
		return fmt.Errorf("it has %d pages now, and the point has %d", p.PageCount(), w.count)
	}
	b := make([]byte, p.PageSize())
	for page, want := range w.pages {
		if err := p.image(page, b); err != nil {
			return err
		}
		if got := w.hasher.Of(page, b); got != want {
			return fmt.Errorf("page %d has the checksum %v now, and that of the point is %v", page, got, want)
		}
		cfg.Progress()
	}
	return nil
}

// recover has SQLite play a hot journal back. SQLite removes it without waiting for the disk: after a loss of power it
// could be there again, and be played back over what was committed since.
func (cfg RollForwardConfig) recover() error {
	if err := cfg.Recover(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(cfg.DBPath))
}

func (cfg RollForwardConfig) firstLook(ctx context.Context, end *confirmedEnd) (at replica.Pos, err error) {
	p, err := openOffline(cfg.DBPath, cfg.Open)
	if err != nil {
		return at, fmt.Errorf("read %s: %w", cfg.DBPath, err)
	}
	at, _, err = cfg.locate(ctx, end, p)
	return at, errors.Join(err, p.Close())
}

// locate returns the earlier point of the replica that the database is at; zero when it is at none, or when somebody has brought it there.
// The lookback leads from there to the end; it is nil where only a restore does.
func (cfg RollForwardConfig) locate(ctx context.Context, end *confirmedEnd, p *pinned) (at replica.Pos, l *lookback, err error) {
	if p.PageCount() == 0 {
		return at, nil, nil
	}
	at, l, err = lookBack(ctx, cfg, end, p)
	if errors.Is(err, errNoWayBack) {
		l = nil
		at, err = searchBack(ctx, cfg, end, p)
	}
	if err != nil || at.IsZero() {
		return replica.Pos{}, nil, err
	}
	if known, _, ok := cfg.Judgement.foundAt(); ok && known != at {
		cfg.Logger.Warn("the database is at another point than after the loss of power: somebody has put it there", "database", cfg.DBPath, "was", known, "is", at)
		return replica.Pos{}, nil, nil
	}
	if floor := end.synced; replica.Pos.Compare(at, floor) < 0 && !end.isSame(at, floor) {
		cfg.Logger.Warn("the database is at a point before one that was synced to the disk: no loss of power brought it there", "database", cfg.DBPath, "synced", floor, "is", at)
		return replica.Pos{}, nil, nil
	}
	return at, l, nil
}

// prepareLocked is prepare under the lock.
func (cfg RollForwardConfig) prepareLocked(ctx context.Context, end *confirmedEnd) (*RolledForward, *written, error) {
	release, err := cfg.Exclusive()
	if err != nil {
		return nil, nil, err
	}
	killpoint.Hit("shipper/rollforward-locked")
	p, err := openOffline(cfg.DBPath, cfg.Open)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read %s: %w", cfg.DBPath, err), release())
	}
	done, w, err := cfg.prepare(ctx, end, p)
	if err = errors.Join(err, p.Close(), release()); err != nil {
		return nil, nil, err
	}
	return done, w, nil
}

// settleEmptyLog makes sure that the log is empty, also after a loss of power: SQLite has truncated it, and doesn't sync that. One that came
// back would be played over what the journal brings.
func settleEmptyLog(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() > 0 {
		err = errors.New("its log could not be emptied")
	}
	if err == nil {
		err = fsops.Sync(f)
	}
	return errors.Join(err, f.Close())
}

// prepare writes the journal, for the database that p is. It is locked.
func (cfg RollForwardConfig) prepare(ctx context.Context, end *confirmedEnd, p *pinned) (*RolledForward, *written, error) {
	if err := settleEmptyLog(cfg.DBPath + "-wal"); err != nil {
		return nil, nil, fmt.Errorf("bring %s to %v: %w", cfg.DBPath, end.pos, err)
	}
	at, l, err := cfg.locate(ctx, end, p)
	if err != nil || at.IsZero() {
		return nil, nil, err
	}
	cfg.Logger.Warn("the database lost its newest transactions; getting them back from the replica", "database", cfg.DBPath, "from", at, "to", end.pos)
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make state folder: %w", err)
	}
	var w *written
	if l != nil {
		w, err = cfg.journalOfPages(ctx, l, at, p)
	} else {
		w, err = cfg.journalOfRestore(ctx, end, p)
	}
	if err != nil {
		return nil, nil, err
	}
	killpoint.Hit("shipper/rollforward-prepared")
	return &RolledForward{From: at, To: end.pos}, w, nil
}

// writeJournal writes the journal of pages with known checksums, or none.
func (cfg RollForwardConfig) writeJournal(pageSize int, w *written, pages []uint32, image func(page uint32, p []byte) error) error {
	path := cfg.DBPath + "-journal"
	err := writeJournal(path, pageSize, w.count, pages, func(page uint32, p []byte) error {
		cfg.Progress()
		if err := image(page, p); err != nil {
			return err
		}
		if w.hasher.Of(page, p) != w.pages[page] {
			return fmt.Errorf("page %d is not that of the point", page)
		}
		return nil
	})
	if err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// journalOfRestore has the whole point restored beside the database, and writes the journal of what differs.
func (cfg RollForwardConfig) journalOfRestore(ctx context.Context, end *confirmedEnd, p *pinned) (*written, error) {
	path := filepath.Join(cfg.StateDir, "rollforward.db")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	defer os.Remove(path) // and again before the next one
	if err := cfg.Restore(ctx, end.pos, path); err != nil {
		return nil, err
	}
	copied, err := openOffline(path, openOSFile)
	if err != nil {
		return nil, err
	}
	defer copied.Close() // read only
	table, err := copied.sumsWith(ctx, end.hasher, cfg.Progress)
	if err != nil {
		return nil, err
	}
	if table.Total() != end.after {
		return nil, fmt.Errorf("the replica's state at %v has the checksum %v, and %v was confirmed here", end.pos, table.Total(), end.after)
	}
	var local *pagesum.Table // nil: no page is what it was
	if p.PageSize() == copied.PageSize() {
		if local, err = p.sumsWith(ctx, end.hasher, cfg.Progress); err != nil {
			return nil, err
		}
	}
	w := &written{hasher: end.hasher, pages: map[uint32]pagesum.Sum{}, count: copied.PageCount()}
	lock := pagesum.LockPage(copied.PageSize())
	var pages []uint32
	for page := uint32(1); page <= table.Len(); page++ {
		if page != lock && (local == nil || table.Get(page) != local.Get(page)) {
			pages, w.pages[page] = append(pages, page), table.Get(page)
		}
	}
	return w, cfg.writeJournal(copied.PageSize(), w, pages, copied.image)
}
