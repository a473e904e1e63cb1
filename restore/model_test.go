package restore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
	"seawal/store/storetest"
)

// epoch is the time of transaction 0 in every model; transaction n comes n seconds later.
var epoch = time.Date(2026, 3, 4, 5, 6, 7, 800_000_009, time.UTC)

// model is a replica and, for each of its points, the database as it has to come back.
type model struct {
	t        testing.TB
	store    store.Store
	rng      *rand.Rand
	pageSize int
	id       segment.ID
	writer   segment.ID
	hasher   *pagesum.Hasher // of its page sums: under a key or, for every other seed, as in older replicas

	timeline uint32
	state    []byte                // of the database now
	txs      map[Pos]*modelTx      // points, by timeline and number
	order    map[uint32][]*modelTx // likewise in order
	last     uint64
	clock    func(tx uint64) int64 // commit times
}

// modelTx is one transaction record and the state that it left.
type modelTx struct {
	segment.Tx
	timeline uint32
	before   []byte
	state    []byte
	pages    []segment.Page
}

func newModel(t testing.TB, seed uint64, pageSize int) *model {
	t.Helper()
	m := &model{
		t: t, store: storetest.NewMemory(), rng: rand.New(rand.NewPCG(seed, 1)), pageSize: pageSize,
		id: segment.NewID(), writer: segment.NewID(),
		txs: map[Pos]*modelTx{}, order: map[uint32][]*modelTx{},
		clock: func(tx uint64) int64 { return epoch.Add(time.Duration(tx) * time.Second).UnixNano() },
	}
	if seed%2 == 1 {
		m.hasher = pagesum.NewHasher(pagesum.NewKey())
	}
	r := replica.Replica{ID: m.id, PageSize: pageSize, Created: epoch, Name: "app.db", Key: m.hasher.Key()}
	m.ok(replica.CreateReplica(context.Background(), m.store, r))
	m.fork(0, 0)
	return m
}

func (m *model) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// fork opens the next timeline, behind transaction tx of parent.
func (m *model) fork(parent uint32, tx uint64) {
	m.t.Helper()
	m.timeline++
	m.ok(replica.CreateTimeline(context.Background(), m.store, replica.Timeline{
		Timeline: m.timeline, Parent: parent, ParentTx: tx, Reason: "test", Writer: m.writer, Created: epoch,
	}))
	m.last = tx
	if parent == 0 {
		return
	}
	m.state = nil
	if at := m.at(Pos{Timeline: parent, Tx: tx}); at != nil {
		m.state = at.state
	}
}

// at returns a point, also one of a parent of the timeline.
func (m *model) at(p Pos) *modelTx { return m.txs[p] }

// commit makes a transaction of random pages, or several squashed into one.
func (m *model) commit(span uint64) *modelTx {
	m.t.Helper()
	old := m.state
	count := len(old) / m.pageSize
	switch {
	case count == 0 || m.rng.IntN(4) == 0:
		count += 1 + m.rng.IntN(6)
	case count > 4 && m.rng.IntN(6) == 0:
		count -= 1 + m.rng.IntN(count/2)
	}
	state := make([]byte, count*m.pageSize)
	copy(state, old)
	for page := range count { // new pages are always written, as SQLite does
		if fresh := (page+1)*m.pageSize > len(old); fresh || m.rng.IntN(count) < 2 {
			m.scribble(state[page*m.pageSize:(page+1)*m.pageSize], fresh)
		}
	}
	copy(state, sqliteMagic)
	state[16], state[17] = byte(m.pageSize>>8), byte(m.pageSize&0xff|m.pageSize>>16)
	return m.commitState(span, state)
}

// commitState makes a transaction that leaves state.
func (m *model) commitState(span uint64, state []byte) *modelTx {
	m.last += span
	tx := &modelTx{
		Tx: segment.Tx{
			Number: m.last, Span: span, Time: m.clock(m.last),
			PageCount: uint32(len(state) / m.pageSize), After: m.sum(state),
		},
		timeline: m.timeline, before: m.state, state: state, pages: m.diff(m.state, state),
	}
	m.state = state
	m.txs[Pos{Timeline: m.timeline, Tx: m.last}] = tx
	m.order[m.timeline] = append(m.order[m.timeline], tx)
	return tx
}

func (m *model) scribble(page []byte, whole bool) {
	n := 1 + m.rng.IntN(len(page)/4)
	if whole {
		n = len(page)
	}
	at := m.rng.IntN(len(page) - n + 1)
	for i := range page[at : at+n] {
		page[at+i] = byte(m.rng.Uint32())
	}
}

func (m *model) sum(state []byte) pagesum.Sum {
	var s pagesum.Sum
	for i := 0; i < len(state); i += m.pageSize {
		s ^= m.hasher.Of(uint32(i/m.pageSize)+1, state[i:i+m.pageSize])
	}
	return s
}

// diff returns the pages in which two states differ, as deltas and whole by chance.
func (m *model) diff(old, state []byte) []segment.Page {
	var pages []segment.Page
	zero := make([]byte, m.pageSize)
	for i := 0; i < len(state); i += m.pageSize {
		img, was := state[i:i+m.pageSize], zero
		if i < len(old) {
			was = old[i : i+m.pageSize]
			if bytes.Equal(img, was) {
				continue
			}
		}
		n := uint32(i/m.pageSize) + 1
		p := segment.Page{Number: n, Kind: segment.Full, Data: img, Sum: m.hasher.Of(n, img)}
		if m.rng.IntN(3) > 0 {
			if delta, ok := segment.AppendDelta(nil, was, img, m.pageSize); ok {
				p.Kind, p.Data = segment.Delta, delta
			}
		}
		pages = append(pages, p)
	}
	return pages
}

// write writes one segment from transactions in order, and returns its bytes.
func (m *model) encode(kind segment.Kind, first uint64, before []byte, txs ...*modelTx) []byte {
	m.t.Helper()
	h := segment.Header{
		Key:  m.hasher.Key(),
		Kind: kind, PageSize: m.pageSize, Timeline: txs[0].timeline, First: first,
		Replica: m.id, Writer: m.writer, Before: m.sum(before),
	}
	if kind == segment.Snapshot {
		h.Before = 0
	}
	var b bytes.Buffer
	e, err := segment.NewEncoder(&b, h)
	m.ok(err)
	for _, tx := range txs {
		m.ok(e.Begin(tx.Tx))
		for _, p := range tx.pages {
			m.ok(e.Page(p))
		}
		m.ok(e.End(tx.After))
	}
	_, err = e.Close(wal.Place{})
	m.ok(err)
	return b.Bytes()
}

func (m *model) put(name string, b []byte) string {
	m.t.Helper()
	m.ok(m.store.Create(context.Background(), name, store.BytesBody(b)))
	return name
}

// log writes a log segment.
func (m *model) log(txs ...*modelTx) string {
	m.t.Helper()
	first := txs[0].Number - txs[0].Span + 1
	b := m.encode(segment.Log, first, txs[0].before, txs...)
	return m.put(segment.LogName(txs[0].timeline, first), b)
}

// merge writes a merged segment of transactions that are in a row.
func (m *model) merge(level int, txs ...*modelTx) string {
	m.t.Helper()
	last := *txs[len(txs)-1]
	first := txs[0].Number - txs[0].Span + 1
	last.Span = last.Number - first + 1
	last.pages = m.diff(txs[0].before, last.state)
	return m.put(segment.MergedName(last.timeline, level, first, last.Number),
		m.encode(segment.Merged, first, txs[0].before, &last))
}

// snapshot writes a snapshot of a point.
func (m *model) snapshot(tx *modelTx) string {
	m.t.Helper()
	s := *tx
	s.Span, s.pages = 1, nil
	for i := 0; i < len(s.state); i += m.pageSize {
		n := uint32(i/m.pageSize) + 1
		img := s.state[i : i+m.pageSize]
		s.pages = append(s.pages, segment.Page{Number: n, Kind: segment.Full, Data: img, Sum: m.hasher.Of(n, img)})
	}
	return m.put(segment.SnapshotName(s.timeline, s.Number), m.encode(segment.Snapshot, s.Number, nil, &s))
}

// commits makes n transactions and writes each as a log segment of its own.
func (m *model) commits(n int) (txs []*modelTx) {
	m.t.Helper()
	for range n {
		tx := m.commit(1)
		m.log(tx)
		txs = append(txs, tx)
	}
	return txs
}

// object returns an object's bytes.
func (m *model) object(name string) []byte {
	m.t.Helper()
	r, err := m.store.Read(context.Background(), name, 0, -1)
	m.ok(err)
	b, err := io.ReadAll(r)
	m.ok(err)
	m.ok(r.Close())
	return b
}

// damage puts other bytes in the place of an object; nil removes it.
func (m *model) damage(name string, change func(b []byte) []byte) {
	m.t.Helper()
	b := m.object(name)
	m.ok(m.store.Delete(context.Background(), name))
	if b = change(b); b != nil {
		m.put(name, b)
	}
}

func flip(at int) func(b []byte) []byte {
	return func(b []byte) []byte {
		b[(at+len(b))%len(b)] ^= 0x40
		return b
	}
}

func cut(b []byte) []byte { return b[:len(b)-1] }

func remove([]byte) []byte { return nil }

func (tx *modelTx) pos() Pos { return Pos{Timeline: tx.timeline, Tx: tx.Number} }

func (tx *modelTx) String() string { return fmt.Sprint(tx.pos()) }
