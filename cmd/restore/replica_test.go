package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"path/filepath"
	"testing"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
)

const pageSize = 512

// epoch is the time of transaction 0; transaction n comes n minutes later.
var epoch = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// pageOne is the database of one page that transaction tx of a timeline leaves.
func pageOne(timeline uint32, tx uint64) []byte {
	p := make([]byte, pageSize)
	copy(p, "SQLite format 3\x00\x02\x00")
	binary.BigEndian.PutUint32(p[100:], timeline)
	binary.BigEndian.PutUint64(p[104:], tx)
	return p
}

// testReplica makes a replica in a folder and returns its URL and path. Timeline 1 has
// the transactions 1 to 6, the commits 4 and 5 squashed into 5, and a snapshot of 2;
// timeline 2 leaves it at 3 and has 4.
func testReplica(t *testing.T) (url, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "replica")
	s, err := store.OpenFolder(dir)
	ok(t, err)
	ctx := context.Background()
	id := segment.NewID()
	ok(t, replica.CreateReplica(ctx, s, replica.Replica{ID: id, PageSize: pageSize, Created: epoch, Name: "app.db"}))
	ok(t, replica.CreateTimeline(ctx, s, replica.Timeline{Timeline: 1, Reason: "new", Writer: id, Created: epoch}))
	ok(t, replica.CreateTimeline(ctx, s, replica.Timeline{Timeline: 2, Parent: 1, ParentTx: 3, Reason: "failover", Writer: id, Created: epoch}))
	put := func(kind segment.Kind, timeline uint32, span, last uint64) {
		h := segment.Header{Kind: kind, PageSize: pageSize, Timeline: timeline, First: last - span + 1, Replica: id, Writer: id}
		name := segment.SnapshotName(timeline, last)
		if kind == segment.Log {
			name = segment.LogName(timeline, h.First)
			if last > span { // what comes before is on timeline 1, on both
				h.Before = pagesum.Unkeyed.Of(1, pageOne(1, last-span))
			}
		}
		img := pageOne(timeline, last)
		sum := pagesum.Unkeyed.Of(1, img)
		var b bytes.Buffer
		e, err := segment.NewEncoder(&b, h)
		ok(t, err)
		ok(t, e.Begin(segment.Tx{Number: last, Span: span, Time: epoch.Add(time.Duration(last) * time.Minute).UnixNano(), PageCount: 1}))
		ok(t, e.Page(segment.Page{Number: 1, Kind: segment.Full, Data: img, Sum: sum}))
		ok(t, e.End(sum))
		_, err = e.Close(wal.Place{})
		ok(t, err)
		ok(t, s.Create(ctx, name, store.BytesBody(b.Bytes())))
	}
	put(segment.Log, 1, 1, 1)
	put(segment.Log, 1, 1, 2)
	put(segment.Snapshot, 1, 1, 2)
	put(segment.Log, 1, 1, 3)
	put(segment.Log, 1, 2, 5)
	put(segment.Log, 1, 1, 6)
	put(segment.Log, 2, 1, 4)
	return "file://" + filepath.ToSlash(dir), dir
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
