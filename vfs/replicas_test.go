package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"seawal/restore"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// errDown is what a store that is down answers.
var errDown = errors.New("connection refused")

// outages are the stores of the scheme "outage", by host: a folder, which a test takes out of reach.
var outages struct {
	sync.Mutex
	m map[string]*outage
}

type outage struct {
	dir  string
	down faultstore.Toggle
}

func init() {
	store.Register("outage", func(ctx context.Context, u *url.URL) (store.Store, error) {
		outages.Lock()
		o := outages.m[u.Host]
		outages.Unlock()
		s, err := store.Open(ctx, "file://"+o.dir+u.Query().Get("account"))
		if err != nil {
			return nil, err
		}
		return faultstore.Wrap(s, faultstore.Options{}, faultstore.When(&o.down, faultstore.Fail(errDown))), nil
	})
}

// newOutage makes a folder that can be out of reach, and returns its URL too.
func newOutage(t *testing.T) (*outage, string) {
	o := &outage{dir: filepath.Join(t.TempDir(), "replica")}
	outages.Lock()
	defer outages.Unlock()
	if outages.m == nil {
		outages.m = map[string]*outage{}
	}
	host := fmt.Sprint("o", len(outages.m))
	outages.m[host] = o
	return o, "outage://" + host + "/"
}

// openReplicas opens a database with several replicas.
func openReplicas(t *testing.T, path, params string, replicas ...string) *sql.DB {
	t.Helper()
	dsn := "file:" + path + "?_busy_timeout=10000&_journal_mode=WAL&_ship_interval=10ms" + params
	for _, r := range replicas {
		dsn += "&_replica=" + url.QueryEscape(r)
	}
	db, err := sql.Open("seawal", dsn)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// restored rebuilds the newest point of a replica.
func restored(t *testing.T, replica string) string {
	t.Helper()
	return place{t: t, replica: replica}.restore(restore.Target{})
}

// insert commits rows one by one and returns the position of the last one.
func insert(t *testing.T, db *sql.DB, n int) vfs.Pos {
	t.Helper()
	for range n {
		mustExec(t, db, "INSERT INTO t(b) VALUES (randomblob(5000))")
	}
	pos, err := vfs.Position(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func mustStatus(t *testing.T, db *sql.DB) vfs.Stat {
	t.Helper()
	st, err := vfs.Status(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// nearAndAway is a database with two replicas, of which one is enough: near, and away, whose store can be down.
type nearAndAway struct {
	t    *testing.T
	path string
	urls []string
	down *outage
	db   *sql.DB
}

// newNearAndAway opens one whose replicas have all of it, on a driver that it registers.
func newNearAndAway(t *testing.T, driver string, ringBytes int64) *nearAndAway {
	t.Helper()
	dir := t.TempDir()
	p := &nearAndAway{t: t, path: filepath.Join(dir, "app.db")}
	down, away := newOutage(t)
	p.down, p.urls = down, []string{"file://" + dir + "/near", away}
	if err := vfs.Register(driver, vfs.Config{
		Replicas: p.urls, WaitFor: 1, Interval: 10 * time.Millisecond, RingBytes: ringBytes,
	}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(driver, "file:"+p.path+"?_busy_timeout=10000&_journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	p.db = db
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	for i := range p.urls {
		awaitReplica(t, db, i) // else it begins with a snapshot of what comes now
	}
	return p
}

// close closes the database; both replicas have to have it, and each of its commits.
func (p *nearAndAway) close(commits uint64) {
	p.t.Helper()
	if err := p.db.Close(); err != nil {
		p.t.Fatal(err)
	}
	for _, r := range p.urls {
		place{t: p.t}.same(p.path, restored(p.t, r))
		if n := points(list(p.t, r)); n < commits {
			p.t.Errorf("%s has %d transactions; %d were committed", r, n, commits)
		}
	}
}

// A replica whose store is down holds up neither the application nor the other replica, whose history stays
// complete; it catches up from the log, with every transaction.
func TestReplicaThatIsDown(t *testing.T) {
	p := newNearAndAway(t, "seawal-down", 1<<20)
	db := p.db
	p.down.down.On()
	const commits = 2000 // several times the ring
	pos := insert(t, db, commits)
	if err := vfs.Wait(t.Context(), db, pos); err != nil {
		t.Fatalf("one replica of two is enough, and it is up: %v", err)
	}
	st := mustStatus(t, db)
	if near := st.Replicas[0]; near.LagTransactions != 0 || near.Resyncs != 0 {
		t.Errorf("the replica that is up: %+v", near)
	}
	if away := st.Replicas[1]; away.LagTransactions == 0 || !strings.Contains(away.LastError, errDown.Error()) {
		t.Errorf("the replica that is down: %+v", away)
	}
	if st.RingBytes > 1<<20 {
		t.Errorf("%d bytes in a ring of 1 MiB", st.RingBytes)
	}
	p.down.down.Off()
	awaitReplica(t, db, 1)
	if away := mustStatus(t, db).Replicas[1]; away.Resyncs != 0 {
		t.Errorf("the log had it all, and yet %d differences were shipped: %s", away.Resyncs, away.ResyncReason)
	}
	p.close(commits)
}

// What a replica has yet to ship when its store goes away may be in the ring only: the log was started again since.
func TestReplicaThatIsDownWhileTheLogIsStartedAgain(t *testing.T) {
	p := newNearAndAway(t, "seawal-down-again", 4<<20)
	db := p.db
	commits := uint64(0)
	write := func(n int) vfs.Stat {
		if err := vfs.Wait(t.Context(), db, insert(t, db, n)); err != nil {
			t.Fatal(err)
		}
		commits += uint64(n)
		return mustStatus(t, db)
	}
	p.down.down.On()
	for write(1).RingBytes < 256<<10 { // until it takes no more: what it has in a batch is safe
	}
	for range 3 {
		salt := walSalt(t, p.path)
		mustExec(t, db, "PRAGMA wal_checkpoint(RESTART)")
		write(5)
		if walSalt(t, p.path) == salt {
			t.Fatal("the log goes on: nothing is tried")
		}
	}
	write(300)
	p.down.down.Off()
	awaitReplica(t, db, 1)
	if away := mustStatus(t, db).Replicas[1]; away.Resyncs != 0 {
		t.Errorf("it was all in memory or in the log, and yet %d differences were shipped: %s", away.Resyncs, away.ResyncReason)
	}
	p.close(commits)
}

// awaitReplica waits until one of several replicas has all of the database.
func awaitReplica(t *testing.T, db *sql.DB, i int) {
	t.Helper()
	for {
		if r := mustStatus(t, db).Replicas[i]; !r.Durable.IsZero() && r.LagTransactions == 0 {
			return
		}
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // polls: nothing tells when the slower one of several has it
	}
}

// list is what a replica can give back.
func list(t *testing.T, replica string) *restore.Listing {
	t.Helper()
	s, err := store.Open(t.Context(), replica)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := restore.List(t.Context(), s, 0)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// points counts the transactions that can be restored one by one.
func points(l *restore.Listing) (n uint64) {
	for _, r := range l.Ranges {
		n += r.Points
	}
	return n
}

// A waiter is told once enough replicas have the commit, or why that can't be.
func TestReplicasWaitFor(t *testing.T) {
	for _, c := range []struct {
		params string
		ok     bool
	}{{"&_wait_for=1", true}, {"&_wait_for=2", false}, {"", false}} {
		dir := t.TempDir()
		down, away := newOutage(t)
		db := openReplicas(t, filepath.Join(dir, "app.db"), c.params, "file://"+dir+"/near", away)
		mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
		if err := vfs.Flush(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		down.down.On()
		pos := insert(t, db, 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		if !c.ok {
			cancel(nil)
		}
		for name, wait := range map[string]func() error{
			"Wait":  func() error { return vfs.Wait(ctx, db, pos) },
			"Flush": func() error { return vfs.Flush(ctx, db) },
		} {
			err := wait()
			if c.ok && err != nil || !c.ok && !errors.Is(err, context.Canceled) {
				t.Errorf("%s%s: %v", name, c.params, err)
			}
			if !c.ok && !strings.Contains(err.Error(), "replication unknown") {
				t.Errorf("%s%s: %v; it has to say that the commit is there, and what of it is not known", name, c.params, err)
			}
		}
		cancel(nil)
		down.down.Off()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A missing database is restored from whatever replica has it.
func TestReplicasRestoreIfMissing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	a, b := "file://"+dir+"/a", "file://"+dir+"/b"
	db := openReplicas(t, path, "", a, b)
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	insert(t, db, 3)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-seawal", dir + "/a"} {
		if err := os.RemoveAll(name); err != nil {
			t.Fatal(err)
		}
	}
	db = openReplicas(t, path, "", a, b)
	if err := db.Ping(); !errors.Is(err, vfs.ErrReplicaExists) {
		t.Fatalf("opened without the database: %v", err)
	}
	db.Close()
	db = openReplicas(t, path, "&_restore=if-missing", a, b)
	insert(t, db, 3)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{a, b} {
		place{t: t}.same(path, restored(t, r))
	}
}

func TestReplicasBadInput(t *testing.T) {
	for params, want := range map[string]string{
		"_replica=file:///x&_replica=":                      "_replica is empty",
		"_replica=file:///x&_replica=file:///x/":            "is given twice",
		"_replica=file:///x&_wait_for=2":                    "WaitFor (_wait_for) is 2",
		"_replica=file:///x&_replica=file:///y&_wait_for=0": "_wait_for is \"0\"",
		strings.Repeat("_replica=file:///x&", 9):            "8 at most",
	} {
		db, err := sql.Open("seawal", "file:"+filepath.Join(t.TempDir(), "a.db")+"?"+strings.TrimSuffix(params, "&"))
		if err == nil {
			err = db.Ping()
			db.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", params, err, want)
		}
	}
	if err := vfs.Register("seawal-both", vfs.Config{Replica: "file:///x", Replicas: []string{"file:///y"}}); !errors.Is(err, vfs.ErrConfig) {
		t.Errorf("Replica and Replicas: %v", err)
	}
}

// Stores come and go at random while four connections write more than the ring and the log may hold. At the end every
// replica is the database, and each says of itself what it had to leave out.
func TestReplicasAtRandom(t *testing.T) {
	for i := range 2 {
		seed := uint64(time.Now().UnixNano()) + uint64(i)
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			replicasAtRandom(t, rand.New(rand.NewPCG(seed, 1)), fmt.Sprint("seawal-random-", seed))
		})
	}
}

func replicasAtRandom(t *testing.T, r *rand.Rand, driver string) {
	path := filepath.Join(t.TempDir(), "app.db")
	var stores []*outage
	cfg := vfs.Impatient(vfs.Config{Interval: 5 * time.Millisecond, RingBytes: 1 << 20, MaxWAL: 4 << 20, CheckpointBytes: 1 << 20, WaitFor: 1 + r.IntN(3)})
	for range 3 {
		o, u := newOutage(t)
		stores, cfg.Replicas = append(stores, o), append(cfg.Replicas, u)
	}
	if err := vfs.Register(driver, cfg); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(driver, "file:"+path+"?_busy_timeout=30000&_journal_mode=WAL&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	for round := range 6 {
		for _, o := range stores {
			if r.IntN(2) == 0 && round < 5 {
				o.down.On()
			} else {
				o.down.Off()
			}
		}
		var writers sync.WaitGroup
		for range 4 {
			n, size := 50+r.IntN(200), 1<<r.IntN(14)
			writers.Go(func() {
				for range n {
					if _, err := db.ExecContext(t.Context(), "INSERT INTO t(b) VALUES (randomblob(?))", size); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Wait()
	}
	for i := range stores {
		awaitReplica(t, db, i)
	}
	st := mustStatus(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for i, u := range cfg.Replicas {
		place{t: t}.same(path, restored(t, u))
		if l := list(t, u); points(l) < l.Last.Pos.Tx-l.First.Pos.Tx+1 && st.Replicas[i].Resyncs == 0 {
			t.Errorf("replica %d has %d of the points from %v to %v and says nothing of what it left out: %+v", i, points(l), l.First.Pos, l.Last.Pos, st.Replicas[i])
		}
	}
}

// A commit with durability=remote whose replica is lost to it says so at once.
func TestRemoteCommitIsNotConfirmedOnceShippingHasStopped(t *testing.T) {
	p := newPlace(t)
	db := p.open("_durability=remote")
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	if err := os.Remove(p.path); err != nil {
		t.Fatal(err)
	}
	vfs.PollAll()
	for mustStatus(t, db).Mode != "stopped" {
		time.Sleep(time.Millisecond) // polls: nothing tells
	}
	if _, err := db.Exec("INSERT INTO t(b) VALUES (1)"); !errors.Is(err, vfs.ErrNotDurable) {
		t.Errorf("the commit returned %v, and nothing has it but a deleted file", err)
	}
	if err := db.Close(); err == nil {
		t.Error("closing said nothing of what was not shipped")
	}
}
