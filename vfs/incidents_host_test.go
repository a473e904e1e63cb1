package vfs_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/reliability"
	"seawal/internal/vfstest"
	"seawal/restore"
	"seawal/vfs"
)

// another is a second host: a copy of the closed database, with or without its state folder, and the same replica.
func (b *badPlace) another(folder bool) *badPlace {
	b.t.Helper()
	c := newBadPlace(b.t)
	c.driver, c.behind, c.faults = b.driver, b.behind, b.faults
	copyDisk(b.t, b.path, c.path)
	if !folder {
		if err := os.RemoveAll(c.path + "-seawal"); err != nil {
			b.t.Fatal(err)
		}
	}
	return c
}

// Two hosts write to one replica: a failover whose old primary is alive, a machine that was cloned. Where both go on, each overwrites
// what the other one has shipped.
func TestIncidentTwoWriters(t *testing.T) {
	for _, folder := range []bool{true, false} {
		name := map[bool]string{true: "a clone with the state folder", false: "a copy without it"}[folder]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, db := opened(t, impatient, "")
			b.finish(db)
			c := b.another(folder)
			db, other := b.open(""), c.open("")
			b.write(db, 2, 1, 5)
			b.flush(db)
			b.note(db)
			// The second one ships what the first one does not have, under numbers that are taken or on a timeline of its own.
			c.write(other, 3, 1, 5)
			otherErr := vfs.Flush(t.Context(), other)
			if otherErr == nil {
				c.note(other)
			}
			var err error
			if otherErr == nil { // the one that was taken over has nothing confirmed any more, not even the next segment
				b.write(db, 4, 1, 1)
				err = vfs.Flush(t.Context(), db)
			}
			winner, loser, winnerDB, loserDB := b, c, db, other
			if otherErr == nil {
				winner, loser, winnerDB, loserDB = c, b, other, db
				otherErr = err
			} else if err != nil {
				t.Errorf("both are out: %v, %v", err, otherErr)
			}
			if !errors.Is(otherErr, vfs.ErrFenced) {
				t.Fatalf("the loser's error: %v, want ErrFenced", otherErr)
			}
			if st := loser.status(loserDB); !st.Fenced || st.Mode != "stopped" {
				t.Errorf("the loser: %+v", st)
			}
			loser.write(loserDB, 1000, 2, 5) // its application goes on
			if err := loserDB.Close(); !errors.Is(err, vfs.ErrFenced) {
				t.Errorf("the loser's close: %v, want ErrFenced", err)
			}
			winner.write(winnerDB, 1001, 2, 5)
			winner.note(winnerDB)
			winner.finish(winnerDB)
			winner.listing()
			if folder {
				loser.goesOnApart()
				winner.goesOnApart()
			}
			winner.points = append(winner.points, loser.points...) // what the loser had been told is durable is there as well
			winner.incident("two writers", "a second host opens a copy of the database, with the state folder or without it, and both write to one replica", 1)
		})
	}
}

// goesOnApart opens the database of one of two clones again, whose log is in its file by now. That has nothing to do with what the
// other one has shipped since they parted: it goes on on a timeline of its own, and says so.
func (b *badPlace) goesOnApart() {
	b.t.Helper()
	plain(b.t, b.path, "PRAGMA wal_checkpoint(TRUNCATE)")
	own := uint32(len(b.listing().Timelines) + 1)
	db := b.open("")
	b.flush(db)
	if st := b.status(db); st.Durable.Timeline != own || !strings.Contains(st.Notice, fmt.Sprintf("opened timeline %d", own)) || st.Snapshots > 0 {
		b.t.Errorf("opened again: durable %v, %d snapshots, notice %q; want timeline %d and none", st.Durable, st.Snapshots, st.Notice, own)
	}
	b.write(db, uint64(2000+own), 2, 5)
	b.flush(db)
	b.note(db)
	b.finish(db)
	if n := b.lost(); n > 0 {
		b.t.Errorf("opened again: %d points lost", n)
	}
}

// The clock is set back, and forward again. Where files or transactions are chosen by their time, newer ones count as old,
// are deleted as expired, or a moment means the wrong one.
func TestIncidentClockJumpsBack(t *testing.T) {
	defer vfs.SkewClock(0)
	b, db := opened(t, impatient, "")
	jumps := []time.Duration{-time.Hour, -26 * time.Hour, -time.Minute, 0}
	for i, skew := range jumps {
		vfs.SkewClock(skew)
		for range 2 {
			b.write(db, uint64(10+i), 2, 3)
			b.flush(db)
			b.note(db)
			if st := b.status(db); st.Lag < 0 || st.LastError != "" {
				t.Errorf("%v: %+v", skew, st)
			}
		}
		if st := b.status(db); i == 0 && !strings.Contains(st.Notice, "clock was set back by 1h0m0s") {
			t.Errorf("status says nothing of the clock: %+v", st)
		}
		b.finish(db)
		db = b.open("") // and the next process
	}
	b.finish(db)
	b.everyPoint() // its listing has no time that goes back
	// The time of each point means that point.
	for _, p := range b.points {
		at := b.timeOf(p.pos)
		if plan, err := restore.NewPlan(t.Context(), b.behind, 0, restore.AtTime(at)); err != nil || plan.Target.Pos != p.pos {
			t.Errorf("%v, the time of %v, means %+v, %v", at, p.pos, plan, err)
		}
	}
	b.incident("the clock jumps back", "the clock that commits are timed by is set back by an hour, a day and a minute, and forward again, with a restart after each", len(jumps))
}

// The process has no descriptor left, just when what was left in the log is to be read. Where an error of opening a file counts as a
// file that is gone, the log is given up.
func TestIncidentNoDescriptorIsLeft(t *testing.T) {
	b, down, db := shippingPlaceSerial(t, smallRing)
	b.note(db)
	down.On()
	b.fill(db, "full ring", func(st vfs.Stat) bool { return st.LeftInWAL > 0 })
	b.until(db, "standstill", still())
	left := b.status(db).LeftInWAL
	b.fill(db, "full ring", func(st vfs.Stat) bool { return st.LeftInWAL > left+20 })
	b.note(db)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	none := before
	none.Cur = 3 // those that are open stay open
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	down.Off()
	give := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Error(err)
		}
	}
	defer give()
	b.until(db, "error of the log", func(st vfs.Stat) bool { return strings.Contains(st.LastError, syscall.EMFILE.Error()) })
	b.write(db, 3, 1, 10) // the application has its connection
	give()
	b.note(db)
	if st := b.finish(db); st.Resyncs > 0 {
		t.Errorf("afterwards: %+v", st)
	}
	b.everyPoint()
	b.incident("no file descriptor is left", "RLIMIT_NOFILE is below what is open while commits are to be read back from the log", 1)
}

// The disk is full under the database. The application gets SQLite's own error for as long as that lasts, and nothing that failed is
// shipped.
func TestIncidentDiskIsFullUnderTheDatabase(t *testing.T) {
	t.Parallel()
	tr, err := vfstest.Register("beneath-incident-disk", "", vfstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, db := opened(t, impatient, "vfs="+tr.Name())
	times := 0
	for _, kind := range []vfstest.Kind{vfstest.WAL, vfstest.Main} {
		full := tr.Fail(vfstest.Rule{Op: vfstest.Write, Kind: kind, Sticky: true, Code: vfstest.Full})
		for range 3 {
			_, err := db.Exec("INSERT INTO t(b) VALUES(randomblob(20000))")
			var e sqlite3.Error
			if kind == vfstest.WAL && (!errors.As(err, &e) || e.Code != sqlite3.ErrFull) {
				t.Errorf("a commit on a full disk: %v", err)
			}
		}
		_, _ = db.Exec("PRAGMA wal_checkpoint(TRUNCATE)") // fails where the database file can't be written
		b.flush(db)
		b.note(db)
		times += full.End()
		b.write(db, uint64(times), 2, 10)
		b.flush(db)
		b.note(db)
	}
	b.finish(db)
	b.everyPoint()
	b.fault(reliability.Fault{Group: reliability.Disk, Name: "the disk is full under the database",
		How: "writes to the log and to the database file answer SQLITE_FULL for a while", AtLeast: 4}, times)
}

// The disk is full under the state folder, or it can't be written for another reason: what is in it only makes a restart quicker.
func TestIncidentStateFolderCanNotBeWritten(t *testing.T) {
	t.Parallel()
	b, db := opened(t, impatient, "")
	times := 0
	for round := range uint64(3) {
		// A folder in the place of each new file is an error that root gets, too.
		for _, name := range []string{"state.json.new", "pages.new"} {
			if err := os.Mkdir(b.path+"-seawal/"+name, 0o700); err != nil {
				t.Fatal(err)
			}
			times++
		}
		b.write(db, 2+round, 2, 10)
		b.flush(db)
		b.note(db)
		if err := db.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		for _, name := range []string{"state.json.new", "pages.new"} {
			if err := os.Remove(b.path + "-seawal/" + name); err != nil {
				t.Fatal(err)
			}
		}
		db = b.open("")
		b.write(db, 20+round, 2, 5)
		b.flush(db)
		b.note(db)
	}
	b.finish(db)
	b.everyPoint()
	b.fault(reliability.Fault{Group: reliability.Disk, Name: "the state folder can't be written",
		How: "folders stand in the way of its new files, at close"}, times)
}

// An outage of hours: what is left in the log keeps its times, as near as that can be remembered, so that a moment in the outage can be
// restored when it is over.
func TestTimesOfALongOutageAreKept(t *testing.T) {
	defer vfs.SkewClock(0)
	b, down, db := shippingPlaceSerial(t, smallRing)
	down.On()
	b.fill(db, "full ring", func(st vfs.Stat) bool { return st.LeftInWAL > 0 })
	b.until(db, "standstill", still())
	left := b.status(db).LeftInWAL
	b.fill(db, "full ring", func(st vfs.Stat) bool { return st.LeftInWAL > left+20 })
	first, err := vfs.Position(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	const hours = 12
	for hour := 1; hour <= hours; hour++ {
		vfs.SkewClock(time.Duration(hour) * time.Hour)
		b.write(db, uint64(hour), 1, 3)
		mustExec(t, db, "INSERT INTO t(b) VALUES('the last of the hour')")
		b.note(db)
	}
	down.Off()
	if st := b.finish(db); st.Resyncs > 0 {
		t.Errorf("after it: %+v", st)
	}
	b.everyPoint()
	began := b.timeOf(first)
	for i, p := range b.points {
		want := time.Duration(i+1) * time.Hour
		if off := b.timeOf(p.pos).Sub(began) - want; off < 0 || off > time.Minute+want/100 {
			t.Errorf("%v is %v off", p.pos, off)
		}
	}
}

// timeOf is the time that a point has in the replica.
func (b *badPlace) timeOf(p vfs.Pos) time.Time {
	b.t.Helper()
	plan, err := restore.NewPlan(b.t.Context(), b.behind, 0, restore.AtTx(p.Tx))
	if err != nil {
		b.t.Fatal(err)
	}
	return plan.Target.Time
}
