package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"seawal/shipper"
	"seawal/vfs"
)

// Each replica has all of it, also when others come and go, when their order changes, and when one takes another one's
// place: it goes on where it was, and needs no second snapshot.
func TestReplicas(t *testing.T) {
	for name, history := range map[string]string{
		"one first": "a ab ba cba b a ca", "two first": "ab a b ba", "two, then another one": "ab c b ba a ab", "one at a time": "a b c a b c", "another one first": "c ab a c bca",
	} {
		t.Run(name, func(t *testing.T) { replicasOfRounds(t, strings.Fields(history)) })
	}
}

// replicasOfRounds opens a database again and again, with the replicas that each round names.
func replicasOfRounds(t *testing.T, history []string) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	known := map[string]bool{}
	for i, round := range history {
		var replicas []string
		for _, name := range round {
			replicas = append(replicas, "file://"+dir+"/"+string(name))
		}
		db := openReplicas(t, path, "", replicas...)
		mustExec(t, db, "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)")
		insert(t, db, 5)
		if err := vfs.Flush(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		st := mustStatus(t, db)
		all := st.Replicas
		if len(replicas) == 1 {
			all = []vfs.ReplicaStat{st.ReplicaStat}
		}
		for j, r := range all {
			if r.Replica != replicas[j] || r.LagTransactions != 0 || r.Durable.Timeline != 1 {
				t.Errorf("round %d: replica %d is %+v; want %s, all shipped, on its first timeline", i, j, r, replicas[j])
			}
			if known[r.Replica] && r.Snapshots > 0 {
				t.Errorf("round %d: replica %d got a second snapshot", i, j)
			}
			known[r.Replica] = true
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		for _, r := range replicas {
			place{t: t}.same(path, restored(t, r))
		}
	}
}

// round opens a database with some replicas, writes, and wants all of them to have it in the end, with as many snapshots made.
func round(t *testing.T, path string, snapshots uint64, replicas ...string) vfs.Stat {
	t.Helper()
	db := openReplicas(t, path, "", replicas...)
	mustExec(t, db, "CREATE TABLE IF NOT EXISTS t(a INTEGER PRIMARY KEY, b)")
	insert(t, db, 5)
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	st := mustStatus(t, db)
	all := st.Replicas
	if len(all) == 0 {
		all = []vfs.ReplicaStat{st.ReplicaStat}
	}
	made := uint64(0)
	for _, r := range all {
		made += r.Snapshots
	}
	if made != snapshots {
		t.Errorf("%d snapshots with %v, want %d: %+v", made, replicas, snapshots, all)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range replicas {
		place{t: t}.same(path, restored(t, r))
		if l := list(t, r); len(l.Gaps) > 0 {
			t.Errorf("%s lacks %+v", r, l.Gaps)
		}
	}
	return st
}

// A replica that was moved goes on at its new URL, on its timeline.
func TestReplicaMovedToAnotherURL(t *testing.T) {
	for name, others := range map[string][]string{"alone": nil, "one of two": {"z"}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "app.db")
			for i, o := range others {
				others[i] = "file://" + dir + "/" + o
			}
			round(t, path, uint64(1+len(others)), append(others, "file://"+dir+"/a")...)
			for _, to := range []string{"b", "a", "c"} {
				from, _ := filepath.Glob(dir + "/[abc]")
				if err := os.Rename(from[0], filepath.Join(dir, to)); err != nil {
					t.Fatal(err)
				}
				st := round(t, path, 0, append(others, "file://"+dir+"/"+to)...)
				if at := st.Durable.Timeline; at != 1 {
					t.Errorf("moved to %s it is on timeline %d", to, at)
				}
			}
		})
	}
}

// A database is opened with a URL that has no replica: it begins one, and is told what is left behind, by its URL. A second URL beside the first
// one leaves nothing behind.
func TestNewReplicaAtAnotherURL(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	a, b, c := "file://"+dir+"/a", "file://"+dir+"/b", "file://"+dir+"/c"
	if st := round(t, path, 1, a); st.Notice != "" {
		t.Errorf("the first one: %q", st.Notice)
	}
	if st := round(t, path, 1, b); !strings.Contains(st.Notice, "a new replica") || !strings.Contains(st.Notice, a) {
		t.Errorf("another one: %q", st.Notice)
	}
	if st := round(t, path, 0, a); strings.Contains(st.Notice, "a new replica") {
		t.Errorf("the first one again: %q", st.Notice)
	}
	other := filepath.Join(dir, "other.db")
	round(t, other, 1, c)
	for _, r := range round(t, other, 1, c, "file://"+dir+"/d").Replicas {
		if r.Notice != "" {
			t.Errorf("one more: %q", r.Notice)
		}
	}
}

// A copy of a replica that was made earlier than its last transactions is shipped what it lacks, and the two don't disturb each other.
func TestOldCopyOfAReplicaAtAnotherURL(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "app.db")
	a, b := "file://"+dir+"/a", "file://"+dir+"/b"
	round(t, path, 1, a)
	if err := os.CopyFS(dir+"/b", os.DirFS(dir+"/a")); err != nil {
		t.Fatal(err)
	}
	for _, replicas := range [][]string{{a}, {b}, {a}, {a, b}, {b}, {b, a}} {
		round(t, path, 0, replicas...)
	}
}

// What a URL has behind the question mark may say which place it is: two such replicas are two.
func TestReplicasThatDifferInAParameter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	_, at := newOutage(t)
	x, y := at+"?account=x", at+"?account=y"
	round(t, path, 2, x, y)
	round(t, path, 0, y)
	round(t, path, 0, x)
	round(t, path, 0, y, x)
}

// The replica of another database that was once a copy of this one is no new URL of this one's replica, and nothing is shipped to it.
func TestReplicaOfACopyOfTheDatabase(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "app.db"), filepath.Join(dir, "other.db")
	a, b := "file://"+dir+"/a", "file://"+dir+"/b"
	round(t, path, 1, a)
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(other, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	db := openReplicas(t, other, "", b) // ships what it was, and writes nothing
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openReplicas(t, path, "", b)
	if err := db.Ping(); err != nil {
		t.Fatal(err)
	}
	for st := mustStatus(t, db); !strings.Contains(st.LastError, "was shipped to"); st = mustStatus(t, db) {
		if st.Mode == "shipping" {
			t.Fatalf("%+v", st)
		}
		time.Sleep(time.Millisecond) // polls: nothing tells
	}
	if err := db.Close(); !errors.Is(err, shipper.ErrOtherDatabase) {
		t.Errorf("closing, with nothing committed and nothing shipped: %v, want %v", err, shipper.ErrOtherDatabase)
	}
	if st := round(t, other, 0, b); st.Durable.Timeline != 1 {
		t.Errorf("the other database goes on at %v", st.Durable)
	}
	round(t, path, 0, a)
}
