package vfs_test

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"

	"seawal/internal/vfstest"
	"seawal/internal/wal"
)

const (
	firstTable = "CREATE TABLE t(a INTEGER PRIMARY KEY, b)"
	insertRow  = "INSERT INTO t(b) VALUES('x')"
)

// The 32-byte WAL header comes first, then 24-byte frame headers and pages as
// separate writes. The header is synced in NORMAL too.
func TestFactsFrameIsTwoWrites(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	log := f.trace(func() { c.exec(firstTable) })
	wantWords(t, log.Of(vfstest.WAL), `wal.access:0 wal.open wal.size:0
		wal.header wal.sync wal.frame1(pg1) wal.body1 wal.frame2(pg2,commit=2) wal.body2`)
	want := []struct{ offset, amount int64 }{
		{0, 32}, {32, 24}, {56, 4096}, {4152, 24}, {4176, 4096},
	}
	writes := log.Only(func(e *vfstest.Event) bool { return e.Kind == vfstest.WAL && e.Op == vfstest.Write })
	for i, e := range writes {
		if i >= len(want) || e.Offset != want[i].offset || e.Amount != want[i].amount {
			t.Errorf("write %d: %d bytes at %d; want all of %v", i, e.Amount, e.Offset, want)
		}
	}
}

// Without POWERSAFE_OVERWRITE and in FULL, the commit frame is repeated up to
// the next sector, and the write that crosses it is split there, for a sync.
func TestFactsFrameSplitAtSyncPoint(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL&_synchronous=FULL&psow=0")
	log := writer(f.trace(func() { c.exec(firstTable) }))
	// Frame 3 begins at 8272 and its page at 8296; the sector of 4096 bytes ends at 12288.
	wantWords(t, log.Only(func(e *vfstest.Event) bool { return e.Kind == vfstest.WAL && e.Op != vfstest.Size }),
		`wal.header wal.sync wal.frame1(pg1) wal.body1 wal.frame2(pg2,commit=2) wal.body2
		 wal.frame3(pg2,commit=2) wal.write@8296+3992 wal.sync wal.write@12288+104`)
	index := releases(log)
	if got := index[len(index)-1].Index.Header(0); got.MxFrame != 3 || got.PageCount != 2 {
		t.Errorf("committed up to frame %d of %d pages, want the repeated frame 3 of 2 pages", got.MxFrame, got.PageCount)
	}
	// The header itself is split when the sector ends in it.
	c.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	log = f.trace(func() { c.exec("PRAGMA user_version=1") })
	wantWords(t, log.Only(func(e *vfstest.Event) bool { return e.Kind == vfstest.WAL }),
		`wal.header wal.sync wal.frame1(pg1,commit=2) wal.body1
		 wal.frame2(pg1,commit=2) wal.write@4176+4016 wal.sync wal.write@8192+80`)
}

// spilling is a connection whose transactions spill after ten pages.
func spilling(f *facts, params string) *factsConn {
	c := f.open("&_journal_mode=WAL&_cache_size=10" + params)
	c.exec("PRAGMA cache_spill=10")
	return c
}

// What a spilled transaction that changes its own pages again did to its frames.
type overwrites struct {
	lowest      uint32   // first frame whose page was overwritten in place
	last        uint32   // last frame
	open        []uint32 // frames whose header was first written with salts and checksum zero
	afterCommit []uint32 // frames whose header was rewritten behind the commit frame
}

// overwritesOf reads them off a trace of one transaction on an empty WAL.
func overwritesOf(t *testing.T, log vfstest.Log) overwrites {
	t.Helper()
	var o overwrites
	seen := map[uint32]bool{}
	committed := false
	for _, e := range log {
		if e.Kind != vfstest.WAL || e.Op != vfstest.Write {
			continue
		}
		part, frame, _ := e.WALPart()
		h, isHeader := e.FrameHeader()
		switch {
		case isHeader && seen[frame]:
			if !committed {
				t.Errorf("header of frame %d rewritten before the commit frame", frame)
			}
			if h.Salt == [2]uint32{} {
				t.Errorf("header of frame %d rewritten with a zero salt", frame)
			}
			o.afterCommit = append(o.afterCommit, frame)
		case isHeader:
			seen[frame] = true
			o.last = frame
			if h.Salt == [2]uint32{} && h.Cksum == [2]uint32{} {
				o.open = append(o.open, frame)
			}
			committed = committed || h.Commit != 0
		case part == vfstest.PartPage && frame < o.last:
			if o.lowest == 0 || frame < o.lowest {
				o.lowest = frame
			}
		}
	}
	return o
}

// spill changes pages, makes the cache spill them, changes them again and
// makes it spill others, all in one transaction.
const spill = `BEGIN; UPDATE t SET b=randomblob(3000) WHERE a<=15; UPDATE t SET b=randomblob(3000);
	UPDATE t SET b=randomblob(3000) WHERE a<=15;`

// Inside one transaction after a spill, pages are overwritten in place; frames
// appended after that have zero salts and checksums, the commit frame too; and
// all headers from the lowest overwritten frame on are rewritten AFTER the
// commit frame, the commit frame's last. Only then is the chain whole.
func TestFactsSpillOverwritesInPlace(t *testing.T) {
	for _, mode := range []string{"NORMAL", "FULL"} {
		t.Run(mode, func(t *testing.T) {
			f := newFacts(t)
			c := spilling(f, "&_synchronous="+mode)
			c.fill(30)
			c.exec("PRAGMA wal_checkpoint(TRUNCATE)")
			log := f.trace(func() { c.exec(spill + "COMMIT") })
			o := overwritesOf(t, log)
			if o.lowest == 0 || len(o.open) == 0 || o.open[len(o.open)-1] != o.last {
				t.Fatalf("overwritten from frame %d, open %v, last %d: no spill that overwrites?\n%v", o.lowest, o.open, o.last, log)
			}
			for i, frame := range o.afterCommit {
				if frame != o.lowest+uint32(i) {
					t.Errorf("rewritten %v, want all from %d to %d in order", o.afterCommit, o.lowest, o.last)
					break
				}
			}
			if n := len(o.afterCommit); n != int(o.last-o.lowest)+1 {
				t.Errorf("rewritten %v, want all from %d to %d", o.afterCommit, o.lowest, o.last)
			}
			if x := released(t, log).Header(0); x.MxFrame != o.last {
				t.Errorf("committed up to frame %d, want %d", x.MxFrame, o.last)
			}
			if n := wholeFrames(t, f.path+"-wal"); n != o.last {
				t.Errorf("the checksums of the log hold up to frame %d, want %d", n, o.last)
			}
			tail := log.Of(vfstest.WAL, vfstest.Shm, vfstest.Main)
			tail = tail[len(tail)-5:]
			isSync := tail[0].Op == vfstest.Sync && tail[0].Kind == vfstest.WAL
			if isSync != (mode == "FULL") {
				t.Errorf("sync after the rewrites: %v, want it in FULL only\n%v", isSync, tail)
			}
		})
	}
}

// wholeFrames counts the frames of the log whose checksum chain holds.
func wholeFrames(t *testing.T, path string) uint32 {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	h, err := wal.ReadHeader(file)
	if err != nil {
		t.Fatal(err)
	}
	r := wal.NewReader(file, h, h.Start())
	for {
		var frame wal.Frame
		if err := r.Next(&frame); errors.Is(err, io.EOF) {
			return r.Place().Frame
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// A commit frame on its own does not prove that a transaction is final: when a
// rewrite behind it fails, so does the transaction.
func TestFactsCommitFrameIsNoProof(t *testing.T) {
	f := newFacts(t)
	c := spilling(f, "")
	c.fill(30)
	c.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	var o overwrites
	probe := f.trace(func() { c.exec(spill + "COMMIT") })
	if o = overwritesOf(t, probe); len(o.afterCommit) == 0 {
		t.Fatalf("nothing was rewritten:\n%v", probe)
	}
	writes := len(probe.Only(func(e *vfstest.Event) bool { return e.Kind == vfstest.WAL && e.Op == vfstest.Write }))
	c.exec("PRAGMA wal_checkpoint(TRUNCATE)")

	sum := c.one("SELECT sum(length(b)), count(*), hex(max(b)) FROM t")
	fault := f.Fail(vfstest.Rule{Op: vfstest.Write, Kind: vfstest.WAL, Nth: writes, Code: vfstest.Full})
	log := f.trace(func() {
		c.execFails(vfstest.Full, spill+"COMMIT")
		if !c.AutoCommit() {
			c.exec("ROLLBACK")
		}
	})
	if fault.End() != 1 {
		t.Fatalf("the last rewrite did not fail:\n%v", log)
	}
	sawCommit := log.Index(func(e *vfstest.Event) bool {
		h, ok := e.FrameHeader()
		return ok && h.Commit != 0 && e.Op == vfstest.Write && e.Code == vfstest.OK
	})
	if sawCommit < 0 {
		t.Errorf("no commit frame was written:\n%v", log)
	}
	if x := released(t, log).Header(0); x.MxFrame != 0 {
		t.Errorf("mxFrame %d after the failure, want 0", x.MxFrame)
	}
	c.expect("SELECT sum(length(b)), count(*), hex(max(b)) FROM t", sum)
}

// NORMAL and OFF: frames, wal-index header (second copy, barrier, first copy),
// release of WAL_WRITE_LOCK, COMMIT_PHASETWO; no xSync. FULL and EXTRA: xSync of
// the WAL after the frames.
func TestFactsCommitOrder(t *testing.T) {
	for mode, sync := range map[string]string{"OFF": "", "NORMAL": "", "FULL": "wal.sync", "EXTRA": "wal.sync"} {
		t.Run(mode, func(t *testing.T) {
			f := newFacts(t)
			c := f.open("&_journal_mode=WAL&_synchronous=" + mode)
			c.exec(firstTable)
			c.exec(insertRow)
			log := f.trace(func() { c.exec(insertRow) })
			wantWords(t, log, `barrier{3/3} +READ1 -READ1 +READ1s barrier{3/3}
				+WRITE wal.frame4(pg2,commit=2) wal.body4 `+sync+` barrier{3/4} -WRITE{4} db.ctl(COMMIT_PHASETWO) -READ1s`)
		})
	}
}

// The first commit of a generation syncs the WAL header, in NORMAL too, but not in OFF.
func TestFactsHeaderSyncOfAGeneration(t *testing.T) {
	for mode, sync := range map[string]string{"OFF": "", "NORMAL": "wal.sync"} {
		t.Run(mode, func(t *testing.T) {
			f := newFacts(t)
			c := f.open("&_journal_mode=WAL&_synchronous=" + mode)
			c.exec(firstTable)
			c.exec("PRAGMA wal_checkpoint(TRUNCATE)")
			log := f.trace(func() { c.exec(insertRow) })
			wantWords(t, log.Of(vfstest.WAL), "wal.header "+sync+" wal.frame1(pg2,commit=2) wal.body1")
		})
	}
}

// At the release of WAL_WRITE_LOCK the wal-index header is the truth about what is
// committed: it agrees with the log file and the database in every field.
func TestFactsIndexAtRelease(t *testing.T) {
	for _, pageSize := range []string{"512", "4096", "65536"} {
		t.Run(pageSize, func(t *testing.T) {
			f := newFacts(t)
			c := f.open("")
			c.exec("PRAGMA page_size=" + pageSize)
			c.exec("PRAGMA journal_mode=WAL")
			c.exec(firstTable)
			for range 3 {
				x := released(t, f.trace(func() { c.exec("INSERT INTO t(b) VALUES(zeroblob(1500))") }))
				checkIndex(t, x, f.path+"-wal", c)
			}
		})
	}
}

// checkIndex holds the wal-index header against what can be known without it.
func checkIndex(t *testing.T, x *vfstest.Index, path string, c *factsConn) {
	t.Helper()
	h := x.Header(0)
	if h != x.Header(1) {
		t.Errorf("the copies differ: %+v, %+v", h, x.Header(1))
	}
	log, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	size := int(binary.BigEndian.Uint32(log[8:]))
	if h.PageSize != size || factsText(int64(size)) != c.one("PRAGMA page_size") {
		t.Errorf("page size %d, the log says %d", h.PageSize, size)
	}
	if frames := (len(log) - 32) / (24 + size); int(h.MxFrame) != frames {
		t.Errorf("mxFrame %d, the log has %d frames", h.MxFrame, frames)
	}
	last := log[len(log)-24-size:]
	if n := binary.BigEndian.Uint32(last[4:]); h.PageCount != n || factsText(int64(n)) != c.one("PRAGMA page_count") {
		t.Errorf("nPage %d, the commit frame says %d", h.PageCount, n)
	}
	for i := range 2 {
		if salt := binary.BigEndian.Uint32(log[16+4*i:]); h.Salt[i] != salt {
			t.Errorf("salt %d is %08x, the log says %08x", i+1, h.Salt[i], salt)
		}
		if sum := binary.BigEndian.Uint32(last[16+4*i:]); h.Cksum[i] != sum {
			t.Errorf("checksum %d is %08x, the commit frame says %08x", i+1, h.Cksum[i], sum)
		}
	}
}

// The layout of the wal-index header that the shim reads: byte offsets checked
// on the raw bytes, against values that are unlike each other.
func TestFactsIndexLayout(t *testing.T) {
	f := newFacts(t)
	c := f.open("&_journal_mode=WAL")
	c.fill(20)
	reader := f.open("")
	reader.exec("BEGIN")
	mark := released(t, f.trace(func() { c.exec("UPDATE t SET a=a+1000 WHERE a=20") })).Header(0).MxFrame
	reader.rows("SELECT count(*) FROM t") // pins the log at mark
	x := released(t, f.trace(func() { c.exec("UPDATE t SET b=randomblob(3000)") }))
	ckpt := f.trace(func() { c.exec("PRAGMA wal_checkpoint(PASSIVE)") })
	after := ckpt[len(ckpt)-1].Index // at the release of WAL_CKPT_LOCK
	log, err := os.ReadFile(f.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	last := log[len(log)-24-4096:]
	frames := uint32(len(log)-32) / (24 + 4096)
	if mark == 0 || mark >= frames {
		t.Fatalf("reader at frame %d of %d", mark, frames)
	}
	u32 := binary.NativeEndian.Uint32
	for _, tt := range []struct {
		name      string
		got, want uint32
	}{
		{"szPage at 14", uint32(binary.NativeEndian.Uint16(x[14:])), 4096},
		{"mxFrame at 16", u32(x[16:]), frames},
		{"nPage at 20", u32(x[20:]), binary.BigEndian.Uint32(last[4:])},
		{"aFrameCksum[0] at 24", u32(x[24:]), binary.BigEndian.Uint32(last[16:])},
		{"aFrameCksum[1] at 28", u32(x[28:]), binary.BigEndian.Uint32(last[20:])},
		{"salt-1 at 32", binary.BigEndian.Uint32(x[32:]), binary.BigEndian.Uint32(log[16:])},
		{"salt-2 at 36", binary.BigEndian.Uint32(x[36:]), binary.BigEndian.Uint32(log[20:])},
		{"mxFrame of the second copy at 64", u32(x[64:]), frames},
		{"nBackfill at 96 before", u32(x[96:]), 0},
		{"nBackfill at 96 after", u32(after[96:]), mark},
		{"aReadMark[0] at 100", u32(after[100:]), 0},
		{"nBackfillAttempted at 128", u32(after[128:]), mark},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, tt.got, tt.want)
		}
	}
	found := false
	for i := 1; i < 5; i++ {
		found = found || u32(after[100+4*i:]) == mark
	}
	if !found {
		t.Errorf("no aReadMark at 104 to 116 is the reader's %d: % x", mark, after[100:120])
	}
}
