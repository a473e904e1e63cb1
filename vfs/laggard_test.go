package vfs_test

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"testing"
	"time"

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
