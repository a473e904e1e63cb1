package vfs_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"seawal/restore"
	"seawal/vfs"
)

// pair is a database with two replicas, as a place for each.
func pair(t *testing.T) (a, b place) {
	a = newPlace(t)
	b = a
	b.replica += "2"
	create(t, a.path, 4096)
	return a, b
}

// both runs a process with both replicas, b's first or not.
func both(a, b place, first bool) *peer {
	if first {
		a, b = b, a
	}
	return a.peer("_ship_interval=20ms&_replica=" + b.replica)
}

// modes are those of a process's replicas, when they are settled.
func (q *peer) modes() (modes [2]string) {
	q.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) { // polls another process
		settled := 0
		for i, r := range q.status().Replicas {
			modes[i] = r.Mode
			if r.Mode == "shipping" || r.Mode == "standby" {
				settled++
			}
		}
		if settled == 2 || time.Now().After(deadline) {
			return modes
		}
	}
}

// waitModes waits until both replicas of a process are in a mode.
func (q *peer) waitModes(mode string) {
	q.t.Helper()
	want := [2]string{mode, mode}
	for deadline := time.Now().Add(time.Minute); q.modes() != want; time.Sleep(5 * time.Millisecond) { // likewise
		if time.Now().After(deadline) {
			q.t.Fatalf("modes stay at %v", q.modes())
		}
	}
}

// bothHave fails unless both replicas have these rows.
func bothHave(a, b place, rows ...string) {
	a.t.Helper()
	a.replicaHas(rows...)
	b.replicaHas(rows...)
}

// bothSame fails unless both replicas are the database, on their first timelines.
func bothSame(a, b place) {
	a.t.Helper()
	for _, p := range []place{a, b} {
		p.same(p.path, p.restore(restore.Newest()))
		if n := p.timelines(); n != 1 {
			p.t.Errorf("%s has %d timelines", p.replica, n)
		}
	}
}

// Processes that could get the locks of the same replicas at once, whatever their order: one of them ships to all, the others stand
// by for all.
func TestOneProcessGetsAllReplicas(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	q := both(a, b, false)
	q.do("flush") // makes the folders
	q.close()
	for range 4 {
		release := lockFolders(t, a.path)
		var all []*peer
		for i := range 3 {
			q := both(a, b, i%2 == 1)
			q.do(fmt.Sprintf("exec INSERT INTO t(b) VALUES('of %d')", i))
			q.waitModes("standby")
			all = append(all, q)
		}
		release()
		var modes [3][2]string
		deadline := time.Now().Add(time.Minute)
		for shipping := 0; shipping < 2 && time.Now().Before(deadline); {
			shipping = 0
			for i, q := range all {
				modes[i] = q.modes()
				shipping += strings.Count(strings.Join(modes[i][:], " "), "shipping")
			}
		}
		slices.SortFunc(modes[:], func(a, b [2]string) int { return strings.Compare(a[0]+a[1], b[0]+b[1]) })
		if want := [3][2]string{{"shipping", "shipping"}, {"standby", "standby"}, {"standby", "standby"}}; modes != want {
			t.Errorf("the processes are %v", modes)
		}
		for _, q := range all {
			q.close()
		}
	}
	bothSame(a, b)
}

// lockFolders takes the locks of all state folders of a database, as another process would.
func lockFolders(t *testing.T, path string) (release func()) {
	t.Helper()
	locks, err := filepath.Glob(path + "-seawal/*/lock")
	if err != nil || len(locks) != 2 {
		t.Fatalf("locks: %v, %v", locks, err)
	}
	var files []*os.File
	for _, name := range locks {
		f, err := os.Open(name)
		if err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return func() {
		for _, f := range files {
			f.Close() // only locked
		}
	}
}

// A stand-by of several replicas: what it commits gets into all of them, it can wait for that, and it takes over for all of them.
func TestStandbyOfSeveralReplicas(t *testing.T) {
	for _, end := range []string{"killed", "closed"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			first := both(a, b, false)
			first.do("exec INSERT INTO t(b) VALUES('first')")
			first.do("flush")
			second := both(a, b, true)
			second.do("exec INSERT INTO t(b) VALUES('second')")
			second.waitModes("standby")
			second.do("wait")
			bothHave(a, b, "first", "second")
			if st := second.status(); st.LagTransactions != 0 || st.LastError != "" {
				t.Errorf("standing by: %+v", st)
			}
			first.do("exec INSERT INTO t(b) VALUES('first again')")
			second.do("exec INSERT INTO t(b) VALUES('second again')")
			first.end(end)
			second.do("exec INSERT INTO t(b) VALUES('on its own')")
			second.do("flush")
			bothHave(a, b, "first again", "second again", "on its own")
			second.waitModes("shipping")
			for _, r := range second.status().Replicas {
				if r.Snapshots > 0 || r.Resyncs > 0 {
					t.Errorf("%s: it resumed with %d snapshots, %d differences (%s)", r.Replica, r.Snapshots, r.Resyncs, r.ResyncReason)
				}
			}
			back := both(a, b, false)
			back.do("exec INSERT INTO t(b) VALUES('last')")
			back.waitModes("standby")
			back.close() // returns when the other one has shipped it
			bothHave(a, b, "last")
			second.close()
			bothSame(a, b)
		})
	}
}

// The same at random, with lists of one replica among them: whoever has something confirmed finds it in the replicas of its list.
func TestStandbysOfSeveralReplicasAtRandom(t *testing.T) {
	a, b := pair(t)
	confirmed := standbysAtRandom(t, 8*time.Second, func(r *rand.Rand) (*peer, string) {
		switch r.IntN(4) {
		case 0:
			return a.peer("_ship_interval=20ms"), "a"
		case 1:
			return b.peer("_ship_interval=20ms"), "b"
		}
		return both(a, b, r.IntN(2) == 0), "ab"
	})
	q := both(a, b, false)
	q.do("flush")
	q.close()
	a.replicaHas(confirmed["a"]...)
	b.replicaHas(confirmed["b"]...)
	bothHave(a, b, confirmed["ab"]...)
	bothSame(a, b)
}

// walBytes is the size of the log.
func (p place) walBytes() int64 {
	p.t.Helper()
	fi, err := os.Stat(p.path + "-wal")
	if err != nil {
		p.t.Fatal(err)
	}
	return fi.Size()
}

// Two processes whose lists differ may ship to some replicas each. The one that checkpoints keeps the log within its bound all the same.
func TestLogIsBoundedWhereTwoProcessesShip(t *testing.T) {
	for _, driver := range []string{squashing, blocking} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			other := a.peer("_ship_interval=20ms&_checkpoint=app")
			other.do("flush")
			db := openWith(t, driver, a.path, "&_journal_mode=WAL", a.replica, b.replica)
			mode := "attaching"
			for ; mode == "attaching"; time.Sleep(time.Millisecond) { // polls: nothing tells
				mode = mustStatus(t, db).Replicas[1].Mode
			}
			if mode != "standby" {
				t.Errorf("the second replica is %s; the other process has the first one, and could want this one", mode)
			}
			awaitReplica(t, db, 1)
			if st := mustStatus(t, db); st.Replicas[0].Mode != "standby" || st.Replicas[1].Mode != "shipping" {
				t.Fatalf("%+v", st.Replicas)
			}
			for last := uint32(0); ; {
				for range 50 {
					mustExec(t, db, "INSERT INTO t(b) VALUES(randomblob(9000))")
				}
				if err := vfs.Flush(t.Context(), db); err != nil {
					t.Fatal(err)
				}
				frames := mustStatus(t, db).WALFrames
				if frames < last {
					break // it was started again
				}
				if n := a.walBytes(); n > 20*smallMaxWAL {
					t.Fatalf("the log has %d bytes", n)
				}
				last = frames
			}
			other.do("exec INSERT INTO t(b) VALUES('other')")
			if err := vfs.Flush(t.Context(), db); err != nil {
				t.Fatal(err)
			}
			bothHave(a, b, "other")
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			other.close()
			a.same(a.path, a.restore(restore.Newest()))
			b.same(b.path, b.restore(restore.Newest()))
		})
	}
}

// With OnFull block, a stand-by's writers wait, too, once the log has grown past MaxWAL and the process that ships has not read it.
func TestStandbyWaitsForRoomInTheLog(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	create(t, p.path, 4096)
	first := p.peer("_ship_interval=20ms")
	first.do("flush")
	db := openWith(t, blocking, p.path, "&_journal_mode=WAL", p.replica)
	mustExec(t, db, "INSERT INTO t(b) VALUES('standing by')")
	if err := vfs.Flush(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := first.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for waited := 0; waited < 10; { // several times as long as a stand-by takes to look again
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := db.ExecContext(ctx, "INSERT INTO t(b) VALUES(randomblob(9000))")
		cancel()
		if waited++; err == nil {
			waited = 0
		}
		if n := p.walBytes(); n > 3*smallMaxWAL {
			t.Fatalf("the log has %d bytes, and nobody reads it", n)
		}
	}
	if st := mustStatus(t, db); !st.LogFull {
		t.Errorf("nobody has read the log, and Status doesn't say that writers wait: %+v", st)
	}
	waited := make(chan error)
	go func() {
		_, err := db.Exec("INSERT INTO t(b) VALUES('when there is room')")
		waited <- err
	}()
	if err := first.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("the writer that waited: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	p.replicaHas("standing by", "when there is room")
	first.close()
	p.same(p.path, p.restore(restore.Newest()))
}
