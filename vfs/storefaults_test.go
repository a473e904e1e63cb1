package vfs_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/store"
	"seawal/store/faultstore"
)

// badDay is one way in which a call goes wrong.
type badDay struct {
	name   string
	effect func(*rand.Rand) faultstore.Effect
}

var badDays = []badDay{
	{"fails", func(*rand.Rand) faultstore.Effect { return faultstore.Fail(errReset) }},
	{"hangs", func(*rand.Rand) faultstore.Effect { return faultstore.Slow(hangs) }},
	{"is cut short", func(r *rand.Rand) faultstore.Effect { return faultstore.CutShort(r.Int64N(400)) }},
	{"is slow", func(*rand.Rand) faultstore.Effect { return faultstore.Slow(3 * time.Millisecond) }},
	{"arrives late", func(*rand.Rand) faultstore.Effect { return faultstore.Late(errReset) }},
	{"loses its answer", func(*rand.Rand) faultstore.Effect { return faultstore.LostAck(errReset) }},
	{"is refused", func(*rand.Rand) faultstore.Effect { return faultstore.Fail(store.Permanent(errDenied)) }},
}

// lifeHow is life, in the words of the table.
const lifeHow = "by chance, while three connections write: at the first open and its snapshot, in steady shipping, in a difference, at close and at the next opens"

// Each operation of the store goes wrong in each way, about every second time, while three connections write:
// at the first open and its snapshot, in steady shipping, when others have restarted the log so that the
// difference is shipped, at close and at the next open. Then all is well, and everything is there.
func TestStoreFaults(t *testing.T) {
	for _, op := range []store.Op{store.OpCreate, store.OpRead, store.OpStat, store.OpList} {
		for _, day := range badDays {
			t.Run(fmt.Sprintf("%v %s", op, day.name), func(t *testing.T) {
				t.Parallel()
				seed := uint64(op)*100 + uint64(len(day.name))
				r := rand.New(rand.NewPCG(seed, 1))
				p := 0.5
				if op == store.OpStat { // rare
					p = 0.9
				}
				faults := &faultstore.Counter{P: faultstore.And(faultstore.OnOp(op), faultstore.Randomly(p, seed))}
				b := newBadPlace(t, faultstore.When(faults, day.effect(r)))
				b.life(seed)
				t.Logf("%d faults in %d calls", faults.Count(), len(b.faults.Calls()))
				b.fault(reliability.Fault{Group: reliability.Store, Name: fmt.Sprintf("%v %s", op, day.name), How: lifeHow, AtLeast: 1}, faults.Count())
			})
		}
	}
}

// Everything goes wrong at random.
func TestStoreFaultsMixed(t *testing.T) {
	for seed := uint64(1); seed <= 12; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 2))
			var rules []faultstore.Rule
			counters := make([]*faultstore.Counter, 10)
			for i := range counters {
				counters[i] = &faultstore.Counter{P: faultstore.Randomly(0.02+0.06*r.Float64(), seed*100+uint64(i))}
				rules = append(rules, faultstore.When(counters[i], badDays[r.IntN(len(badDays))].effect(r)))
			}
			b := newBadPlace(t, rules...)
			b.life(seed)
			n := 0
			for _, c := range counters {
				n += c.Count()
			}
			b.fault(reliability.Fault{Group: reliability.Store, Name: "everything goes wrong at random", How: lifeHow, AtLeast: 1}, n)
		})
	}
}

// life is that of a database with a store that has the place's faults up to the last step.
func (b *badPlace) life(seed uint64) {
	b.t.Helper()
	b.stuck.patience = 4 * time.Millisecond
	create(b.t, b.path, 1024<<(seed%3))
	plain(b.t, b.path, "INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<60) SELECT randomblob(900) FROM n")

	b.driver = hasty
	db := b.open("")
	b.write(db, seed, 3, 12)
	b.faults.Deliver(b.t.Context()) // what that answers is the store's business
	b.flush(db)                     // the faults come by chance: sooner or later everything gets there
	b.write(db, seed+1, 3, 12)
	b.flush(db)
	// Another process starts the log again: what was in it can be known by its outcome only.
	plain(b.t, b.path, "INSERT INTO t(b) VALUES('a stranger')", "PRAGMA wal_checkpoint(TRUNCATE)")
	b.write(db, seed+2, 3, 8)
	b.closeBadly(db)
	for i := range uint64(2) {
		b.faults.Deliver(b.t.Context())
		db = b.open("")
		b.write(db, seed+3+i, 3, 8)
		b.faults.Deliver(b.t.Context())
		b.write(db, seed+5+i, 2, 5)
		b.closeBadly(db)
	}
	b.faults.Deliver(b.t.Context())
	b.driver = impatient
	db = b.open("")
	b.write(db, seed+7, 3, 10)
	b.calm()
	b.flush(db)
	b.write(db, seed+8, 2, 5)
	if st := b.status(db); st.Fenced || st.LastError != "" || st.Snapshots > 1 {
		b.t.Errorf("at the end: %+v", st)
	}
	if err := db.Close(); err != nil {
		b.t.Errorf("closing when all is well: %v", err)
	}
	b.arrived()
	for _, c := range b.faults.Calls() {
		if c.Op == store.OpDelete {
			b.t.Errorf("%v: nothing that was shipped is to be deleted", c)
		}
	}
}
