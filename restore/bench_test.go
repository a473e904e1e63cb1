package restore

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
)

// benchPage fills a page with rows as a database has them: keys that count up,
// words, numbers, and a part that doesn't compress. zstd gets it to about 0.4.
func benchPage(rng *rand.Rand, page uint32, p []byte) {
	words := []string{"order", "pending", "customer", "shipped", "invoice", "2026-03-04", "Lorem ipsum", "eu-west"}
	n := 0
	if page == 1 && len(p) == 4096 {
		n = copy(p, sqliteMagic+"\x10\x00")
	}
	for row := 0; n < len(p); row++ {
		line := fmt.Appendf(nil, "%d|%s|%s|%d|%x|", uint64(page)*40+uint64(row),
			words[rng.IntN(len(words))], words[rng.IntN(len(words))], rng.IntN(100000), rng.Uint64())
		n += copy(p[n:], line)
	}
}

// benchReplica makes a replica on a folder: a snapshot of pages, then txs
// transactions of three pages, ten to a log segment.
func benchReplica(b *testing.B, pages uint32, txs int) store.Store {
	b.Helper()
	const pageSize = 4096
	ctx := context.Background()
	s, err := store.OpenFolder(filepath.Join(b.TempDir(), "replica"))
	ok := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	ok(err)
	id := segment.NewID()
	ok(replica.CreateReplica(ctx, s, replica.Replica{ID: id, PageSize: pageSize, Created: epoch, Name: "bench.db"}))
	ok(replica.CreateTimeline(ctx, s, replica.Timeline{Timeline: 1, Reason: "bench", Writer: id, Created: epoch}))
	rng := rand.New(rand.NewPCG(1, 2))
	h := segment.Header{Kind: segment.Snapshot, PageSize: pageSize, Timeline: 1, First: 1, Replica: id, Writer: id}
	table := pagesum.New()
	images := map[uint32][]byte{} // of the pages that the log touches
	hot := min(pages, 2000)
	img := make([]byte, pageSize)
	r, w := io.Pipe()
	go func() {
		e, err := segment.NewEncoder(w, h)
		if err == nil {
			err = e.Begin(segment.Tx{Number: 1, Span: 1, Time: epoch.UnixNano(), PageCount: pages})
		}
		for n := uint32(1); n <= pages && err == nil; n++ {
			benchPage(rng, n, img)
			if n <= hot {
				images[n] = append([]byte(nil), img...)
			}
			sum := pagesum.Unkeyed.Of(n, img)
			table.Set(n, sum)
			err = e.Page(segment.Page{Number: n, Kind: segment.Full, Data: img, Sum: sum})
		}
		if err == nil {
			err = e.End(table.Total())
		}
		if err == nil {
			_, err = e.Close(wal.Place{})
		}
		w.CloseWithError(err)
	}()
	ok(s.Create(ctx, segment.SnapshotName(1, 1), func() (io.ReadCloser, error) { return r, nil }))
	for first := uint64(2); first < uint64(txs)+2; first += 10 {
		ok(s.Create(ctx, segment.LogName(1, first), benchLog(b, rng, h, table, images, hot, first)))
	}
	return s
}

func benchLog(b *testing.B, rng *rand.Rand, h segment.Header, table *pagesum.Table, images map[uint32][]byte, hot uint32, first uint64) store.Body {
	b.Helper()
	h.Kind, h.First, h.Before = segment.Log, first, table.Total()
	f, err := os.CreateTemp(b.TempDir(), "segment")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	e, err := segment.NewEncoder(f, h)
	for n := first; n < first+10 && err == nil; n++ {
		err = e.Begin(segment.Tx{Number: n, Span: 1, Time: epoch.UnixNano() + int64(n), PageCount: table.Len()})
		for range 3 {
			page := 2 + rng.Uint32N(hot-1)
			img := images[page]
			old := append([]byte(nil), img...)
			benchPage(rng, page, img[1000:1000+200])
			delta, _ := segment.AppendDelta(nil, old, img, len(img))
			sum := pagesum.Unkeyed.Of(page, img)
			table.Set(page, sum)
			err = e.Page(segment.Page{Number: page, Kind: segment.Delta, Data: delta, Sum: sum})
		}
		if err == nil {
			err = e.End(table.Total())
		}
	}
	if err == nil {
		_, err = e.Close(wal.Place{})
	}
	if err != nil {
		b.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return os.Open(f.Name()) }
}

// BenchmarkRestore restores from a folder, checksum and fsync included. MB/s
// is of database.
func BenchmarkRestore(b *testing.B) {
	for _, dim := range []struct {
		size string
		page uint32
		txs  int
	}{
		{"1GiB", 1 << 18, 0},
		{"64MiB", 1 << 14, 0},
		{"64MiB", 1 << 14, 10_000},
	} {
		b.Run(fmt.Sprintf("size=%s/txs=%d", dim.size, dim.txs), func(b *testing.B) {
			s := benchReplica(b, dim.page, dim.txs)
			for _, check := range []Check{CheckNone, CheckQuick, CheckFull} {
				b.Run("check="+check.String(), func(b *testing.B) {
					b.SetBytes(int64(dim.page) * 4096)
					out := filepath.Join(b.TempDir(), "bench.db")
					for b.Loop() {
						if _, err := Run(context.Background(), s, Options{Output: out, Force: true, Check: check}); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		})
	}
}
