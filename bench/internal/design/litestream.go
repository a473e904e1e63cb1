package design

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// litestreamProgram has to be on PATH for the design to be measured. Written for v0.5.
const litestreamProgram = "litestream"

func init() {
	Register(Design{
		Name: Peer, Title: "plain + Litestream", Replicates: true,
		Check: func() error {
			if _, err := exec.LookPath(litestreamProgram); err != nil {
				return errors.New("not on PATH")
			}
			return nil
		},
		Open: openLitestream,
	})
}

// LitestreamVersion is the version of the program on PATH, "" when there is none.
func LitestreamVersion() string {
	out, err := exec.Command(litestreamProgram, "version").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// litestream is plain go-sqlite3 with a process beside it that replicates into a folder.
type litestream struct {
	db     *sql.DB
	path   string
	cmd    *exec.Cmd
	output bytes.Buffer // of the process; read when it has ended
	ended  chan struct{}
	err    error // of the process; set before ended is closed

	stop    chan struct{}
	watched sync.WaitGroup // the poller
	levels  string         // folder in which new files appear

	mu        sync.Mutex    // for the rest
	published time.Time     // state of the database that the newest file there has
	changed   chan struct{} // closed, and replaced, when published moves
}

var (
	_ Replicator = (*litestream)(nil)
	_ Companion  = (*litestream)(nil)
)

func openLitestream(ctx context.Context, d Database) (Session, error) {
	db, err := openPool(ctx, "sqlite3", d.dsn(nil))
	if err != nil {
		return nil, err
	}
	l := &litestream{
		db: db, path: d.Path, levels: filepath.Join(d.Replica, "ltx", "0"),
		ended: make(chan struct{}), stop: make(chan struct{}), changed: make(chan struct{}),
	}
	l.cmd = exec.Command(litestreamProgram, "replicate", "-log-level", "error", d.Path, folderURL(d.Replica))
	l.cmd.Stdout, l.cmd.Stderr = &l.output, &l.output
	if err := l.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting litestream: %w", err), db.Close())
	}
	go func() {
		l.err = l.cmd.Wait()
		close(l.ended)
	}()
	l.watched.Go(l.watch)
	return l, nil
}

func (l *litestream) DB() *sql.DB                        { return l.db }
func (l *litestream) Sidecar() int                       { return l.cmd.Process.Pid }
func (l *litestream) Sent(context.Context) (Sent, error) { return Sent{}, nil }

// Close closes the database, and then lets the process ship the rest and end.
func (l *litestream) Close(ctx context.Context) error {
	err := l.db.Close()
	if serr := l.cmd.Process.Signal(syscall.SIGINT); serr != nil && !errors.Is(serr, os.ErrProcessDone) {
		err = errors.Join(err, serr)
	}
	select {
	case <-l.ended:
	case <-time.After(30 * time.Second):
		err = errors.Join(err, errors.New("litestream did not end within 30 s"), l.cmd.Process.Kill())
		<-l.ended
	}
	close(l.stop)
	l.watched.Wait()
	return err
}

// litestreamPatience is longer than anything it does on its own.
const litestreamPatience = 60 * time.Second

func (l *litestream) Flush(ctx context.Context) error {
	wait, err := l.Mark(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, litestreamPatience)
	defer cancel()
	return wait(ctx)
}

// Mark takes the time of the last write to the log for the time of the last commit: then it
// also holds when nothing is written afterwards.
func (l *litestream) Mark(context.Context) (func(context.Context) error, error) {
	info, err := os.Stat(l.path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return func(context.Context) error { return nil }, nil
	}
	if err != nil {
		return nil, err
	}
	// Files carry milliseconds.
	return l.waitFor(info.ModTime().Truncate(time.Millisecond)), nil
}

// waitFor waits until a file holds the state of the database at t, or a later one.
func (l *litestream) waitFor(t time.Time) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			l.mu.Lock()
			published, changed := l.published, l.changed
			l.mu.Unlock()
			if !published.Before(t) {
				return nil
			}
			select {
			case <-changed:
			case <-l.ended:
				return fmt.Errorf("litestream ended: %v: %s", l.err, l.output.String())
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}

// litestreamPoll is how exact the lag of Litestream is known.
const litestreamPoll = 5 * time.Millisecond

// watch looks for new files, which get their name when they are complete.
func (l *litestream) watch() {
	tick := time.NewTicker(litestreamPoll)
	defer tick.Stop()
	newest := ""
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		name := l.newest(newest)
		if name == "" {
			continue
		}
		at, err := ltxTime(filepath.Join(l.levels, name))
		if err != nil {
			continue // the next look reads it again
		}
		newest = name
		l.mu.Lock()
		l.published = at
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
	}
}

// newest returns the last file after the one given, "" when there is none. Names begin
// with transaction numbers of fixed width.
func (l *litestream) newest(after string) string {
	entries, err := os.ReadDir(l.levels)
	if err != nil {
		return "" // not there before the first file
	}
	for _, e := range slices.Backward(entries) {
		if filepath.Ext(e.Name()) != ".ltx" {
			continue
		}
		if e.Name() > after {
			return e.Name()
		}
		return ""
	}
	return ""
}

// Where the header of an LTX file, as of github.com/superfly/ltx v0.5, has
// the time at which the database was read, in milliseconds since 1970.
const (
	ltxMagic   = "LTX1"
	ltxTimeAt  = 32
	ltxTimeEnd = ltxTimeAt + 8
)

func ltxTime(path string) (time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	var b [ltxTimeEnd]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return time.Time{}, err
	}
	if string(b[:len(ltxMagic)]) != ltxMagic {
		return time.Time{}, fmt.Errorf("%s is not an LTX file", path)
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[ltxTimeAt:]))), nil
}
