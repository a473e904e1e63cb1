package segment

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"seawal/internal/wal"
)

func TestEncoderRefuses(t *testing.T) {
	logHeader := testHeader(Log, 512)
	full := Page{Number: 1, Kind: Full, Data: make([]byte, 512)}
	tests := []struct {
		name string
		h    Header
		do   func(e *Encoder) error
		want string
	}{
		{"Page before Begin", logHeader, func(e *Encoder) error { return e.Page(full) }, "outside a transaction"},
		{"End before Begin", logHeader, func(e *Encoder) error { return e.End(1) }, "End without Begin"},
		{"Close without a transaction", logHeader, func(e *Encoder) error { _, err := e.Close(wal.Place{}); return err }, "without a complete transaction"},
		{"Close inside a transaction", logHeader, func(e *Encoder) error {
			e.Begin(Tx{Number: 42})
			_, err := e.Close(wal.Place{})
			return err
		}, "without a complete transaction"},
		{"Begin twice", logHeader, func(e *Encoder) error { e.Begin(Tx{Number: 42}); return e.Begin(Tx{Number: 43}) }, "Begin out of order"},
		{"wrong first number", logHeader, func(e *Encoder) error { return e.Begin(Tx{Number: 43}) }, "want number 42"},
		{"gap", logHeader, func(e *Encoder) error {
			e.Begin(Tx{Number: 42})
			e.End(0)
			return e.Begin(Tx{Number: 44})
		}, "want number 43"},
		{"number overflows", logHeader, func(e *Encoder) error { return e.Begin(Tx{Number: 40, Span: 1<<64 - 1}) }, "transaction 40 of"},
		{"page 0", logHeader, inTx(9, Page{Kind: Full, Data: full.Data}), "page 0 of"},
		{"page beyond the database", logHeader, inTx(9, Page{Number: 10, Kind: Full, Data: full.Data}), "page 10 of a database of 9"},
		{"page of the wrong size", logHeader, inTx(9, Page{Number: 1, Kind: Full, Data: full.Data[:511]}), "511 bytes"},
		{"delta too long", logHeader, inTx(9, Page{Number: 1, Kind: Delta, Data: make([]byte, 600)}), "more than the page"},
		{"page kind", logHeader, inTx(9, Page{Number: 1, Data: full.Data}), "unknown kind 0"},
		{"delta in a snapshot", testHeader(Snapshot, 512), inTx(9, Page{Number: 1, Kind: Delta}), "is a delta"},
		{"pages out of order", testHeader(Merged, 512), inTx(9, Page{Number: 2, Kind: Delta}, Page{Number: 2, Kind: Delta}), "page 2 after page 2"},
		{"two transactions merged", testHeader(Merged, 512), func(e *Encoder) error {
			e.Begin(Tx{Number: 42})
			e.End(0)
			return e.Begin(Tx{Number: 43})
		}, "holds one transaction"},
		{"snapshot with a page missing", testHeader(Snapshot, 512), func(e *Encoder) error {
			e.Begin(Tx{Number: 42, PageCount: 2})
			e.Page(full)
			return e.End(0)
		}, "1 pages of a database of 2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e, err := NewEncoder(new(bytes.Buffer), test.h)
			if err != nil {
				t.Fatal(err)
			}
			err = test.do(e)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
			if _, again := e.Close(wal.Place{}); again != err {
				t.Errorf("Close after an error: %v, want the same", again)
			}
		})
	}
}

// inTx begins a transaction and adds pages.
func inTx(pageCount uint32, pages ...Page) func(e *Encoder) error {
	return func(e *Encoder) error {
		err := e.Begin(Tx{Number: 42, PageCount: pageCount})
		for _, p := range pages {
			err = e.Page(p)
		}
		return err
	}
}

func TestHeaderValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(h *Header)
	}{
		{"kind 0", func(h *Header) { h.Kind = 0 }},
		{"kind 4", func(h *Header) { h.Kind = 4 }},
		{"page size 0", func(h *Header) { h.PageSize = 0 }},
		{"page size 256", func(h *Header) { h.PageSize = 256 }},
		{"page size 1000", func(h *Header) { h.PageSize = 1000 }},
		{"page size 131072", func(h *Header) { h.PageSize = 131072 }},
		{"timeline 0", func(h *Header) { h.Timeline = 0 }},
		{"first 0", func(h *Header) { h.First = 0 }},
		{"snapshot with a checksum before", func(h *Header) { h.Kind = Snapshot }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := testHeader(Log, 4096)
			test.change(&h)
			if _, err := NewEncoder(new(bytes.Buffer), h); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestCloseTwice(t *testing.T) {
	var buf bytes.Buffer
	e, err := NewEncoder(&buf, testHeader(Log, 512))
	if err != nil {
		t.Fatal(err)
	}
	e.Begin(Tx{Number: 42})
	e.End(1)
	first, err := e.Close(testPlace)
	if err != nil {
		t.Fatal(err)
	}
	n := buf.Len()
	second, err := e.Close(wal.Place{})
	if err != nil || second != first || buf.Len() != n {
		t.Errorf("second Close: %+v, %v, %d bytes more", second, err, buf.Len()-n)
	}
	if e.Size() != int64(n) || first.Size != int64(n) {
		t.Errorf("Size %d, Info.Size %d, want %d", e.Size(), first.Size, n)
	}
	if e.Begin(Tx{Number: 43}) == nil {
		t.Error("Begin after Close is accepted")
	}
}

func TestSnapshotOfNothing(t *testing.T) {
	h := testHeader(Snapshot, 4096)
	h.First = 0
	b, _ := object{Header: h, Txs: []tx{{Tx: Tx{Span: 1, Time: -5}}}}.mustEncode(t)
	got, info, err := decode(bytes.NewReader(b))
	if err != nil || len(got.Txs) != 1 || info.Last != 0 || info.PageCount != 0 || info.FirstTime != -5 {
		t.Errorf("got %+v, %+v, %v", got, info, err)
	}
	if pages, err := decodeBlocks(b); err != nil || len(pages) != 0 {
		t.Errorf("pages by index: %v, %v", pages, err)
	}
}

func TestWriteErrorStays(t *testing.T) {
	full := errors.New("disk full")
	o := testObject(Snapshot, 4096)
	b, _ := o.mustEncode(t)
	for room := 0; room < len(b); room += 997 {
		w := &limitedWriter{room, full}
		e, err := NewEncoder(w, o.Header)
		if err == nil {
			e.Begin(o.Txs[0].Tx)
			for _, p := range o.Txs[0].Pages {
				e.Page(p)
			}
			e.End(0)
			_, err = e.Close(testPlace)
		}
		if !errors.Is(err, full) {
			t.Fatalf("disk full after %d bytes: %v", room, err)
		}
	}
}

// limitedWriter fails with err once room bytes have been written.
type limitedWriter struct {
	room int
	err  error
}

func (w *limitedWriter) Write(b []byte) (int, error) {
	if len(b) > w.room {
		n := w.room
		w.room = 0
		return n, w.err
	}
	w.room -= len(b)
	return len(b), nil
}

func TestSkippedPages(t *testing.T) {
	o := testObject(Log, 512)
	b, _ := o.mustEncode(t)
	d, err := NewDecoder(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range o.Txs {
		got, err := d.NextTx()
		want.After = 0
		if err != nil || got != want.Tx {
			t.Errorf("transaction %d: %+v, %v, want %+v", i, got, err, want.Tx)
		}
	}
}

// TestHugeTransaction has a transaction over several blocks and partitions of the index.
func TestHugeTransaction(t *testing.T) {
	const pages = 120_000
	for _, kind := range []Kind{Log, Merged} {
		t.Run(kind.String(), func(t *testing.T) {
			var buf bytes.Buffer
			e, err := NewEncoder(&buf, testHeader(kind, 4096))
			if err != nil {
				t.Fatal(err)
			}
			e.Begin(Tx{Number: 42, PageCount: pages})
			delta := []byte{9, 3, 'a', 'b', 'c'}
			for n := uint32(1); n <= pages; n++ {
				if err := e.Page(Page{Number: n, Kind: Delta, Data: delta, Sum: 7}); err != nil {
					t.Fatal(err)
				}
			}
			e.End(1)
			info, err := e.Close(testPlace)
			if err != nil {
				t.Fatal(err)
			}
			d, err := NewDecoder(bytes.NewReader(buf.Bytes()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.NextTx(); err != nil {
				t.Fatal(err)
			}
			if _, err := d.NextTx(); err == nil || d.Info() != info {
				t.Fatalf("second NextTx: %v, Info %+v", err, d.Info())
			}
			got, err := decodeBlocks(buf.Bytes())
			if err != nil || kind != Log && len(got) != pages {
				t.Errorf("pages by index: %d, %v", len(got), err)
			}
		})
	}
}

// TestEncoderMemory holds an Encoder in the middle of a large object to what its documentation says.
func TestEncoderMemory(t *testing.T) {
	for _, kind := range []Kind{Log, Merged} {
		t.Run(kind.String(), func(t *testing.T) {
			r := testRand(1)
			page := testImage(r, MaxPageSize)
			before := heap()
			e, err := NewEncoder(io.Discard, testHeader(kind, MaxPageSize))
			if err != nil {
				t.Fatal(err)
			}
			e.Begin(Tx{Number: 42, PageCount: 1000})
			for n := uint32(1); n <= 200; n++ {
				page[r.IntN(len(page))]++
				if err := e.Page(Page{Number: n, Kind: Full, Data: page}); err != nil {
					t.Fatal(err)
				}
			}
			if used := int64(heap()) - int64(before); used > 6<<20 {
				t.Errorf("encoder holds %d bytes", used)
			} else {
				t.Logf("encoder holds %d bytes", used)
			}
			runtime.KeepAlive(e)
		})
	}
}

// heap returns the bytes in use after a collection. One leaves what sync.Pools
// hold in place, so the zstd encoder counts.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
