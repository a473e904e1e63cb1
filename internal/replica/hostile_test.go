package replica

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"seawal/internal/segment"
	"seawal/store"
)

// createRaw creates a document that says what is given, with a right checksum.
func (src *source) createRaw(name, json string) {
	src.t.Helper()
	check(src.t, src.s.Create(context.Background(), name, store.BytesBody(seal([]byte(json)))))
}

// TestDocumentsAreBounded: what a timeline.json says of its parent can't lead anybody round in circles, beyond the numbers
// that there are, or through more memory than the document has.
func TestDocumentsAreBounded(t *testing.T) {
	timeline := func(n, parent uint32, tx uint64, reason string) string {
		return fmt.Sprintf("{\n  \"format\": 1,\n  \"timeline\": %d,\n  \"parent\": %d,\n  \"parent_tx\": %d,\n  \"reason\": %q,\n  \"writer\": \"%v\"\n}", n, parent, tx, reason, segment.ID{1})
	}
	for name, doc := range map[string]string{
		"parent of its own":        timeline(2, 2, 1, ""),
		"parent that comes later":  timeline(2, 3, 1, ""),
		"transaction 2^64-1":       timeline(2, 1, math.MaxUint64, ""),
		"transaction out of range": timeline(2, 1, MaxTx+1, ""),
		"another number":           timeline(3, 1, 1, ""),
	} {
		t.Run(name, func(t *testing.T) {
			src := newSource(t)
			src.log(3, 1)
			src.snapshot(src.pos)
			src.createRaw(segment.TimelineName(2), doc)
			_, err := ReadTimeline(t.Context(), src.s, 2)
			var c *CorruptError
			if !errors.As(err, &c) || c.Object != segment.TimelineName(2) {
				t.Errorf("ReadTimeline: %v", err)
			}
			all, err := Timelines(t.Context(), src.s)
			if err != nil || len(all) != 2 || !all[1].Lost {
				t.Errorf("Timelines: %+v, %v, want the second one lost", all, err)
			}
			if _, err := TableAt(t.Context(), src.s, Pos{2, 5}, nil, Pos{}); !IsDamage(err) {
				t.Errorf("TableAt: %v", err)
			}
		})
	}
	t.Run("long reason", func(t *testing.T) {
		src := newSource(t)
		src.createRaw(segment.TimelineName(2), timeline(2, 1, 1, strings.Repeat("x", 50_000)))
		got, err := ReadTimeline(t.Context(), src.s, 2)
		if err != nil || len(got.Reason) > maxText+len("…") {
			t.Errorf("reason of %d bytes, %v", len(got.Reason), err)
		}
	})
}

// TestFarTimelineIsFoundQuickly: a segment in the folder of the last timeline there can be makes nobody ask for all in between.
func TestFarTimelineIsFoundQuickly(t *testing.T) {
	src := newSource(t)
	src.log(3, 1)
	src.pos.Timeline = math.MaxUint32
	src.tables[src.pos], src.images[src.pos] = src.tables[Pos{1, 3}].Clone(), src.images[Pos{1, 3}]
	src.tables[src.pos].Set(1, 7) // follows on no state that there is
	src.log(1, 1)
	var counts store.Counts
	src.s = store.Count(src.s, &counts)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	all, err := Timelines(ctx, src.s)
	if err != nil || len(all) != 2 || !all[1].Lost {
		t.Errorf("%+v, %v, want the far one lost", all, err)
	}
	if u := counts.Usage(); u.List.Requests+u.Read.Requests > 30 {
		t.Errorf("%d lists and %d reads", u.List.Requests, u.Read.Requests)
	}
}

// TestNamesBeyondTheLastTransaction: segments with numbers that wrap around when one counts on are none of ours.
func TestNamesBeyondTheLastTransaction(t *testing.T) {
	src := newSource(t)
	src.log(3, 1)
	src.snapshot(src.pos)
	for _, n := range []string{
		segment.LogName(1, math.MaxUint64), segment.SnapshotName(1, math.MaxUint64), segment.MergedName(1, 1, 2, math.MaxUint64),
		segment.LogName(1, MaxTx+1),
	} {
		check(t, src.s.Create(t.Context(), n, store.BytesBody([]byte("x"))))
	}
	name, info, err := Newest(t.Context(), src.s, 1, Pos{})
	if err != nil || info.Last != 3 {
		t.Errorf("newest is %v, %v", name, err)
	}
	r, err := ReachOf(t.Context(), src.s, 1)
	if err != nil || r.At != src.pos || r.Broken != nil {
		t.Errorf("reach %+v, %v", r.At, err)
	}
}
