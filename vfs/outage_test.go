package vfs_test

import (
	"testing"

	"seawal/store/faultstore"
)

// downPlace is a place whose store can be down.
func downPlace(t *testing.T) (*badPlace, *faultstore.Toggle) {
	t.Helper()
	down := new(faultstore.Toggle)
	b := newBadPlace(t, faultstore.When(down, faultstore.Fail(errReset)))
	create(t, b.path, 4096)
	return b, down
}

// everyPoint wants all of the database in the replica, and each transaction a point of its own.
func (b *badPlace) everyPoint() {
	b.t.Helper()
	if l := b.arrived(); len(l.Squashed) > 0 {
		b.t.Errorf("transactions without a point: %+v", l.Squashed)
	}
}

// The application stops and starts again in an outage, several times. Its log is kept for as long as the replica
// lacks what is in it, also when no connection of seawal's own is there to see the last one of the application go.
func TestOutageOverARestart(t *testing.T) {
	for _, c := range []struct {
		name string
		idle int // connections that stay in the pool
	}{{"pool", 2}, {"a connection for each statement", -1}} {
		t.Run(c.name, func(t *testing.T) {
			b, down := downPlace(t)
			db := b.open("")
			b.write(db, 1, 2, 10)
			flush(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			down.On()
			b.driver = hasty
			for seed := range uint64(3) {
				db = b.open("")
				db.SetMaxIdleConns(c.idle)
				b.write(db, 2+seed, 2, 10)
				if st := b.status(db); st.LastError == "" || st.LagTransactions == 0 {
					t.Errorf("in an outage: %+v", st)
				}
				b.closeBadly(db)
			}
			b.driver = impatient
			db = b.open("")
			b.write(db, 9, 2, 10)
			down.Off()
			flush(t, db)
			if st := b.status(db); st.Resyncs > 0 || st.Snapshots > 0 || st.LagTransactions > 0 {
				t.Errorf("after it: %+v", st)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			b.everyPoint()
		})
	}
}
