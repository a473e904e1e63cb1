package vfs_test

import (
	"fmt"
	"strings"
	"testing"

	"seawal/internal/vfstest"
)

// rollbackModes are the modes without a WAL, and what ends a commit in NORMAL.
var rollbackModes = []struct{ mode, ends string }{
	{"DELETE", "jrnl.close jrnl.delete"},
	{"TRUNCATE", "jrnl.truncate(0)"},
	{"PERSIST", "jrnl.write@0+28 jrnl.sync"},
	{"MEMORY", ""},
	{"OFF", ""},
}

// locks replays the lock on the database file, and calls visit with the level held at each call.
func locks(log vfstest.Log, level int, visit func(e *vfstest.Event, level int)) {
	for i := range log {
		e := &log[i]
		visit(e, level)
		if e.Kind == vfstest.Main && e.Code == vfstest.OK && (e.Op == vfstest.Lock || e.Op == vfstest.Unlock) {
			level = e.Flags
		}
	}
}

// In the rollback journal modes pages are written to the database between EXCLUSIVE
// and its release, spilled or not, committed or rolled back; COMMIT_PHASETWO comes
// after the journal is done with, and still under EXCLUSIVE.
func TestFactsRollbackJournalWrites(t *testing.T) {
	for _, m := range rollbackModes {
		t.Run(m.mode, func(t *testing.T) {
			f := newFacts(t)
			c := f.open("&_cache_size=10&_journal_mode=" + m.mode)
			c.exec("PRAGMA cache_spill=10")
			c.fill(30)
			for _, tt := range []struct {
				sql           string
				wrote, commit bool
			}{
				{"INSERT INTO t(b) VALUES('x')", true, true},
				{"BEGIN; UPDATE t SET b=randomblob(3000); COMMIT", true, true},
				{"BEGIN; INSERT INTO t(b) VALUES('x'); ROLLBACK", false, false},
				{"BEGIN; UPDATE t SET b=randomblob(3000); ROLLBACK", true, false},
				{"DELETE FROM t WHERE a>20", true, true},
				{"VACUUM", true, true},
			} {
				if m.mode == "OFF" && strings.HasSuffix(tt.sql, "ROLLBACK") {
					continue
				}
				log := f.trace(func() { c.exec(tt.sql) })
				checkUnderExclusive(t, tt.sql, log, tt.wrote, tt.commit)
			}
			c.expect("PRAGMA integrity_check", "ok")
		})
	}
}

func checkUnderExclusive(t *testing.T, sql string, log vfstest.Log, wrote, commit bool) {
	t.Helper()
	writes, ends := 0, 0
	locks(log, vfstest.LevelNone, func(e *vfstest.Event, level int) {
		if e.Kind != vfstest.Main {
			return
		}
		switch {
		case e.Op == vfstest.Write, e.Op == vfstest.Truncate:
			writes++
			if ends > 0 {
				t.Errorf("%s: %v after COMMIT_PHASETWO", sql, e)
			}
		case e.IsControl(vfstest.FcntlCommitPhaseTwo):
			ends++
		default:
			return
		}
		if level != vfstest.LevelExclusive {
			t.Errorf("%s: %v under lock level %d", sql, e, level)
		}
	})
	if (writes > 0) != wrote || (ends == 1) != commit || ends > 1 {
		t.Errorf("%s: %d writes and %d COMMIT_PHASETWO; want some: %v, one: %v\n%v", sql, writes, ends, wrote, commit, log)
	}
}

// The end of a small commit in each rollback journal mode, call by call.
func TestFactsRollbackJournalCommit(t *testing.T) {
	for _, m := range rollbackModes {
		t.Run(m.mode, func(t *testing.T) {
			f := newFacts(t)
			c := f.open("&_journal_mode=" + m.mode)
			c.exec(firstTable)
			c.exec(insertRow)
			log := f.trace(func() { c.exec(insertRow) })
			first := log.Index(func(e *vfstest.Event) bool { return e.Kind == vfstest.Main && e.Op == vfstest.Write })
			if first < 0 {
				t.Fatalf("no page was written:\n%v", log)
			}
			end := log[first:].Only(func(e *vfstest.Event) bool {
				return e.Kind != vfstest.Journal || e.Op != vfstest.Close || m.mode == "DELETE"
			})
			wantWords(t, end, `db.page1 db.page2 db.ctl(SYNC) db.sync `+m.ends+
				` db.ctl(COMMIT_PHASETWO) db.unlock(SHARED) db.unlock(NONE)`)
		})
	}
}

// A ROLLBACK after a spill writes the old images back, under EXCLUSIVE and without a
// COMMIT_PHASETWO.
func TestFactsRollbackWritesOldImages(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_cache_size=10&_journal_mode=DELETE")
	c.exec("PRAGMA cache_spill=10")
	c.fill(30)
	f.Record(vfstest.RecordContent)
	log := f.trace(func() { c.exec("BEGIN; UPDATE t SET b=randomblob(3000); ROLLBACK") })
	// The journal is measured when its playback begins.
	playback := log.Index(func(e *vfstest.Event) bool { return e.Kind == vfstest.Journal && e.Op == vfstest.Size })
	spilled, restored := map[int64]string{}, map[int64]string{}
	for i, e := range log {
		if e.Kind != vfstest.Main || e.Op != vfstest.Write {
			continue
		}
		if i < playback {
			spilled[e.Offset] = string(e.Data)
		} else {
			restored[e.Offset] = string(e.Data)
		}
	}
	if len(spilled) < 10 || len(restored) < len(spilled) {
		t.Errorf("%d pages spilled, %d written back\n%v", len(spilled), len(restored), log)
	}
	for at, image := range spilled {
		if old, ok := restored[at]; !ok || old == image {
			t.Errorf("the page at %d was not changed back", at)
		}
	}
	if n := len(commits(log)); n != 0 {
		t.Errorf("%d COMMIT_PHASETWO", n)
	}
	c.expect("SELECT count(*) FROM t WHERE b=zeroblob(3000)", "30")
}

// Playing back a hot journal writes old images to the database under EXCLUSIVE and truncates it,
// while the next reader opens its transaction. No COMMIT_PHASETWO comes for it.
func TestFactsHotJournalPlayback(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_cache_size=10&_journal_mode=DELETE")
	c.exec("PRAGMA cache_spill=10")
	c.fill(30)
	sum := c.one("SELECT count(*), hex(max(b)) FROM t")
	c.exec("BEGIN; UPDATE t SET b=randomblob(3000)")
	// From here on nothing that this connection does reaches the disk, as if it had been killed.
	dead := f.Fail(vfstest.Rule{Sticky: true, Code: vfstest.IOErr})
	c.Close()
	if dead.End() == 0 {
		t.Fatal("closing a connection in mid-transaction called nothing")
	}

	var next *factsConn
	log := f.trace(func() {
		next = f.open("")
		next.expect("SELECT count(*), hex(max(b)) FROM t", sum)
	})
	checkUnderExclusive(t, "playback", log, true, false)
	pages := log.Only(func(e *vfstest.Event) bool { return e.Kind == vfstest.Main && e.Op == vfstest.Write })
	at := log.Index(func(e *vfstest.Event) bool { return e.Kind == vfstest.Journal && e.Op == vfstest.Delete })
	if len(pages) < 10 || at < 0 || log[at].Seq < pages[len(pages)-1].Seq {
		t.Errorf("%d pages written, journal deleted at %d:\n%v", len(pages), at, log)
	}
	next.expect("PRAGMA integrity_check", "ok")
}

// locking_mode=EXCLUSIVE from the start keeps the wal-index on the heap: no method of shared
// memory is called at all, in commits, rollbacks, checkpoints and close. COMMIT_PHASETWO still comes.
func TestFactsExclusiveHasNoSharedMemory(t *testing.T) {
	for mode, sync := range map[string]string{"NORMAL": "", "FULL": "wal.sync"} {
		t.Run(mode, func(t *testing.T) {
			f := newFacts(t)
			seed := f.open("&_journal_mode=DELETE")
			seed.exec(firstTable)
			seed.close()
			c := f.open("&_locking_mode=EXCLUSIVE&_journal_mode=WAL&_synchronous=" + mode)
			log := f.trace(func() { c.exec(insertRow) })
			first := log.Of(vfstest.WAL).Only(func(e *vfstest.Event) bool { return e.Op == vfstest.Write || e.Op == vfstest.Sync })
			wantWords(t, first, "wal.header wal.sync wal.frame1(pg2,commit=2) wal.body1 "+sync)
			second := f.trace(func() { c.exec(insertRow) })
			wantWords(t, second, "wal.frame2(pg2,commit=2) wal.body2 "+sync+" db.ctl(COMMIT_PHASETWO)")
			log = append(log, second...)
			log = append(log, f.trace(func() {
				c.exec("BEGIN; INSERT INTO t(b) VALUES('x'); ROLLBACK")
				c.exec("PRAGMA wal_checkpoint(RESTART)")
				c.exec(insertRow)
				c.exec("PRAGMA wal_checkpoint(TRUNCATE)")
				c.close()
			})...)
			if shm := log.Of(vfstest.Shm); len(shm) != 0 {
				t.Errorf("shared memory was used:\n%v", shm)
			}
			if n := len(commits(log)); n != 3 {
				t.Errorf("%d COMMIT_PHASETWO, want 3\n%v", n, log)
			}
		})
	}
}

// locking_mode=EXCLUSIVE on a connection that had its WAL open keeps the mapping, with barriers but
// without locks; back in NORMAL it takes its locks again.
func TestFactsExclusiveAfterSharedMemory(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.exec(firstTable)
	c.expect("PRAGMA locking_mode=EXCLUSIVE", "exclusive")
	c.exec(insertRow) // takes the EXCLUSIVE lock
	log := f.trace(func() { c.exec(insertRow) })
	wantWords(t, log, "barrier{3/3} barrier{3/3} wal.frame4(pg2,commit=2) wal.body4 barrier{3/4} db.ctl(COMMIT_PHASETWO)")
	c.expect("PRAGMA locking_mode=NORMAL", "normal")
	c.rows("SELECT count(*) FROM t")
	log = f.trace(func() { c.exec(insertRow) })
	wantWords(t, writer(log), "+WRITE wal.frame5(pg2,commit=2) wal.body5 barrier{4/5} -WRITE{5} db.ctl(COMMIT_PHASETWO)")
}

// Writes to the database from a connection that has its WAL open are backfill, between CKPT_START
// and CKPT_DONE; writes from one that has not are a rollback-journal transaction. It holds across
// every change of the journal mode.
func TestFactsMainWritesTellTheMode(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=DELETE")
	walOpen, backfill, journal := false, 0, 0
	for _, step := range []string{
		firstTable, insertRow,
		"PRAGMA journal_mode=WAL", insertRow, "PRAGMA wal_checkpoint", insertRow,
		"PRAGMA journal_mode=DELETE", insertRow,
		"PRAGMA journal_mode=WAL", insertRow, "PRAGMA wal_checkpoint(TRUNCATE)", insertRow,
		"PRAGMA journal_mode=PERSIST", insertRow, "VACUUM",
		"PRAGMA journal_mode=WAL", "VACUUM", "PRAGMA journal_mode=OFF", insertRow,
	} {
		inside := false
		for _, e := range f.trace(func() { c.exec(step) }) {
			switch {
			case e.Kind == vfstest.WAL && e.Op == vfstest.Open:
				walOpen = true
			case e.Kind == vfstest.WAL && e.Op == vfstest.Close:
				walOpen = false
			case e.IsControl(vfstest.FcntlCkptStart):
				inside = true
			case e.IsControl(vfstest.FcntlCkptDone):
				inside = false
			case e.Kind == vfstest.Main && e.Op == vfstest.Write:
				if walOpen != inside {
					t.Errorf("%s: %v with the WAL open: %v, in a checkpoint: %v", step, e, walOpen, inside)
				}
				if walOpen {
					backfill++
				} else {
					journal++
				}
			}
		}
	}
	if backfill < 5 || journal < 10 {
		t.Errorf("%d pages of backfill, %d of rollback-journal transactions", backfill, journal)
	}
}

// From WAL to a rollback journal: checkpoint as at the last close, the log is deleted unless
// PERSIST_WAL says otherwise, and then page 1 is written through a journal.
func TestFactsLeavingWAL(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.exec(firstTable)
	log := f.trace(func() { c.expect("PRAGMA journal_mode=DELETE", "delete") })
	words := fmt.Sprint(log.Of(vfstest.WAL, vfstest.Main, vfstest.Shm).Only(func(e *vfstest.Event) bool {
		return e.Op == vfstest.Write || e.Op == vfstest.Delete || e.Op == vfstest.ShmUnmap ||
			e.IsControl(vfstest.FcntlCommitPhaseTwo) || e.IsControl(vfstest.FcntlPersistWAL)
	}).Words())
	if want := "[db.page1 db.page2 db.ctl(PERSIST_WAL:0) shm.unmap(delete) wal.delete db.page1 db.ctl(COMMIT_PHASETWO)]"; words != want {
		t.Errorf("got %s, want %s\n%v", words, want, log)
	}
}

// Answering 1 to PERSIST_WAL while SQLite leaves WAL mode keeps the log, and with it the mode:
// the PRAGMA says "delete", but the next transaction finds the log and is written there.
func TestFactsLeavingWALWithAPersistentLog(t *testing.T) {
	one := 1
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.exec(firstTable)
	f.Fail(vfstest.Rule{Op: vfstest.Control, Control: vfstest.FcntlPersistWAL, Answer: &one, Sticky: true})
	c.expect("PRAGMA journal_mode=DELETE", "delete")
	log := f.trace(func() { c.exec(insertRow) })
	wantWords(t, log.Of(vfstest.WAL).Only(func(e *vfstest.Event) bool { return e.Op == vfstest.Write }),
		"wal.frame4(pg2,commit=2) wal.body4")
	if n := len(log.Of(vfstest.Journal)); n != 0 {
		t.Errorf("a rollback journal was used:\n%v", log)
	}
	other := f.open("")
	other.expect("PRAGMA journal_mode", "wal")
	other.expect("SELECT count(*) FROM t", "1")
	c.expect("PRAGMA journal_mode", "delete")
}
