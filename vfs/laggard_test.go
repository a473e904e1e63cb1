package vfs_test

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// openWith opens a database of several replicas with a driver of this process, on one connection.
func openWith(t *testing.T, driver, path, params string, replicas ...string) *sql.DB {
	t.Helper()
	dsn := "file:" + path + "?_busy_timeout=10000" + params
	for _, r := range replicas {
		dsn += "&_replica=" + url.QueryEscape(r)
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	return db
}

// A replica whose store is down can't begin the timeline that other pages need. The commit that tells of them doesn't stay
// in its hands meanwhile: the other replica gets many times what the capture keeps for one that holds something.
func TestReplicaThatTurnsWithItsStoreDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	down, away := newOutage(t)
	near := "file://" + dir + "/near"
	db := openWith(t, impatient, path, "&_journal_mode=DELETE&_synchronous=OFF&_wait_for=1", near, away)
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	for i := range 2 {
		awaitReplica(t, db, i)
	}
	down.down.On()
	mustExec(t, db, "PRAGMA page_size=1024")
	mustExec(t, db, "VACUUM")
	before := mustStatus(t, db).Replicas[1].Durable
	const commits = 3000
	for range commits {
		mustExec(t, db, "INSERT INTO t(b) VALUES(1)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := vfs.Flush(ctx, db); err != nil {
		t.Fatalf("the replica that is up: %v; %+v", err, mustStatus(t, db).Replicas)
	}
	if r := mustStatus(t, db).Replicas[1]; r.Durable != before || r.LagTransactions < commits {
		t.Errorf("the replica that is down: %+v; %v was durable before", r, before)
	}
	down.down.Off()
	awaitReplica(t, db, 1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{near, away} {
		place{t: t}.same(path, restored(t, r))
	}
}

// An outage of hours of one replica: what it reads back from the log keeps its times, as near as with a single replica, so that a moment
// in the outage can be restored from it.
func TestTimesOfALongOutageOfOneReplica(t *testing.T) {
	defer vfs.SkewClock(0)
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	down, away := newOutage(t)
	near := "file://" + dir + "/near"
	db := openWith(t, smallRing, path, "&_journal_mode=WAL&_wait_for=1", away, near) // positions are those of the one that is down
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	for i := range 2 {
		awaitReplica(t, db, i)
	}
	down.down.On()
	first := insert(t, db, 400) // several times what may be encoded ahead
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	const hours = 12
	var last [hours + 1]vfs.Pos
	for hour := 1; hour <= hours; hour++ {
		vfs.SkewClock(time.Duration(hour) * time.Hour)
		last[hour] = insert(t, db, 100) // more than half of the ring: what is older leaves it
		if err := vfs.Flush(t.Context(), db); err != nil {
			t.Fatal(err)
		}
	}
	down.down.Off()
	awaitReplica(t, db, 0)
	if st := mustStatus(t, db).Replicas[0]; st.Resyncs > 0 {
		t.Errorf("the log had it all, and yet %d differences were shipped: %s", st.Resyncs, st.ResyncReason)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{near, away} {
		place{t: t}.same(path, restored(t, r))
		began := timeOf(t, r, first)
		for hour := 1; hour <= hours; hour++ {
			want := time.Duration(hour) * time.Hour
			if off := timeOf(t, r, last[hour]).Sub(began) - want; off < 0 || off > time.Minute+want/100 {
				t.Errorf("%v in %s is %v off", last[hour], r, off)
			}
		}
	}
}

// timeOf is the time that a point has in a replica.
func timeOf(t *testing.T, replica string, p vfs.Pos) time.Time {
	t.Helper()
	s, err := store.Open(t.Context(), replica)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	plan, err := restore.NewPlan(t.Context(), s, 0, restore.AtTx(p.Tx))
	if err != nil {
		t.Fatal(err)
	}
	return plan.Target.Time
}
