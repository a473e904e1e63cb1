package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/reliability"
	"seawal/internal/segment"
	"seawal/internal/vfstest"
	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// Each test here is an incident that has cost the users of replicators data which watch the log from outside, by polling
// it or by holding a read lock on it. Its comment says what went wrong there.

// note remembers the newest transaction, and what the database holds after it. Nobody writes meanwhile.
func (b *badPlace) note(db *sql.DB) {
	b.t.Helper()
	pos, err := vfs.Position(b.t.Context(), db)
	if err != nil {
		b.t.Fatal(err)
	}
	rows, err := fingerprint(b.t.Context(), db)
	if err != nil {
		b.t.Fatal(err)
	}
	b.points = append(b.points, point{pos, rows})
}

// lost counts the points that were noted and that the replica gives back otherwise, and the end of the replica, if that is
// not the closed database.
func (b *badPlace) lost() (n int) {
	b.t.Helper()
	for _, p := range b.points {
		out := filepath.Join(b.t.TempDir(), "point.db")
		o := restore.Options{Output: out, Timeline: p.pos.Timeline, Target: restore.AtTx(p.pos.Tx), Check: restore.CheckFull}
		if _, err := restore.Run(b.t.Context(), b.behind, o); err != nil {
			b.t.Errorf("%v: %v", p.pos, err)
			n++
		} else if fingerprintFile(b.t, out) != p.rows {
			b.t.Errorf("%v has other rows than it had", p.pos)
			n++
		}
	}
	if string(readFile(b.t, b.path)) != string(readFile(b.t, b.good().restore(restore.Newest()))) {
		b.t.Error("the end of the replica is not the database")
		n++
	}
	return n
}

// incident records what the test was about.
func (b *badPlace) incident(name, how string, times int) {
	b.t.Helper()
	b.fault(reliability.Fault{Group: reliability.Incident, Name: name, How: how}, times)
}

func (b *badPlace) fault(f reliability.Fault, times int) {
	b.t.Helper()
	reliability.Record(b.t, f, times, b.lost())
}

// opened is a place with some commits in its replica.
func opened(t *testing.T, driver, params string) (*badPlace, *sql.DB) {
	t.Helper()
	b := newBadPlace(t)
	b.driver = driver
	create(t, b.path, 4096)
	db := b.open(params)
	b.write(db, 1, 2, 10)
	b.flush(db)
	b.note(db)
	return b, db
}

// A checkpoint lets SQLite start the log again, and the next transactions take the place of old frames. Who polls the size of the
// log, or remembers an offset in it, ships nothing any more, or frames of two generations.
func TestIncidentLogSpaceIsReusedAfterACheckpoint(t *testing.T) {
	t.Parallel()
	b, db := opened(t, impatient, "_checkpoint=app")
	times := 0
	for round := range uint64(3) {
		for _, mode := range []string{"RESTART", "TRUNCATE", "FULL"} {
			mustExec(t, db, "PRAGMA wal_checkpoint("+mode+")")
			times++
			b.write(db, 10*round, 1, int(1+3*round)) // fewer frames than before, as many, more
			b.note(db)
		}
	}
	if st := b.finish(db); st.Resyncs > 0 {
		t.Errorf("single transactions were given up: %+v", st)
	}
	b.everyPoint()
	b.incident("log space is reused after a checkpoint", "RESTART, TRUNCATE and FULL checkpoints by the application, each followed by fewer, as many, or more frames than before", times)
}

// While the replicator was down the application wrote and checkpointed. Who goes on from the log alone then misses the pages
// that went into the file with the checkpoint.
func TestIncidentCheckpointDuringDowntime(t *testing.T) {
	for _, mode := range []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"} {
		for _, more := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, then more: %v", mode, more), func(t *testing.T) {
				t.Parallel()
				b, db := opened(t, impatient, "")
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				down, err := sql.Open("sqlite3", "file:"+b.path)
				if err != nil {
					t.Fatal(err)
				}
				defer down.Close() // its log is there when seawal comes back
				b.write(down, 2, 1, 10)
				mustExec(t, down, "PRAGMA wal_checkpoint("+mode+")")
				if more {
					b.write(down, 3, 1, 5)
				}
				db = b.open("")
				one(t, db, "SELECT 1")
				b.write(db, 4, 2, 5)
				b.note(db)
				b.flush(db)
				if err := down.Close(); err != nil {
					t.Fatal(err)
				}
				b.finish(db)
				b.arrived()
				b.incident("checkpoints during downtime", "the application writes through another driver while seawal is away, checkpoints in each mode, and perhaps writes more", 1)
			})
		}
	}
}

// After a restore the database goes on being replicated. Where the new writes continue the old replica's numbers as if nothing had
// happened they are mixed with what was there, or are never shipped.
func TestIncidentRestoreThenReplicate(t *testing.T) {
	for _, newest := range []bool{true, false} {
		for _, keep := range []bool{true, false} {
			t.Run(fmt.Sprintf("newest point: %v, state folder kept: %v", newest, keep), func(t *testing.T) {
				t.Parallel()
				b, db := opened(t, impatient, "")
				target := restore.AtTx(b.points[0].pos.Tx)
				b.write(db, 2, 2, 10)
				b.note(db)
				b.finish(db)
				if newest {
					target = restore.Newest()
				}
				if !keep {
					if err := os.RemoveAll(b.path + "-seawal"); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := restore.Run(t.Context(), b.behind, restore.Options{Output: b.path, Target: target, Force: true}); err != nil {
					t.Fatal(err)
				}
				for seed := range uint64(2) {
					db = b.open("")
					b.write(db, 3+seed, 2, 10)
					b.note(db)
					b.finish(db)
				}
				b.listing()
				b.incident("restore, then replicate", "the newest or an older point is restored in the database's place, with or without its state folder, and written twice", 1)
			})
		}
	}
}

// An old disk comes back: a snapshot of the machine, a volume that was attached again. Where its state overwrites the newer one in
// the cloud, what was written since is gone for good.
func TestIncidentStaleDiskComesBack(t *testing.T) {
	for _, folder := range []string{"old", "new", "none"} {
		for _, reboot := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s state folder, machine started again: %v", folder, reboot), func(t *testing.T) {
				t.Parallel()
				b, db := opened(t, impatient, "")
				b.finish(db)
				old := filepath.Join(t.TempDir(), "old")
				copyDisk(t, b.path, old)
				db = b.open("")
				b.write(db, 2, 2, 10)
				b.note(db)
				b.finish(db)
				if folder == "new" {
					if err := os.RemoveAll(old + "-seawal"); err != nil {
						t.Fatal(err)
					}
				}
				copyDisk(t, old, b.path)
				if folder == "none" {
					if err := os.RemoveAll(b.path + "-seawal"); err != nil {
						t.Fatal(err)
					}
				} else if reboot {
					b.reboot()
				}
				// It was closed cleanly: no loss of power brought it back, so that it goes on from where it is.
				db = b.open("")
				b.flush(db)
				if rows, err := fingerprint(t.Context(), db); err != nil || rows != b.points[0].rows {
					t.Errorf("%v, the database isn't what was put back", err)
				}
				if st := b.status(db); st.Durable.Timeline != 2 || !strings.Contains(st.Notice, "opened timeline 2 at "+b.points[0].pos.String()) {
					t.Errorf("before anything is written: %+v", st)
				}
				b.write(db, 3, 1, 5)
				b.note(db)
				b.finish(db)
				b.listing()
				b.incident("a stale disk comes back", "the files of an older state replace the database, with the state folder of then, of now, or none, on a machine that was started again or not", 1)
			})
		}
	}
}

// copyDisk copies a closed database with its state folder, and removes what is in the way.
func copyDisk(t *testing.T, from, to string) {
	t.Helper()
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if err := os.RemoveAll(to + suffix); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(to, readFile(t, from), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(from + "-seawal"); err != nil {
		return
	}
	if err := os.RemoveAll(to + "-seawal"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(to+"-seawal", 0o700); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(from + "-seawal")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Type().IsRegular() { // not what processes wake each other by
			if err := os.WriteFile(filepath.Join(to+"-seawal", f.Name()), readFile(t, filepath.Join(from+"-seawal", f.Name())), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A segment is missing in the middle of the replica. Where a restore applies what there is, it builds a database that never
// existed, and says that all is well.
func TestIncidentOneSegmentIsMissing(t *testing.T) {
	t.Parallel()
	b, db := opened(t, impatient, "")
	for seed := range uint64(5) {
		b.write(db, 2+seed, 1, 5)
		b.flush(db)
		b.note(db)
	}
	gone := segment.LogName(1, b.points[2].pos.Tx+1)
	if err := b.behind.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	var o *restore.ObjectError
	_, err := restore.Run(t.Context(), b.behind, restore.Options{Output: filepath.Join(t.TempDir(), "x.db")})
	if !errors.As(err, &o) || !strings.HasPrefix(gone, strings.TrimSuffix(o.Object, "-*")) || o.Newest == nil || o.Newest.Pos != b.points[2].pos {
		t.Fatalf("restore: %v; want %s named, and %v", err, gone, b.points[2].pos)
	}
	if got := fingerprintFile(t, b.good().restore(restore.AtTx(o.Newest.Pos.Tx))); got != b.points[2].rows {
		t.Error("the newest point that is left has other rows")
	}
	// Until somebody looks the shipper goes on behind the hole, and the next life of the database as well: the folder knows where it was.
	b.write(db, 20, 1, 5)
	b.finish(db)
	db = b.open("_look=off")
	b.write(db, 21, 1, 5)
	b.finish(db)
	// Once the segment is back, everything is.
	seg := b.segmentOf(gone)
	if err := b.behind.Create(t.Context(), gone, store.BytesBody(seg)); err != nil {
		t.Fatal(err)
	}
	b.everyPoint()
	// One that looks leaves the timeline, and says why.
	if err := b.behind.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	db = b.open("")
	b.until(db, "the hole is noticed", func(st vfs.Stat) bool { return st.Durable.Timeline == 2 })
	b.write(db, 22, 1, 5)
	if st := b.finish(db); !strings.Contains(st.Notice, "expiry rule") {
		t.Errorf("notice %q", st.Notice)
	}
	if got := fingerprintFile(t, b.good().restore(restore.Newest())); got != fingerprintFile(t, b.path) {
		t.Error("the restored database has other rows")
	}
	if err := b.behind.Create(t.Context(), gone, store.BytesBody(seg)); err != nil {
		t.Fatal(err)
	}
	b.incident("one segment is missing", "a log segment in the middle is deleted: restore names it and the newest point without it; it is put back in the end", 1)
}

// segmentOf is what the store was given under a name.
func (b *badPlace) segmentOf(name string) []byte {
	b.t.Helper()
	body, ok := b.given.Load(name)
	if !ok {
		b.t.Fatalf("%s was never stored", name)
	}
	return body.([]byte)
}

// Transactions commit while a checkpoint copies the log into the file. Who copies the file meanwhile has pages of two states.
func TestIncidentCommitDuringACheckpoint(t *testing.T) {
	t.Parallel()
	tr, err := vfstest.Register("beneath-incident-checkpoint", "", vfstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, db := opened(t, impatient, "_checkpoint=app&vfs="+tr.Name())
	times := 0
	for _, op := range []vfstest.Op{vfstest.Write, vfstest.Sync} {
		for nth := 1; nth <= 3; nth++ {
			b.write(db, uint64(nth), 1, 5)
			kind := vfstest.Main
			hold := tr.Fail(vfstest.Rule{Op: op, Kind: kind, Nth: 1, Apply: vfstest.Pass, Hold: true})
			done := make(chan error, 1)
			go func() {
				_, err := db.Exec("PRAGMA wal_checkpoint(PASSIVE)")
				done <- err
			}()
			hold.Reached()
			b.write(db, uint64(10*nth), 2, 5)
			b.flush(db)
			b.note(db)
			hold.Release()
			if err := <-done; err != nil {
				t.Errorf("the checkpoint: %v", err)
			}
			times += hold.End()
		}
	}
	b.finish(db)
	b.everyPoint()
	b.incident("commits during a checkpoint", "a checkpoint is held in the middle of writing or syncing the database file while others commit and a segment is shipped", times)
}

// A reader keeps an old mark for long: checkpoints stop there, the log grows, and whoever waits for it to be emptied waits for ever.
func TestIncidentLongReader(t *testing.T) {
	t.Parallel()
	b, db := opened(t, smallRing, "")
	reader, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback() // over already unless the test has failed
	before, err := fingerprint(t.Context(), reader)
	if err != nil {
		t.Fatal(err)
	}
	times := 0
	for seed := range uint64(8) {
		b.write(db, 2+seed, 2, 8)
		b.checkpointAtOnce(db)
		times++
		b.flush(db)
		b.note(db)
		if now, err := fingerprint(t.Context(), reader); err != nil || now != before {
			t.Errorf("the reader sees other rows than it did: %v", err)
		}
	}
	if err := reader.Rollback(); err != nil {
		t.Error(err)
	}
	b.write(db, 20, 2, 8)
	b.finish(db)
	b.everyPoint()
	b.incident("a long reader", "a read transaction is kept open over commits and checkpoints of every mode", times)
}

// checkpointAtOnce runs checkpoints that wait for nobody.
func (b *badPlace) checkpointAtOnce(db *sql.DB) {
	b.t.Helper()
	conn, err := db.Conn(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range []string{
		"PRAGMA busy_timeout=0", "PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(FULL)",
		"PRAGMA wal_checkpoint(RESTART)", "PRAGMA wal_checkpoint(TRUNCATE)", "PRAGMA busy_timeout=60000",
	} {
		if _, err := conn.ExecContext(context.Background(), q); err != nil {
			b.t.Errorf("%s: %v", q, err)
		}
	}
}
