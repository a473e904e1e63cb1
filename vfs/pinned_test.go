package vfs_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store"
	"seawal/store/faultstore"
)

// pinnedFault records an outage that begins while the database is being read.
func (b *badPlace) pinnedFault(what string) {
	b.t.Helper()
	b.fault(reliability.Fault{
		Group: reliability.Store,
		Name:  "an outage that begins " + what,
		How: "the store takes no more while the log is kept for what is being read; five times MaxWAL are written: the log stays below twice MaxWAL, " +
			"no writer fails, and with OnFull block they wait",
	}, 1)
}

// outgrow commits five times MaxWAL while the store takes nothing, and holds the size of the log against its bound. With OnFull block
// writers stop before that.
func (b *badPlace) outgrow(db *sql.DB) {
	b.t.Helper()
	const size = 9000
	n := 0
	for ; n*size < 5*smallMaxWAL; n++ {
		ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
		if b.driver == blocking {
			cancel()
			ctx, cancel = context.WithTimeout(b.t.Context(), 300*time.Millisecond)
		}
		_, err := db.ExecContext(ctx, "INSERT INTO t(b) VALUES(randomblob(?))", size)
		cancel()
		if b.driver == blocking && err != nil && b.status(db).LogFull {
			break
		}
		if err != nil {
			b.t.Fatalf("commit %d: %v", n, err)
		}
		if got := b.walBytes(); got > 2*smallMaxWAL {
			b.t.Fatalf("after %d commits the log has %d KiB, MaxWAL is %d: %+v", n, got>>10, smallMaxWAL>>10, b.status(db))
		}
	}
	b.t.Logf("%d commits, log %d KiB", n, b.walBytes()>>10)
	if b.driver == blocking && n*size >= 5*smallMaxWAL {
		b.t.Error("no writer has waited")
	}
}

// large makes a database of twice MaxWAL.
func (b *badPlace) large() {
	b.t.Helper()
	create(b.t, b.path, 4096)
	plain(b.t, b.path, "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000) SELECT randomblob(3900) FROM n",
		"PRAGMA wal_checkpoint(TRUNCATE)")
}

// MaxWAL holds while a snapshot is under way that the store doesn't take, at the first one and at a later one.
func TestMaxWALHoldsInASnapshot(t *testing.T) {
	snapshot := faultstore.And(faultstore.OnOp(store.OpCreate), faultstore.NameMatch("*/snapshot/*"))
	for _, driver := range []string{squashing, blocking} {
		for _, c := range []struct {
			name  string
			rule  faultstore.Rule
			later bool
		}{
			{"hangs", faultstore.When(snapshot, faultstore.Slow(hangs)), false},
			{"of a new page size, fails", faultstore.When(snapshot, faultstore.Fail(errReset)), true},
		} {
			if c.later && driver == blocking {
				continue // it differs from the first one in how the snapshot comes about
			}
			t.Run(driver+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				b := newBadPlace(t)
				b.driver = driver
				b.large()
				db := b.open("")
				db.SetMaxOpenConns(1)
				if c.later {
					b.flush(db)
					b.faults.SetRules(c.rule)
					mustExec(t, db, "PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM; PRAGMA journal_mode=WAL")
				} else {
					b.faults.SetRules(c.rule)
				}
				one(t, db, "SELECT count(*) FROM t")
				b.outgrow(db)
				b.calm()
				mustExec(t, db, "INSERT INTO t(b) VALUES('after it')")
				b.finish(db)
				if c.later {
					b.same(b.path, b.good().restore(restore.Newest()))
				} else {
					b.arrived()
				}
				b.pinnedFault("in a snapshot")
			})
		}
	}
}

// It holds while a start ships what a killed process left in the log.
func TestMaxWALHoldsWithABacklog(t *testing.T) {
	for _, driver := range []string{squashing, blocking} {
		t.Run(driver, func(t *testing.T) {
			b, down := downPlace(t, hasty)
			db := b.open("")
			b.write(db, 1, 1, 5)
			b.flush(db)
			down.On()
			for b.walBytes() < smallMaxWAL*3/4 {
				mustExec(t, db, "INSERT INTO t(b) VALUES(randomblob(9000))")
			}
			b.closeBadly(db)
			// Some segments arrive, and then no more: the rest is kept for what was read of the log.
			later := faultstore.And(faultstore.OnOp(store.OpCreate), faultstore.NameMatch("*/log/*"), faultstore.Between(3, 1<<30))
			b.faults.SetRules(faultstore.When(later, faultstore.Slow(hangs)))
			b.driver = driver
			db = b.open("")
			one(t, db, "SELECT count(*) FROM t")
			b.outgrow(db)
			b.calm()
			mustExec(t, db, "INSERT INTO t(b) VALUES('after it')")
			b.finish(db)
			b.arrived()
			b.pinnedFault("while a start ships what is in the log")
		})
	}
}
