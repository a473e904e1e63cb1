package vfs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"
	"time"

	"seawal/internal/vfstest"
	"seawal/internal/wal"
	"seawal/shipper"
)

// A ring that frames fill to its last byte: none is skipped at its end, and none is taken twice.
func TestRingOfWholeFrames(t *testing.T) {
	for _, pages := range []int64{60, 61, 64} {
		t.Run(fmt.Sprint(pages), func(t *testing.T) {
			t.Parallel()
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", pages*(wal.FrameHeaderSize+4096))
			conn := c.open("_journal_mode=WAL&_synchronous=OFF")
			exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
			var done, wrapped uint64
			for i := range 400 {
				exec(t, conn, "INSERT OR REPLACE INTO t VALUES(?, randomblob(?))", int64(i%7), int64(i%9*4000))
				for _, captured := range c.tap.next() {
					commit := captured.commit()
					c.apply(commit)
					if len(commit.Frames[1]) > 0 {
						wrapped++
					}
					c.tap.release(done) // one stays, else the ring begins again
					done = commit.Ticket
				}
			}
			if wrapped == 0 {
				t.Errorf("no commit went over the end of the ring: %d with frames, %d ranges", c.frames, c.ranges)
			}
			c.tap.release(done)
			exec(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
			c.compare("at the end")
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A commit that is in hand stays as it is while the ring goes round, when the one before it was released, and no sooner.
func TestReleaseFreesNoMoreThanItSays(t *testing.T) {
	const ring = 1 << 20
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", ring)
	conn := c.open("_journal_mode=WAL&_synchronous=OFF")
	exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	c.drain()
	var inHand []shipper.Commit
	for range 3 {
		exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(20000))")
		for _, captured := range c.tap.next() {
			inHand = append(inHand, captured.commit())
		}
	}
	sum := func(c shipper.Commit) uint32 {
		return crc32.Update(crc32.ChecksumIEEE(c.Frames[0]), crc32.IEEETable, c.Frames[1])
	}
	if len(inHand) != 3 || inHand[1].Kind != shipper.CommitFrames {
		t.Fatalf("%+v", inHand)
	}
	c.tap.release(inHand[0].Ticket)
	before := sum(inHand[1])
	for range 2 * ring / 20000 {
		exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(20000))")
	}
	if sum(inHand[1]) != before {
		t.Errorf("commit %d changed while it was in hand: only %d was released", inHand[1].Ticket, inHand[0].Ticket)
	}
	if st := c.tap.stats(); st.ranges == 0 {
		t.Errorf("all of it found room in the ring: %+v", st)
	}
	c.tap.release(inHand[2].Ticket)
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// A transaction larger than a quarter of the ring isn't copied any further: it is read back from the log, and the ring has room for others.
func TestLargeTransactionIsReadBack(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	conn := c.open("_journal_mode=WAL&_synchronous=OFF")
	exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	c.drain()
	for _, large := range []bool{false, true, false} {
		exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(?))", int64(map[bool]int{false: 200_000, true: 300_000}[large]))
		next := c.tap.next()
		if len(next) != 1 {
			t.Fatalf("%d commits", len(next))
		}
		commit := next[0].commit()
		if want := map[bool]shipper.CommitKind{false: shipper.CommitFrames, true: shipper.CommitRange}[large]; commit.Kind != want {
			t.Errorf("of kind %v, want %v", commit.Kind, want)
		}
		c.tap.release(commit.Ticket)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// The header of the wal-index is there twice, since nobody can write all of it at once. As long as the two differ, one is being written, and
// says nothing: a commit that was taken from it would be one that never was.
func TestTornIndexHeaderIsNotBelieved(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	conn := c.open("_journal_mode=WAL")
	exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(9000))")
	c.drain()
	want, _ := c.tap.last()
	shm, err := os.OpenFile(c.path+"-shm", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer shm.Close()
	const mxFrame, copySize = 16, 48 // bytes, in a header of SQLite's wal-index
	for _, torn := range []int64{mxFrame, copySize + mxFrame} {
		var b [4]byte
		if _, err := shm.ReadAt(b[:], torn); err != nil {
			t.Fatal(err)
		}
		was := b
		binary.NativeEndian.PutUint32(b[:], binary.NativeEndian.Uint32(b[:])+1)
		if _, err := shm.WriteAt(b[:], torn); err != nil {
			t.Fatal(err)
		}
		c.tap.poll()
		if ticket, _ := c.tap.last(); ticket != want {
			t.Errorf("a header whose copies differ at byte %d was taken for commit %d", torn, ticket)
		}
		if _, err := shm.WriteAt(was[:], torn); err != nil {
			t.Fatal(err)
		}
	}
	c.tap.poll()
	if ticket, _ := c.tap.last(); ticket != want {
		t.Errorf("ticket %d, want %d", ticket, want)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// In EXCLUSIVE mode a commit that fails at its very end, when the log is synced, is none: an empty one after it doesn't bring it to light.
func TestExclusiveCommitWhoseSyncFails(t *testing.T) {
	over := false
	for nth := 1; !over; nth++ {
		t.Run(fmt.Sprint(nth), func(t *testing.T) {
			tr := traced(t)
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), tr.Name(), 1<<20)
			conn := c.open("_journal_mode=WAL&_locking_mode=EXCLUSIVE&_synchronous=FULL")
			exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
			exec(t, conn, "INSERT INTO t(b) VALUES(1)")
			c.drain()
			want := c.ticket
			f := tr.Fail(vfstest.Rule{Op: vfstest.Sync, Kind: vfstest.WAL, Nth: nth, Code: vfstest.IOErrFsync})
			_, err := conn.Exec("INSERT INTO t(b) VALUES(randomblob(5000))", nil)
			over = f.End() == 0
			if err == nil {
				want++
			}
			exec(t, conn, "BEGIN IMMEDIATE; COMMIT")
			c.drain()
			if c.ticket != want {
				t.Errorf("%v; %d commits published, want %d", err, c.ticket, want)
			}
			exec(t, conn, "INSERT INTO t(b) VALUES(2)")
			c.drain()
			exec(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
			c.compare("afterwards")
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Who sleeps since there was nothing to do is woken by the next commit, whichever way it comes.
func TestIdleConsumerIsWoken(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	conn := c.open("_journal_mode=WAL")
	for _, statement := range []string{
		"CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)", "INSERT INTO t(b) VALUES(1)", "INSERT INTO t(b) VALUES(randomblob(400000))",
		"PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t(b) VALUES(2); PRAGMA locking_mode=NORMAL; SELECT * FROM t LIMIT 1",
		"PRAGMA journal_mode=DELETE; INSERT INTO t(b) VALUES(3)",
	} {
		c.drain()
		if !c.tap.idle() {
			t.Fatalf("before %s: there is something to do", statement)
		}
		exec(t, conn, statement)
		if err := c.r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.r.Read(make([]byte, 64)); err != nil {
			t.Fatalf("%s: nobody was woken: %v", statement, err)
		}
	}
	c.drain()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

// Who sleeps until its next look is woken when a quarter of the ring is full, once.
func TestConsumerIsWokenForAFullRing(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	conn := c.open("_journal_mode=WAL&_synchronous=OFF")
	exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	for range 3 {
		exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(150000))")
	}
	if err := c.r.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.r.Read(make([]byte, 64)); err != nil || n != 1 {
		t.Errorf("it was woken %d times: %v", n, err)
	}
	c.drain()
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}
