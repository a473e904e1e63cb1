package storetrial

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"seawal/internal/testserver/proxy"
	"seawal/vfs"
)

// outageEnv is how long each kind of outage lasts, "30s"; by default it is short.
const outageEnv = "SEAWAL_OUTAGE"

const (
	writers    = 4
	minCommits = 100 // in each phase, however long that takes on a busy machine
)

// fault is a kind of outage.
type fault struct {
	name  string
	begin func() (end func())
	total bool // nothing can arrive while it lasts
}

// faultsOf are the kinds that a proxy can do; requests is nil when the store doesn't speak HTTP.
func faultsOf(t *testing.T, network *proxy.TCP, requests *proxy.HTTP) []fault {
	pass := func() { network.Pass(t) }
	faults := []fault{
		{"refused", func() func() { network.Refuse(); return pass }, true},
		{"hanging", func() func() { network.Hang(); return pass }, true},
		{"slow", func() func() { network.Slow(50_000); return pass }, false},
		{"cut", func() func() { return repeat(network.Cut) }, false},
	}
	if requests == nil {
		return faults
	}
	return append(faults, fault{"503", func() func() {
		requests.Inject(proxy.Any, -1, proxy.Answer(http.StatusServiceUnavailable, ""))
		return requests.Clear
	}, true})
}

// repeat does something every 50 ms until the end.
func repeat(do func()) (end func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			do()
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(stop); wg.Wait() }
}

// Outage has four connections write while the way to the store fails in one manner after the other: refused, hanging, slow, cut, and
// answered with 503. Commits have to go on meanwhile, though none of them can arrive; afterwards all has to arrive, and what is
// restored has to be the database's file. What the writers' p99 was in each phase is logged.
//
// The replica is reached through network, and its copy is restored through it too. requests is the same proxy for requests, or nil
// when the store doesn't speak HTTP.
func Outage(t *testing.T, replica string, network *proxy.TCP, requests *proxy.HTTP) {
	d := 2 * time.Second
	if text := os.Getenv(outageEnv); text != "" {
		var err error
		if d, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", outageEnv, err)
		}
	}
	restore := buildRestore(t)
	path := filepath.Join(t.TempDir(), "app.db")
	db, err := sql.Open("seawal", "file:"+path+"?_journal_mode=WAL&_txlock=immediate&_busy_timeout=600000&_ship_interval=100ms&_replica="+url.QueryEscape(replica))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a BLOB)"); err != nil {
		t.Fatal(err)
	}
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}

	load := startLoad(t, db)
	before := load.phase(t, d)
	for _, f := range faultsOf(t, network, requests) {
		end := f.begin()
		begun := position(t, db)
		during := load.phase(t, d)
		st, err := vfs.Status(t.Context(), db)
		now := position(t, db)
		end()
		if err != nil {
			t.Fatal(err)
		}
		// What was sent before the fault may have been acknowledged at its beginning, but nothing that was committed later.
		if f.total && st.Durable.Tx > begun.Tx {
			t.Errorf("%s: the replica went on to %v from %v: there was no outage", f.name, st.Durable, begun)
		}
		if now.Tx-begun.Tx < minCommits/2 {
			t.Errorf("%s: %d commits while the store was away", f.name, now.Tx-begun.Tx)
		}
		t.Logf("%s for %v: %d commits, p99 %v, %.2f of before; %d behind at its end", f.name, d, len(during), p99(during), float64(p99(during))/float64(p99(before)), now.Tx-st.Durable.Tx)
	}
	load.stop(t)

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := vfs.Flush(ctx, db); err != nil {
		st, _ := vfs.Status(t.Context(), db)
		t.Fatalf("afterwards: %v; last error: %s", err, st.LastError)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	restored := restore.run(t, replica)
	wantEqual(t, path, restored)
	if n := rows(t, restored); n != load.total {
		t.Errorf("%d rows restored, %d were committed", n, load.total)
	}
}

func position(t *testing.T, db *sql.DB) vfs.Pos {
	t.Helper()
	pos, err := vfs.Position(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func p99(latencies []time.Duration) time.Duration {
	slices.Sort(latencies)
	return latencies[len(latencies)*99/100].Round(time.Microsecond)
}

// load is four connections that write.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	beat   chan struct{} // one value for some of the commits
	total  int           // rows; after stop

	mu   sync.Mutex
	took []time.Duration // of each commit in this phase; under mu
	rows int             // committed; under mu
	errs []error         // under mu
}

func startLoad(t *testing.T, db *sql.DB) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel, beat: make(chan struct{}, 1)}
	t.Cleanup(cancel)
	for range writers {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.wg.Go(func() {
			defer c.Close()
			pace := time.NewTicker(2 * time.Millisecond) // else the test is one of throughput, and all the rest has to bear it
			defer pace.Stop()
			for ctx.Err() == nil && l.commit(ctx, c) {
				<-pace.C
			}
		})
	}
	return l
}

// commit makes one and notes how long it took; false ends the writer.
func (l *load) commit(ctx context.Context, c *sql.Conn) bool {
	began := time.Now()
	_, err := c.ExecContext(context.WithoutCancel(ctx), "INSERT INTO t(a) VALUES(randomblob(100))")
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.errs = append(l.errs, err)
		return false
	}
	l.took = append(l.took, took)
	l.rows++
	select {
	case l.beat <- struct{}{}:
	default:
	}
	return true
}

// phase lets the writers go on for d, and until there are enough commits to say something of them.
func (l *load) phase(t *testing.T, d time.Duration) []time.Duration {
	t.Helper()
	l.mu.Lock()
	l.took = nil
	l.mu.Unlock()
	over := time.After(d) // the phase itself: nothing waits for something to have happened by then
	for waited := false; ; {
		select {
		case <-over:
			waited = true
		case <-l.beat:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
		l.mu.Lock()
		took, err := l.took, errors.Join(l.errs...)
		l.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if waited && len(took) >= minCommits {
			return slices.Clone(took)
		}
	}
}

func (l *load) stop(t *testing.T) {
	t.Helper()
	l.cancel()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total = l.rows
	if err := errors.Join(l.errs...); err != nil {
		t.Fatal(err)
	}
}
