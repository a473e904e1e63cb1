package crashtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/replica"
	"seawal/shipper"
	"seawal/vfs"
)

// writers is the number of connections that write.
const writers = 4

// maxGroups is about how many groups there are: later transactions write them anew.
const maxGroups = 150

// errRefused ends an incarnation whose database isn't shipped any more. It is a right answer after a loss of power.
var errRefused = errors.New("shipping was refused")

// report is what a process writes to its standard output.
type report struct {
	mu  sync.Mutex // guards enc
	enc *json.Encoder
}

// emit writes an event. Each one is a single write, and the order is that of the pipe.
func (o *report) emit(e event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.enc.Encode(e); err != nil {
		os.Exit(1) // the parent is gone
	}
}

// workload is an application that says on standard output what it has done.
type workload struct {
	job
	index  int
	driver string
	url    string // of the replica, as the application opens it
	out    *report

	mu    sync.Mutex // guards acked, and that its order is that of the events
	acked int64      // last transaction acknowledged

	gate sync.RWMutex // held for reading by who writes
}

// runJobs is the process that is killed.
func runJobs(ctx context.Context, jobs []job) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	out := &report{enc: json.NewEncoder(os.Stdout)}
	errs := make([]error, len(jobs))
	var wg sync.WaitGroup
	for i, j := range jobs {
		if err := pretendBoot(j.Dir); err != nil {
			return err
		}
		w := &workload{job: j, index: i, out: out}
		wg.Go(func() { errs[i] = w.run(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// run opens and closes the database as often as it was told.
func (w *workload) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := w.prepare(ctx); err != nil {
		return err
	}
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

// prepare makes the driver and the weather.
func (w *workload) prepare(ctx context.Context) (err error) {
	w.driver, w.url = vfs.DriverName, replicaURL(w.Dir)
	if w.Store.isBad() {
		if w.url, err = w.Store.expose(ctx, w.Dir); err != nil {
			return err
		}
	}
	cfg := vfs.Config{RingBytes: w.RingBytes, MaxWAL: w.MaxWAL, CheckpointBytes: w.CheckpointBytes}
	if w.Store.Offline {
		cfg.CloseTimeout = 100 * time.Millisecond
	}
	if w.RingBytes == 0 && !w.Store.Offline {
		return nil
	}
	w.driver = fmt.Sprintf("seawal-crash-%d", w.index)
	return vfs.Register(w.driver, cfg)
}

func (w *workload) emit(e event) {
	e.DB = w.index
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Kind == committed {
		w.acked = max(w.acked, e.T)
	}
	w.out.emit(e)
}

func (w *workload) lastAcked() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.acked
}

func (w *workload) dsn() string {
	q := url.Values{}
	q.Set("_replica", w.url)
	q.Set("_ship_interval", strconv.Itoa(w.IntervalMS)+"ms")
	q.Set("_synchronous", w.Synchronous)
	q.Set("_busy_timeout", "20000")
	if w.Remote {
		q.Set("_durability", "remote")
		q.Set("_behind", "roll") // the store may be bad at any time, and the history has to go on
	}
	if w.AppCheckpoints {
		q.Set("_checkpoint", "app")
	}
	if w.IfMissing {
		q.Set("_restore", "if-missing")
	}
	if w.Adopt != "" {
		q.Set("_adopt", w.Adopt)
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
		var u *shipper.UnshippedError
		if errors.Is(err, errRefused) || w.Store.Offline && errors.As(cerr, &u) {
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
	if w.Exclusive {
		return w.writeAlone(ctx, db, session)
	}
	if err := w.writeTogether(ctx, db, session); err != nil || w.Store.Offline {
		return err
	}
	return w.confirm(ctx, db, 2)
}

// writeTogether has all connections write at once.
func (w *workload) writeTogether(ctx context.Context, db *sql.DB, session int) error {
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
	return errors.Join(errs...)
}

// writeAlone has one connection write with locking_mode=EXCLUSIVE. It begins once the first snapshot is shipped, which
// the lock would keep waiting.
func (w *workload) writeAlone(ctx context.Context, db *sql.DB, session int) error {
	if err := w.look(ctx, db); err != nil {
		return err
	}
	if !w.Store.Offline {
		if err := w.confirm(ctx, db, 0); err != nil {
			return err
		}
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "PRAGMA locking_mode=EXCLUSIVE"); err != nil {
		return errors.Join(err, conn.Close())
	}
	err = w.write(ctx, db, conn, rand.New(rand.NewPCG(w.Seed, uint64(session))))
	// The pool would keep the connection, and with it the lock.
	if rerr := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(rerr, driver.ErrBadConn) {
		err = errors.Join(err, rerr)
	}
	return err
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
		"PRAGMA journal_mode=" + w.Journal,
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
	if n < 60 && w.Exclusive {
		return w.confirmAlone(ctx, conn, []string{"seawal_wait", "seawal_flush"}[r.IntN(2)])
	}
	if n < 60 {
		return w.confirm(ctx, db, r.IntN(3))
	}
	w.gate.RLock()
	defer w.gate.RUnlock()
	switch {
	case n < 90 && !w.LeaveLog:
		mode := []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[r.IntN(4)]
		w.emit(event{Kind: tick})
		_, err := conn.ExecContext(ctx, "PRAGMA wal_checkpoint("+mode+")")
		return err
	case 90 <= n && n < 94:
		w.emit(event{Kind: tick})
		_, err := conn.ExecContext(ctx, "VACUUM")
		return err
	case 94 <= n && n < 100:
		_, err := conn.ExecContext(ctx, "PRAGMA incremental_vacuum(5)")
		return err
	case 100 <= n && n < 102:
		return w.transaction(ctx, conn, r, 500+r.IntN(2000), 2000, r.IntN(3) == 0) // some are larger than the smallest ring
	case 102 <= n && n < 105:
		return w.transaction(ctx, conn, r, 300+r.IntN(300), 2000, r.IntN(3) == 0)
	case 105 <= n && n < 220:
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

// offlineWait is how long a wait for a store goes on that never answers.
const offlineWait = 20 * time.Millisecond

// confirm notes a position and waits for it: 0 by Wait, while others write; 1 by Wait and 2 by
// Flush at a point that was noted while nobody wrote.
func (w *workload) confirm(ctx context.Context, db *sql.DB, how int) error {
	w.emit(event{Kind: tick})
	all := ctx
	if w.Store.Offline {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, offlineWait)
		defer cancel()
	}
	pos, t, err := w.note(ctx, db, how > 0)
	if err == nil {
		w.emit(event{Kind: tick})
		if how == 2 {
			err = vfs.Flush(ctx, db)
		} else {
			err = vfs.Wait(ctx, db, pos)
		}
	}
	if w.Store.Offline && errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if err != nil {
		return w.refusal(all, db, err)
	}
	st, err := vfs.Status(all, db)
	if err != nil {
		return err
	}
	w.emit(event{Kind: confirmed, Pos: pos, T: t, Stat: &st})
	return nil
}

// confirmAlone does so through the connection that has the database to itself. What needs the database read waits for
// the lock, so it may be in vain.
func (w *workload) confirmAlone(ctx context.Context, conn *sql.Conn, pragma string) error {
	t, chain, err := lastOf(ctx, conn)
	if err != nil {
		return err
	}
	w.emit(event{Kind: tick})
	var text string
	if err := conn.QueryRowContext(ctx, fmt.Sprintf("PRAGMA %s=%d", pragma, 200)).Scan(&text); err != nil {
		w.emit(event{Kind: tick})
		return nil
	}
	pos, err := replica.ParsePos(text)
	if err != nil {
		return err
	}
	w.emit(event{Kind: noted, Pos: pos, T: t, Chain: chain})
	w.emit(event{Kind: confirmed, Pos: pos, T: t})
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
