package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// walSize is the size of the -wal file, bytes; 0: none.
func walSize(path string) int64 {
	fi, err := os.Stat(path + "-wal")
	if err != nil {
		return 0
	}
	return fi.Size()
}

// However many writers commit with durability=remote one after the other, the WAL is started again.
func TestRemoteCommitsLetTheLogStartAgain(t *testing.T) {
	for _, writers := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(writers), func(t *testing.T) {
			t.Parallel()
			b := newBadPlace(t, faultstore.When(faultstore.OnOp(store.OpCreate), faultstore.Slow(10*time.Millisecond)))
			b.driver = squashing
			create(t, b.path, 4096)
			db := b.open("_durability=remote")
			var commits, restarts, last, peak atomic.Int64
			var all sync.WaitGroup
			for range writers {
				all.Go(func() {
					for commits.Add(1) <= 200 { // 12 MiB, six times MaxWAL
						if _, err := db.Exec("INSERT INTO t(b) VALUES(randomblob(60000))"); err != nil {
							t.Error(err)
							return
						}
						size := int64(b.status(db).WALFrames)
						if last.Swap(size) > size {
							restarts.Add(1)
						}
						peak.Store(max(peak.Load(), walSize(b.path)))
					}
				})
			}
			all.Wait()
			if restarts.Load() == 0 {
				t.Error("the WAL was never started again")
			}
			if peak.Load() > 3*smallMaxWAL {
				t.Errorf("the WAL was %d KiB large", peak.Load()>>10)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			b.arrived()
		})
	}
}

// A commit that waits for an outage to end doesn't keep the WAL of others from being started again at MaxWAL.
func TestRemoteCommitInAnOutageDoesNotPinTheLog(t *testing.T) {
	for _, mode := range []struct{ name, driver, params string }{
		{"squash", squashing, ""},
		{"block", blocking, ""},
		{"shared", squashing, "cache=shared"},
	} {
		t.Run(mode.name, func(t *testing.T) {
			b, down := downPlace(t, mode.driver)
			db := b.open(mode.params)
			b.write(db, 1, 1, 5)
			b.flush(db)
			down.On()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := connOf(t, db)
			if got := value(t, c, "PRAGMA seawal_durability=remote"); got != "remote" {
				t.Fatal(got)
			}
			captured := b.status(db).Transactions
			done := make(chan error, 1)
			go func() {
				_, err := c.ExecContext(ctx, "INSERT INTO t(b) VALUES('remote')")
				done <- err
			}()
			for b.status(db).Transactions == captured {
				time.Sleep(time.Millisecond) // polls: nothing tells that it waits
			}
			// Connections of a cache that is shared wait for each other: another one, with a cache of its own.
			other := db
			if mode.params != "" {
				other = b.open("")
			}
			last, again := uint32(0), false
			for range 1000 { // 60 MiB, of which MaxWAL is a thirtieth
				short, end := context.WithTimeout(t.Context(), 500*time.Millisecond)
				_, err := other.ExecContext(short, "INSERT INTO t(b) VALUES(randomblob(60000))")
				end()
				st := b.status(db)
				again = st.WALFrames < last || st.LogFull // block: as it is to be
				if again {
					break
				}
				last = st.WALFrames
				if err != nil {
					t.Fatal(err)
				}
			}
			if !again {
				t.Errorf("the WAL was never started again, and is %d KiB large", walSize(b.path)>>10)
			}
			if mode.params == "" {
				cancel() // else the wait has ended at MaxWAL
			}
			if err := <-done; !errors.Is(err, vfs.ErrNotDurable) {
				t.Errorf("the commit that waited returned %v", err)
			}
			down.Off()
			b.flush(db)
			c.Close()
			if err := errors.Join(other.Close(), db.Close()); err != nil {
				t.Error(err)
			}
			b.same(b.path, b.good().restore(restore.Newest()))
		})
	}
}

// A connection that reads while its own commit waits keeps its snapshot of the WAL, as it does anyway; the wait ends at MaxWAL.
func TestRemoteCommitWithAReaderEndsAtMaxWAL(t *testing.T) {
	b, down := downPlace(t, squashing)
	db := b.open("")
	b.write(db, 1, 1, 5)
	b.flush(db)
	down.On()
	c := connOf(t, db)
	if got := value(t, c, "PRAGMA seawal_durability=remote"); got != "remote" {
		t.Fatal(got)
	}
	rows, err := c.QueryContext(t.Context(), "SELECT a FROM t UNION ALL SELECT 1")
	if err != nil || !rows.Next() {
		t.Fatal(err, rows.Err())
	}
	captured := b.status(db).Transactions
	done := make(chan error, 1)
	go func() {
		_, err := c.ExecContext(t.Context(), remoteRow)
		done <- err
	}()
	for b.status(db).Transactions == captured {
		time.Sleep(time.Millisecond) // polls: nothing tells that it waits
	}
	for {
		if _, err := db.Exec("INSERT INTO t(b) VALUES(randomblob(60000))"); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if !errors.Is(err, vfs.ErrNotDurable) {
				t.Errorf("it returned %v", err)
			}
			if err := rows.Close(); err != nil {
				t.Error(err)
			}
			c.Close()
			down.Off()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			return
		default:
			if size := walSize(b.path); size > 32*smallMaxWAL {
				t.Fatalf("it still waits, and the WAL is %d KiB large", size>>10)
			}
		}
	}
}

// Whatever ends the wait, the commit returns ErrNotDurable.
func TestRemoteWaitEnds(t *testing.T) {
	ends := 0
	begin := func(t *testing.T, params string) (*badPlace, *sql.DB) {
		b, down := downPlaceSerial(t, hasty)
		db := b.open("_durability=remote&" + params)
		b.write(db, 1, 1, 2)
		down.On()
		return b, db
	}
	expect := func(t *testing.T, err error) {
		t.Helper()
		ends++
		if !errors.Is(err, vfs.ErrNotDurable) {
			t.Errorf("it returned %v", err)
		}
	}
	t.Run("a context", func(t *testing.T) {
		b, db := begin(t, "")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		_, err := db.ExecContext(ctx, remoteRow)
		expect(t, err)
		b.closeBadly(db)
	})
	t.Run("a context of a query", func(t *testing.T) { // go-sqlite3 returns that of the context
		b, db := begin(t, "_durability_timeout=1m")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		rows, err := db.QueryContext(ctx, "INSERT INTO t(b) VALUES(1), (2)")
		if err == nil || rows != nil {
			t.Errorf("it returned %v", err)
		}
		b.closeBadly(db)
	})
	t.Run("the limit", func(t *testing.T) {
		b, db := begin(t, "")
		c := connOf(t, db)
		defer c.Close()
		value(t, c, "PRAGMA seawal_durability_timeout=30") // only now: what was written before may have taken longer
		tx, err := c.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(remoteRow); err != nil {
			t.Fatal(err)
		}
		expect(t, tx.Commit())
		b.closeBadly(db)
	})
	t.Run("Close", func(t *testing.T) {
		b, db := begin(t, "")
		captured := b.status(db).Transactions
		done := make(chan error, 1)
		go func() {
			_, err := db.Exec(remoteRow)
			done <- err
		}()
		for b.status(db).Transactions == captured {
			time.Sleep(time.Millisecond) // polls: nothing tells that it waits
		}
		b.closeBadly(db)
		expect(t, <-done)
	})
	t.Run("closed before", func(t *testing.T) {
		b, db := begin(t, "")
		left := connOf(t, db)
		b.closeBadly(db)
		_, err := left.ExecContext(t.Context(), remoteRow)
		expect(t, err)
	})
	t.Run("fenced", func(t *testing.T) {
		b, db := begin(t, "")
		b.calm()
		b.takenOver()
		var err error
		for range 300 { // it looks now and then
			if _, err = db.Exec(remoteRow); err != nil {
				break
			}
		}
		expect(t, err)
		if st := b.status(db); !st.Fenced {
			t.Errorf("it isn't fenced: %+v", st)
		}
		_, err = db.Exec(remoteRow)
		expect(t, err)
		db.Close()
	})
	reliability.Record(t, reliability.Fault{
		Group: reliability.Durable, Name: "A commit that waits for the replica is interrupted",
		How: "by its context, its limit, db.Close, another writer, and after the database was closed",
	}, ends, 0)
}

// takenOver has another host's copy of the database take the replica over.
func (b *badPlace) takenOver() {
	b.t.Helper()
	copied := filepath.Join(b.t.TempDir(), "copy.db")
	if err := os.Rename(b.good().restore(restore.Newest()), copied); err != nil {
		b.t.Fatal(err)
	}
	db := place{b.t, copied, b.good().replica}.open("")
	mustExec(b.t, db, "INSERT INTO t(b) VALUES('the other one')")
	flush(b.t, db)
	if err := db.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// A transaction over replicated databases that are attached to each other is confirmed when all of them have it.
func TestRemoteCommitOfAttachedDatabases(t *testing.T) {
	b := newBadPlace(t)
	b.driver = hasty
	other := newBadPlace(t)
	other.driver = hasty
	create(t, b.path, 4096)
	create(t, other.path, 4096)
	db, db2 := b.open("_durability=remote"), other.open("")
	flush(t, db)
	flush(t, db2)
	c := connOf(t, db)
	if _, err := c.ExecContext(t.Context(), "ATTACH '"+other.path+"' AS other; CREATE TEMP TABLE tmp(x)"); err != nil {
		t.Fatal(err)
	}
	both := []string{"BEGIN", remoteRow, "INSERT INTO other.t(b) VALUES(1)", "COMMIT"}
	for _, tt := range []struct {
		name          string
		queries       []string
		first, second bool // whose store is down
		failed        bool
	}{
		{"none", both, false, false, false},
		{"first", both, true, false, true},
		{"second", both, false, true, true},
		{"both", both, true, true, true},
		{"main alone", []string{remoteRow}, true, false, true},
		{"main alone, the other one's store", []string{remoteRow}, false, true, false},
		{"attached alone", []string{"INSERT INTO other.t(b) VALUES(1)"}, false, true, true},
		{"attached alone, the other one's store", []string{"INSERT INTO other.t(b) VALUES(1)"}, true, false, false},
		{"with the temporary one", []string{"BEGIN IMMEDIATE", remoteRow, "INSERT INTO tmp VALUES(1)", "COMMIT"}, true, false, true},
		{"none again", both, false, false, false},
	} {
		b.faults.SetRules()
		other.faults.SetRules()
		if tt.first {
			b.faults.SetRules(faultstore.When(faultstore.Always(), faultstore.Fail(errReset)))
		}
		if tt.second {
			other.faults.SetRules(faultstore.When(faultstore.Always(), faultstore.Fail(errReset)))
		}
		limit := "0" // none: a store that answers may take its time
		if tt.failed {
			limit = "30"
		}
		value(t, c, "PRAGMA seawal_durability_timeout="+limit)
		before := value(t, c, "SELECT (SELECT count(*) FROM main.t)+(SELECT count(*) FROM other.t)")
		for _, ctx := range []context.Context{context.Background(), t.Context()} {
			err := execWay(tt.queries...)(ctx, c)
			if errors.Is(err, errEarly) || errors.Is(err, vfs.ErrNotDurable) != tt.failed || !tt.failed && err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		rows := 0
		for _, q := range tt.queries {
			if q == remoteRow || q == both[2] {
				rows += 2
			}
		}
		after := value(t, c, fmt.Sprintf("SELECT (SELECT count(*) FROM main.t)+(SELECT count(*) FROM other.t)-%d", rows))
		if after != before {
			t.Errorf("%s: %s rows before, and after it %s without its own", tt.name, before, after)
		}
	}
	for _, schema := range []string{"main", "other"} {
		if got := value(t, c, "PRAGMA "+schema+".integrity_check"); got != "ok" {
			t.Errorf("%s: %s", schema, got)
		}
	}
	c.Close()
	if err := errors.Join(db.Close(), db2.Close()); err != nil {
		t.Error(err)
	}
	b.same(b.path, b.good().restore(restore.Newest()))
	b.same(other.path, other.good().restore(restore.Newest()))
}

// An application's own checkpoints go on as it set them, after a commit whose error the wal hook has told.
func TestRemoteCommitLeavesTheWALHook(t *testing.T) {
	for _, mode := range []struct {
		name, params, pragma string
		checkpointed         bool // by the connection itself
	}{
		{"seawal", "", "", false},
		{"set", "", "PRAGMA wal_autocheckpoint=5", true},
		{"app", "_checkpoint=app", "PRAGMA wal_autocheckpoint=5", true},
		{"app off", "_checkpoint=app", "PRAGMA wal_autocheckpoint=0", false},
	} {
		t.Run(mode.name, func(t *testing.T) {
			b, down := downPlaceSerial(t, hasty)
			db := b.open(mode.params)
			b.write(db, 1, 1, 2)
			b.flush(db)
			c := connOf(t, db)
			value(t, c, "PRAGMA seawal_durability=remote")
			value(t, c, "PRAGMA seawal_durability_timeout=10")
			if mode.pragma != "" {
				value(t, c, mode.pragma)
			}
			before := value(t, c, "PRAGMA wal_autocheckpoint")
			down.On()
			for range 3 {
				if err := execWay("SAVEPOINT s", remoteRow, "RELEASE s")(context.Background(), c); !errors.Is(err, vfs.ErrNotDurable) {
					t.Errorf("RELEASE returned %v", err)
				}
			}
			down.Off()
			b.flush(db)
			value(t, c, "PRAGMA seawal_durability=async")
			for range 10 {
				if _, err := c.ExecContext(t.Context(), "INSERT INTO t(b) VALUES(randomblob(9000))"); err != nil {
					t.Error(err)
				}
			}
			if after := value(t, c, "PRAGMA wal_autocheckpoint"); after != before {
				t.Errorf("wal_autocheckpoint was %s, and is %s", before, after)
			}
			// Whoever checkpoints lets the next commit start the WAL again.
			var busy, log, done int
			if err := c.QueryRowContext(t.Context(), "PRAGMA wal_checkpoint(NOOP)").Scan(&busy, &log, &done); err != nil {
				t.Fatal(err)
			}
			if (done > 0 || log < 20) != mode.checkpointed {
				t.Errorf("%d of %d frames were checkpointed", done, log)
			}
			c.Close()
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
