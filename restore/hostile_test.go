package restore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/internal/segment"
)

// other is a transaction with another content than tx has, and with the checksum of that content.
func (m *model) other(tx *modelTx) *modelTx {
	c := *tx
	c.state = bytes.Clone(tx.state)
	copy(c.state[len(c.state)-50:], "what the one who forged it wants")
	c.After = m.sum(c.state)
	return &c
}

// TestForgedObjectsOfTheirOwnName: objects that were only created, with right checksums and another content, don't decide
// what is restored where the log tells it.
func TestForgedObjectsOfTheirOwnName(t *testing.T) {
	tests := []struct {
		name  string
		build func(m *model) (forged string, state []byte)
	}{
		{"snapshot of the newest transaction", func(m *model) (string, []byte) {
			txs := m.commits(6)
			m.snapshot(txs[1])
			return m.snapshot(m.other(txs[5])), m.state
		}},
		{"snapshot of the last transaction of a segment", func(m *model) (string, []byte) {
			txs := m.commits(6)
			m.snapshot(txs[1])
			return m.snapshot(m.other(txs[3])), m.state
		}},
		{"snapshot of a transaction inside a segment", func(m *model) (string, []byte) {
			txs := m.commits(2)
			m.snapshot(txs[1])
			in := []*modelTx{m.commit(1), m.commit(1), m.commit(1)}
			m.log(in...)
			return m.snapshot(m.other(in[1])), m.state
		}},
		{"snapshot without any other", func(m *model) (string, []byte) {
			return m.snapshot(m.other(m.commits(3)[2])), m.state
		}},
		{"snapshot where a timeline begins", func(m *model) (string, []byte) {
			txs := m.commits(4)
			m.snapshot(txs[0])
			m.fork(1, 3)
			at := *m.at(Pos{Timeline: 1, Tx: 3})
			m.commits(2)
			at.timeline = 2
			return m.snapshot(m.other(&at)), m.state
		}},
		{"snapshot whose segment is one that begins far in front", func(m *model) (string, []byte) {
			m.commits(1)
			long := []*modelTx{m.commit(1), m.commit(3 * listBack), m.commit(1)}
			m.log(long...)
			return m.snapshot(m.other(long[2])), m.state
		}},
		{"merged segment", func(m *model) (string, []byte) {
			txs := m.commits(6)
			m.snapshot(txs[1])
			return m.merge(1, txs[2], txs[3], m.other(txs[4])), m.state
		}},
		{"merged segment up to the newest transaction", func(m *model) (string, []byte) {
			txs := m.commits(6)
			m.snapshot(txs[1])
			return m.merge(2, txs[2], txs[3], txs[4], m.other(txs[5])), m.state
		}},
	}
	lost := 0
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newModel(t, 21+uint64(i), 4096)
			forged, want := test.build(m)
			path, r, err := restoreTo(t, m, Options{Check: CheckFull})
			m.ok(err)
			if got, _ := os.ReadFile(path); !bytes.Equal(got, want) {
				lost++
				t.Error("the file isn't what the log says")
			}
			if len(r.Avoided) != 1 || r.Avoided[0].Object != forged || !strings.Contains(r.Avoided[0].Reason, "the log has") {
				t.Errorf("avoided %v, want %s", r.Avoided, forged)
			}
			if p, err := NewPlan(t.Context(), m.store, 0, Newest()); err != nil || len(p.Avoided) != 1 || p.Avoided[0].Object != forged {
				t.Errorf("plan %+v, %v, want it to go around %s", p, err, forged)
			}
		})
	}
	reliability.Record(t, reliability.Fault{
		Group: reliability.Hostile, Name: "a snapshot or merged segment that was only created, with another content",
		How: "an object of a name of its own is added to the replica, all its checksums right, where the log has another state; the newest point is restored",
	}, len(tests), lost)
}

// TestListNamesForgedObjects: what restore would go around is no snapshot in the list, but a damaged object.
func TestListNamesForgedObjects(t *testing.T) {
	m := newModel(t, 24, 4096)
	txs := m.commits(6)
	m.snapshot(txs[1])
	forged := []string{m.merge(1, txs[2], m.other(txs[3])), m.snapshot(m.other(txs[5]))}
	l, err := List(t.Context(), m.store, 0)
	m.ok(err)
	if len(l.Snapshots) != 1 || len(l.Unreadable) != 2 || l.Unreadable[0].Object != forged[0] || l.Unreadable[1].Object != forged[1] {
		t.Errorf("snapshots %v, damaged %v, want %v", l.Snapshots, l.Unreadable, forged)
	}
}

// TestTransactionOutOfRange: a squash that says it stands for 2^63 transactions is damage at its first look. Its number is what the next
// segment's name, and every sum and difference of positions, would go by.
func TestTransactionOutOfRange(t *testing.T) {
	m := newModel(t, 26, 4096)
	txs := m.commits(6)
	m.snapshot(txs[1])
	name := m.log(m.commit(1 << 63))
	l, err := List(t.Context(), m.store, 0)
	m.ok(err)
	if l.Last.Pos.Tx != 6 || len(l.Unreadable) != 1 || l.Unreadable[0].Object != name {
		t.Errorf("the list ends with %v, unreadable %v, want %s", l.Last, l.Unreadable, name)
	}
	var o *ObjectError
	if _, _, err := restoreTo(t, m, Options{}); !errors.As(err, &o) || o.Object != name || o.Newest == nil || o.Newest.Pos.Tx != 6 {
		t.Errorf("restore: %v", err)
	}
}

// TestSnapshotThatTheLogConfirms: what is right is used, and asking the log costs two short reads.
func TestSnapshotThatTheLogConfirms(t *testing.T) {
	m := newModel(t, 23, 4096)
	txs := m.commits(6)
	m.snapshot(txs[1])
	newest := m.snapshot(txs[5])
	_, r, err := restoreTo(t, m, Options{})
	if err != nil || len(r.Avoided) > 0 || r.Objects != 1 {
		t.Errorf("%d objects, avoided %v, %v, want %s alone", r.Objects, r.Avoided, err, newest)
	}
}

// wild adds a log segment with n empty deltas, so many pages apart, after the newest transaction.
func (m *model) wild(n int, apart uint32, count uint32) string {
	last := m.order[m.timeline][len(m.order[m.timeline])-1]
	tx := &modelTx{timeline: m.timeline, before: last.state}
	tx.Tx = segment.Tx{Number: last.Number + 1, Span: 1, Time: m.clock(last.Number + 1), PageCount: count, After: last.After}
	zero := make([]byte, m.pageSize)
	for i := range n {
		p := 5000 + uint32(i)*apart
		s := m.hasher.Of(p, zero)
		tx.pages = append(tx.pages, segment.Page{Number: p, Kind: segment.Delta, Sum: s})
		tx.After ^= s
	}
	return m.log(tx)
}

// image adds a log segment with the whole image of one page, and as many pages as count says.
func (m *model) image(page, count uint32) string {
	last := m.order[m.timeline][len(m.order[m.timeline])-1]
	tx := &modelTx{timeline: m.timeline, before: last.state}
	data := make([]byte, m.pageSize)
	m.scribble(data, true)
	s := m.hasher.Of(page, data)
	tx.Tx = segment.Tx{Number: last.Number + 1, Span: 1, Time: m.clock(last.Number + 1), PageCount: count, After: last.After ^ s}
	tx.pages = []segment.Page{{Number: page, Kind: segment.Full, Data: data, Sum: s}}
	return m.log(tx)
}

// TestGrowthIsBounded: a small segment with wild numbers takes neither memory nor a file of any size, here and in TableAt, which
// is what an application reads.
func TestGrowthIsBounded(t *testing.T) {
	const limit = 64 << 20
	tests := []struct {
		name  string
		build func(m *model) string
		takes bool // it is what SQLite can have written
	}{
		{"pages far apart", func(m *model) string { return m.wild(80_000, 1024, 5000+80_000*1024) }, false},
		{"page count of 2^32-1", func(m *model) string { return m.wild(1, 1, 1<<32-1) }, false},
		{"as many pages as one image could have been sums of", func(m *model) string { return m.image(5000, 200_000) }, false},
		{"as far apart as free pages can be", func(m *model) string { return m.wild(2_000, 1024, 5000+2_000*1024) }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := newModel(t, 21, 4096)
			txs := m.commits(6)
			m.snapshot(txs[1])
			name := test.build(m)
			most := peakHeap(t, func() {
				_, err := replica.TableAt(context.Background(), m.store, Pos{Timeline: 1, Tx: 7}, nil, Pos{})
				var c *segment.CorruptError
				if test.takes != (err == nil) || err != nil && (!errors.As(err, &c) || c.Object != name) {
					t.Errorf("TableAt: %v", err)
				}
				path, _, err := restoreTo(t, m, Options{Check: CheckNone})
				var o *ObjectError
				if test.takes != (err == nil) || err != nil && (!errors.As(err, &o) || o.Object != name || o.Newest == nil || o.Newest.Pos.Tx != 6) {
					t.Errorf("restore: %v", err)
				}
				if _, err := os.Stat(path); test.takes != (err == nil) {
					t.Errorf("output: %v", err)
				}
			})
			if most > limit {
				t.Errorf("%d bytes of segment took %d MiB of memory", len(m.object(name)), most>>20)
			}
		})
	}
}

// peakHeap is by how many bytes the heap grows while f runs, at most.
func peakHeap(t *testing.T, f func()) int64 {
	heap := func() int64 {
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	runtime.GC()
	before := heap()
	stop, peak := make(chan struct{}), make(chan int64)
	go func() {
		most := before
		for {
			most = max(most, heap())
			select {
			case <-stop:
				peak <- most
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	f()
	close(stop)
	return <-peak - before
}
