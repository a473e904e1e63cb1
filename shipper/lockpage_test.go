package shipper

import (
	"errors"
	"testing"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/internal/wal"
)

// hugeTx is a pinned state of a database that is larger than 1 GiB, all zeros.
type hugeTx struct{ pages uint32 }

const hugePage = 65536

var errLockPage = errors.New("the page that SQLite locks was read")

func (hugeTx) Place() wal.Place    { return wal.Place{} }
func (hugeTx) InFile() bool        { return true }
func (hugeTx) Ticket() uint64      { return 0 }
func (hugeTx) Time() int64         { return 0 }
func (hugeTx) PageSize() int       { return hugePage }
func (t hugeTx) PageCount() uint32 { return t.pages }
func (hugeTx) Close() error        { return nil }
func (hugeTx) ReadFile(page uint32, p []byte) error {
	if page == pagesum.LockPage(hugePage) {
		return errLockPage
	}
	clear(p)
	return nil
}

// The page at 1 GiB is never part of a database: a snapshot goes past it. No database larger than that could have a replica otherwise.
func TestSnapshotGoesPastTheLockPage(t *testing.T) {
	lock := pagesum.LockPage(hugePage)
	p := &pinned{ReadTx: hugeTx{lock + 1}}
	s := &Shipper{pageSize: hugePage, timeline: 1, id: segment.NewID(), writer: segment.NewID()}
	b, err := s.newSnapshotBody(t.Context(), p, segment.Tx{Number: 1, Span: 1, PageCount: lock + 1})
	if err != nil {
		t.Fatal(err)
	}
	b.page = lock - 2 // those in front of it are pages like any other
	for b.page <= lock {
		if err := b.next(); err != nil {
			t.Fatalf("page %d: %v", b.page, err)
		}
	}
	if b.table.Get(lock-1) == 0 || b.table.Get(lock) != 0 || b.table.Get(lock+1) == 0 {
		t.Errorf("sums %v, %v, %v around the lock page", b.table.Get(lock-1), b.table.Get(lock), b.table.Get(lock+1))
	}
}
