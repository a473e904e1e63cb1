package vfstest_test

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	. "seawal/internal/vfstest"
)

// head is a frame header of a page, with salts and checksum unless it is open.
func head(page, commit uint32, open bool) []byte {
	b := make([]byte, 24)
	binary.BigEndian.PutUint32(b, page)
	binary.BigEndian.PutUint32(b[4:], commit)
	if !open {
		for i := 8; i < len(b); i++ {
			b[i] = byte(i)
		}
	}
	return b
}

func TestEventWords(t *testing.T) {
	index := new(Index)
	binary.NativeEndian.PutUint32(index[16:], 7)    // mxFrame of the first copy
	binary.NativeEndian.PutUint32(index[48+16:], 9) // and of the second
	for _, tt := range []struct {
		event Event
		want  string
	}{
		{Event{Op: Write, Kind: WAL, Amount: 32}, "wal.header"},
		{Event{Op: Write, Kind: WAL, PageSize: 512, Offset: 32, Amount: 24, Head: head(3, 0, false)}, "wal.frame1(pg3)"},
		{Event{Op: Write, Kind: WAL, PageSize: 512, Offset: 32 + 536, Amount: 24, Head: head(3, 5, false)}, "wal.frame2(pg3,commit=5)"},
		{Event{Op: Write, Kind: WAL, PageSize: 512, Offset: 32, Amount: 24, Head: head(3, 5, true)}, "wal.frame1(pg3,commit=5,open)"},
		{Event{Op: Write, Kind: WAL, PageSize: 512, Offset: 56, Amount: 512}, "wal.body1"},
		{Event{Op: Read, Kind: WAL, PageSize: 65536, Offset: 32 + 65560, Amount: 65560, Head: head(2, 0, false)}, "wal?frame2+body(pg2)"},
		{Event{Op: Write, Kind: WAL, PageSize: 512, Offset: 32, Amount: 3 * 536, Head: head(2, 0, false)}, "wal.frames1-3(pg2)"},
		{Event{Op: Write, Kind: WAL, PageSize: 512, Offset: 56, Amount: 100}, "wal.write@56+100"},
		{Event{Op: Write, Kind: WAL, Offset: 56, Amount: 512}, "wal.write@56+512"}, // page size not known
		{Event{Op: Write, Kind: Main, Offset: 8192, Amount: 4096}, "db.page3"},
		{Event{Op: Write, Kind: Main, Offset: 100, Amount: 4096}, "db.write@100+4096"},
		{Event{Op: Read, Kind: Main, Offset: 24, Amount: 16, Code: IOErrShortRead}, "db?@24+16=IOERR_SHORT_READ"},
		{Event{Op: Truncate, Kind: Journal}, "jrnl.truncate(0)"},
		{Event{Op: Lock, Kind: Main, Flags: LevelExclusive, Code: Busy}, "db.lock(EXCLUSIVE)=BUSY"},
		{Event{Op: Control, Kind: Main, Flags: FcntlCommitPhaseTwo, Code: NotFound}, "db.ctl(COMMIT_PHASETWO)"},
		{Event{Op: Control, Kind: Main, Flags: FcntlPersistWAL, Value: 1, Injected: true}, "db.ctl(PERSIST_WAL:1)!"},
		{Event{Op: Control, Kind: Main, Flags: 999}, "db.ctl(op999)"},
		{Event{Op: ShmLock, Kind: Shm, Amount: 1, Flags: ShmLocking | ShmExclusive, Index: index}, "+WRITE"},
		{Event{Op: ShmLock, Kind: Shm, Amount: 1, Flags: ShmUnlock | ShmExclusive, Index: index}, "-WRITE{7}"},
		{Event{Op: ShmLock, Kind: Shm, Offset: 4, Amount: 4, Flags: ShmLocking | ShmExclusive}, "+READ1..4"},
		{Event{Op: ShmLock, Kind: Shm, Offset: 1, Amount: 2, Flags: ShmLocking | ShmExclusive}, "+CKPT..RECOVER"},
		{Event{Op: ShmLock, Kind: Shm, Offset: 3, Amount: 1, Flags: ShmUnlock | ShmShared}, "-READ0s"},
		{Event{Op: ShmLock, Kind: Shm, Offset: 7, Amount: 2, Flags: ShmLocking | ShmExclusive}, "+slots(7,2)"},
		{Event{Op: ShmBarrier, Kind: Shm, Index: index}, "barrier{7/9}"},
		{Event{Op: ShmUnmap, Kind: Shm, Flags: 1}, "shm.unmap(delete)"},
		{Event{Op: Sync, Kind: WAL, Code: 10 | 99<<8}, "wal.sync=code10.99"},
		{Event{Op: Lost, Amount: 4}, "LOST(4)"},
	} {
		if diff := cmp.Diff(tt.want, tt.event.String()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.event, diff)
		}
	}
}

func TestIndexPageSize(t *testing.T) {
	for raw, want := range map[uint16]int{512: 512, 4096: 4096, 32768: 32768, 1: 65536} {
		x := new(Index)
		binary.NativeEndian.PutUint16(x[14:], raw)
		if got := x.Header(0).PageSize; got != want {
			t.Errorf("%d is read as %d, want %d", raw, got, want)
		}
	}
}
