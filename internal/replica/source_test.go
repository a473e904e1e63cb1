package replica

import (
	"bytes"
	"context"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
	"seawal/store/storetest"
)

const testPageSize = 512

// testHasher has the key of every replica here.
var testHasher = pagesum.NewHasher(0x1122334455667788)

// source writes a replica as a shipper would, with a random database, and remembers
// the checksums at every position.
type source struct {
	t      testing.TB
	s      store.Store
	writer segment.ID
	pcg    *rand.PCG // what rand draws from
	rand   *rand.Rand

	pos    Pos
	images map[Pos][][]byte // pages of every state
	tables map[Pos]*pagesum.Table
}

func newSource(t testing.TB) *source {
	t.Helper()
	pcg := rand.NewPCG(1, 2)
	src := &source{
		t: t, s: storetest.NewMemory(), writer: segment.NewID(), pcg: pcg, rand: rand.New(pcg),
		images: map[Pos][][]byte{}, tables: map[Pos]*pagesum.Table{},
	}
	src.open(Timeline{Timeline: 1, Reason: "new"})
	src.pos = Pos{Timeline: 1}
	src.images[src.pos], src.tables[src.pos] = nil, pagesum.New()
	return src
}

func (src *source) open(t Timeline) {
	src.t.Helper()
	t.Writer, t.Created = src.writer, time.Unix(1e9, 0)
	if err := CreateTimeline(context.Background(), src.s, t); err != nil {
		src.t.Fatal(err)
	}
}

// fork goes on from an earlier position on a new timeline.
func (src *source) fork(timeline uint32, from Pos) {
	src.t.Helper()
	src.open(Timeline{Timeline: timeline, Parent: from.Timeline, ParentTx: from.Tx, Reason: "test"})
	src.pos = Pos{Timeline: timeline, Tx: from.Tx}
	src.images[src.pos], src.tables[src.pos] = src.images[from], src.tables[from]
}

func (src *source) page() []byte {
	b := make([]byte, testPageSize)
	for i := range b {
		b[i] = byte(src.rand.Uint32())
	}
	return b
}

func (src *source) header(k segment.Kind, first uint64) segment.Header {
	h := segment.Header{Kind: k, PageSize: testPageSize, Timeline: src.pos.Timeline, First: first, Writer: src.writer, Key: testHasher.Key()}
	if k != segment.Snapshot {
		h.Before = src.tables[src.pos].Total()
	}
	return h
}

// encode creates one segment.
func (src *source) encode(h segment.Header, name func(segment.Info) string, fill func(e *segment.Encoder)) string {
	src.t.Helper()
	var b bytes.Buffer
	e, err := segment.NewEncoder(&b, h)
	if err != nil {
		src.t.Fatal(err)
	}
	fill(e)
	info, err := e.Close(wal.Place{Frame: uint32(src.pos.Tx)})
	if err != nil {
		src.t.Fatal(err)
	}
	n := name(info)
	if err := src.s.Create(context.Background(), n, store.BytesBody(b.Bytes())); err != nil {
		src.t.Fatal(err)
	}
	return n
}

// log commits n transactions, each of span commits, and ships them as one segment.
func (src *source) log(n int, span uint64) string {
	src.t.Helper()
	name := func(i segment.Info) string { return segment.LogName(i.Timeline, i.First) }
	return src.encode(src.header(segment.Log, src.pos.Tx+1), name, func(e *segment.Encoder) {
		for range n {
			src.commit(e, span)
		}
	})
}

func (src *source) commit(e *segment.Encoder, span uint64) {
	src.t.Helper()
	pages, table := slices.Clone(src.images[src.pos]), src.tables[src.pos].Clone()
	was := len(pages)
	switch src.rand.IntN(4) {
	case 0: // shrinks
		pages = pages[:max(1, was/2)*min(was, 1)]
	case 1: // grows
		for range 1 + src.rand.IntN(5) {
			pages = append(pages, src.page())
		}
	}
	if len(pages) == 0 {
		pages = append(pages, src.page())
	}
	src.pos.Tx += span
	check(src.t, e.Begin(segment.Tx{Number: src.pos.Tx, Span: span, Time: int64(src.pos.Tx), PageCount: uint32(len(pages))}))
	for i := range pages {
		if i < was && src.rand.IntN(3) > 0 {
			continue // unchanged
		}
		if i < was {
			pages[i] = src.page()
		}
		n := uint32(i) + 1
		table.Set(n, testHasher.Of(n, pages[i]))
		check(src.t, e.Page(segment.Page{Number: n, Kind: segment.Full, Data: pages[i], Sum: table.Get(n)}))
	}
	table.Truncate(uint32(len(pages)))
	check(src.t, e.End(table.Total()))
	src.images[src.pos], src.tables[src.pos] = pages, table
}

// snapshot ships the state at a position.
func (src *source) snapshot(at Pos) string {
	src.t.Helper()
	pages, table := src.images[at], src.tables[at]
	h := src.header(segment.Snapshot, at.Tx)
	h.Timeline = at.Timeline
	name := func(i segment.Info) string { return segment.SnapshotName(i.Timeline, i.Last) }
	return src.encode(h, name, func(e *segment.Encoder) {
		check(src.t, e.Begin(segment.Tx{Number: at.Tx, Time: int64(at.Tx), PageCount: uint32(len(pages))}))
		for i, b := range pages {
			n := uint32(i) + 1
			check(src.t, e.Page(segment.Page{Number: n, Kind: segment.Full, Data: b, Sum: table.Get(n)}))
		}
		check(src.t, e.End(table.Total()))
	})
}

// change replaces an object by what edit makes of it.
func (src *source) change(name string, edit func(b []byte) []byte) {
	src.t.Helper()
	ctx := context.Background()
	b, err := readAll(ctx, src.s, name)
	check(src.t, err)
	check(src.t, src.s.Delete(ctx, name))
	check(src.t, src.s.Create(ctx, name, store.BytesBody(edit(bytes.Clone(b)))))
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
