package vfs_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"seawal/internal/vfstest"
	"seawal/restore"
	"seawal/vfs"
)

// strange runs SQL on the database in a process of its own, with plain SQLite.
func (p place) strange(sql string) {
	p.t.Helper()
	runStranger(p.t, strangerPath+"="+p.path+"?_busy_timeout=10000", strangerSQL+"="+sql)
}

// waitForeign waits until what another process did was found and is in the replica.
func waitForeign(t *testing.T, db *sql.DB, found uint64) {
	t.Helper()
	waitStatus(t, db, func(st vfs.Stat) bool { return st.ForeignWrite > found && st.LagTransactions == 0 })
}

func foreignWrites(t *testing.T, db *sql.DB) uint64 {
	t.Helper()
	st, err := vfs.Status(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return st.ForeignWrite
}

// What another process commits is shipped although the application writes nothing, neither before nor after.
func TestPollFindsCommits(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE", "TRUNCATE", "PERSIST"} {
		for name, steps := range map[string][]string{
			"write":    {"INSERT INTO t(b) VALUES('theirs')", "DELETE FROM t WHERE a<50", "VACUUM"},
			"restart":  {"INSERT INTO t(b) VALUES('theirs'); PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(b) VALUES('more')"},
			"to WAL":   {"PRAGMA journal_mode=WAL; UPDATE t SET b=1", "UPDATE t SET b=2"},
			"rollback": {"BEGIN; UPDATE t SET b=1; ROLLBACK; UPDATE t SET b=2"},
		} {
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				create(t, p.path, 4096)
				p.strange("PRAGMA journal_mode=" + mode + "; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<100) INSERT INTO t(b) SELECT randomblob(500) FROM n")
				db := p.at("_busy_timeout=10000&_ship_interval=1ms")
				one(t, db, "SELECT count(*) FROM t")
				flush(t, db)
				for _, sql := range steps {
					found := foreignWrites(t, db)
					p.strange(sql)
					waitForeign(t, db, found)
					vfs.PollAll() // it may have come between two of their commits
					flush(t, db)
					want, err := fingerprint(t.Context(), db)
					if err != nil {
						t.Fatal(err)
					}
					if got := fingerprintFile(t, p.restore(restore.Newest())); got != want {
						t.Errorf("after %s the replica has other rows", sql)
					}
				}
				mustExec(t, db, "INSERT INTO t(b) VALUES('ours')")
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				p.same(p.path, p.restore(restore.Newest()))
			})
		}
	}
}

// A stranger switches a database to WAL that we have looked at, and never written: our first commit comes on top of its ones.
func TestStrangerSwitchesToWALBeforeOurFirstCommit(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	p.strange("PRAGMA journal_mode=DELETE")
	db := p.at("_busy_timeout=10000&_ship_interval=1m") // the poll comes once a second
	one(t, db, "SELECT count(*) FROM t")
	flush(t, db)
	p.strange("PRAGMA journal_mode=WAL; INSERT INTO t(b) VALUES(randomblob(9000))")
	mustExec(t, db, "INSERT INTO t(b) VALUES('ours')")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	p.same(p.path, p.restore(restore.Newest()))
}

// Polling a database where nothing happens calls nothing of the VFS below, and nothing of the store.
func TestPollOfAnIdleDatabaseIsSilent(t *testing.T) {
	name := "poll-trace" + t.TempDir() // a driver has its name for ever, and -count=2 comes again
	trace, err := vfstest.Register(name, "", vfstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer trace.Close()
	p := newPlace(t)
	if err := vfs.Register(name, vfs.Config{Replica: p.replica, VFS: name}); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(name, "file:"+p.path+"?_journal_mode=WAL")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	mustExec(t, db, "CREATE TABLE t(a, b)")
	flush(t, db)
	before, err := vfs.Status(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	// What the first snapshot leaves to be closed may come after the flush. It ends; calls of the poll would not.
	var log vfstest.Log
	for range 100 {
		trace.Take()
		for range 100 {
			vfs.PollAll()
		}
		if log = trace.Take(); len(log) == 0 {
			break
		}
	}
	if len(log) > 0 {
		t.Errorf("calls of the VFS:\n%v", log)
	}
	after, err := vfs.Status(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if after.Requests != before.Requests {
		t.Errorf("requests to the store: %+v, then %+v", before.Requests, after.Requests)
	}
}

// What polling many idle databases costs: core-% is for one poll of each in a second, as with the default interval.
func BenchmarkPollIdle(b *testing.B) {
	for _, mode := range []string{"WAL", "DELETE"} {
		b.Run(fmt.Sprintf("databases=1000/mode=%s", mode), func(b *testing.B) {
			dir := b.TempDir()
			var closers []*sql.DB
			for i := range 1000 {
				name := filepath.Join(dir, fmt.Sprint(i))
				db, err := sql.Open("seawal", "file:"+name+".db?_journal_mode="+mode+"&_synchronous=OFF&_replica=file://"+name+".replica")
				if err != nil {
					b.Fatal(err)
				}
				closers = append(closers, db)
				if _, err := db.Exec("CREATE TABLE t(a)"); err != nil {
					b.Fatal(err)
				}
				if err := vfs.Flush(b.Context(), db); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				vfs.PollAll()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1e7, "core-%")
			b.StopTimer()
			var errs []error
			for _, db := range closers {
				errs = append(errs, db.Close())
			}
			if err := errors.Join(errs...); err != nil {
				b.Error(err)
			}
		})
	}
}
