package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"seawal/restore"
	"seawal/shipper"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/store/storetest"
	"seawal/vfs"
)

var (
	errReset  = errors.New("connection reset by peer")
	errDenied = errors.New("403 forbidden")
	errSilent = errors.New("the peer has gone silent")
)

// badPlace is a database whose replica is in memory, behind a store that has bad days on command.
type badPlace struct {
	place                    // its replica is the store with the faults
	faults *faultstore.Store // what seawal is given
	behind store.Store       // what that stores in
	stuck  *stuck            // when faults hang
	driver string
	points []point  // noted
	given  sync.Map // bodies of what was created, by name
}

// badStores are the stores of this process by the host of their URL: bad://x has faults, good://x is what lies behind.
var (
	badStores     sync.Map
	badStoresMade atomic.Int64
)

// Drivers that try again soon what has failed.
const (
	impatient = "seawal-impatient"
	hasty     = "seawal-hasty"      // and that give up soon when they close
	stalling  = "seawal-stalling"   // or when they open
	smallRing = "seawal-small-ring" // and whose ring is small, and segments
	squashing = "seawal-squashing"  // and that let go of a log that grows past 2 MiB
	blocking  = "seawal-blocking"   // or have writers wait then
)

// MaxWAL of the last two, and the size of a segment of the last three.
const (
	smallMaxWAL  = 2 << 20
	smallSegment = 64 << 10
)

func init() {
	open := func(_ context.Context, u *url.URL) (store.Store, error) {
		b, ok := badStores.Load(u.Host)
		if !ok {
			return nil, fmt.Errorf("no test has the store %v", u)
		}
		s := b.(*badPlace)
		if u.Scheme == "good" {
			return s.behind, nil
		}
		return unclosed{s.faults}, nil
	}
	store.Register("bad", open)
	store.Register("good", open)
	base := vfs.Config{Interval: 5 * time.Millisecond}
	registerImpatient(impatient, base)
	registerImpatient(stalling, vfs.Stalling(base, 200*time.Millisecond))
	base.CloseTimeout = 200 * time.Millisecond
	registerImpatient(hasty, base)
	base.RingBytes = 1 << 20
	base.CloseTimeout = 0
	base = vfs.SmallSegments(base, smallSegment)
	registerImpatient(smallRing, base)
	base.MaxWAL, base.CheckpointBytes = smallMaxWAL, 1<<20
	registerImpatient(squashing, base)
	base.OnFull = vfs.Block
	registerImpatient(blocking, base)
}

// registerImpatient makes a driver that tries again soon what has failed, and is quiet about it: that is what the tests are about.
func registerImpatient(name string, c vfs.Config) {
	c.Logger = slog.New(slog.DiscardHandler)
	if os.Getenv("SEAWAL_TEST_LOG") != "" {
		c.Logger = nil
	}
	if err := vfs.Register(name, vfs.Impatient(c)); err != nil {
		panic(err)
	}
}

// unclosed is opened and closed several times in the life of a test.
type unclosed struct{ *faultstore.Store }

func (unclosed) Close() error { return nil }

// remembering keeps what is created, so that a test can put back what it has taken away.
type remembering struct {
	store.Store
	given *sync.Map
}

func (r remembering) Create(ctx context.Context, name string, body store.Body) error {
	in, err := body()
	if err != nil {
		return err
	}
	all, err := io.ReadAll(in)
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	if err := r.Store.Create(ctx, name, store.BytesBody(all)); err != nil {
		return err
	}
	r.given.Store(name, all)
	return nil
}

func newBadPlace(t *testing.T, rules ...faultstore.Rule) *badPlace {
	t.Helper()
	name := fmt.Sprintf("store%d", badStoresMade.Add(1))
	b := &badPlace{driver: impatient, stuck: newStuck(), behind: storetest.NewMemory()}
	b.place = place{t, filepath.Join(t.TempDir(), "app.db"), "bad://" + name}
	b.faults = faultstore.Wrap(remembering{b.behind, &b.given}, faultstore.Options{Clock: b.stuck}, rules...)
	badStores.Store(name, b)
	t.Cleanup(func() { badStores.Delete(name) })
	return b
}

// good is the same place by way of the store behind the faults.
func (b *badPlace) good() place {
	return place{b.t, b.path, strings.Replace(b.replica, "bad:", "good:", 1)}
}

// open opens the database with the place's driver. Its statements have no context: whoever waited for the store would wait for ever.
func (b *badPlace) open(params string) *sql.DB {
	b.t.Helper()
	db, err := sql.Open(b.driver, "file:"+b.path+"?_journal_mode=WAL&_synchronous=NORMAL&_busy_timeout=60000&_replica="+b.replica+"&"+params)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { db.Close() }) // closed already unless the test has failed
	return db
}

// calm ends all faults, and lets what got stuck go.
func (b *badPlace) calm() {
	b.faults.SetRules()
	b.stuck.release()
	b.faults.Deliver(b.t.Context())
}

// write has several connections commit, each so many times, and fails the test when one can't.
func (b *badPlace) write(db *sql.DB, seed uint64, conns, commits int) {
	b.t.Helper()
	var all sync.WaitGroup
	errs := make([]error, conns)
	for i := range conns {
		all.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for range commits {
				if errs[i] = writeOnce(db, r); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		b.t.Fatalf("a writer met an error: %v", err)
	}
}

// writeOnce makes one commit: many rows, few, or other values for old ones.
func writeOnce(db *sql.DB, r *rand.Rand) error {
	var err error
	switch r.IntN(8) {
	case 0:
		_, err = db.Exec("INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40) SELECT randomblob(700) FROM n")
	case 1:
		_, err = db.Exec("UPDATE t SET b=randomblob(300) WHERE a BETWEEN ?1 AND ?1+9", r.IntN(100))
	default:
		_, err = db.Exec("INSERT INTO t(b) VALUES(randomblob(?))", 10+r.IntN(500))
	}
	return err
}

// closeBadly closes the database while the store has its bad days: what was not shipped may be reported, and nothing else.
func (b *badPlace) closeBadly(db *sql.DB) {
	b.t.Helper()
	var u *shipper.UnshippedError
	if err := db.Close(); err != nil && !errors.As(err, &u) {
		b.t.Fatalf("closing: %v", err)
	}
}

// flush waits until everything has been shipped. That takes a while where the race detector looks on, on a machine that is busy.
func (b *badPlace) flush(db *sql.DB) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 3*time.Minute)
	defer cancel()
	if err := vfs.Flush(ctx, db); err != nil {
		b.t.Fatalf("%v; %+v", err, b.status(db))
	}
}

// status is the database's own account.
func (b *badPlace) status(db *sql.DB) vfs.Stat {
	b.t.Helper()
	st, err := vfs.Status(b.t.Context(), db)
	if err != nil {
		b.t.Fatal(err)
	}
	return st
}

// listing is what the replica says of itself. Whatever happened, all that it says can be restored.
func (b *badPlace) listing() *restore.Listing {
	b.t.Helper()
	l, err := restore.List(b.t.Context(), b.behind, 0)
	if err != nil {
		b.t.Fatal(err)
	}
	if len(l.Gaps) > 0 || len(l.Unreadable) > 0 || len(l.TimesGoBack) > 0 {
		b.t.Errorf("gaps %v, unreadable %v, times go back %v", l.Gaps, l.Unreadable, l.TimesGoBack)
	}
	return l
}

// arrived wants everything in the replica, on one timeline with one snapshot: the newest point is the
// closed database, byte for byte.
func (b *badPlace) arrived() *restore.Listing {
	b.t.Helper()
	b.same(b.path, b.good().restore(restore.Newest()))
	l := b.listing()
	if len(l.Timelines) != 1 || len(l.Snapshots) != 1 {
		b.t.Errorf("timelines %+v, snapshots %+v; want one each", l.Timelines, l.Snapshots)
	}
	return l
}

// stuck is the clock of a store whose calls hang: a wait as long as hangs is a peer gone silent. Every store
// gives up on that after a while, and this one after its patience, or once it is released.
type stuck struct {
	patience time.Duration // 0: for ever
	hung     atomic.Int64  // calls that have hung

	gone chan struct{} // closed when nothing hangs any more
}

// hangs is the wait that stands for a call without an answer.
const hangs = 1000 * time.Hour

func newStuck() *stuck { return &stuck{gone: make(chan struct{})} }

func (s *stuck) Now() time.Time { return time.Now() }

func (s *stuck) Sleep(ctx context.Context, d time.Duration) error {
	if d < hangs {
		return store.SystemClock{}.Sleep(ctx, d)
	}
	s.hung.Add(1)
	var up <-chan time.Time
	if s.patience > 0 {
		up = time.After(s.patience)
	}
	select {
	case <-s.gone:
		return errSilent
	case <-up:
		return errSilent
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release gives up on every call that hangs.
func (s *stuck) release() { close(s.gone) }
