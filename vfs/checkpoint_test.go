package vfs_test

import (
	"context"
	"database/sql"
	"os"
	"sync"
	"testing"
	"time"

	"seawal/restore"
	"seawal/vfs"
)

// walSalt is the salt in the header of a log: another one for each time that it is started again.
func walSalt(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], 16); err != nil {
		t.Fatal(err)
	}
	return string(b[:])
}

func init() {
	// The ring takes all that the test writes: a log that has to be read back isn't started again.
	if err := vfs.Register("seawal-small-log", vfs.Config{CheckpointBytes: 1 << 20, RingBytes: 256 << 20}); err != nil {
		panic(err)
	}
}

// unpausing is a transaction that holds the write lock for a while and writes a few pages. A connection that runs nothing else is
// hardly ever seen between two transactions, and yet it doesn't write so much that the shipper, which the race detector slows down,
// falls behind SQLite, which it doesn't: what is behind by more than the ring keeps the log until that has reached MaxWAL.
const unpausing = `INSERT INTO t(a) SELECT randomblob(3500) FROM (VALUES(1),(2),(3),(4)),
	(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<4000) SELECT count(*) FROM n) RETURNING id`

// A connection that writes without a pause is never seen between two transactions. The log
// has to be started again all the same, or it would grow until the disk is full.
func TestLogIsStartedAgainUnderConstantWriting(t *testing.T) {
	for _, c := range []struct {
		name             string
		writers, readers int
		times            int // that the log is to be started again
	}{
		{"one writer", 1, 0, 5},
		{"two writers", 2, 0, 5},
		{"a writer and two readers", 1, 2, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			db, err := sql.Open("seawal-small-log", "file:"+p.path+"?_journal_mode=WAL&_synchronous=NORMAL&_busy_timeout=10000&_replica="+p.replica)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a BLOB)"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			done := make(chan struct{}) // the log was started again as often as that
			var all sync.WaitGroup
			busy := func(statement string, look bool) {
				conn, err := db.Conn(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				defer conn.Close()
				salt, times := walSalt(t, p.path), 0
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
					}
					rows, err := conn.QueryContext(ctx, statement)
					if err == nil {
						for rows.Next() {
						}
						err = rows.Close()
					}
					if err != nil {
						t.Errorf("%s: %v; the log was started again %d times", statement, err, times)
						return
					}
					if look {
						if now := walSalt(t, p.path); now != salt {
							salt, times = now, times+1
						}
						if times == c.times {
							close(done)
							return
						}
					}
				}
			}
			for i := range c.writers {
				all.Go(func() { busy(unpausing, i == 0) })
			}
			for range c.readers {
				all.Go(func() { busy("SELECT count(*) FROM (SELECT 1 FROM t ORDER BY id DESC LIMIT 20)", false) })
			}
			all.Wait()
			flush(t, db)
			if st, err := vfs.Status(t.Context(), db); err != nil || st.Resyncs > 0 {
				t.Errorf("the log was started again before it was read: %v, %+v", err, st)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			p.same(p.path, p.restore(restore.Target{}))
		})
	}
}
