package replica

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
)

// forgeSnapshot ships a snapshot of a position with another content, all of whose checksums are right.
func (src *source) forgeSnapshot(at Pos) string {
	src.t.Helper()
	pages, table := src.images[at], src.tables[at]
	defer func() { src.images[at], src.tables[at] = pages, table }()
	other := bytes.Clone(pages[0])
	other[7]++
	src.images[at], src.tables[at] = append([][]byte{other}, pages[1:]...), table.Clone()
	src.tables[at].Set(1, testHasher.Of(1, other))
	return src.snapshot(at)
}

// TestTableHoldsSnapshotsAgainstTheLog: a snapshot that says something else than the log is passed over.
func TestTableHoldsSnapshotsAgainstTheLog(t *testing.T) {
	for name, at := range map[string]Pos{"the end": {1, 9}, "the end of a segment": {1, 6}, "inside a segment": {1, 5}} {
		t.Run(name, func(t *testing.T) {
			src := newSource(t)
			src.log(3, 1)
			src.snapshot(src.pos)
			src.log(3, 1)
			src.log(3, 1)
			src.forgeSnapshot(at)
			for _, table := range []func() (*pagesum.Table, error){
				func() (*pagesum.Table, error) {
					return TableAt(context.Background(), src.s, Pos{1, 9}, nil, Pos{})
				},
				func() (*pagesum.Table, error) {
					r, err := ReachOf(context.Background(), src.s, 1)
					return r.Table, err
				},
			} {
				got, err := table()
				if err != nil || !sameTable(got, src.tables[Pos{1, 9}]) {
					t.Errorf("table of another state, %v", err)
				}
			}
		})
	}
	t.Run("without another one", func(t *testing.T) {
		src := newSource(t)
		src.log(3, 1)
		forged := src.forgeSnapshot(src.pos)
		_, err := TableAt(context.Background(), src.s, src.pos, nil, Pos{})
		var c *segment.CorruptError
		if !errors.As(err, &c) || c.Object != forged || !strings.Contains(err.Error(), "the log has") {
			t.Errorf("%v, want the snapshot blamed", err)
		}
	})
}

// TestTableProvesTheLastChecksum: the checksums that nothing behind them would contradict are compared all the same, that of the
// log's last transaction and that of a snapshot.
func TestTableProvesTheLastChecksum(t *testing.T) {
	blames := func(t *testing.T, src *source, object string) {
		t.Helper()
		_, err := TableAt(t.Context(), src.s, src.pos, nil, Pos{})
		var c *segment.CorruptError
		if !errors.As(err, &c) || c.Object != object || !strings.Contains(err.Error(), "checksum of the database") {
			t.Errorf("%v, want %s blamed", err, object)
		}
	}
	onePage := func(src *source, e *segment.Encoder, tx segment.Tx) {
		image := src.page()
		check(t, e.Begin(tx))
		check(t, e.Page(segment.Page{Number: 1, Kind: segment.Full, Data: image, Sum: testHasher.Of(1, image)}))
		check(t, e.End(testHasher.Of(1, image)+1))
	}
	t.Run("log", func(t *testing.T) {
		src := newSource(t)
		src.log(3, 1)
		src.snapshot(src.pos)
		name := func(i segment.Info) string { return segment.LogName(i.Timeline, i.First) }
		object := src.encode(src.header(segment.Log, 4), name, func(e *segment.Encoder) {
			onePage(src, e, segment.Tx{Number: 4, PageCount: 1})
		})
		src.pos.Tx = 4
		blames(t, src, object)
	})
	t.Run("snapshot", func(t *testing.T) {
		src := newSource(t)
		src.pos.Tx = 3
		name := func(i segment.Info) string { return segment.SnapshotName(i.Timeline, i.Last) }
		h := segment.Header{Kind: segment.Snapshot, PageSize: testPageSize, Timeline: 1, First: 3, Writer: src.writer}
		object := src.encode(h, name, func(e *segment.Encoder) {
			onePage(src, e, segment.Tx{Number: 3, PageCount: 1})
		})
		blames(t, src, object)
	})
}
