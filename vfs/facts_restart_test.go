package vfs_test

import (
	"fmt"
	"os"
	"testing"

	"seawal/internal/vfstest"
)

// readers is WAL_READ_LOCK(1..4), exclusively: offset 4, n 4.
var readers = vfstest.LockRange{Slot: 4, N: 4, Flags: vfstest.ShmLocking | vfstest.ShmExclusive}

// veto answers SQLITE_BUSY to WAL_READ_LOCK(1..4), from now on.
func (f *facts) veto() *vfstest.Fault {
	return f.Fail(vfstest.Rule{Op: vfstest.ShmLock, Lock: &readers, Sticky: true, Code: vfstest.Busy})
}

// checkpointed is a connection whose log holds three frames, all backfilled: the
// next writer would restart it.
func checkpointed(f *facts) *factsConn {
	c := f.open("&_journal_mode=WAL")
	c.exec(firstTable)
	c.exec(insertRow)
	c.expect("PRAGMA wal_checkpoint(PASSIVE)", "0|3|3")
	return c
}

// The first writer after a complete checkpoint takes WAL_READ_LOCK(1..4), sets
// mxFrame to 0, and writes a WAL header with new salts and frames from 1.
func TestFactsRestart(t *testing.T) {
	f := newFacts(t)
	c := checkpointed(f)
	before := released(t, f.trace(func() { c.exec("BEGIN IMMEDIATE; ROLLBACK") })).Header(0)
	log := f.trace(func() { c.exec(insertRow) })
	wantWords(t, log, `barrier{3/3} +READ0s barrier{3/3}
		+WRITE +READ1..4 barrier{3/0} -READ1..4 -READ0s +READ1s barrier{0/0}
		wal.header wal.sync wal.frame1(pg2,commit=2) wal.body1 barrier{0/1} -WRITE{1} db.ctl(COMMIT_PHASETWO) -READ1s`)
	after := released(t, log).Header(0)
	if after.Salt[0] != before.Salt[0]+1 || after.Salt[1] == before.Salt[1] {
		t.Errorf("salts from %08x to %08x, want the first one higher and the second another", before.Salt, after.Salt)
	}
	if log.Index(func(e *vfstest.Event) bool { return e.IsLock(readers) }) < 0 {
		t.Errorf("WAL_READ_LOCK(1..4) was not taken as offset 4, n 4:\n%v", log)
	}
}

// SQLITE_BUSY to WAL_READ_LOCK(1..4) keeps the log: SQLite appends and the
// application notices nothing, however often it commits.
func TestFactsBusyReadersMakeItAppend(t *testing.T) {
	f := newFacts(t)
	c := checkpointed(f)
	veto := f.veto()
	log := f.trace(func() { c.exec(insertRow) })
	wantWords(t, log, `barrier{3/3} +READ0s barrier{3/3}
		+WRITE +READ1..4=BUSY! -READ0s +READ1s barrier{3/3}
		wal.frame4(pg2,commit=2) wal.body4 barrier{3/4} -WRITE{4} db.ctl(COMMIT_PHASETWO) -READ1s`)
	if n := veto.End(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	c.expect("SELECT count(*) FROM t", "2")
	c.expect("PRAGMA integrity_check", "ok")
}

// RESTART and TRUNCATE checkpoints take the same lock, at their end. When it is
// refused they say that they were busy, have backfilled all the same, and the log stays
// as it is. PASSIVE and FULL never ask for it.
func TestFactsCheckpointsAndTheVeto(t *testing.T) {
	// What every mode does to copy frames 1 to 3, of pages 1 and 2.
	const copies = ` wal.sync db.ctl(CKPT_START) db.size:4096 db.ctl(SIZE_HINT)
		wal?body1 db.page1 wal?body3 db.page2 db.ctl(CKPT_DONE) db.truncate(8192) db.sync -READ0 `
	for _, tt := range []struct {
		mode     string
		veto     bool
		row      string
		script   string
		refused  int
		restarts bool // the log file is empty, or the next commit goes to frame 1
	}{
		{"PASSIVE", false, "0|3|3", `+CKPT barrier{3/3} +READ1 -READ1 +READ0` + copies + `-CKPT`, 0, true},
		{"PASSIVE", true, "0|3|3", `+CKPT barrier{3/3} +READ1 -READ1 +READ0` + copies + `-CKPT`, 0, false},
		{"FULL", true, "0|3|3", `+CKPT +WRITE barrier{3/3} +READ1 -READ1 +READ0` + copies + `-WRITE{3} -CKPT`, 0, false},
		{"RESTART", false, "0|3|3", `+CKPT +WRITE barrier{3/3} +READ1 -READ1 +READ0` + copies +
			`+READ1..4 -READ1..4 -WRITE{3} -CKPT`, 0, true},
		{"RESTART", true, "1|3|3", `+CKPT +WRITE barrier{3/3} +READ1 -READ1 +READ0` + copies +
			`+READ1..4=BUSY! -WRITE{3} -CKPT`, 1, false},
		{"TRUNCATE", false, "0|0|0", `+CKPT +WRITE barrier{3/3} +READ1 -READ1 +READ0` + copies +
			`+READ1..4 barrier{3/0} wal.truncate(0) -READ1..4 -WRITE{0} -CKPT`, 0, true},
		{"TRUNCATE", true, "1|3|3", `+CKPT +WRITE barrier{3/3} +READ1 -READ1 +READ0` + copies +
			`+READ1..4=BUSY! -WRITE{3} -CKPT`, 1, false},
	} {
		t.Run(fmt.Sprintf("%s/veto=%v", tt.mode, tt.veto), func(t *testing.T) {
			f := newFacts(t)
			c := f.open("&_journal_mode=WAL")
			c.exec(firstTable)
			c.exec(insertRow)
			var veto *vfstest.Fault
			if tt.veto {
				veto = f.veto()
			}
			log := f.trace(func() { c.expect("PRAGMA wal_checkpoint("+tt.mode+")", tt.row) })
			wantWords(t, log, "db.ctl(PRAGMA) "+tt.script)
			if tt.veto && veto.Fired() != tt.refused {
				t.Errorf("asked for WAL_READ_LOCK(1..4) %d times, want %d", veto.Fired(), tt.refused)
			}
			if last := log[len(log)-1].Index; last.Header(0).MxFrame == 3 && last.Backfill() != 3 {
				t.Errorf("nBackfill %d afterwards, want 3", last.Backfill())
			}
			next := f.trace(func() { c.exec(insertRow) })
			want := uint32(4)
			if tt.restarts {
				want = 1
			}
			if got := frameHeaders(next); len(got) != 1 || got[0] != want {
				t.Errorf("the next commit goes to frames %v, want %d\n%v", got, want, next)
			}
		})
	}
}

// PASSIVE backfill goes on under the veto: again and again, as the log grows.
func TestFactsBackfillGoesOnUnderTheVeto(t *testing.T) {
	f := newFacts(t)
	c := checkpointed(f)
	veto := f.veto()
	for i := range 5 {
		c.exec(insertRow)
		n := 4 + i
		log := f.trace(func() { c.expect("PRAGMA wal_checkpoint(PASSIVE)", fmt.Sprintf("0|%d|%d", n, n)) })
		if len(log.Only(func(e *vfstest.Event) bool { return e.Kind == vfstest.Main && e.Op == vfstest.Write })) != 1 {
			t.Errorf("not the one changed page was written:\n%v", log)
		}
	}
	if n := veto.End(); n != 5 {
		t.Errorf("%d commits asked for the lock, want all 5", n)
	}
	// And when the veto ends, the log starts anew.
	if got := frameHeaders(f.trace(func() { c.exec(insertRow) })); len(got) != 1 || got[0] != 1 {
		t.Errorf("then frames %v were written, want frame 1", got)
	}
}

// A reader blocks the same locks one by one: a checkpoint takes WAL_READ_LOCK(i)
// with n 1, which a veto must let pass.
func TestFactsCheckpointTakesOneReadLock(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.exec(firstTable)
	reader := f.open("")
	reader.exec("BEGIN")
	reader.expect("SELECT count(*) FROM t", "0")
	c.exec(insertRow)
	log := f.trace(func() { c.expect("PRAGMA wal_checkpoint(PASSIVE)", "0|3|2") })
	wantWords(t, log, `db.ctl(PRAGMA) +CKPT barrier{3/3} +READ1=BUSY +READ0
		wal.sync db.ctl(CKPT_START) db.size:4096 db.ctl(SIZE_HINT) wal?body1 db.page1 db.ctl(CKPT_DONE) -READ0 -CKPT`)
	// Page 2 of frame 2 has a newer image in frame 3, which the reader keeps back: so neither is
	// copied, and yet frame 2 counts as backfilled. Nor is the database truncated or synced.
	if x := log[len(log)-1].Index; x.Backfill() != 2 {
		t.Errorf("nBackfill %d, want 2", x.Backfill())
	}
	for _, e := range log {
		if e.Op == vfstest.ShmLock && e.Amount != 1 {
			t.Errorf("%v took %d slots", e, e.Amount)
		}
	}
	reader.exec("COMMIT")
}

// SQLITE_BUSY to WAL_CKPT_LOCK: no checkpoint, not even a look at the log. A commit
// that wanted one succeeds all the same.
func TestFactsBusyCheckpointLock(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.exec("PRAGMA wal_autocheckpoint=1")
	c.exec(firstTable)
	busy := f.Fail(vfstest.Rule{Op: vfstest.ShmLock, Sticky: true, Code: vfstest.Busy, Lock: &vfstest.LockRange{
		Slot: vfstest.SlotCkpt, N: 1, Flags: vfstest.ShmLocking | vfstest.ShmExclusive}})
	log := f.trace(func() { c.exec(insertRow) })
	if at := log.Index(func(e *vfstest.Event) bool { return e.Injected }); at != len(log)-1 {
		t.Errorf("the refused lock is not the last call:\n%v", log)
	}
	c.expect("PRAGMA wal_checkpoint(PASSIVE)", "1|-1|-1")
	if n := busy.End(); n != 2 {
		t.Errorf("asked %d times, want twice", n)
	}
	log = f.trace(func() { c.exec(insertRow) })
	if log.Index(func(e *vfstest.Event) bool { return e.IsControl(vfstest.FcntlCkptStart) }) < 0 {
		t.Errorf("no checkpoint after the commit once the lock is free:\n%v", log)
	}
}

// Where nobody shares the log, nobody can hold it back: under locking_mode=EXCLUSIVE a
// restart takes no lock. The WAL header is the only sign.
func TestFactsExclusiveRestartsWithoutLock(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("after WAL was open=%v", after), func(t *testing.T) {
			f := newFacts(t)
			var c *factsConn
			if after {
				c = f.open("&_journal_mode=WAL")
				c.exec(firstTable)
				c.exec("PRAGMA locking_mode=EXCLUSIVE")
			} else {
				c = f.open("&_locking_mode=EXCLUSIVE&_journal_mode=WAL")
				c.exec(firstTable)
			}
			c.exec(insertRow)
			veto := f.veto()
			c.expect("PRAGMA wal_checkpoint(PASSIVE)", "0|3|3")
			log := f.trace(func() { c.exec(insertRow) })
			wantWords(t, log.Of(vfstest.WAL), "wal.header wal.sync wal.frame1(pg2,commit=2) wal.body1")
			if n := veto.End(); n != 0 {
				t.Errorf("asked for WAL_READ_LOCK(1..4) %d times", n)
			}
		})
	}
}

// An empty log begins a new generation without WAL_READ_LOCK(1..4), and a
// connection that never restarted the log takes both salts at random.
func TestFactsEmptyLogTakesNewSalts(t *testing.T) {
	f := newFacts(t)
	c := checkpointed(f)
	log := f.trace(func() { c.expect("PRAGMA wal_checkpoint(TRUNCATE)", "0|0|0") })
	empty := released(t, log).Header(0)
	other := f.open("")
	log = f.trace(func() { other.exec(insertRow) })
	if log.Index(func(e *vfstest.Event) bool { return e.IsLock(readers) }) >= 0 {
		t.Errorf("WAL_READ_LOCK(1..4) was taken:\n%v", log)
	}
	if now := released(t, log).Header(0); now.Salt[0] == empty.Salt[0] || now.Salt[1] == empty.Salt[1] || now.MxFrame != 1 {
		t.Errorf("salts %08x, then %08x with mxFrame %d", empty.Salt, now.Salt, now.MxFrame)
	}
}

// The last connection checkpoints when it closes, under an EXCLUSIVE lock instead of
// shared-memory locks, and deletes the log unless PERSIST_WAL is answered with 1. Another
// than the last does neither.
func TestFactsLastClose(t *testing.T) {
	const checkpoint = ` db.ctl(HAS_MOVED) db.lock(EXCLUSIVE) barrier{3/3} wal.sync db.ctl(CKPT_START) db.size:4096
		db.ctl(SIZE_HINT) wal?body1 db.page1 wal?body3 db.page2 db.ctl(CKPT_DONE) db.truncate(8192) db.sync `
	one := 1
	for _, tt := range []struct {
		name   string
		answer *int
		limit  bool
		script string
		size   int64 // of the log afterwards, -1 when it is gone
	}{
		{"default", nil, false, `db.ctl(PERSIST_WAL:0) shm.unmap(delete) wal.close wal.delete`, -1},
		{"persist", &one, false, `db.ctl(PERSIST_WAL:1)! shm.unmap wal.close`, 32 + 3*(24+4096)},
		{"persist, limited", &one, true, `db.ctl(PERSIST_WAL:1)! wal.size:12392 wal.truncate(0) shm.unmap wal.close`, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFacts(t)
			c := f.open("&_journal_mode=WAL")
			c.exec(firstTable)
			c.exec(insertRow)
			if tt.limit {
				c.rows("PRAGMA journal_size_limit=0")
			}
			if tt.answer != nil {
				f.Fail(vfstest.Rule{Op: vfstest.Control, Control: vfstest.FcntlPersistWAL, Answer: tt.answer, Sticky: true})
			}
			other := f.open("")
			log := f.trace(other.close)
			wantWords(t, log, `db.ctl(HAS_MOVED) db.lock(EXCLUSIVE)=BUSY shm.unmap wal.close db.unlock(NONE) db.close`)
			log = f.trace(c.close)
			wantWords(t, log, checkpoint+tt.script+` db.unlock(NONE) db.close`)
			size := int64(-1)
			if st, err := os.Stat(f.path + "-wal"); err == nil {
				size = st.Size()
			}
			if size != tt.size {
				t.Errorf("log of %d bytes left, want %d", size, tt.size)
			}
		})
	}
}

// CKPT_START and CKPT_DONE stand around the page writes of a checkpoint. The truncation and
// the sync of the database come after CKPT_DONE, and a checkpoint without anything to
// copy sends neither.
func TestFactsCheckpointBracket(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.fill(20)
	c.exec("DELETE FROM t WHERE a>10; VACUUM")
	log := f.trace(func() { c.exec("PRAGMA wal_checkpoint(RESTART)") })
	start := log.Index(func(e *vfstest.Event) bool { return e.IsControl(vfstest.FcntlCkptStart) })
	done := log.Index(func(e *vfstest.Event) bool { return e.IsControl(vfstest.FcntlCkptDone) })
	pages := 0
	for i, e := range log {
		if e.Kind != vfstest.Main {
			continue
		}
		switch e.Op {
		case vfstest.Write:
			pages++
			if i < start || i > done {
				t.Errorf("%v outside the bracket", e)
			}
		case vfstest.Truncate, vfstest.Sync:
			if i < done {
				t.Errorf("%v before CKPT_DONE", e)
			}
		}
	}
	if start < 0 || pages < 10 {
		t.Errorf("%d pages written after CKPT_START at %d:\n%v", pages, start, log)
	}
	for _, mode := range []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"} {
		log := f.trace(func() { c.exec("PRAGMA wal_checkpoint(" + mode + ")") })
		if at := log.Index(func(e *vfstest.Event) bool {
			return e.IsControl(vfstest.FcntlCkptStart) || e.IsControl(vfstest.FcntlCkptDone)
		}); at >= 0 {
			t.Errorf("%s with nothing to copy sends %v", mode, log[at])
		}
	}
}

// An automatic checkpoint runs in the call that committed, on its connection, after the transaction
// is over. While the log is held back every further commit repeats it.
func TestFactsAutoCheckpointRunsInTheCommit(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.exec("PRAGMA wal_autocheckpoint=4")
	c.exec(firstTable)
	c.exec(insertRow)
	veto := f.veto()
	defer veto.End()
	for frame := 4; frame < 7; frame++ {
		log := f.trace(func() { c.exec(insertRow) })
		end := log.Index(func(e *vfstest.Event) bool { return e.IsControl(vfstest.FcntlCommitPhaseTwo) })
		start := log.Index(func(e *vfstest.Event) bool { return e.IsControl(vfstest.FcntlCkptStart) })
		if end < 0 || start < end || log[start].Conn != log[end].Conn {
			t.Errorf("frame %d: COMMIT_PHASETWO at %d, CKPT_START at %d:\n%v", frame, end, start, log)
		}
	}
}

// The first connection to a database with a log takes WAL_WRITE_LOCK to recover the wal-index from
// it. At the release mxFrame has moved from 0 without a commit, and nBackfill is 0 whatever had
// been copied.
func TestFactsRecoveryMovesMxFrame(t *testing.T) {
	f := newFacts(t)
	c := checkpointed(f)
	to := copyDatabase(t, f.path)
	want := released(t, f.trace(func() { c.exec("BEGIN IMMEDIATE; ROLLBACK") }))
	var next *factsConn
	log := f.trace(func() { next = openFacts(t, to, f.Name(), "") })
	wantWords(t, log.Of(vfstest.Shm, vfstest.WAL).Only(func(e *vfstest.Event) bool { return e.Op != vfstest.Access }),
		`wal.open shm.map0 +WRITE shm.map0 barrier{0/0} +CKPT..RECOVER wal.size:12392
		 wal?header wal?frame1+body(pg1) wal?frame2+body(pg2,commit=2) wal?frame3+body(pg2,commit=2)
		 barrier{0/3} +READ1 -READ1 +READ2 -READ2 +READ3 -READ3 +READ4 -READ4 -CKPT..RECOVER -WRITE{3}
		 +READ1s barrier{3/3} wal?body1 -READ1s`)
	got := released(t, log)
	if g, w := got.Header(0), want.Header(0); g.MxFrame != w.MxFrame || g.Salt != w.Salt || g.Cksum != w.Cksum || g.PageCount != w.PageCount {
		t.Errorf("recovered %+v, want what the log was made with: %+v", g, w)
	}
	if want.Backfill() != 3 || got.Backfill() != 0 {
		t.Errorf("nBackfill was %d and is recovered as %d, want 3 and 0", want.Backfill(), got.Backfill())
	}
	next.close()
}

// VACUUM in WAL mode is one commit, announced by OVERWRITE, whose database is smaller.
func TestFactsVacuumIsOneCommit(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.fill(20)
	c.exec("DELETE FROM t WHERE a>5")
	before := released(t, f.trace(func() { c.exec("BEGIN IMMEDIATE; ROLLBACK") })).Header(0).PageCount
	log := f.trace(func() { c.exec("VACUUM") })
	overwrite := log.Index(func(e *vfstest.Event) bool { return e.IsControl(vfstest.FcntlOverwrite) })
	if overwrite < 0 || len(commits(log)) != 1 {
		t.Errorf("OVERWRITE at %d, %d COMMIT_PHASETWO:\n%v", overwrite, len(commits(log)), log)
	}
	if after := released(t, log).Header(0).PageCount; after >= before {
		t.Errorf("%d pages before, %d after", before, after)
	}
}
