package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/shipper"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// downPlace is a place whose store can be down.
func downPlace(t *testing.T, driver string) (*badPlace, *faultstore.Toggle) {
	t.Helper()
	t.Parallel()
	return downPlaceSerial(t, driver)
}

func downPlaceSerial(t *testing.T, driver string) (*badPlace, *faultstore.Toggle) {
	t.Helper()
	down := new(faultstore.Toggle)
	b := newBadPlace(t, faultstore.When(down, faultstore.Fail(errReset)))
	b.driver = driver
	create(t, b.path, 4096)
	return b, down
}

// shippingPlace is one that has shipped something.
func shippingPlace(t *testing.T, driver, params string) (*badPlace, *faultstore.Toggle, *sql.DB) {
	t.Helper()
	b, down := downPlace(t, driver)
	db := b.open(params)
	b.write(db, 1, 2, 10)
	b.flush(db)
	return b, down, db
}

// shippingPlaceSerial is the same for a test that changes the whole process.
func shippingPlaceSerial(t *testing.T, driver string) (*badPlace, *faultstore.Toggle, *sql.DB) {
	t.Helper()
	b, down := downPlaceSerial(t, driver)
	db := b.open("")
	b.write(db, 1, 2, 10)
	b.flush(db)
	return b, down, db
}

// fill commits, three or four pages at a time, until something has come about; it takes some MiB at most.
func (b *badPlace) fill(db *sql.DB, what string, done func(vfs.Stat) bool) {
	b.t.Helper()
	for range 4000 {
		if done(b.status(db)) {
			return
		}
		mustExec(b.t, db, "INSERT INTO t(b) VALUES(randomblob(9000))")
	}
	b.t.Fatalf("no %s so far: %+v", what, b.status(db))
}

// until waits until something has come about.
func (b *badPlace) until(db *sql.DB, what string, done func(vfs.Stat) bool) {
	b.t.Helper()
	for range 30_000 {
		if done(b.status(db)) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	b.t.Fatalf("no %s so far: %+v", what, b.status(db))
}

// hasFailed says that the trouble with the store shows.
func hasFailed(st vfs.Stat) bool { return st.LastError != "" }

// finish has everything shipped, and closes the database.
func (b *badPlace) finish(db *sql.DB) vfs.Stat {
	b.t.Helper()
	b.flush(db)
	st := b.status(db)
	if st.LastError != "" || st.LagTransactions > 0 {
		b.t.Errorf("after a flush: %+v", st)
	}
	if err := db.Close(); err != nil {
		b.t.Errorf("closing: %v", err)
	}
	return st
}

// everyPoint wants all of the database in the replica, and each transaction a point of its own.
func (b *badPlace) everyPoint() {
	b.t.Helper()
	if l := b.arrived(); len(l.Squashed) > 0 {
		b.t.Errorf("transactions without a point: %+v", l.Squashed)
	}
}

// storeFault records what the test was about.
func (b *badPlace) storeFault(name, how string) {
	b.t.Helper()
	b.fault(reliability.Fault{Group: reliability.Store, Name: name, How: how}, 1)
}

// An outage that outlasts the ring: commits stay in the log, which is held back, and none loses its point. What else
// happens to a log meanwhile makes no difference.
func TestOutageLongerThanTheRing(t *testing.T) {
	for _, c := range []struct {
		name, params string
		meanwhile    []string
	}{
		{"commits alone", "", nil},
		{"checkpoints of every mode by the application", "_checkpoint=app", []string{
			"PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(FULL)", "PRAGMA wal_checkpoint(RESTART)", "PRAGMA wal_checkpoint(TRUNCATE)",
		}},
		{"VACUUM", "", []string{"DELETE FROM t WHERE a%3=0", "VACUUM"}},
		{"another table, and an index", "", []string{"CREATE TABLE u AS SELECT * FROM t", "CREATE INDEX i ON t(b)", "DROP TABLE u"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, down, db := shippingPlace(t, smallRing, c.params)
			down.On()
			b.fill(db, "full ring", func(st vfs.Stat) bool { return st.LeftInWAL > 20 })
			b.until(db, "error", hasFailed)
			for i, step := range c.meanwhile {
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				// A checkpoint that wants the log started again would wait for the outage to end.
				for _, q := range []string{"PRAGMA busy_timeout=0", step, "PRAGMA busy_timeout=60000"} {
					if _, err := conn.ExecContext(t.Context(), q); err != nil {
						t.Errorf("%s: %v", q, err)
					}
				}
				conn.Close()
				b.write(db, uint64(i), 2, 5)
			}
			if st := b.status(db); st.RingBytes > uint64(st.RingSize) || !strings.Contains(st.LastError, errReset.Error()) {
				t.Errorf("in the outage: %+v", st)
			}
			down.Off()
			if st := b.finish(db); st.Resyncs > 0 {
				t.Errorf("after it: %+v", st)
			}
			b.everyPoint()
			b.storeFault("an outage longer than the ring", "commits stay in the log, alone or beside checkpoints, VACUUM and new tables; each keeps its point")
		})
	}
}

// still says that the shipper holds all that it may, since nothing has moved for some hundred looks: what is
// committed now stays where it is.
func still() func(vfs.Stat) bool {
	var last [3]any
	looks := 0
	return func(st vfs.Stat) bool {
		if now := [3]any{st.LagBytes, st.RingBytes, st.LogFull}; now != last || !hasFailed(st) {
			last, looks = now, 0
		}
		looks++
		return looks > 300
	}
}

// An outage that outlasts MaxWAL, with OnFull squash: the log is let go and starts again. What it held is one transaction
// in the replica; Status, --list and --tx say which ones have no point.
func TestOutageLongerThanMaxWALIsSquashed(t *testing.T) {
	b, down, db := shippingPlace(t, squashing, "")
	before, err := vfs.Position(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := fingerprint(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	down.On()
	b.fill(db, "full ring", func(st vfs.Stat) bool { return st.LeftInWAL > 0 })
	b.until(db, "standstill", still())
	salt := ""
	b.fill(db, "log that is started again", func(st vfs.Stat) bool {
		if salt == "" && st.WALFrames > 0 {
			salt = walSalt(t, b.path)
		}
		return salt != "" && walSalt(t, b.path) != salt
	})
	down.Off()
	st := b.finish(db)
	if st.Resyncs == 0 || !strings.Contains(st.ResyncReason, "log was restarted") || !strings.Contains(st.Notice, "no points") {
		t.Errorf("status names no loss of points: %+v", st)
	}
	l := b.arrived()
	if len(l.Squashed) == 0 || l.Squashed[0].First <= before.Tx {
		t.Fatalf("squashed: %+v, and %v was shipped before", l.Squashed, before)
	}
	if got := fingerprintFile(t, b.good().restore(restore.AtTx(before.Tx))); got != rows {
		t.Error("the point before the outage has other rows")
	}
	gone := l.Squashed[0]
	_, err = restore.Run(t.Context(), b.behind, restore.Options{Output: filepath.Join(t.TempDir(), "x.db"), Target: restore.AtTx(gone.First)})
	var p *restore.PointError
	if !errors.As(err, &p) || p.Before == nil || p.After == nil || p.Before.Pos.Tx != gone.First-1 || p.After.Pos != gone.Next.Pos {
		t.Errorf("a point that was squashed: %v; want the two beside it named", err)
	}
	b.storeFault("an outage longer than MaxWAL, with OnFull squash", "the log is let go: what it held is one transaction; the points before and after it are compared, those in between are named")
}

// The same on a database of which the application writes a little again and again: the difference reads the pages that were written, and not
// the database. After the outage, however much is written, there is no other one.
func TestDifferenceAfterAnOutageReadsWhatWasWritten(t *testing.T) {
	t.Parallel()
	down := new(faultstore.Toggle)
	b := newBadPlace(t, faultstore.When(down, faultstore.Fail(errReset)))
	b.driver = squashing
	b.large()
	db := b.open("")
	b.flush(db)
	down.On()
	const rows = 10
	for range 3 * smallMaxWAL / (rows * 4096) {
		mustExec(t, db, fmt.Sprintf("UPDATE t SET b=randomblob(3900) WHERE a<=%d", rows))
	}
	down.Off()
	b.flush(db)
	st := b.status(db)
	// A row has a page of its own, and each difference reads at most what was written before it.
	if most := st.Resyncs * 4 * rows; st.Resyncs == 0 || st.ResyncPages == 0 || st.ResyncPages > most {
		t.Errorf("%d differences have read %d pages, at most %d were written: %+v", st.Resyncs, st.ResyncPages, most, st)
	}
	for n := range 3 * smallMaxWAL / 2 / 20000 {
		mustExec(t, db, "INSERT INTO t(b) VALUES(randomblob(20000))")
		if n%8 == 0 { // before the ring is full
			b.flush(db)
		}
	}
	if after := b.finish(db); after.Resyncs != st.Resyncs || after.Health.Word != shipper.WordOK {
		t.Errorf("%d differences, and %d some time after the outage: %+v", st.Resyncs, after.Resyncs, after)
	}
	b.arrived()
	b.storeFault("an outage longer than MaxWAL of a database that is written a little, with OnFull squash",
		"many commits to a few pages: the difference reads those, and no more than the database has changed; the newest point is compared, and later commits keep their points")
}

// The same with OnFull block: writers wait once the log is full. A context ends the wait and takes its statement
// back, readers go on, and when the store is back nothing is lost, not even a point.
func TestOutageLongerThanMaxWALBlocksWriters(t *testing.T) {
	b, down, db := shippingPlace(t, blocking, "")
	down.On()
	done := make(chan error)
	go func() {
		for {
			_, err := db.Exec("INSERT INTO t(b) VALUES(randomblob(9000))") // it waits in the end
			select {
			case done <- err: // the test is there
				return
			default:
			}
			if err != nil {
				t.Error(err)
			}
		}
	}()
	quiet := still()
	b.until(db, "full log", func(st vfs.Stat) bool { return quiet(st) && st.LogFull })
	count := one(t, db, "SELECT count(*) FROM t")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := db.ExecContext(ctx, "INSERT INTO t(b) VALUES('while it is full')"); err == nil {
		t.Error("a commit past MaxWAL")
	}
	if now := one(t, db, "SELECT count(*) FROM t"); now != count {
		t.Errorf("%s rows, then %s", count, now)
	}
	full := b.status(db)
	if !full.LogFull {
		t.Errorf("after the context of one writer: %+v", full)
	}
	down.Off()
	if err := <-done; err != nil {
		t.Errorf("the writer that waited: %v", err)
	}
	if st := b.finish(db); st.Resyncs > 0 || st.LogFull {
		t.Errorf("%+v, then %+v", full, st)
	}
	b.everyPoint()
	b.storeFault("an outage longer than MaxWAL, with OnFull block", "writers wait once the log is full, and go on when the store is back; each transaction keeps its point")
}

// The application stops and starts again in an outage, several times. Its log is kept for as long as the replica
// lacks what is in it, also when no connection of seawal's own is there to see the last one of the application go.
func TestOutageOverARestart(t *testing.T) {
	for _, c := range []struct {
		name string
		idle int // connections that stay in the pool
	}{{"pool", 2}, {"a connection for each statement", -1}} {
		t.Run(c.name, func(t *testing.T) {
			b, down, db := shippingPlace(t, impatient, "")
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			down.On()
			b.driver = hasty
			for seed := range uint64(3) {
				db = b.open("")
				db.SetMaxIdleConns(c.idle)
				b.write(db, 2+seed, 2, 10)
				if seed == 1 {
					b.fill(db, "log that is worth a checkpoint", func(st vfs.Stat) bool { return st.WALFrames > 1300 })
				}
				b.until(db, "error", hasFailed)
				if st := b.status(db); st.LagTransactions == 0 {
					t.Errorf("in an outage: %+v", st)
				}
				b.closeBadly(db)
			}
			b.driver = impatient
			db = b.open("")
			b.write(db, 9, 2, 10)
			down.Off()
			if st := b.finish(db); st.Resyncs > 0 || st.Snapshots > 0 {
				t.Errorf("after it: %+v", st)
			}
			b.everyPoint()
			b.storeFault("an outage over restarts of the application", "it is opened, written and closed three times while the store is down; each transaction keeps its point")
		})
	}
}

// The store is away when a database is opened for the first time: the application opens it and writes, whether the
// file is new or not, and the decision is taken once the store answers.
func TestOutageAtTheFirstOpen(t *testing.T) {
	for _, name := range []string{"a database", "a new file"} {
		t.Run(name, func(t *testing.T) {
			b, down := downPlace(t, impatient)
			if name == "a new file" {
				b.path += "2"
			}
			down.On()
			db := b.open("")
			mustExec(t, db, "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b BLOB)")
			b.write(db, 1, 3, 20)
			b.until(db, "error", hasFailed)
			st := b.status(db)
			if st.Mode != "attaching" && st.Mode != "empty" || st.LagTransactions < 30 || !st.Durable.IsZero() {
				t.Errorf("in the outage: %+v", st)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if _, err := vfs.Position(ctx, db); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the position that only the replica knows: %v", err)
			}
			down.Off()
			b.write(db, 2, 3, 10)
			b.finish(db)
			b.everyPoint()
			b.storeFault("an outage at the first open", "a database or a new file is opened and written before the store has ever answered")
		})
	}
}

// The store is full: an error that stays until a person has made room. Writers go on, Status says so at once,
// and afterwards every transaction is there.
func TestStoreIsFull(t *testing.T) {
	t.Parallel()
	full := new(faultstore.Toggle)
	errFull := store.Permanent(errors.New("507 insufficient storage: the bucket's quota is used up"))
	b := newBadPlace(t, faultstore.When(faultstore.And(full, faultstore.OnOp(store.OpCreate)), faultstore.Fail(errFull)))
	create(t, b.path, 4096)
	db := b.open("")
	b.write(db, 1, 2, 10)
	b.flush(db)
	full.On()
	b.write(db, 2, 3, 20)
	b.until(db, "error", func(st vfs.Stat) bool { return strings.Contains(st.LastError, "quota") })
	if st := b.status(db); st.Mode != "shipping" || st.LagTransactions == 0 {
		t.Errorf("with a full store: %+v", st)
	}
	full.Off()
	if st := b.finish(db); st.Resyncs > 0 {
		t.Errorf("with room again: %+v", st)
	}
	b.everyPoint()
	b.storeFault("the store is full", "every create is refused for good, until there is room again; each transaction keeps its point")
}

// A store that hangs, and never answers again, holds up no statement: at the first open, in the snapshot, in steady
// shipping and when a database is opened again. These statements have no context and no deadline: one that waited for the store
// would wait for ever, and so would the test.
func TestNoStatementWaitsForAStoreThatHangs(t *testing.T) {
	for _, c := range []struct {
		name  string
		hangs faultstore.Predicate
		after bool // once something was shipped
	}{
		{"from the start", faultstore.Always(), false},
		{"in the snapshot", faultstore.NameMatch("*/snapshot/*"), false},
		{"in steady shipping", faultstore.OnOp(store.OpCreate), true},
		{"in everything later", faultstore.Always(), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, _ := downPlace(t, hasty)
			rule := faultstore.When(c.hangs, faultstore.Slow(hangs))
			if !c.after {
				b.faults.SetRules(rule)
			}
			db := b.open("")
			b.write(db, 1, 2, 10)
			if c.after {
				b.flush(db)
				b.faults.SetRules(rule)
			}
			for i := range uint64(2) {
				b.write(db, 2+i, 3, 40)
				b.until(db, "call that hangs", func(vfs.Stat) bool { return b.stuck.hung.Load() > 0 })
				mustExec(t, db, "CREATE INDEX IF NOT EXISTS i ON t(b)")
				mustExec(t, db, "DROP INDEX i")
				mustExec(t, db, "VACUUM")
				mustExec(t, db, "PRAGMA wal_checkpoint(PASSIVE)")
				one(t, db, "SELECT count(*) FROM t")
				if st := b.status(db); st.LagTransactions < 120 {
					t.Errorf("while the store hangs: %+v", st)
				}
				b.closeBadly(db)
				db = b.open("")
			}
			b.calm()
			b.write(db, 9, 2, 10)
			b.finish(db)
			b.everyPoint()
			b.storeFault("the store hangs for ever", "at open, in the snapshot or later, while statements without any deadline go on")
		})
	}
}
