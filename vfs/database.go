//go:build cgo

package vfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/killpoint"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/restore"
	"seawal/shipper"
	"seawal/store"
)

// database is one replicated file in this process. Every *sql.DB on it holds a reference;
// with the first it starts to ship, with the last it ships the rest and stops. The tap lives on
// while SQLite has the file open, so that nothing escapes capture.
type database struct {
	path     string   // as SQLite names it
	replicas []string // normalised URLs, in the order of the configuration
	cfg      Config
	vfsName  string
	tap      tap
	handle   uint64
	isNew    bool              // there was nothing in the file when it was opened
	found    map[string]mended // what was found out before it was opened, by replica
	wakeR    *os.File
	wakeW    *os.File

	starting sync.Mutex // held while run is made

	mu   sync.Mutex // for the rest
	mode string     // parameter of the DSNs, which our own connections open with too: "ro" only while all have that
	refs int
	run  *run // nil while nothing ships

	folders []string // state directories of the last run

	lastUntold atomic.Int64 // when a commit that isn't known to be durable was last logged, unix nanoseconds
}

// databases are the replicated files of this process. Lock order: databases, then database.mu. The
// mutex is never held while a store is asked: a path or URL that is being opened or closed is busy instead.
var databases = struct {
	sync.Mutex
	byPath map[string]*database
	byURL  map[string]*database
	busy   map[string]chan struct{} // by path and by URL; closed when it is over
}{byPath: map[string]*database{}, byURL: map[string]*database{}, busy: map[string]chan struct{}{}}

// lockDatabases locks databases when neither path nor one of its URLs is busy.
func lockDatabases(ctx context.Context, path string, urls []string) error {
	databases.Lock()
	for {
		busy := databases.busy[path]
		for _, url := range urls {
			if busy == nil {
				busy = databases.busy[url]
			}
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

// whileBusy runs f with databases unlocked and path and urls busy. The caller holds the lock before and after.
func whileBusy(path string, urls []string, f func()) {
	done := make(chan struct{})
	busy := append([]string{path}, urls...)
	for _, name := range busy {
		databases.busy[name] = done
	}
	databases.Unlock()
	defer func() {
		databases.Lock()
		for _, name := range busy {
			delete(databases.busy, name)
		}
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
	urls, err := t.cfg.replicas()
	if err != nil {
		return nil, fmt.Errorf("replica of %s: %w", path, err)
	}
	if err := lockDatabases(ctx, path, urls); err != nil {
		return nil, err
	}
	defer databases.Unlock()
	if d := databases.byPath[path]; d != nil {
		if !slices.Equal(d.replicas, urls) {
			return nil, fmt.Errorf("%w: %s is open with %s already, not with %s; close it first, or use the same",
				ErrReplicaInUse, path, redacted(d.replicas), redacted(urls))
		}
		d.retain(t.query.Get("mode"))
		return d, nil
	}
	for _, url := range urls {
		if d := databases.byURL[url]; d != nil {
			return nil, fmt.Errorf("%w: %s is a replica of %s; give %s a URL of its own (_replica=…)",
				ErrReplicaInUse, store.Redact(url), d.path, path)
		}
	}
	links, err := checkLinks(path, urls)
	if err != nil {
		return nil, err
	}
	var found map[string]mended
	whileBusy(path, urls, func() { found, err = prepareFile(ctx, path, urls, t) })
	if err != nil {
		return nil, err
	}
	d, err := newDatabase(path, urls, t, vfsName)
	if err != nil {
		return nil, err
	}
	d.found = found
	d.noteMount(noticeOfMount(path))
	for _, url := range urls {
		if links != "" && d.found[url].text == "" {
			d.found = withNotice(d.found, url, links)
		}
	}
	databases.byPath[path] = d
	for _, url := range urls {
		databases.byURL[url] = d
		d.cfg.logger().Info("replicating", "db", path, "replica", store.Redact(url))
	}
	return d, nil
}

func withNotice(found map[string]mended, url, text string) map[string]mended {
	if found == nil {
		found = map[string]mended{}
	}
	m := found[url]
	m.text = text
	found[url] = m
	return found
}

// redacted is URLs as a message may show them.
func redacted(urls []string) string {
	shown := make([]string, len(urls))
	for i, url := range urls {
		shown[i] = store.Redact(url)
	}
	if len(shown) == 1 {
		return "the replica " + shown[0]
	}
	return "the replicas " + strings.Join(shown, ", ")
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
func prepareFile(ctx context.Context, path string, urls []string, t target) (found map[string]mended, err error) {
	if fi, err := os.Stat(path); err == nil && fi.Size() > 0 {
		return rollForwardAll(ctx, path, urls, t)
	}
	if shipper.HasKeptLog(path) {
		text, err := shipper.SetKeptLogAside(path)
		if err != nil {
			return nil, fmt.Errorf("%s is missing or empty, and the log that was kept for it could not be moved away: %w", path, err)
		}
		t.cfg.logger().Warn(text, "database", path)
	}
	return nil, prepareMissing(ctx, path, urls, t)
}

// prepareMissing looks for the replicas of a database that does not exist (or is empty): it is restored, or
// opening fails, so that a new database never goes on in the place of a lost one. A
// store that can't be reached is no reason to fail unless a restore was asked for and no other one has the database.
func prepareMissing(ctx context.Context, path string, urls []string, t target) error {
	var away error
	for _, url := range urls {
		restored, err := prepareFrom(ctx, path, url, t)
		switch {
		case err == nil && restored, errors.Is(err, ErrReplicaExists):
			return err
		case err != nil:
			away = errors.Join(away, err)
		}
	}
	return away
}

// prepareFrom does so with one replica.
func prepareFrom(ctx context.Context, path, url string, t target) (restored bool, err error) {
	cfg := t.cfg
	p := newPatience(ctx, cfg.stall)
	defer p.end()
	onError := func(f store.Failure) {
		t.failed(f)
		cfg.logger().Warn("asking the replica of a database that does not exist here", "database", path, "replica", store.Redact(url), "error", f.Err, "again_in", f.Wait)
	}
	if cfg.Restore == RestoreNever {
		onError = nil // nobody asked to wait for the store
	}
	s, err := openPatiently(p, url, cfg, onError)
	if err != nil {
		return false, fmt.Errorf("replica of %s: %w", path, err)
	}
	defer s.Close()
	defer func() { err = p.explain(err) }()
	rep, err := replica.ReadReplica(p, s)
	switch {
	case errors.Is(err, store.ErrNotExist) && cfg.Restore == RestoreNever:
		return false, nil
	case errors.Is(err, store.ErrNotExist):
		return false, expect(path, url, cfg, segment.ID{}, err)
	case err == nil && cfg.Restore == RestoreNever && cfg.Recreated == RecreatedNewTimeline:
		return false, nil // the shipper looks whether that was made for this path
	case err == nil && cfg.Restore == RestoreNever:
		return false, fmt.Errorf("%w: %s is missing or empty and %s holds a database; open with _restore=if-missing to rebuild the file, "+
			"or with _recreated=new-timeline to begin anew in the same replica, or use another replica URL for a new database", ErrReplicaExists, path, store.Redact(url))
	case err != nil && cfg.Restore == RestoreNever:
		cfg.logger().Warn("the replica can't be read; the new database will be compared with it later",
			"database", path, "replica", store.Redact(url), "error", err)
		return false, nil
	case err != nil:
		return false, fmt.Errorf("restoring %s from %s: %w", path, store.Redact(url), err)
	}
	if err = errors.Join(expect(path, url, cfg, rep.ID, nil), ofAnother(path, url, rep)); err == nil {
		if err = moveLoneLogs(p, s, path, url, cfg); err == nil {
			err = expectPoint(path, url, cfg, restoreFile(p, s, path))
		}
	}
	return err == nil, err
}

// moveLoneLogs moves the log of a database that is gone out of the way of the one that is rebuilt in its place, if the replica has all of it.
func moveLoneLogs(ctx context.Context, s store.Store, path, url string, cfg Config) error {
	to, err := shipper.MoveLoneLogs(ctx, s, path)
	if len(to) > 0 {
		cfg.logger().Warn("the database file was gone and its log or journal was not: that was moved away, since the replica has all of it",
			"database", path, "replica", store.Redact(url), "moved_to", to)
	}
	if err == nil {
		return nil
	}
	lone, _ := shipper.LoneLogs(path) // the reason is known already
	return fmt.Errorf("restoring %s from %s: %w: the database is missing or empty, and what was kept beside it is not: %w; "+
		"to go on with what the replica has, move away %s and open it again; if the file was only moved, put it back beside them",
		path, store.Redact(url), restore.ErrExists, err, strings.Join(append(lone, path+"-shm"), ", "))
}

// restoreFile rebuilds a database whose replica exists.
func restoreFile(ctx context.Context, s store.Store, path string) error {
	o := restore.Options{Output: path, IfMissing: true} // refuses where a log without its database lies
	if fi, err := os.Stat(path); err == nil && fi.Size() == 0 {
		o = restore.Options{Output: path, Force: true}
	}
	_, err := restore.Run(ctx, s, o)
	if err != nil {
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

func newDatabase(path string, urls []string, t target, vfsName string) (*database, error) {
	d := &database{path: path, replicas: urls, cfg: t.cfg, vfsName: vfsName, mode: t.query.Get("mode"), refs: 1, isNew: hasNothing(path)}
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
				if r, err := d.running(); err == nil {
					r.feed.poke()
				}
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
			case wakeMoved:
				if r, err := d.running(); err == nil {
					_ = r.endIfReplaced() // Status has it
				}
			case wakeOutgrown:
				if r, err := d.running(); err == nil {
					r.giveUp()
				}
			case wakeClosed:
				d.forget()
			}
		}
	}
}

// poke sends without waiting: one signal that is not taken yet stands for all.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// dialReader opens the connection that reads for a replica.
func (d *database) dialReader(index int) (*sqlite3.SQLiteConn, error) {
	return d.dial(map[string]string{"seawal_role": "reader", "seawal_reader": strconv.Itoa(index)})
}

// dialCheckpointer opens the connection that checkpoints.
func (d *database) dialCheckpointer() (*sqlite3.SQLiteConn, error) {
	return d.dial(map[string]string{"seawal_role": "checkpoint"})
}

// dial opens a connection of our own, on the same VFS, that the shim knows by its role. It never checkpoints
// on its own account, gives way at once, and never makes a file where the application's was deleted.
func (d *database) dial(params map[string]string) (*sqlite3.SQLiteConn, error) {
	params["vfs"], params["_busy_timeout"], params["mode"], params["seawal_key"] = d.vfsName, "0", "rw", ourKey
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
	log := d.cfg.logger().With("database", d.path)
	r, err := d.newRun(ctx, log)
	if err != nil {
		return err
	}
	killpoint.Hit("vfs/open-before-attach")
	d.tap.attach(attaching, false)
	d.tap.alone(false)
	for _, l := range r.replicas {
		l.shipper.Start()
	}
	if d.cfg.Checkpoint == CheckpointSeawal {
		r.ckpt = newCheckpointer(d.tap, d.dialCheckpointer, min(d.cfg.CheckpointBytes, d.cfg.MaxWAL/2), log)
	}
	r.poll = newPoll(r, d.cfg.Interval)
	d.mu.Lock()
	d.run, d.folders = r, nil
	for _, l := range r.replicas {
		d.folders = append(d.folders, l.folder)
	}
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
		whileBusy(d.path, d.replicas, func() { err = d.stop(r) })
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
	for _, url := range d.replicas {
		delete(databases.byURL, url)
	}
	dropHandle(d.handle)
	err := errors.Join(d.wakeW.Close(), d.wakeR.Close())
	whileBusy(d.path, d.replicas, d.noteClosed)
	return err
}

// noteClosed looks at the directory once SQLite has deleted the log.
func (d *database) noteClosed() {
	d.mu.Lock()
	folders := d.folders
	d.mu.Unlock()
	for _, folder := range folders {
		shipper.NoteClosed(d.path, folder)
	}
}

// running is what ships, or an error when nothing does.
func (d *database) running() (*run, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run == nil {
		return nil, fmt.Errorf("%s: %w", d.path, os.ErrClosed)
	}
	return d.run, nil
}

// fileURI is the path as a SQLite URI.
func fileURI(path string) string {
	return "file:" + escapePath(filepath.ToSlash(path))
}
