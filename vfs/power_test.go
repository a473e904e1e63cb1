package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"seawal/internal/fsops"
	"seawal/internal/powervfs"
	"seawal/vfs"
)

// powerMode is how a database is written, and what SQLite promises for it when the power fails.
type powerMode struct {
	journal, sync string
	kept          func(acked, checkpointed int) int // transactions that must be left
}

func keepsAll(acked, _ int) int          { return acked }
func keepsAllButOne(acked, _ int) int    { return acked - 1 } // the removal of the journal, which commits, may be undone
func keepsCheckpointed(_, floor int) int { return floor }

var powerModes = []powerMode{
	{"WAL", "NORMAL", keepsCheckpointed},
	{"WAL", "FULL", keepsAll},
	{"WAL", "NORMAL", keepsCheckpointed},
	{"DELETE", "EXTRA", keepsAll},
	{"WAL", "FULL", keepsAll},
	{"DELETE", "FULL", keepsAllButOne},
	{"WAL", "NORMAL", keepsCheckpointed},
	{"TRUNCATE", "FULL", keepsAll},
	{"PERSIST", "FULL", keepsAll},
}

const (
	powerLosses    = 5 // of one history
	powerHistories = 45
	powerChanges   = 260 // within which the power fails, or else when the life's transactions are over
	powerTimeout   = 2 * time.Minute
	powerDriver    = "seawal-power"
)

func init() {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	if err := vfs.Register(powerDriver, vfs.Config{Logger: quiet, CloseTimeout: powerTimeout}); err != nil {
		panic(err)
	}
	// Whose process ends with the power: it ships nothing on its way out.
	if err := vfs.Register(powerDriver+"-dying", vfs.Config{Logger: quiet, CloseTimeout: time.Nanosecond}); err != nil {
		panic(err)
	}
}

// state is what the database holds after a transaction.
type state uint64

// powerHistory is one database that loses its power again and again.
type powerHistory struct {
	t       *testing.T
	mode    powerMode
	r       *rand.Rand
	power   *powervfs.VFS
	vfsName string // to open with: the power's, or one above it
	driver  string // "sqlite3", or seawal's
	root    string

	place             // of this life
	states    []state // after each transaction of the past that the database has; the first is the empty table
	inDoubt   []state // perhaps, after those
	floor     int     // states that are durable without a sync: a checkpoint has finished
	ever      map[state]bool
	confirmed map[vfs.Pos]state // what Wait or Flush said is in the replica
	newest    vfs.Pos           // the last of these
	points    map[state]bool    // states that are points of the replica
	older     string            // a copy of the state folder at some moment; "" for none
	intact    bool              // the state folder is what it was when the power failed, or seawal has attached since
	refused   bool              // it isn't, and seawal takes the database for another writer's

	onLoss func() // of an acknowledged transaction; nil: the test fails

	lost   int // transactions that the last loss of power has left
	losses int
	rolled int // times that the replica gave the database back what it had lost
}

func newPowerHistory(t *testing.T, seed uint64, mode powerMode, driver string) *powerHistory {
	t.Helper()
	v, err := powervfs.Register(fmt.Sprint("power-", driver, "-", seed))
	if err != nil {
		t.Fatal(err)
	}
	h := &powerHistory{
		t: t, mode: mode, r: rand.New(rand.NewPCG(seed, 7)), power: v, vfsName: v.Name(), driver: driver, root: powerFolder(t),
		ever: map[state]bool{}, confirmed: map[vfs.Pos]state{}, points: map[state]bool{}, intact: true,
	}
	t.Cleanup(fsops.Watch(h.root, h.synced))
	h.begin(0)
	plain(t, h.path, "PRAGMA page_size=1024", "PRAGMA journal_mode="+mode.journal, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)", "INSERT INTO t VALUES(0, '')",
		// By these pages seawal knows the database when its state folder is gone.
		"CREATE TABLE u AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<250) SELECT printf('%0*d', 900, i) AS c FROM n")
	if driver != "sqlite3" {
		// A database that is older than the first snapshot is at no point of the replica.
		db := h.open(driver)
		if err := h.arrive(db).Close(); err != nil {
			t.Error(err)
		}
		h.confirm(db)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		v.Reset()
	}
	return h
}

// synced is told of what seawal syncs by itself. A roll-forward empties the log before it has SQLite play its journal back: a log that
// came back would be played over that.
func (h *powerHistory) synced(e fsops.Event) {
	switch base := filepath.Base(e.Path); {
	case e.Op == fsops.OpSync && strings.HasPrefix(base, "app.db"):
		h.power.SyncFile(e.Path)
	case e.Op == fsops.OpSyncDir && strings.HasPrefix(base, "life-"):
		h.power.SyncFolder()
	}
}

// powerFolder is in memory if it can be: nothing there is synced for real.
func powerFolder(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "seawal-power-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// begin is another life, in a folder of its own.
func (h *powerHistory) begin(life int) {
	dir := filepath.Join(h.root, fmt.Sprint("life-", life))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	h.place = place{h.t, filepath.Join(dir, "app.db"), "file://" + filepath.Join(dir, "replica")}
}

func (h *powerHistory) open(driver string) *sql.DB {
	h.t.Helper()
	dsn := "file:" + h.path + "?_busy_timeout=5000&vfs=" + h.vfsName + "&_journal_mode=" + h.mode.journal + "&_synchronous=" + h.mode.sync
	if driver != "sqlite3" {
		dsn += "&_ship_interval=2ms&_replica=" + h.replica
		if id := h.replicaID(); !h.intact && id != "" {
			dsn += "&_adopt=" + id // without its state folder, nothing else may tell that it is its replica
		}
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		h.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

// replicaID is what replica.json calls the replica; "" when there is none.
func (h *powerHistory) replicaID() string {
	b, err := os.ReadFile(filepath.Join(strings.TrimPrefix(h.replica, "file://"), "replica.json"))
	if err != nil {
		return ""
	}
	_, after, _ := strings.Cut(string(b), `"id": "`)
	id, _, _ := strings.Cut(after, `"`)
	return id
}

// transaction is one of a random workload. The row 0 makes every state another one.
func (h *powerHistory) transaction(name string) string {
	mark := fmt.Sprintf("UPDATE t SET b='%s' WHERE a=0;", name)
	fill := func() string { return fmt.Sprintf("printf('%%0*d', %d, a*7+%d)", 20+h.r.IntN(900), h.r.IntN(1000)) }
	switch h.r.IntN(8) {
	case 0, 1, 2:
		return fmt.Sprintf("BEGIN;%sINSERT INTO t(b) VALUES('%s');COMMIT", mark, strings.Repeat("x", h.r.IntN(2000)))
	case 3:
		return fmt.Sprintf("BEGIN;%sUPDATE t SET b=%s WHERE a>0 AND a%%%d=0;COMMIT", mark, fill(), 1+h.r.IntN(4))
	case 4: // spills, and overwrites its own frames
		return fmt.Sprintf("BEGIN;%sUPDATE t SET b=%s WHERE a>0;UPDATE t SET b=%s WHERE a%%2=1;COMMIT", mark, fill(), fill())
	case 5:
		return fmt.Sprintf("BEGIN;%sINSERT INTO t(b) SELECT %s FROM t LIMIT %d;COMMIT", mark, fill(), 1+h.r.IntN(20))
	case 6:
		return fmt.Sprintf("BEGIN;%sSAVEPOINT s;UPDATE t SET b=%s WHERE a>0;ROLLBACK TO s;DELETE FROM t WHERE a>0 AND a%%5=%d;COMMIT", mark, fill(), h.r.IntN(5))
	}
	return fmt.Sprintf("BEGIN;%sDELETE FROM t WHERE a>0 AND a%%%d=0;COMMIT", mark, 2+h.r.IntN(9))
}

// live writes until the power fails.
func (h *powerHistory) live(life int) {
	driver := h.driver
	if driver != "sqlite3" {
		driver += "-dying"
	}
	h.power.FailAt(1 + h.r.IntN(powerChanges))
	db := h.open(driver)
	if mirror := h.arrive(db); mirror != nil {
		h.write(db, mirror, life)
		if err := mirror.Close(); err != nil {
			h.t.Error(err)
		}
	}
	h.power.Fail()
	h.lose(db, life)
}

// arrive opens the database and finds out where it is. It returns a copy in memory, nil when the power failed.
func (h *powerHistory) arrive(db *sql.DB) *sql.DB {
	h.t.Helper()
	_, err := db.ExecContext(h.t.Context(), "PRAGMA cache_size=10; PRAGMA cache_spill=10")
	var at state
	if err == nil {
		at, err = h.look(db)
	}
	if err != nil {
		if !h.power.Failed() {
			h.t.Fatalf("opening: %v", err)
		}
		return nil
	}
	past := slices.Concat(h.states, h.inDoubt)
	i := slices.Index(past, at)
	switch {
	case len(h.states) == 0:
		i, past = 0, []state{at}
	case i < 0:
		h.t.Fatalf("opened in a state that it never had")
	case i < h.lost:
		h.t.Fatalf("opened at transaction %d, and %d were left", i, h.lost)
	case i > h.lost:
		h.rolled++
	}
	// Where the file is what it was at a point of the replica, it is rolled forward. It need not be: points are squashed where
	// a difference was shipped; and a journal that is played back leaves pages that were free as they are.
	isPoint := h.mode.journal == "WAL" && h.points[past[min(h.lost, len(past)-1)]]
	if want, ok := h.confirmed[h.newest]; ok && h.intact && isPoint && slices.Index(past, want) > i {
		h.t.Fatalf("opened at transaction %d, and %d was confirmed at %v", i, slices.Index(past, want), h.newest)
	}
	h.power.SyncFolder() // a roll-forward has done so when SQLite had removed its journal
	h.states, h.inDoubt, h.floor = past[:i+1:i+1], nil, 0
	h.ever[at] = true
	mirror, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		h.t.Fatal(err)
	}
	mirror.SetMaxOpenConns(1)
	mustExec(h.t, mirror, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT); CREATE TABLE u(c)")
	h.copyRows(db, mirror)
	return mirror
}

func (h *powerHistory) copyRows(from, to *sql.DB) {
	rows, err := from.QueryContext(h.t.Context(), "SELECT a, b FROM t")
	if err != nil {
		if !h.power.Failed() {
			h.t.Fatal(err)
		}
		return
	}
	defer rows.Close()
	for rows.Next() {
		var a int64
		var b string
		if err := rows.Scan(&a, &b); err != nil {
			h.t.Fatal(err)
		}
		mustExec(h.t, to, "INSERT INTO t VALUES(?, ?)", a, b)
	}
	if err := rows.Err(); err != nil && !h.power.Failed() {
		h.t.Fatal(err)
	}
}

func (h *powerHistory) look(db *sql.DB) (state, error) {
	f, err := fingerprint(h.t.Context(), db)
	return state(f), err
}

// write commits until the power fails, or the life is long enough.
func (h *powerHistory) write(db, mirror *sql.DB, life int) {
	ctx := h.t.Context()
	for i := range 40 {
		q := h.transaction(fmt.Sprintf("%d.%d", life, i))
		mustExec(h.t, mirror, q)
		next, err := h.look(mirror)
		if err != nil {
			h.t.Fatal(err)
		}
		h.ever[next] = true
		h.inDoubt = []state{next}
		if _, err := db.ExecContext(ctx, q); err != nil {
			if !h.power.Failed() {
				h.t.Fatalf("%s: %v", q, err)
			}
			return
		}
		h.states, h.inDoubt = append(h.states, next), nil
		switch h.r.IntN(12) {
		case 0:
			if h.mode.journal == "WAL" {
				h.checkpoint(db)
			}
		case 1, 2, 3:
			if h.driver != "sqlite3" {
				h.confirm(db)
			}
			if h.refused {
				return
			}
		case 4:
			h.keepOlder()
		}
	}
}

// checkpoint brings the log into the file; what was in it doesn't need it any more.
func (h *powerHistory) checkpoint(db *sql.DB) {
	mode := []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[h.r.IntN(4)]
	var busy, logged, copied int
	err := db.QueryRowContext(h.t.Context(), "PRAGMA wal_checkpoint("+mode+")").Scan(&busy, &logged, &copied)
	if err == nil && busy == 0 && logged == copied {
		h.floor = len(h.states) - 1
	}
}

// confirm waits until all is in the replica.
func (h *powerHistory) confirm(db *sql.DB) {
	ctx, cancel := context.WithTimeout(h.t.Context(), powerTimeout)
	defer cancel()
	go func() {
		for !h.power.Failed() && ctx.Err() == nil {
			time.Sleep(time.Millisecond) // polls: nobody tells that the power failed
		}
		cancel()
	}()
	pos, err := vfs.Position(ctx, db)
	if err == nil {
		err = vfs.Wait(ctx, db, pos)
	}
	switch {
	case err == nil:
		h.confirmed[pos] = h.states[len(h.states)-1]
		h.newest, h.intact = pos, true
		h.points[h.states[len(h.states)-1]] = true
	case errors.Is(err, vfs.ErrFenced) && !h.intact:
		h.refused = true
	case !h.power.Failed():
		h.t.Errorf("waiting for %v: %v", pos, err)
	}
}
