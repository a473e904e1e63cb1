package shipper

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/internal/wal"
)

// The cache never yields an image of another sum, and holds no more than it may.
func TestImageCache(t *testing.T) {
	const size = 512
	r := rand.New(rand.NewPCG(3, 4))
	c := newImageCache(size, 20*size)
	last := map[uint32]pagesum.Sum{}
	hits := 0
	for range 5000 {
		page := 1 + uint32(r.IntN(40))
		image := bytes.Repeat([]byte{byte(r.Uint32())}, size)
		if sum, ok := last[page]; ok {
			if got := c.get(page, sum); got != nil {
				hits++
				if pagesum.Unkeyed.Of(page, got) != sum {
					t.Fatalf("page %d has another image", page)
				}
			}
			if c.get(page, sum+1) != nil {
				t.Fatalf("page %d: an image of another sum", page)
			}
		}
		last[page] = pagesum.Unkeyed.Of(page, image)
		c.put(page, last[page], image)
	}
	if len(c.slots) != 20 || len(c.index) != 20 || hits < 1000 {
		t.Errorf("%d slots, %d pages, %d hits", len(c.slots), len(c.index), hits)
	}
	none := newImageCache(size, -1)
	none.put(1, 1, make([]byte, size))
	if none.get(1, 1) != nil {
		t.Error("a cache without room holds something")
	}
}

// encoderFor is a Shipper that can encode, without goroutines.
func encoderFor(t tb, dir string, pageSize, pages int) (*Shipper, *model) {
	t.Helper()
	m := newModel(dir, pageSize)
	m.pageSize = pageSize
	s, err := New(Config{Source: newFakeSource(m), Open: newWorld(t, dir).open, DBPath: m.path})
	if err != nil {
		t.Fatal(err)
	}
	s.id, s.writer, s.timeline = segment.NewID(), segment.NewID(), 1
	s.setPageSize(pageSize)
	table := pagesum.New()
	image := make([]byte, pageSize)
	for page := uint32(1); page <= uint32(pages); page++ {
		binary.LittleEndian.PutUint32(image, page)
		table.Set(page, pagesum.Unkeyed.Of(page, image))
		s.cache.put(page, table.Get(page), image)
	}
	s.setTable(table)
	return s, m
}

// BenchmarkEncodeCommit is the path of one commit from the ring into the segment:
// pages of 4 KiB, of which 100 bytes changed, in a warm cache.
func BenchmarkEncodeCommit(b *testing.B) {
	for _, pages := range []int{2, 20} {
		b.Run(fmt.Sprintf("pages=%d", pages), func(b *testing.B) {
			const size, total = 4096, 2000
			s, _ := encoderFor(b, b.TempDir(), size, total)
			r := rand.New(rand.NewPCG(1, 1))
			// A frame for each page; a commit takes some of them.
			frames := make([][]byte, total)
			for i := range frames {
				frames[i] = make([]byte, wal.FrameHeaderSize+size)
				binary.BigEndian.PutUint32(frames[i], uint32(i+1))
				binary.LittleEndian.PutUint32(frames[i][wal.FrameHeaderSize:], uint32(i+1))
			}
			buf := make([]byte, 0, pages*len(frames[0]))
			b.SetBytes(int64(pages * size))
			b.ReportAllocs()
			var commits uint64
			for b.Loop() {
				commits++
				buf = buf[:0]
				at := r.IntN(total - pages)
				for i := range pages {
					f := frames[at+i]
					off := wal.FrameHeaderSize + 100 + int(commits*104%3800)
					for k := 0; k < 100; k += 4 {
						binary.LittleEndian.PutUint32(f[off+k:], uint32(commits)+uint32(k))
					}
					buf = append(buf, f...)
				}
				c := Commit{Kind: CommitFrames, Ticket: commits, Count: 1, PageSize: size, PageCount: total, Frames: [2][]byte{buf, nil}}
				if err := s.encodeFrames(&c, transaction{number: commits, span: 1, pageCount: total}); err != nil {
					b.Fatal(err)
				}
				if s.full() {
					if _, err := s.batch.enc.Close(wal.Place{}); err != nil {
						b.Fatal(err)
					}
					s.dropBatch()
				}
			}
		})
	}
}

// BenchmarkHashing is the part of BenchmarkEncodeCommit that is hashing.
func BenchmarkHashing(b *testing.B) {
	image := make([]byte, 4096)
	b.SetBytes(2 * 4096)
	var sum pagesum.Sum
	for b.Loop() {
		sum ^= pagesum.Unkeyed.Of(1, image) ^ pagesum.Unkeyed.Of(2, image)
	}
	_ = sum
}
