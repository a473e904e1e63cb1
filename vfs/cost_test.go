package vfs_test

import (
	"testing"
	"time"

	"seawal/store"
	"seawal/vfs"
)

// A commit now and then is one write each, and what else there is to ask is asked at the start. Idle databases ask nothing.
func TestCostInRequests(t *testing.T) {
	p := newPlace(t)
	db := p.open("_ship_interval=1ms")
	defer db.Close()
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	mustExec(t, db, "INSERT INTO t(b) VALUES (1)")
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	begun := mustStatus(t, db).Requests
	if n := begun.Read.Requests + begun.Stat.Requests + begun.List.Requests; n > 12 || begun.Create.Requests > 5 {
		t.Errorf("to begin a replica took %+v", begun)
	}
	const commits = 200
	for range commits {
		mustExec(t, db, "UPDATE t SET b=b+1")
		if err := vfs.Flush(t.Context(), db); err != nil { // as if a minute went by
			t.Fatal(err)
		}
	}
	spent := mustStatus(t, db).Requests
	if n := spent.Create.Requests - begun.Create.Requests; n != commits {
		t.Errorf("%d commits, one at a time, took %d writes", commits, n)
	}
	// Once in 64 segments a takeover is looked for.
	if n := requestsBut(spent) - requestsBut(begun); n > commits/64+1 {
		t.Errorf("%d commits took %d requests that are no writes", commits, n)
	}
	// Nothing happens, which takes a while to see: many times the interval.
	time.Sleep(300 * time.Millisecond)
	if idle := mustStatus(t, db).Requests; idle != spent {
		t.Errorf("an idle database made requests: %+v, before %+v", idle, spent)
	}
}

func requestsBut(u store.Usage) int64 {
	return u.Read.Requests + u.Stat.Requests + u.List.Requests + u.Delete.Requests
}
