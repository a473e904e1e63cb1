package segment

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"seawal/internal/pagesum"
	"seawal/internal/wal"
)

// leafChange is what an insert of a row of 100 bytes does to a b-tree leaf of
// 4 KiB: header fields, a cell pointer, the cell.
func leafChange(old []byte) []byte {
	page := bytes.Clone(old)
	page[3]++
	page[5] += 100
	page[6]++
	page[300] ^= 7
	page[301] ^= 9
	copy(page[2000:2100], testImage(testRand(9), 200))
	return page
}

func BenchmarkAppendDelta(b *testing.B) {
	for _, size := range []int{512, 4096, 65536} {
		old := testImage(testRand(1), size)
		noise := bytes.Clone(old)
		for i := range noise {
			noise[i] += byte(i)
		}
		images := []struct {
			change string
			new    []byte
		}{{"none", bytes.Clone(old)}, {"all", noise}}
		if size == 4096 {
			images = append(images, struct {
				change string
				new    []byte
			}{"insert", leafChange(old)})
		}
		for _, image := range images {
			b.Run(fmt.Sprintf("pageSize=%d/change=%s", size, image.change), func(b *testing.B) {
				dst := make([]byte, 0, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					AppendDelta(dst, old, image.new, size/2)
				}
			})
		}
	}
}

func BenchmarkApplyDelta(b *testing.B) {
	old := testImage(testRand(1), 4096)
	d, _ := AppendDelta(nil, old, leafChange(old), 4096)
	b.ReportAllocs()
	for b.Loop() {
		if err := ApplyDelta(old, d); err != nil {
			b.Fatal(err)
		}
	}
}

// logTxs is a stretch of single-row commits: each changes two leaves by
// deltas, and text compresses about as text does.
func logTxs(n int) []tx {
	r := testRand(3)
	words := testImage(r, 8192)
	for i := range words {
		words[i] = 'a' + words[i]%26
	}
	txs := make([]tx, n)
	for i := range txs {
		txs[i].Tx = Tx{Number: 42 + uint64(i), Span: 1, Time: int64(i) * 25_000, PageCount: 50_000, After: pagesum.Sum(r.Uint64())}
		for k := range 2 {
			d := []byte{3, 4, byte(i), 1, byte(r.Uint32()), 2, 200, 1, 2, byte(r.Uint32()), byte(r.Uint32()), 0xd0, 0x0e, 100}
			for range 20 {
				at := r.IntN(len(words) - 5)
				d = append(d, words[at:at+5]...)
			}
			txs[i].Pages = append(txs[i].Pages, Page{Number: 1 + uint32(k)*25_000 + r.Uint32N(25_000), Kind: Delta, Data: d, Sum: pagesum.Sum(r.Uint64())})
		}
	}
	return txs
}

// BenchmarkPage is Page alone: what it costs to enter a delta of 120 bytes, its
// share of compression included.
func BenchmarkPage(b *testing.B) {
	txs := logTxs(1000)
	e, err := NewEncoder(io.Discard, testHeader(Log, 4096))
	if err != nil {
		b.Fatal(err)
	}
	if err := e.Begin(Tx{Number: 42, PageCount: 50_000}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if err := e.Page(txs[i%len(txs)].Pages[i%2]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkEncodeLog is a whole segment of single-row commits, from NewEncoder
// to Close.
func BenchmarkEncodeLog(b *testing.B) {
	for _, n := range []int{1, 10, 100, 1000, 20_000} {
		b.Run(fmt.Sprintf("txs=%d", n), func(b *testing.B) {
			txs := logTxs(n)
			var size int64
			b.ReportAllocs()
			for b.Loop() {
				e, err := NewEncoder(io.Discard, testHeader(Log, 4096))
				if err != nil {
					b.Fatal(err)
				}
				for i := range txs {
					e.Begin(txs[i].Tx)
					for _, p := range txs[i].Pages {
						e.Page(p)
					}
					e.End(txs[i].After)
				}
				info, err := e.Close(wal.Place{})
				if err != nil {
					b.Fatal(err)
				}
				size = info.Size
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2*n), "ns/page")
			b.ReportMetric(float64(size)/float64(n), "bytes/tx")
		})
	}
}

// BenchmarkClose is Close of a segment of so many bytes of records: the last
// block's compression, index and footer.
func BenchmarkClose(b *testing.B) {
	for _, n := range []int{1, 100, 3000} {
		txs := logTxs(n)
		b.Run(fmt.Sprintf("txs=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				e, err := NewEncoder(io.Discard, testHeader(Log, 4096))
				if err != nil {
					b.Fatal(err)
				}
				for i := range txs {
					e.Begin(txs[i].Tx)
					for _, p := range txs[i].Pages {
						e.Page(p)
					}
					e.End(txs[i].After)
				}
				b.StartTimer()
				if _, err := e.Close(wal.Place{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchSnapshot(b *testing.B) ([]byte, Info) {
	h := testHeader(Snapshot, 4096)
	t := tx{Tx: Tx{Number: 42, PageCount: 4096}}
	r := testRand(5)
	for n := uint32(1); n <= t.PageCount; n++ {
		page := make([]byte, 4096)
		for i := 0; i < 3000; {
			i += copy(page[i:], fmt.Sprintf("row %d name %c%c%c amount %d;", r.IntN(1_000_000), 'a'+r.IntN(26), 'a'+r.IntN(26), 'a'+r.IntN(26), r.IntN(1000)))
		}
		t.Pages = append(t.Pages, Page{Number: n, Kind: Full, Data: page, Sum: pagesum.Unkeyed.Of(n, page)})
	}
	return object{Header: h, Txs: []tx{t}}.mustEncode(b)
}

func BenchmarkDecode(b *testing.B) {
	object, info := benchSnapshot(b)
	raw := int64(info.Pages) * int64(info.PageSize)
	b.Run("by=stream", func(b *testing.B) {
		b.SetBytes(raw)
		b.ReportAllocs()
		for b.Loop() {
			d, err := NewDecoder(bytes.NewReader(object))
			if err != nil {
				b.Fatal(err)
			}
			for err == nil {
				_, err = d.NextTx()
			}
			if err != io.EOF {
				b.Fatal(err)
			}
		}
	})
	b.Run("by=block", func(b *testing.B) {
		x, err := ReadIndex(bytes.NewReader(object), info)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(raw)
		b.ReportAllocs()
		for b.Loop() {
			for i, k := range x.Blocks {
				if err := x.Decode(i, object[k.Offset:k.Offset+int64(k.Length)], func(Page) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
