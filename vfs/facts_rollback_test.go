package vfs_test

import (
	"fmt"
	"strings"
	"testing"

	"seawal/internal/vfstest"
)

// A rolled-back transaction leaves mxFrame as it was, spilled or not; the next one
// writes over its frames.
func TestFactsRollbackLeavesMxFrame(t *testing.T) {
	f := newFacts(t)
	c := spilling(f, "")
	c.fill(30)
	before := c.frames()

	log := f.trace(func() { c.exec("BEGIN; INSERT INTO t(b) VALUES('x'); ROLLBACK") })
	log = writer(log).Only(func(e *vfstest.Event) bool { return e.Op != vfstest.Read })
	wantWords(t, log, fmt.Sprintf("+WRITE -WRITE{%d}", before))

	log = f.trace(func() { c.exec("BEGIN; UPDATE t SET b=randomblob(3000); ROLLBACK") })
	written := frameHeaders(log)
	if len(written) == 0 || written[0] != before+1 {
		t.Fatalf("frames %v written, want some from %d on: no spill?\n%v", written, before+1, log)
	}
	if x := released(t, log); x.Header(0).MxFrame != before || x.Header(1).MxFrame != before {
		t.Errorf("mxFrame %d/%d after a rollback, want %d", x.Header(0).MxFrame, x.Header(1).MxFrame, before)
	}

	log = f.trace(func() { c.exec("UPDATE t SET b='y' WHERE a=1") })
	if written = frameHeaders(log); len(written) == 0 || written[0] != before+1 {
		t.Errorf("after a rollback frames %v are written, want %d first", written, before+1)
	}
}

// frames returns the number of committed frames in the log, which nobody is changing.
func (c *factsConn) frames() uint32 {
	c.t.Helper()
	var busy, log, done uint32
	if _, err := fmt.Sscanf(c.one("PRAGMA wal_checkpoint(NOOP)"), "%d|%d|%d", &busy, &log, &done); err != nil {
		c.t.Fatal(err)
	}
	return log
}

// frameHeaders returns the frames whose headers are written, in order.
func frameHeaders(log vfstest.Log) []uint32 {
	var out []uint32
	for _, e := range log {
		if part, frame, _ := e.WALPart(); part == vfstest.PartFrameHeader && e.Op == vfstest.Write {
			out = append(out, frame)
		}
	}
	return out
}

// A savepoint rolled back after a spill sends the offsets back within one
// transaction, without any call in between that says so.
func TestFactsRollbackToGoesBack(t *testing.T) {
	f := newFacts(t)
	c := spilling(f, "")
	c.fill(30)
	before := c.frames()
	log := f.trace(func() {
		c.exec(`BEGIN; INSERT INTO t(b) VALUES('x'); SAVEPOINT s; UPDATE t SET b=randomblob(3000);
			ROLLBACK TO s; UPDATE t SET b=randomblob(3000) WHERE a>10; COMMIT`)
	})
	log = writer(log)
	backAt := -1
	for i, last := range frameHeaders(log) {
		if i > 0 && last < frameHeaders(log)[i-1] {
			backAt = i
			break
		}
	}
	if backAt < 0 {
		t.Fatalf("the offsets never went back:\n%v", log)
	}
	writes := log.Only(func(e *vfstest.Event) bool {
		part, _, _ := e.WALPart()
		return part == vfstest.PartFrameHeader && e.Op == vfstest.Write
	})
	high, low := writes[backAt-1], writes[backAt]
	between := log.Only(func(e *vfstest.Event) bool {
		return e.Seq > high.Seq && e.Seq < low.Seq && e.Kind != vfstest.Temp && e.Op != vfstest.Read
	})
	if len(between) != 1 || between[0].Op != vfstest.Write {
		t.Errorf("between frame %v and %v, want only the page of the first:\n%v", high, low, between)
	}
	if x := released(t, log).Header(0); x.MxFrame <= before || wholeFrames(t, f.path+"-wal") < x.MxFrame {
		t.Errorf("mxFrame %d, before %d, and %d whole frames in the log", x.MxFrame, before, wholeFrames(t, f.path+"-wal"))
	}
}

// A savepoint rolled back or released without a spill leaves no trace.
func TestFactsSavepointWithoutSpill(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.exec(firstTable)
	c.exec(insertRow)
	log := f.trace(func() {
		c.exec("BEGIN; SAVEPOINT a; INSERT INTO t(b) VALUES('x'); ROLLBACK TO a; INSERT INTO t(b) VALUES('y'); RELEASE a; COMMIT")
	})
	wantWords(t, writer(log), "+WRITE wal.frame4(pg2,commit=2) wal.body4 barrier{3/4} -WRITE{4} db.ctl(COMMIT_PHASETWO)")
}

// COMMIT_PHASETWO comes at every commit in every journal mode, exactly once, also
// for a transaction that changed nothing; never on ROLLBACK.
func TestFactsPhaseTwo(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF", "WAL"} {
		for _, locking := range []string{"NORMAL", "EXCLUSIVE"} {
			t.Run(mode+"/"+locking, func(t *testing.T) {
				f := newFacts(t)
				c := f.open("&_cache_size=10&_locking_mode=" + locking + "&_journal_mode=" + mode)
				c.exec("PRAGMA cache_spill=10")
				c.fill(30)
				if got := c.one("PRAGMA journal_mode"); got != strings.ToLower(mode) {
					t.Fatalf("journal_mode is %s", got)
				}
				for _, tt := range []struct {
					sql  string
					want int
				}{
					{"INSERT INTO t(b) VALUES('x')", 1},
					{"BEGIN; UPDATE t SET b=randomblob(3000); COMMIT", 1},
					{"BEGIN; INSERT INTO t(b) VALUES('y'); ROLLBACK", 0},
					{"BEGIN; UPDATE t SET b=randomblob(3000); ROLLBACK", 0},
					{"BEGIN IMMEDIATE; ROLLBACK", 0},
					{"SELECT count(*) FROM t", 0},
					{"BEGIN; SELECT count(*) FROM t; COMMIT", 0},
				} {
					if mode == "OFF" && strings.Contains(tt.sql, "randomblob(3000); ROLLBACK") {
						continue // without a journal that ROLLBACK corrupts the database
					}
					log := f.trace(func() { c.exec(tt.sql) })
					if got := commits(log); len(got) != tt.want {
						t.Errorf("%s: %d COMMIT_PHASETWO, want %d\n%v", tt.sql, len(got), tt.want, log)
					}
				}
				// A commit of nothing counts, but for one case where nothing had been locked either.
				want := 1
				if mode == "PERSIST" && locking == "EXCLUSIVE" {
					want = 0
				}
				log := f.trace(func() { c.exec("BEGIN IMMEDIATE; COMMIT") })
				if got := commits(log); len(got) != want {
					t.Errorf("commit of nothing: %d COMMIT_PHASETWO, want %d\n%v", len(got), want, log)
				}
			})
		}
	}
}

// A transaction that restarts the log and then rolls back does move mxFrame: to
// 0, under new salts. So "mxFrame unchanged" is not the only face of a
// rollback; a new generation with mxFrame 0 commits nothing either.
func TestFactsRollbackAfterRestart(t *testing.T) {
	f := newFacts(t)
	c := spilling(f, "")
	c.fill(30)
	c.exec("PRAGMA wal_checkpoint(PASSIVE)")
	before := released(t, f.trace(func() { c.exec("BEGIN IMMEDIATE; ROLLBACK") })).Header(0)
	sum := c.one("SELECT count(*), hex(max(b)) FROM t")
	log := f.trace(func() { c.exec("BEGIN; UPDATE t SET b=randomblob(3000); ROLLBACK") })
	after := released(t, log).Header(0)
	if before.MxFrame == 0 || after.MxFrame != 0 {
		t.Errorf("mxFrame went from %d to %d, want from some to none\n%v", before.MxFrame, after.MxFrame, log)
	}
	if after.Salt[0] != before.Salt[0]+1 || after.Salt[1] == before.Salt[1] {
		t.Errorf("salts went from %08x to %08x, want the first one higher and the second another", before.Salt, after.Salt)
	}
	if after.PageCount != before.PageCount || after.Change != before.Change {
		t.Errorf("nPage and iChange went from %d, %d to %d, %d; want them unchanged", before.PageCount, before.Change, after.PageCount, after.Change)
	}
	c.expect("SELECT count(*), hex(max(b)) FROM t", sum)
}
