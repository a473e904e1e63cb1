package vfs

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"seawal/internal/wal"
	"seawal/shipper"
)

// What a replica that is behind has yet to ship: nothing is left out, what the log can't have any more is a gap, and it
// doesn't grow beyond its bound, whatever the log goes through.
func TestWhatIsLeftOfALongOutage(t *testing.T) {
	for name, step := range map[string]time.Duration{"a day": time.Second, "years": 24 * time.Hour, "at once": 0} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(step)))
			c := &cursor{feed: &feed{}}
			now, place, most := time.Now().UnixNano(), wal.Place{Salt: [2]uint32{1, 1}}, 0
			const commits = 86400
			for ticket := uint64(1); ticket <= commits; ticket++ {
				now += int64(step)
				e := entry{Commit: shipper.Commit{Kind: shipper.CommitFrames, Ticket: ticket, Count: 1, Time: now, PageSize: 4096}, began: now}
				switch n := r.IntN(1000); {
				case n == 0 && ticket < commits-10000: // another process starts the log again
					place = wal.Place{Salt: [2]uint32{place.Salt[0] + 1, 1}}
					fallthrough
				case n < 3:
					e.Kind = shipper.CommitGap
				default:
					e.From = place
					place.Frame += 3
					e.To = place
				}
				if inLog := c.leave(e); inLog != (e.Kind == shipper.CommitFrames) {
					t.Fatalf("%+v is in the log: %v", e, inLog)
				}
				most = max(most, len(c.left))
			}
			var count uint64
			for i, e := range c.left {
				count += e.Count
				if e.Ticket != count || e.Kind == shipper.CommitRange && e.To.Salt != place.Salt || e.Frames[0] != nil {
					t.Fatalf("entry %d of %d: %+v; %d commits up to it, and the log is at %v", i, len(c.left), e, count, place)
				}
				if span := time.Duration(e.Time - e.began); e.Kind == shipper.CommitRange && span > time.Second+commits*step/mergePart {
					t.Errorf("entry %d of %d has the commits of %v", i, len(c.left), span)
				}
			}
			if count != commits || most > leftMost {
				t.Errorf("%d of %d commits, in %d entries once", count, commits, most)
			}
		})
	}
}

// What a replica falls behind with is all in memory, and the log has none of it any more: no commit is lost, also of as much as the
// ring takes, and also when it falls behind further.
func TestWhatTheLogHasNoMoreIsKept(t *testing.T) {
	const ring = 1 << 20
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", ring)
	app := c.open("_journal_mode=WAL")
	exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	c.drain()
	f := newFeed(c.tap, ring, 2)
	near, away := f.cursors[0], f.cursors[1]
	if _, ok := away.Next(); ok {
		t.Fatal("there is something before the first commit")
	}
	const batch = 2
	last := c.ticket
	for range 3 * ring / (batch * 100000) {
		for range batch {
			exec(t, app, "PRAGMA wal_checkpoint(RESTART); INSERT INTO t(b) VALUES(randomblob(100000))")
		}
		for range batch {
			commit, ok := near.Next()
			if !ok || commit.Kind != shipper.CommitFrames {
				t.Fatalf("the ring was full, or nothing came: %v, %+v", ok, commit)
			}
			near.Release(commit.Ticket)
			last = commit.Ticket
		}
	}
	left, done := away.left, c.ticket
	log, _ := c.tap.mark()
	for done < last {
		commit, ok := away.Next()
		inLog := commit.Kind == shipper.CommitRange && commit.From.Salt == log.Salt
		if done += commit.Count; !ok || commit.Ticket != done || commit.Kind != shipper.CommitFrames && !inLog {
			t.Fatalf("%d commits of %d, and then %v, %+v; the log is at %v", done, last, ok, commit, log)
		}
		away.Release(commit.Ticket)
	}
	for i := range left {
		if left[i].Frames[0] != nil {
			t.Errorf("the memory of copy %d of %d is still held", i, len(left))
		}
	}
	f.close()
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
}

// The log is held back before it is looked at what it has: started again in between, it would have nothing of what the replica is to
// find there.
func TestLogStaysWhileAReplicaFallsBehind(t *testing.T) {
	const ring = 1 << 20
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", ring)
	app := c.open("_journal_mode=WAL")
	exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	c.drain()
	f := newFeed(c.tap, ring, 2)
	near, away := f.cursors[0], f.cursors[1]
	if _, ok := away.Next(); ok {
		t.Fatal("there is something before the first commit")
	}
	looked := 0
	f.looked = func() {
		looked++
		exec(t, app, "PRAGMA wal_checkpoint(RESTART); INSERT INTO t(b) VALUES('the log is started again, if it may be')")
	}
	last := c.ticket
	for looked == 0 {
		exec(t, app, "INSERT INTO t(b) VALUES(randomblob(100000))")
		for commit, ok := near.Next(); ok; commit, ok = near.Next() {
			near.Release(commit.Ticket)
			last = commit.Ticket
		}
	}
	f.looked = nil
	log, _ := c.tap.mark()
	for done := c.ticket; done < last; {
		commit, ok := away.Next()
		if !ok {
			t.Fatalf("there are %d of %d commits", done, last)
		}
		if commit.Kind == shipper.CommitRange && commit.To.Salt != log.Salt || commit.Kind == shipper.CommitGap {
			t.Fatalf("%+v: the log has it no more, which is %v", commit, log)
		}
		away.Release(commit.Ticket)
		done = commit.Ticket
	}
	f.close()
	if err := app.Close(); err != nil {
		t.Fatal(err)
	}
}
