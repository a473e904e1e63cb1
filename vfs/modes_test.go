package vfs_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// session is a replicated database in the hands of a test: one connection that makes the steps, and
// others that merely have it open.
type session struct {
	place
	ctx    context.Context
	db     *sql.DB
	conn   *sql.Conn
	points []point
}

// begin opens the database with DSN parameters of its own.
func (p place) begin(params string) *session {
	if strings.HasPrefix(p.replica, "away://") {
		return p.beginDriver(awayDriver, params)
	}
	return p.beginDriver("seawal", params)
}

func (p place) beginDriver(name, params string) *session {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 3*time.Minute)
	p.t.Cleanup(cancel)
	if !strings.Contains(params, "_ship_interval") {
		params += "&_ship_interval=10ms"
	}
	db, err := sql.Open(name, "file:"+p.path+"?_replica="+p.replica+"&"+params)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { db.Close() }) // closed already unless the test has failed
	s := &session{place: p, ctx: ctx, db: db}
	s.conn = s.another()
	return s
}

// another opens a further connection.
func (s *session) another() *sql.Conn {
	s.t.Helper()
	c, err := s.db.Conn(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (s *session) exec(steps ...string) {
	s.t.Helper()
	for _, q := range steps {
		if _, err := s.conn.ExecContext(s.ctx, q); err != nil {
			s.t.Fatalf("%s: %v", q, err)
		}
	}
}

// text is what a query or a pragma answers.
func (s *session) text(query string) string {
	s.t.Helper()
	var v string
	if err := s.conn.QueryRowContext(s.ctx, query).Scan(&v); err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return v
}

// flush waits until the replica has everything.
func (s *session) flush() {
	s.t.Helper()
	if err := vfs.Flush(s.ctx, s.db); err != nil {
		st, _ := vfs.Status(s.t.Context(), s.db)
		s.t.Fatalf("flush: %v; status %+v", err, st)
	}
}

// note remembers the position with the rows that the database has there.
func (s *session) note() {
	s.t.Helper()
	pos, err := vfs.Position(s.ctx, s.db)
	if err != nil {
		s.t.Fatalf("position: %v", err)
	}
	rows, err := fingerprint(s.ctx, s.conn)
	if err != nil {
		s.t.Fatalf("fingerprint: %v", err)
	}
	s.points = append(s.points, point{pos, rows})
}

// steps makes statements, with a point after each of them.
func (s *session) steps(steps ...string) {
	s.t.Helper()
	for _, q := range steps {
		s.exec(q)
		s.note()
	}
}

// shippedSteps is steps, each shipped before the next one. A transaction that is too large for the ring has no point
// of its own in a rollback journal mode once the next one is committed: no log has it.
func (s *session) shippedSteps(steps ...string) {
	s.t.Helper()
	for _, q := range steps {
		s.steps(q)
		s.flush()
	}
}

// end closes the database and proves the replica: the newest point is the file, and each point has its rows.
func (s *session) end() {
	s.t.Helper()
	if err := s.conn.Close(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.db.Close(); err != nil {
		s.t.Fatalf("closing: %v", err)
	}
	s.same(s.path, s.restore(restore.Newest()))
	for _, pt := range s.points {
		if got := fingerprintFile(s.t, s.restoreOn(pt.pos.Timeline, restore.AtTx(pt.pos.Tx))); got != pt.rows {
			s.t.Errorf("restored transaction %v has other rows than the source had", pt.pos)
		}
	}
}

// life is what each mode has to replicate: growth, shrinking, a spill, rollbacks, DDL, and a
// transaction larger than the ring and than a batch (that with the parameters of the test).
var life = []string{
	"PRAGMA cache_size=10",
	"CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b BLOB)",
	"INSERT INTO t(b) VALUES(randomblob(20000))",
	"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40) INSERT INTO t(b) SELECT randomblob(1500) FROM n",
	"BEGIN IMMEDIATE; UPDATE t SET b=randomblob(1800); UPDATE t SET b=randomblob(900) WHERE a%2=0; COMMIT",
	"DELETE FROM t WHERE a%3=0",
	"CREATE INDEX i ON t(b)",
	"VACUUM",
	"DROP INDEX i",
	"UPDATE t SET b=randomblob(10) WHERE a=1",
}

const rollbacks = "BEGIN IMMEDIATE; UPDATE t SET b=randomblob(1800); ROLLBACK"
const savepoints = "BEGIN IMMEDIATE; INSERT INTO t(b) VALUES('kept'); SAVEPOINT s; UPDATE t SET b=randomblob(1800); ROLLBACK TO s; INSERT INTO t(b) VALUES('x'); RELEASE s; COMMIT"

var journalModes = []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF", "WAL"}

func TestModeJournal(t *testing.T) {
	for _, mode := range journalModes {
		for _, locking := range []string{"NORMAL", "EXCLUSIVE"} {
			for _, checkpoint := range []string{"seawal", "app"} {
				t.Run(mode+"/"+locking+"/"+checkpoint, func(t *testing.T) {
					t.Parallel()
					p := newPlace(t)
					create(t, p.path, 1024)
					if mode != "WAL" {
						plain(t, p.path, "PRAGMA journal_mode="+mode)
					}
					s := p.begin("_journal_mode=" + mode + "&_checkpoint=" + checkpoint)
					s.flush()
					s.exec("PRAGMA locking_mode=" + locking)
					s.steps(life...)
					if mode != "OFF" {
						s.steps(rollbacks, savepoints, savepoints)
					}
					s.exec("PRAGMA locking_mode=NORMAL")
					s.steps("INSERT INTO t(b) VALUES('normal again')")
					s.flush()
					s.steps("INSERT INTO t(b) VALUES('after the flush')")
					s.end()
				})
			}
		}
	}
}

// plain makes statements with the plain driver, on one connection.
func plain(t *testing.T, path string, steps ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, q := range steps {
		mustExec(t, db, q)
	}
}

// From each journal mode to each other one, while others have the database open. SQLite itself refuses to leave
// WAL mode then; the other one waits beside in rollback modes, where it may stay.
func TestModeSwitchesOnALiveDatabase(t *testing.T) {
	for _, from := range journalModes {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			s := p.begin("_busy_timeout=0")
			s.exec("PRAGMA page_size=1024", "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)", "PRAGMA journal_mode="+from)
			s.flush()
			s.steps(life...)
			s.flush() // leaving WAL mode deletes the log: spilled transactions that nobody has read there have no points then
			for _, to := range journalModes {
				s.exec("PRAGMA journal_mode=" + to)
				other := s.another()
				var n int
				if err := other.QueryRowContext(s.ctx, "SELECT count(*) FROM t").Scan(&n); err != nil {
					t.Fatal(err)
				}
				s.steps("INSERT INTO t(b) VALUES(randomblob(3000))", "UPDATE t SET b=randomblob(900) WHERE a%7=0")
				var mode string
				if err := other.QueryRowContext(s.ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
					t.Fatal(err)
				}
				if _, err := other.ExecContext(s.ctx, "INSERT INTO t(b) VALUES('of the other')"); err != nil {
					t.Fatalf("in mode %s: %v", mode, err)
				}
				s.note()
				s.flush()
				if err := other.Raw(func(any) error { return driver.ErrBadConn }); err == nil {
					t.Fatal("the other connection is not thrown away")
				}
				s.exec("PRAGMA journal_mode=" + from)
				if got := s.text("PRAGMA journal_mode"); !strings.EqualFold(got, from) {
					t.Fatalf("back from %s the mode is %s, want %s", to, got, from)
				}
				s.steps("INSERT INTO t(b) VALUES(randomblob(300))")
			}
			s.end()
		})
	}
}

// What plain SQLite grants, seawal's own connections are not in the way of: each way into
// locking_mode=EXCLUSIVE and out of WAL mode, without a busy timeout.
func TestModeExclusiveIsGranted(t *testing.T) {
	for _, tt := range []struct {
		name, params string
		steps        []string
	}{
		{"before the first access", "_journal_mode=", []string{"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA journal_mode=WAL", "INSERT INTO t(b) VALUES(1)"}},
		{"after the first access", "_journal_mode=WAL", []string{"INSERT INTO t(b) VALUES(0)", "PRAGMA locking_mode=EXCLUSIVE", "INSERT INTO t(b) VALUES(1)"}},
		{"in the DSN", "_journal_mode=WAL&_locking_mode=EXCLUSIVE", []string{"INSERT INTO t(b) VALUES(1)"}},
		{"in and out", "_journal_mode=WAL", []string{"PRAGMA locking_mode=EXCLUSIVE", "INSERT INTO t(b) VALUES(1)", "PRAGMA locking_mode=NORMAL", "INSERT INTO t(b) VALUES(2)", "PRAGMA locking_mode=EXCLUSIVE", "INSERT INTO t(b) VALUES(3)"}},
		{"out of WAL mode", "_journal_mode=WAL", []string{"INSERT INTO t(b) VALUES(1)", "PRAGMA journal_mode=DELETE", "INSERT INTO t(b) VALUES(2)"}},
		{"rollback mode", "_journal_mode=DELETE", []string{"PRAGMA locking_mode=EXCLUSIVE", "INSERT INTO t(b) VALUES(1)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			create(t, p.path, 1024)
			// First the replica is made, with a reader and a checkpointer that stay.
			s := p.begin("_journal_mode=WAL")
			s.flush()
			s.end()
			s = p.begin("_busy_timeout=0&" + tt.params)
			for _, q := range tt.steps {
				s.exec(q)
			}
			s.end()
		})
		t.Run(tt.name+"/attached", func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			create(t, p.path, 1024)
			s := p.begin("_busy_timeout=0&_journal_mode=WAL")
			s.flush()
			// More than 1000 frames wake the checkpointer.
			s.exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1200) INSERT INTO t(b) SELECT zeroblob(900) FROM n")
			s.flush()
			for _, q := range tt.steps {
				s.steps(q)
			}
			s.end()
		})
	}
}

// While the application has the database to itself nothing can be read for a first snapshot: Status names
// the cause, and the replica comes into being when the lock goes.
func TestModeExclusiveFromTheStart(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			b := newBadPlace(t, faultstore.When(faultstore.Always(), faultstore.Slow(hangs)))
			create(t, b.path, 1024)
			plain(t, b.path, "PRAGMA journal_mode="+mode)
			s := b.beginDriver(impatient, "_busy_timeout=0&_locking_mode=EXCLUSIVE&_journal_mode="+mode)
			s.place = b.good()
			s.exec(life...)
			b.calm() // nothing could be read of the database before it was locked
			// The first thing seen may be that a read gave way. In the end Status names the lock.
			waitStatus(t, s.db, func(st vfs.Stat) bool { return strings.Contains(st.LastError, "EXCLUSIVE") })
			s.end()
		})
	}
}

// A database that nobody else may use grows its log without end, unless its own connection checkpoints.
func TestModeExclusiveCheckpoints(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 1024)
	s := p.begin("_journal_mode=WAL")
	s.flush()
	s.exec("PRAGMA locking_mode=EXCLUSIVE")
	for range 40 {
		s.exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<90) INSERT INTO t(b) SELECT zeroblob(900) FROM n")
	}
	s.note()
	fi, err := os.Stat(p.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() > 2500*1048 {
		t.Errorf("the log has %d bytes", fi.Size())
	}
	s.flush()
	if st, err := vfs.Status(s.ctx, s.db); err != nil || st.Resyncs > 0 {
		t.Errorf("%d differences in place of transactions, %v: %s", st.Resyncs, err, st.ResyncReason)
	}
	s.exec("PRAGMA locking_mode=NORMAL")
	s.steps("INSERT INTO t(b) VALUES(1)")
	if got := s.text("PRAGMA wal_autocheckpoint"); got != "0" {
		t.Errorf("back in NORMAL mode wal_autocheckpoint is %s", got)
	}
	s.end()
}

func waitStatus(t *testing.T, db *sql.DB, ok func(vfs.Stat) bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		st, err := vfs.Status(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		if ok(st) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("status stays at %+v", st)
		}
		time.Sleep(2 * time.Millisecond) // polls: there is no event to wait for
	}
}

func TestModeSettings(t *testing.T) {
	fill := "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) INSERT INTO t(b) SELECT randomblob(700) FROM n"
	for _, tt := range []struct {
		name  string
		setup []string // with the plain driver, before the table is made
		steps []string
	}{
		{"auto_vacuum full", []string{"PRAGMA auto_vacuum=FULL"}, []string{fill, "DELETE FROM t WHERE a%2=0", "DELETE FROM t", fill}},
		{"incremental_vacuum", []string{"PRAGMA auto_vacuum=INCREMENTAL"}, []string{fill, "DELETE FROM t WHERE a>20", "PRAGMA incremental_vacuum(5)", "PRAGMA incremental_vacuum", fill}},
		{"auto_vacuum changed", nil, []string{fill, "PRAGMA auto_vacuum=INCREMENTAL", "VACUUM", "DELETE FROM t WHERE a>20", "PRAGMA incremental_vacuum", "PRAGMA auto_vacuum=NONE", "VACUUM"}},
		{"secure_delete", nil, []string{"PRAGMA secure_delete=ON", fill, "DELETE FROM t WHERE a%2=0", "PRAGMA secure_delete=FAST", "DELETE FROM t"}},
		{"wal_autocheckpoint=0", nil, []string{"PRAGMA wal_autocheckpoint=0", fill, fill, "DELETE FROM t WHERE a%2=0"}},
		{"wal_autocheckpoint=5", nil, []string{"PRAGMA wal_autocheckpoint=5", fill, "UPDATE t SET b=zeroblob(20)", fill}},
		{"wal_autocheckpoint=1", nil, []string{"PRAGMA wal_autocheckpoint=1", fill, "UPDATE t SET b=zeroblob(20)", "DELETE FROM t WHERE a%2=0", fill}},
		{"checkpoints of the application", nil, []string{fill, "PRAGMA wal_checkpoint(PASSIVE)", fill, "PRAGMA wal_checkpoint(FULL)", "DELETE FROM t WHERE a%2=0",
			"PRAGMA wal_checkpoint(RESTART)", "UPDATE t SET b=zeroblob(20)", "PRAGMA wal_checkpoint(TRUNCATE)", fill}},
		{"cache_spill", nil, []string{"PRAGMA cache_size=10", "PRAGMA cache_spill=1", fill,
			"BEGIN; UPDATE t SET b=randomblob(600); PRAGMA cache_spill=OFF; UPDATE t SET b=randomblob(800); COMMIT", "PRAGMA cache_spill=20", "UPDATE t SET b=randomblob(100)"}},
		{"journal_size_limit", nil, []string{"PRAGMA journal_size_limit=0", fill, "PRAGMA wal_checkpoint(RESTART)", "INSERT INTO t(b) VALUES(1)", "PRAGMA wal_checkpoint(TRUNCATE)", fill}},
		{"temp tables", nil, []string{"CREATE TEMP TABLE x AS SELECT randomblob(100) AS y", "PRAGMA temp_store=MEMORY", "CREATE TEMP TABLE z(y)", "INSERT INTO t(b) VALUES(1)", "INSERT INTO temp.z VALUES(1)"}},
		{"larger than the ring", nil, []string{"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<6000) INSERT INTO t(b) SELECT randomblob(900) FROM n", "UPDATE t SET b=randomblob(10)", "VACUUM"}},
	} {
		for _, mode := range []string{"WAL", "DELETE"} {
			t.Run(tt.name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				plain(t, p.path, append(append([]string{"PRAGMA page_size=1024"}, tt.setup...), "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")...)
				s := p.begin("_journal_mode=" + mode)
				s.flush()
				step := s.steps
				if tt.name == "larger than the ring" && mode != "WAL" {
					step = s.shippedSteps
				}
				step(tt.steps...)
				s.end()
			})
		}
	}
}

// A ring of 1 MiB, its smallest, and transactions that are larger than it and than a batch of the shipper.
func TestModeTransactionLargerThanTheRing(t *testing.T) {
	name := "seawal-small-ring" + t.TempDir() // a driver has its name for ever, and -count=2 comes again
	if err := vfs.Register(name, vfs.Config{RingBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []struct{ journal, locking string }{{"WAL", "NORMAL"}, {"WAL", "EXCLUSIVE"}, {"DELETE", "NORMAL"}} {
		t.Run(mode.journal+"/"+mode.locking, func(t *testing.T) {
			p := newPlace(t)
			create(t, p.path, 4096)
			s := p.beginDriver(name, "_journal_mode="+mode.journal)
			s.flush()
			s.exec("PRAGMA locking_mode=" + mode.locking)
			step := s.steps
			switch {
			case mode.journal != "WAL":
				step = s.shippedSteps
			case mode.locking == "EXCLUSIVE":
				// Nothing holds the log back for what is left there: it may be known by its outcome only.
				step = func(steps ...string) { s.exec(steps...) }
			}
			step(
				"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<6000) INSERT INTO t(b) SELECT randomblob(900) FROM n",
				"INSERT INTO t(b) VALUES(1)",
				"UPDATE t SET b=randomblob(800)",
				"DELETE FROM t WHERE a>10",
				"VACUUM",
			)
			s.exec("PRAGMA locking_mode=NORMAL")
			s.end()
		})
	}
}

// Each page size in each mode with a rollback journal, or without any.
func TestModePageSizesInRollbackModes(t *testing.T) {
	combinations := 0
	for size := 512; size <= 65536; size *= 2 {
		for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"} {
			combinations++
			t.Run(fmt.Sprintf("%s/%d", mode, size), func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				create(t, p.path, size)
				plain(t, p.path, "PRAGMA journal_mode="+mode)
				s := p.begin("_journal_mode=" + mode)
				s.flush()
				s.exec(life...)
				s.note()
				if mode != "OFF" {
					s.steps(rollbacks, savepoints)
				}
				s.end()
			})
		}
	}
	reliability.Record(t, reliability.Fault{Group: reliability.Use, Name: "every page size in every rollback journal mode",
		How: "growth, shrinking, spills, rollbacks and VACUUM with pages of 512 to 65536 bytes; the restored file is the source"}, combinations, 0)
}

// One transaction that is larger than the log may become, with both policies: neither waits for ever, neither loses it.
func TestModeTransactionLargerThanMaxWAL(t *testing.T) {
	for _, policy := range []vfs.OnFull{vfs.Squash, vfs.Block} {
		t.Run(string(policy), func(t *testing.T) {
			name := "seawal-small-log" + t.TempDir()
			if err := vfs.Register(name, vfs.Config{RingBytes: 1 << 20, MaxWAL: 1 << 20, OnFull: policy}); err != nil {
				t.Fatal(err)
			}
			p := newPlace(t)
			create(t, p.path, 4096)
			s := p.beginDriver(name, "_journal_mode=WAL")
			s.flush()
			s.exec(
				"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2500) INSERT INTO t(b) SELECT randomblob(900) FROM n",
				"INSERT INTO t(b) VALUES(1)",
				"UPDATE t SET b=randomblob(800)",
				"DELETE FROM t WHERE a>10",
				"INSERT INTO t(b) VALUES(2)",
			)
			s.note()
			s.end()
		})
	}
}
