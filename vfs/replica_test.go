package vfs_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// place is a database with a replica in a test's folder.
type place struct {
	t       *testing.T
	path    string
	replica string // URL
}

func newPlace(t *testing.T) place {
	dir := t.TempDir()
	return place{t, filepath.Join(dir, "app.db"), "file://" + filepath.Join(dir, "replica")}
}

// open opens the database with more parameters for the DSN.
func (p place) open(params string) *sql.DB {
	if !strings.Contains(params, "_journal_mode") {
		params = "_journal_mode=WAL&" + params
	}
	p.t.Helper()
	db, err := sql.Open("seawal", "file:"+p.path+"?_busy_timeout=10000&_replica="+p.replica+"&"+params)
	if err != nil {
		p.t.Fatal(err)
	}
	return db
}

// restore rebuilds the database at a target and returns its path.
func (p place) restore(target restore.Target) string { return p.restoreOn(0, target) }

// restoreOn is restore with the history of a timeline; 0: the newest.
func (p place) restoreOn(timeline uint32, target restore.Target) string {
	p.t.Helper()
	s, err := store.Open(p.t.Context(), p.replica)
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.Close()
	out := filepath.Join(p.t.TempDir(), "restored.db")
	if _, err := restore.Run(p.t.Context(), s, restore.Options{Output: out, Timeline: timeline, Target: target, Check: restore.CheckFull}); err != nil {
		p.t.Fatal(err)
	}
	return out
}

// same fails the test unless the two files are equal byte for byte.
func (p place) same(a, b string) {
	p.t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		p.t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		p.t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		p.t.Fatalf("%s (%d bytes) and %s (%d bytes) differ", a, len(x), b, len(y))
	}
}

func mustExec(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// fingerprint is a hash over the schema and every row.
func fingerprint(ctx context.Context, q interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}) (uint64, error) {
	h := fnv.New64a()
	for _, query := range []string{
		"SELECT name, ifnull(sql,'') FROM sqlite_schema ORDER BY name",
		"SELECT a, b FROM t ORDER BY a",
	} {
		rows, err := q.QueryContext(ctx, query)
		if err != nil {
			return 0, err
		}
		for rows.Next() {
			var a, b []byte
			if err := rows.Scan(&a, &b); err != nil {
				return 0, errors.Join(err, rows.Close())
			}
			fmt.Fprintf(h, "%d:%s%d:%s", len(a), a, len(b), b)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return 0, err
		}
	}
	return h.Sum64(), nil
}

// fingerprintFile opens a restored file with the plain driver, runs integrity_check, and hashes it.
func fingerprintFile(t *testing.T, path string) uint64 {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Fatalf("integrity_check of %s: %q, %v", path, verdict, err)
	}
	f, err := fingerprint(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// point is a transaction that a workload made a note of.
type point struct {
	pos  vfs.Pos
	rows uint64
}

// workload writes at random with several connections and notes points.
type workload struct {
	t    *testing.T
	db   *sql.DB
	gate sync.RWMutex // a point is noted while nobody writes

	mu     sync.Mutex // for points
	points []point
}

func (w *workload) note() {
	w.gate.Lock()
	defer w.gate.Unlock()
	pos, err := vfs.Position(w.t.Context(), w.db)
	if err != nil {
		w.t.Errorf("position: %v", err)
		return
	}
	rows, err := fingerprint(w.t.Context(), w.db)
	if err != nil {
		w.t.Errorf("fingerprint: %v", err)
		return
	}
	w.mu.Lock()
	w.points = append(w.points, point{pos, rows})
	w.mu.Unlock()
}

// step makes one statement of a random workload. Losing against another connection is no error.
func (w *workload) step(conn *sql.Conn, statement string) error {
	w.gate.RLock()
	defer w.gate.RUnlock()
	_, err := conn.ExecContext(w.t.Context(), statement)
	var e sqlite3.Error
	if errors.As(err, &e) {
		_, _ = conn.ExecContext(w.t.Context(), "ROLLBACK") // fails when the statement began none
		if e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked || strings.Contains(e.Error(), "no such") {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func (w *workload) run(seed uint64, conns, steps, cacheSize int) error {
	errs := make([]error, conns)
	var wg sync.WaitGroup
	for i := range conns {
		conn, err := w.db.Conn(w.t.Context())
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(w.t.Context(), fmt.Sprintf("PRAGMA cache_size=%d", cacheSize)); err != nil {
			return err
		}
		wg.Go(func() {
			defer conn.Close()
			r := rand.New(rand.NewPCG(seed, uint64(i)+1))
			for range steps {
				if errs[i] = w.step(conn, vfs.RandomStatement(r)); errs[i] != nil {
					return
				}
				if r.IntN(20) == 0 {
					w.note()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// A random workload of spills, savepoints, rollbacks, DDL, VACUUM and checkpoints of every mode: the
// restored file equals the checkpointed source, and every transaction that was noted can be restored
// with the rows that it had. The process closes and opens the database in between.
func TestReplicaOfARandomWorkload(t *testing.T) {
	for seed := uint64(1); seed <= 32; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 100))
			p := newPlace(t)
			pageSize := 512 << (seed % 8)
			params := "_ship_interval=20ms&_synchronous=" + []string{"NORMAL", "FULL", "OFF"}[r.IntN(3)]
			if r.IntN(2) == 0 {
				params += "&_checkpoint=app"
			}
			create(t, p.path, pageSize)
			var points []point
			for range 2 {
				db := p.open(params)
				w := &workload{t: t, db: db}
				if err := w.run(seed, 4, 25, 8+r.IntN(40)); err != nil {
					t.Fatal(err)
				}
				w.note()
				points = append(points, w.points...)
				if err := db.Close(); err != nil {
					t.Fatalf("closing: %v", err)
				}
			}
			p.same(p.path, p.restore(restore.Newest()))
			for _, pt := range points {
				if got := fingerprintFile(t, p.restore(restore.AtTx(pt.pos.Tx))); got != pt.rows {
					t.Errorf("page size %d: restored transaction %v has other rows than the source had", pageSize, pt.pos)
				}
			}
			t.Logf("page size %d: %d points", pageSize, len(points))
		})
	}
}

// create makes a database of a page size with the plain driver.
func create(t *testing.T, path string, pageSize int) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mustExec(t, db, fmt.Sprintf("PRAGMA page_size=%d; PRAGMA journal_mode=WAL; CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)", pageSize))
}
