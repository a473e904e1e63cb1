package vfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/killpoint"
	"seawal/internal/replica"
	"seawal/restore"
	"seawal/shipper"
	"seawal/store"
)

// lookTimeout bounds how long opening a database that does not exist waits for the
// store to say whether a replica does.
const lookTimeout = 10 * time.Second

// database is one replicated file in this process. Every *sql.DB on it holds a reference;
// with the first it starts to ship, with the last it ships the rest and stops. The tap lives on
// while SQLite has the file open, so that nothing escapes capture.
type database struct {
	path    string // as SQLite names it
	replica string // normalised URL
	cfg     Config
	vfsName string
	tap     tap
	handle  uint64
	found   string // what was mended before it was opened, for Stat.Notice
	wakeR   *os.File
	wakeW   *os.File
	wake    chan struct{} // of the source

	starting sync.Mutex // held while run is made

	mu   sync.Mutex // for the rest
	mode string     // parameter of the DSNs, which our own connections open with too: "ro" only while all have that
	refs int
	run  *run // nil while nothing ships
}

// run is one life of the shipper and what belongs to it.
type run struct {
	source  *source
	shipper *shipper.Shipper
	counts  *store.Counts
	ckpt    *checkpointer // nil when the application checkpoints
}

// databases are the replicated files of this process. Lock order: databases, then database.mu. The
// mutex is never held while a store is asked: a path or URL that is being opened or closed is busy instead.
var databases = struct {
	sync.Mutex
	byPath map[string]*database
	byURL  map[string]*database
	busy   map[string]chan struct{} // by path and by URL; closed when it is over
}{byPath: map[string]*database{}, byURL: map[string]*database{}, busy: map[string]chan struct{}{}}

// lockDatabases locks databases when neither path nor url is busy.
func lockDatabases(ctx context.Context, path, url string) error {
	databases.Lock()
	for {
		busy := databases.busy[path]
		if busy == nil {
			busy = databases.busy[url]
		}
		if busy == nil {
			return nil
		}
		databases.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return fmt.Errorf("opening %s, which is being opened or closed elsewhere: %w", path, ctx.Err())
		}
		databases.Lock()
	}
}

// whileBusy runs f with databases unlocked and path and url busy. The caller holds the lock before and after.
func whileBusy(path, url string, f func()) {
	done := make(chan struct{})
	databases.busy[path], databases.busy[url] = done, done
	databases.Unlock()
	defer func() {
		databases.Lock()
		delete(databases.busy, path)
		delete(databases.busy, url)
		close(done)
	}()
	f()
}

// openDatabase finds or makes the database of a target and takes a reference.
func openDatabase(ctx context.Context, t target, vfsName string) (*database, error) {
	path, err := fullPathname(vfsName, t.path)
	if err != nil {
		return nil, err
	}
	url, err := store.Normalize(t.cfg.Replica)
	if err != nil {
		return nil, fmt.Errorf("replica of %s: %w", path, err)
	}
	if err := lockDatabases(ctx, path, url); err != nil {
		return nil, err
	}
	defer databases.Unlock()
	if d := databases.byPath[path]; d != nil {
		if d.replica != url {
			return nil, fmt.Errorf("%w: %s is open with the replica %s already, not %s; close it first, or use the same URL",
				ErrReplicaInUse, path, store.Redact(d.replica), store.Redact(url))
		}
		d.retain(t.query.Get("mode"))
		return d, nil
	}
	if d := databases.byURL[url]; d != nil {
		return nil, fmt.Errorf("%w: %s is the replica of %s; give %s a URL of its own",
			ErrReplicaInUse, store.Redact(url), d.path, path)
	}
	var found string
	whileBusy(path, url, func() { found, err = prepareFile(ctx, path, t) })
	if err != nil {
		return nil, err
	}
	d, err := newDatabase(path, url, t, vfsName)
	if err != nil {
		return nil, err
	}
	d.found = found
	databases.byPath[path], databases.byURL[url] = d, d
	return d, nil
}

// retain takes another reference, of a DSN with a mode. Our own connections, if they could only read so far, are
// opened again: the one that stays the longest has the log to empty.
func (d *database) retain(mode string) {
	d.mu.Lock()
	d.refs++
	r := d.run
	upgraded := d.mode == "ro" && mode != "ro"
	if upgraded {
		d.mode = mode
	}
	d.mu.Unlock()
	if upgraded && r != nil {
		r.giveWay()
	}
}

// prepareFile looks at the file before SQLite does. A database that lost its newest transactions is rolled
// forward; one that does not exist, or is empty, has its replica looked for.
func prepareFile(ctx context.Context, path string, t target) (found string, err error) {
	if fi, err := os.Stat(path); err == nil && fi.Size() > 0 {
		return rollForward(ctx, path, t), nil
	}
	return "", prepareMissing(ctx, path, t.cfg)
}

// prepareMissing looks for the replica of a database that does not exist (or is empty): it is restored, or
// opening fails, so that a new database never goes on in the place of a lost one. A
// store that can't be reached is no reason to fail unless a restore was asked for.
func prepareMissing(ctx context.Context, path string, cfg Config) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	s, err := store.Open(ctx, cfg.Replica)
	if err != nil {
		return fmt.Errorf("replica of %s: %w", path, err)
	}
	defer s.Close()
	_, err = replica.ReadReplica(ctx, s)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return nil
	case err == nil && cfg.Restore == RestoreNever:
		return fmt.Errorf("%w: %s is missing or empty and %s holds a database; open with _restore=if-missing to rebuild the file, "+
			"or use another replica URL for a new database", ErrReplicaExists, path, store.Redact(cfg.Replica))
	case err != nil && cfg.Restore == RestoreNever:
		cfg.logger().Warn("the replica can't be reached; the new database will be compared with it later",
			"database", path, "replica", store.Redact(cfg.Replica), "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("restoring %s from %s: %w", path, store.Redact(cfg.Replica), err)
	}
	return restoreFile(context.WithoutCancel(ctx), s, path)
}

// restoreFile rebuilds a database whose replica exists.
func restoreFile(ctx context.Context, s store.Store, path string) error {
	o := restore.Options{Output: path, IfMissing: true} // refuses where a log without its database lies
	if fi, err := os.Stat(path); err == nil && fi.Size() == 0 {
		for _, name := range []string{path + "-wal", path + "-journal"} {
			if fi, err := os.Stat(name); err == nil && fi.Size() > 0 {
				return fmt.Errorf("restoring %s: it is empty and %s is not: that may hold transactions; move it away first", path, name)
			}
		}
		o = restore.Options{Output: path, Force: true}
	}
	_, err := restore.Run(ctx, s, o)
	if err != nil && !errors.Is(err, restore.ErrNoPoint) { // a replica that was begun and has no snapshot yet
		return fmt.Errorf("restoring %s before it is opened: %w", path, err)
	}
	return nil
}

func (c Config) logger() *slog.Logger {
	if c.Logger != nil {
		return c.Logger
	}
	return slog.Default()
}

func newDatabase(path, url string, t target, vfsName string) (*database, error) {
	d := &database{
		path: path, replica: url, cfg: t.cfg, vfsName: vfsName, mode: t.query.Get("mode"),
		wake: make(chan struct{}, 1), refs: 1,
	}
	var err error
	if d.wakeR, d.wakeW, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("making a pipe for %s: %w", path, err)
	}
	d.handle = newHandle(d)
	d.tap, err = newTap(path, t.cfg.RingBytes, t.cfg.MaxWAL, t.cfg.OnFull == Block, descriptor(d.wakeW), d.handle)
	if err != nil {
		dropHandle(d.handle)
		return nil, errors.Join(err, d.wakeR.Close(), d.wakeW.Close())
	}
	go d.listen()
	return d, nil
}

// descriptor is the file's descriptor, without the change to blocking mode that File.Fd makes.
func descriptor(f *os.File) uintptr {
	var fd uintptr
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(v uintptr) { fd = v })
	}
	return fd
}

// listen passes the shim's wake-ups on until the pipe is closed.
func (d *database) listen() {
	var b [64]byte
	for {
		n, err := d.wakeR.Read(b[:])
		if err != nil {
			return
		}
		for _, v := range b[:n] {
			switch v {
			case wakeConsumer:
				poke(d.wake)
			case wakeCheckpoint:
				d.mu.Lock()
				if d.run != nil && d.run.ckpt != nil {
					poke(d.run.ckpt.asked)
				}
				d.mu.Unlock()
			case wakeGiveWay:
				if r, err := d.running(); err == nil {
					r.giveWay()
				}
			case wakeClosed:
				d.forget()
			}
		}
	}
}

// giveWay closes our own connections, which are opened again when they are needed: the application wants the
// database to itself.
func (r *run) giveWay() {
	r.source.giveWay()
	if r.ckpt != nil {
		poke(r.ckpt.leave)
	}
}

// poke sends without waiting: one signal that is not taken yet stands for all.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// dial opens a connection of our own, on the same VFS, that the shim knows by its role. It never checkpoints
// on its own account, gives way at once, and never makes a file where the application's was deleted.
func (d *database) dial(role string) (*sqlite3.SQLiteConn, error) {
	params := map[string]string{"vfs": d.vfsName, "seawal_role": role, "_busy_timeout": "0", "mode": "rw"}
	d.mu.Lock()
	if d.mode == "ro" {
		params["mode"] = "ro"
	}
	d.mu.Unlock()
	c, err := openFile(d.path, params)
	if err != nil {
		return nil, err
	}
	if _, err := c.Exec("PRAGMA wal_autocheckpoint=0", nil); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// openFile opens a connection of our own.
func openFile(path string, params map[string]string) (*sqlite3.SQLiteConn, error) {
	conn, err := (&sqlite3.SQLiteDriver{}).Open(target{dsn: fileURI(path)}.withParams(params))
	if err != nil {
		return nil, err
	}
	return conn.(*sqlite3.SQLiteConn), nil
}

// start begins to ship, once the application's first connection is open.
func (d *database) start(ctx context.Context) error {
	d.starting.Lock()
	defer d.starting.Unlock()
	if _, err := d.running(); err == nil {
		return nil
	}
	log := d.cfg.logger().With("database", d.path, "replica", store.Redact(d.replica))
	raw, err := store.Open(ctx, d.replica)
	if err != nil {
		return fmt.Errorf("replica of %s: %w", d.path, err)
	}
	r := &run{counts: new(store.Counts)}
	r.source = &source{tap: d.tap, path: d.path, dial: d.dial, wake: d.wake}
	r.shipper, err = shipper.New(shipper.Config{
		Source: r.source, DBPath: d.path, Interval: d.cfg.Interval, Logger: log, Found: d.found,
		RetryWait: d.cfg.retryWait,
		Open: func(_ context.Context, onError func(store.Failure)) (store.Store, error) {
			retry := d.cfg.retry
			retry.OnError = onError
			return store.Stack(raw, store.StackOptions{Counts: r.counts, Retry: retry}), nil
		},
	})
	if err != nil {
		return errors.Join(err, raw.Close())
	}
	killpoint.Hit("vfs/open-before-attach")
	d.tap.attaching(true)
	d.tap.alone(false)
	r.shipper.Start()
	if d.cfg.Checkpoint == CheckpointSeawal {
		r.ckpt = newCheckpointer(d.tap, d.dial, d.cfg.CheckpointBytes, log)
	}
	d.mu.Lock()
	d.run = r
	d.mu.Unlock()
	return nil
}

// release gives a reference back. The last one ships the rest, for at most
// CloseTimeout, and says what could not be shipped.
func (d *database) release() error {
	databases.Lock()
	defer databases.Unlock()
	d.mu.Lock()
	d.refs--
	last := d.refs == 0
	r := d.run
	if last {
		d.run = nil
	}
	d.mu.Unlock()
	if !last {
		return nil
	}
	var err error
	if r != nil {
		whileBusy(d.path, d.replica, func() { err = d.stop(r) })
	}
	return errors.Join(err, d.forgetLocked())
}

// forget frees what belongs to a database whose last connection was closed after its last *sql.DB.
func (d *database) forget() {
	databases.Lock()
	defer databases.Unlock()
	d.mu.Lock()
	refs := d.refs
	d.mu.Unlock()
	if databases.byPath[d.path] == d && databases.busy[d.path] == nil && refs == 0 {
		_ = d.forgetLocked() // of two ends of a pipe
	}
}

// forgetLocked does so unless a connection is left. The caller holds the lock of databases.
func (d *database) forgetLocked() error {
	if !d.tap.destroy() {
		return nil
	}
	delete(databases.byPath, d.path)
	delete(databases.byURL, d.replica)
	dropHandle(d.handle)
	return errors.Join(d.wakeW.Close(), d.wakeR.Close())
}

// stop ends a run.
func (d *database) stop(r *run) error {
	var err error
	if r.ckpt != nil {
		r.ckpt.end()
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.CloseTimeout)
	defer cancel()
	shipErr := r.shipper.Close(ctx)
	killpoint.Hit("vfs/close-shipped")
	// What did not reach the replica stays in the log: the next open resumes there.
	d.tap.persist(shipErr != nil)
	d.tap.alone(true)
	killpoint.Hit("vfs/close-alone")
	err = errors.Join(shipErr, r.source.close())
	killpoint.Hit("vfs/close-reader-closed")
	if r.ckpt != nil {
		err = errors.Join(err, r.ckpt.close())
	}
	killpoint.Hit("vfs/close-done")
	return err
}

// running is the shipper, or an error when nothing ships.
func (d *database) running() (*run, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil {
		return nil, fmt.Errorf("%s: %w", d.path, os.ErrClosed)
	}
	return d.run, nil
}

// waitRemote keeps a commit until it is durable or its statement is interrupted. A fenced replica
// never makes it durable: the commit waits for its context, as it asked to.
func (d *database) waitRemote(ticket uint64, interrupted func() bool) {
	r, err := d.running()
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.shipper.WaitTicket(ctx, ticket) // Status has the error
	}()
	tick := time.NewTicker(interruptPoll)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			if interrupted() {
				cancel()
				<-done
				return
			}
		}
	}
}

// interruptPoll is how often a waiting commit looks whether it was cancelled:
// sqlite3_interrupt sets a flag and wakes nobody.
const interruptPoll = 5 * time.Millisecond

// fileURI is the path as a SQLite URI.
func fileURI(path string) string {
	return "file:" + escapePath(filepath.ToSlash(path))
}
