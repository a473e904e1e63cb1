package shipper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"seawal/internal/fsops"
	"seawal/internal/killpoint"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/store"
)

// bootID is readBootID; tests have machines of their own.
var bootID = readBootID

// MayBeBehind says whether the database may have lost transactions that its replica has, as far as its state folder
// tells. A process that dies loses nothing of what SQLite has written, only a machine does: so, without a look
// at the store, the answer is no as long as the machine is up since the state was saved. others are the state folders of the database's
// other replicas, which tell when this one is new.
func MayBeBehind(stateDir string, others []string) bool {
	st, err := readState(stateDir)
	if err != nil || st != nil {
		return err == nil && st.mayBeBehind()
	}
	return slices.ContainsFunc(others, func(dir string) bool {
		st, err := readState(dir)
		return err == nil && st != nil && st.mayBeBehind()
	})
}

func (st *state) mayBeBehind() bool { return st.Behind || st.Boot == "" || st.Boot != bootID() }

// RollForwardConfig is what RollForward needs. All of it has to be set.
type RollForwardConfig struct {
	Store     store.Store
	DBPath    string
	StateDir  string
	OtherDirs []string // as of Config
	Logger    *slog.Logger
	Patience  time.Duration // for the store to say where the replica ends; six times as much to look for the database's point in it

	// Open opens the database file for reading, without harm to anybody's locks.
	Open func(path string) (DBFile, error)

	// Exclusive locks the database against everybody and brings its log into the file. release ends that.
	Exclusive func() (release func() error, err error)

	// Recover opens the database with SQLite and closes it: a hot journal is played back.
	Recover func() error

	// Restore rebuilds a point as a new file, verified.
	Restore func(ctx context.Context, pos replica.Pos, path string) error
}

// RolledForward is what RollForward did.
type RolledForward struct{ From, To replica.Pos }

// RollForward brings a database that nobody has open, and that lost its newest transactions, to where
// its replica is: the file as it was then, byte for byte. It does so only when the replica was last written from here, and when
// the database is exactly at an earlier point of it; else it returns nil and leaves everything as it is: what attaches
// decides. Nothing was changed when it returns an error, or the change is complete but not verified.
//
// The pages that differ become a hot rollback journal, which SQLite itself plays back. So a crash at any moment
// leaves the old state, or a journal that leads to the new one. It needs room on the disk for a copy of the database.
func RollForward(ctx context.Context, cfg RollForwardConfig) (*RolledForward, error) {
	look, cancel := context.WithTimeout(ctx, cfg.Patience)
	st, o, err := cfg.endOfOurs(look)
	cancel()
	if err != nil || o.pos.IsZero() {
		return nil, err
	}
	if isHot(cfg.DBPath + "-journal") {
		if err := cfg.recover(); err != nil {
			return nil, err
		}
	}
	if now := statFile(cfg.DBPath); st.Clean != nil && st.Position == o.pos && now != nil && *now == *st.Clean {
		return nil, nil
	}
	// A first look, without a lock: nearly always nothing is missing.
	look, cancel = context.WithTimeout(ctx, 6*cfg.Patience)
	at, err := firstLook(look, cfg, o)
	cancel()
	if err != nil || at.IsZero() {
		return nil, err
	}
	done, err := cfg.prepareLocked(ctx, o)
	if err != nil || done == nil {
		return nil, err
	}
	killpoint.Hit("shipper/rollforward-unlocked")
	if err := cfg.recover(); err != nil {
		return nil, fmt.Errorf("bring %s to %v: %w", cfg.DBPath, done.To, err)
	}
	p, err := openOffline(cfg.DBPath, cfg.Open)
	if err != nil {
		return nil, err
	}
	killpoint.Hit("shipper/rollforward-recovered")
	table, err := p.sums(ctx, o.hasher)
	if err = errors.Join(err, p.Close()); err != nil {
		return nil, err
	}
	if table.Total() != o.after {
		return nil, fmt.Errorf("bring %s to %v: its checksum is %v now, and that of the point is %v; restore it", cfg.DBPath, done.To, table.Total(), o.after)
	}
	return done, nil
}

// endOfOurs is the state of the replica, and where it ends, if it was last written from here; zeros if not.
func (cfg RollForwardConfig) endOfOurs(ctx context.Context) (*state, origin, error) {
	st, err := readState(cfg.StateDir)
	if err != nil {
		return nil, origin{}, err
	}
	rep, err := replica.ReadReplica(ctx, cfg.Store)
	if errors.Is(err, store.ErrNotExist) {
		return nil, origin{}, nil
	}
	if err == nil && (st == nil || st.Replica != rep.ID && !isConfirmed(cfg.StateDir, st)) {
		st, _ = stateElsewhere(cfg.OtherDirs, rep.ID)
	}
	if err != nil || st == nil || rep.ID != st.Replica {
		return nil, origin{}, err
	}
	o, err := endOfReplica(ctx, cfg.Store, st, rep)
	o.hasher = pagesum.NewHasher(rep.Key)
	return st, o, err
}

// endOfReplica is where the replica that a state is of ends; zero when others wrote it last.
func endOfReplica(ctx context.Context, s store.Store, st *state, rep replica.Replica) (origin, error) {
	all, err := replica.Timelines(ctx, s)
	if err != nil || len(all) == 0 {
		return origin{}, err
	}
	newest := all[len(all)-1]
	if newest.Lost {
		return origin{}, nil
	}
	var from replica.Pos
	if newest.Timeline == st.Position.Timeline {
		from = st.Position
	} else if newest.Writer != st.Writer {
		return origin{}, nil
	}
	_, info, err := replica.Newest(ctx, s, newest.Timeline, from)
	switch {
	case err == nil && info.Writer == st.Writer:
		return endOf(info), nil
	case !errors.Is(err, store.ErrNotExist):
		return origin{}, err
	}
	o := origin{pos: from, writer: st.Writer}
	switch {
	case !from.IsZero():
		if o.after, err = pagesum.ParseSum(st.After); err != nil {
			return origin{}, nil
		}
		o.place, o.time = st.Place, st.Time
	case newest.Parent != 0:
		// Opened from here, and nothing was shipped on it.
		o.pos = replica.Pos{Timeline: newest.Timeline, Tx: newest.ParentTx}
		table, err := replica.TableAt(ctx, s, o.pos, nil, replica.Pos{})
		if err != nil {
			return origin{}, err
		}
		o.after = table.Total()
	default:
		return origin{}, nil
	}
	o.pageSize = replica.PageSizeAt(rep, all, o.pos)
	return o, nil
}

// recover has SQLite play a hot journal back. SQLite removes it without waiting for the disk: after a loss of power it
// could be there again, and be played back over what was committed since.
func (cfg RollForwardConfig) recover() error {
	if err := cfg.Recover(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(cfg.DBPath))
}

func firstLook(ctx context.Context, cfg RollForwardConfig, o origin) (at replica.Pos, err error) {
	p, err := openOffline(cfg.DBPath, cfg.Open)
	if err != nil {
		return at, fmt.Errorf("read %s: %w", cfg.DBPath, err)
	}
	at, _, err = lookForLoss(ctx, cfg.Store, o, p)
	return at, errors.Join(err, p.Close())
}

// lookForLoss returns the earlier point of the replica that the database is at, with its page checksums; zero
// when it is at none.
func lookForLoss(ctx context.Context, s store.Store, o origin, p *pinned) (at replica.Pos, table *pagesum.Table, err error) {
	if p.PageCount() == 0 {
		return at, nil, nil
	}
	if end := p.Place(); p.log != nil && end.SameGeneration(o.place) && o.place.Frame <= end.Frame {
		if place, err := p.header.PlaceAt(p.log, o.place.Frame); err == nil && place == o.place {
			return at, nil, nil // the log has it all
		}
	}
	if table, err = p.sums(ctx, o.hasher); err != nil || table.Total() == o.after {
		return at, nil, err
	}
	f := &search{states: map[pagesum.Sum]int{table.Total(): 0}, left: math.MaxInt64}
	m, err := f.find(ctx, s, o.pos)
	return m.at, table, err
}

// prepareLocked is prepare under the lock.
func (cfg RollForwardConfig) prepareLocked(ctx context.Context, o origin) (*RolledForward, error) {
	release, err := cfg.Exclusive()
	if err != nil {
		return nil, err
	}
	killpoint.Hit("shipper/rollforward-locked")
	p, err := openOffline(cfg.DBPath, cfg.Open)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", cfg.DBPath, err), release())
	}
	done, err := cfg.prepare(ctx, o, p)
	if err = errors.Join(err, p.Close(), release()); err != nil {
		return nil, err
	}
	return done, nil
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
func (cfg RollForwardConfig) prepare(ctx context.Context, o origin, p *pinned) (*RolledForward, error) {
	if err := settleEmptyLog(cfg.DBPath + "-wal"); err != nil {
		return nil, fmt.Errorf("bring %s to %v: %w", cfg.DBPath, o.pos, err)
	}
	at, local, err := lookForLoss(ctx, cfg.Store, o, p)
	if err != nil || at.IsZero() {
		return nil, err
	}
	from := at
	if p.PageSize() != o.pageSize {
		local, from = nil, replica.Pos{} // no page is what it was
	}
	end, err := replica.TableAt(ctx, cfg.Store, o.pos, local, from)
	if err != nil {
		return nil, err
	}
	cfg.Logger.Warn("the database lost its newest transactions; getting them back from the replica", "database", cfg.DBPath, "from", at, "to", o.pos)
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	path := filepath.Join(cfg.StateDir, "rollforward.db")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	defer os.Remove(path) // and again before the next one
	if err := cfg.Restore(ctx, o.pos, path); err != nil {
		return nil, err
	}
	killpoint.Hit("shipper/rollforward-restored")
	copied, err := openOffline(path, openOSFile)
	if err != nil {
		return nil, err
	}
	defer copied.Close() // read only
	lock := pagesum.LockPage(copied.PageSize())
	var pages []uint32
	for page := uint32(1); page <= end.Len(); page++ {
		if page != lock && (local == nil || end.Get(page) != local.Get(page)) {
			pages = append(pages, page)
		}
	}
	err = writeJournal(cfg.DBPath+"-journal", copied.PageSize(), copied.PageCount(), pages, func(page uint32, p []byte) error {
		if err := copied.image(page, p); err != nil {
			return err
		}
		if o.hasher.Of(page, p) != end.Get(page) {
			return fmt.Errorf("page %d of the restored copy is not that of %v", page, o.pos)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, os.Remove(cfg.DBPath+"-journal"))
	}
	killpoint.Hit("shipper/rollforward-prepared")
	return &RolledForward{From: at, To: o.pos}, nil
}
