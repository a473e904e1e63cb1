package crashtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/mattn/go-sqlite3"

	"seawal/shipper"
	"seawal/vfs"
)

// writers is the number of connections that write.
const writers = 4

// maxGroups is about how many groups there are: later transactions write them anew.
const maxGroups = 150

// errRefused ends an incarnation whose database isn't shipped any more. It is a right answer after a loss of power.
var errRefused = errors.New("shipping was refused")

// workload is an application that says on standard output what it has done.
type workload struct {
	job
	driver string

	mu    sync.Mutex // guards out and acked
	out   *json.Encoder
	acked int64 // last transaction acknowledged

	gate sync.RWMutex // held for reading by who writes
}

// runWorkload is the process that is killed.
func runWorkload(text string) error {
	w := &workload{out: json.NewEncoder(os.Stdout), driver: vfs.DriverName}
	if err := json.Unmarshal([]byte(text), &w.job); err != nil {
		return err
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if w.RingBytes != 0 {
		w.driver = "seawal-crash"
		if err := vfs.Register(w.driver, vfs.Config{RingBytes: w.RingBytes, MaxWAL: w.MaxWAL, CheckpointBytes: w.CheckpointBytes}); err != nil {
			return err
		}
	}
	ctx := context.Background()
	for session := 0; w.Sessions == 0 || session < w.Sessions; session++ {
		err := w.session(ctx, session)
		if errors.Is(err, errRefused) {
			return nil
		}
		if err != nil {
			w.emit(event{Kind: broken, Text: err.Error()})
			return err
		}
	}
	return nil
}

// emit writes an event. Each one is a single write, and the order is that of the pipe.
func (w *workload) emit(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Kind == committed {
		w.acked = max(w.acked, e.T)
	}
	if err := w.out.Encode(e); err != nil {
		os.Exit(1) // the parent is gone
	}
}

func (w *workload) lastAcked() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked
}

func (w *workload) dsn() string {
	q := url.Values{}
	q.Set("_replica", replicaURL(w.Dir))
	q.Set("_ship_interval", strconv.Itoa(w.IntervalMS)+"ms")
	q.Set("_synchronous", w.Synchronous)
	q.Set("_busy_timeout", "20000")
	if w.Remote {
		q.Set("_durability", "remote")
	}
	if w.AppCheckpoints {
		q.Set("_checkpoint", "app")
	}
	return "file:" + databasePath(w.Dir) + "?" + q.Encode()
}

// session opens the database, writes, and closes it.
func (w *workload) session(ctx context.Context, session int) (err error) {
	w.emit(event{Kind: opening})
	db, err := sql.Open(w.driver, w.dsn())
	if err != nil {
		return err
	}
	defer func() {
		w.emit(event{Kind: closing})
		cerr := db.Close()
		if errors.Is(err, errRefused) {
			cerr = nil // Close says again that nothing was shipped
		}
		if err = errors.Join(err, cerr); err == nil {
			w.emit(event{Kind: closed})
		}
	}()
	if err := w.setUp(ctx, db); err != nil {
		return fmt.Errorf("setting up: %w", err)
	}
	if w.AskFirst {
		if err := w.confirm(ctx, db, 0); err != nil {
			return err
		}
	}
	errs := make([]error, writers+1)
	var wg sync.WaitGroup
	wg.Go(func() { errs[writers] = w.look(ctx, db) })
	for i := range writers {
		conn, err := db.Conn(ctx)
		if err != nil {
			wg.Wait()
			return err
		}
		wg.Go(func() {
			r := rand.New(rand.NewPCG(w.Seed, uint64(session*writers+i)))
			errs[i] = errors.Join(w.write(ctx, db, conn, r), conn.Close())
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return w.confirm(ctx, db, 2)
}

// setUp makes the database, if need be, through seawal.
func (w *workload) setUp(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, s := range []string{
		fmt.Sprintf("PRAGMA page_size=%d", w.PageSize),
		fmt.Sprintf("PRAGMA auto_vacuum=%d", w.AutoVacuum),
		"PRAGMA journal_mode=WAL",
		schema,
	} {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		w.emit(event{Kind: tick})
	}
	return nil
}

// look checks the database as it is while others write it.
func (w *workload) look(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	b, err := read(ctx, conn)
	if err != nil {
		return fmt.Errorf("the database as it was opened: %w", err)
	}
	w.emit(event{Kind: seen, T: b.last(), Chain: b.head()})
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

// write is one of the connections that write.
func (w *workload) write(ctx context.Context, db *sql.DB, conn *sql.Conn, r *rand.Rand) error {
	pragmas := []string{fmt.Sprintf("PRAGMA cache_size=%d", w.CacheSize), fmt.Sprintf("PRAGMA mmap_size=%d", w.MmapSize)}
	if w.AppCheckpoints {
		pragmas = append(pragmas, fmt.Sprintf("PRAGMA wal_autocheckpoint=%d", w.AutoCheckpoint))
	}
	for _, p := range pragmas {
		if _, err := conn.ExecContext(ctx, p); err != nil {
			return err
		}
	}
	for range w.Steps {
		err := w.step(ctx, db, conn, r)
		var e sqlite3.Error
		if errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *workload) step(ctx context.Context, db *sql.DB, conn *sql.Conn, r *rand.Rand) error {
	n := r.IntN(1000)
	if n < 60 {
		return w.confirm(ctx, db, r.IntN(3))
	}
	w.gate.RLock()
	defer w.gate.RUnlock()
	switch {
	case n < 90:
		mode := []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[r.IntN(4)]
		w.emit(event{Kind: tick})
		_, err := conn.ExecContext(ctx, "PRAGMA wal_checkpoint("+mode+")")
		return err
	case n < 94:
		w.emit(event{Kind: tick})
		_, err := conn.ExecContext(ctx, "VACUUM")
		return err
	case n < 100:
		_, err := conn.ExecContext(ctx, "PRAGMA incremental_vacuum(5)")
		return err
	case n < 105:
		return w.transaction(ctx, conn, r, 300+r.IntN(700), 2000, r.IntN(3) == 0)
	case n < 220:
		return w.transaction(ctx, conn, r, 20+r.IntN(150), 600, r.IntN(2) == 0)
	}
	return w.transaction(ctx, conn, r, 1+r.IntN(6), 200, r.IntN(15) == 0)
}

// transaction writes a group of items of up to size bytes, and rolls it back or acknowledges it.
func (w *workload) transaction(ctx context.Context, conn *sql.Conn, r *rand.Rand, items, size int, isRolledBack bool) (err error) {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = conn.ExecContext(ctx, "ROLLBACK") // some errors have done it
		}
	}()
	before, chain, err := lastOf(ctx, conn)
	if err != nil {
		return err
	}
	grp := 1 + r.Int64N(maxGroups)
	run := func(query string, args ...any) {
		if err == nil {
			_, err = conn.ExecContext(ctx, query, args...)
		}
	}
	run("DELETE FROM item WHERE grp=?", grp)
	run(`WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM s WHERE i<?)
		INSERT INTO item(grp, seq, body) SELECT ?, i, randomblob(1+abs(random())%?) FROM s`, items, grp, size)
	if r.IntN(10) == 0 {
		run("SAVEPOINT x")
		run("UPDATE item SET body=randomblob(300) WHERE grp=?", 1+r.Int64N(maxGroups))
		run("ROLLBACK TO x")
		run("RELEASE x")
	}
	if r.IntN(8) == 0 {
		w.emit(event{Kind: tick})
	}
	if err != nil {
		return err
	}
	n, sum, err := sumOf(ctx, conn, grp)
	if err != nil {
		return err
	}
	nonce := rand.Int64() // not of the seed: two pasts must never look alike
	chain = link(chain, nonce, grp, n, sum)
	run("INSERT OR REPLACE INTO grp(id, n, sum) VALUES(?,?,?)", grp, n, sum)
	run("INSERT INTO hist(t, chain, nonce, grp, n, sum) VALUES(?,?,?,?,?,?)", before+1, chain, nonce, grp, n, sum)
	if isRolledBack {
		run("ROLLBACK")
		return err
	}
	if run("COMMIT"); err != nil {
		return err
	}
	w.emit(event{Kind: committed, T: before + 1, Chain: chain})
	if w.Remote {
		w.emit(event{Kind: confirmed, T: before + 1})
	}
	return nil
}

// confirm notes a position and waits for it: 0 by Wait, while others write; 1 by Wait and 2 by
// Flush at a point that was noted while nobody wrote.
func (w *workload) confirm(ctx context.Context, db *sql.DB, how int) error {
	pos, t, err := w.note(ctx, db, how > 0)
	if err != nil {
		return w.refusal(ctx, db, err)
	}
	w.emit(event{Kind: tick})
	if how == 2 {
		err = vfs.Flush(ctx, db)
	} else {
		err = vfs.Wait(ctx, db, pos)
	}
	if err != nil {
		return w.refusal(ctx, db, err)
	}
	st, err := vfs.Status(ctx, db)
	if err != nil {
		return err
	}
	w.emit(event{Kind: confirmed, Pos: pos, T: t, Stat: &st})
	return nil
}

// note returns a position and a transaction that it certainly contains; exactly: the last one.
func (w *workload) note(ctx context.Context, db *sql.DB, exactly bool) (pos vfs.Pos, t int64, err error) {
	if exactly {
		w.gate.Lock()
		defer w.gate.Unlock()
	}
	t = w.lastAcked()
	if pos, err = vfs.Position(ctx, db); err != nil || !exactly {
		return pos, t, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return pos, 0, err
	}
	defer conn.Close()
	t, chain, err := lastOf(ctx, conn)
	if err == nil {
		w.emit(event{Kind: noted, Pos: pos, T: t, Chain: chain})
	}
	return pos, t, err
}

// refusal tells an error that stopped shipping.
func (w *workload) refusal(ctx context.Context, db *sql.DB, err error) error {
	if !errors.Is(err, shipper.ErrBehind) {
		return err
	}
	st, serr := vfs.Status(ctx, db)
	if serr != nil {
		return errors.Join(err, serr)
	}
	w.emit(event{Kind: refused, Text: err.Error(), Stat: &st})
	return errRefused
}

func databasePath(dir string) string { return filepath.Join(dir, "app.db") }
func replicaURL(dir string) string {
	return "file://" + filepath.ToSlash(filepath.Join(dir, "replica"))
}
