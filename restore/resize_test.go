package restore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/replica"
)

// resize opens a timeline with pages of another size behind the last transaction, with a snapshot after skip squashed commits,
// and returns its name.
func (m *model) resize(size int, skip uint64) string {
	m.t.Helper()
	at := Pos{Timeline: m.timeline, Tx: m.last}
	m.timeline++
	m.ok(replica.CreateTimeline(context.Background(), m.store, replica.Timeline{
		Timeline: m.timeline, Parent: at.Timeline, ParentTx: at.Tx, PageSize: size, Reason: "test", Writer: m.writer, Created: epoch,
	}))
	m.pageSize, m.state = size, nil
	m.last += skip
	return m.snapshot(m.commit(1))
}

func (m *model) restoreAt(timeline uint32, target Target) (Result, []byte, error) {
	out := filepath.Join(m.t.TempDir(), "out.db")
	r, err := Run(context.Background(), m.store, Options{Output: out, Timeline: timeline, Target: target, Check: CheckFull})
	if err != nil {
		return r, nil, err
	}
	b, err := os.ReadFile(out)
	return r, b, err
}

// Each timeline has a page size of its own: every point of all of them comes back, by number, by moment and as the newest one.
func TestPageSizesOfTimelines(t *testing.T) {
	for _, sizes := range [][3]int{{512, 4096, 1024}, {65536, 512, 65536}} {
		m := newModel(t, 1, sizes[0])
		m.snapshot(m.commit(1))
		m.commits(5)
		first := m.last
		m.resize(sizes[1], 2) // two commits have no point
		m.commits(4)
		m.resize(sizes[2], 0)
		m.commits(3)
		for pos, tx := range m.txs {
			for _, target := range []Target{AtTx(tx.Number), AtTime(unixTime(tx.Time))} {
				r, b, err := m.restoreAt(3, target)
				if err != nil || !bytes.Equal(b, tx.state) || r.PageSize != sizes[pos.Timeline-1] || r.Point.Pos != pos {
					t.Errorf("%v by %v: %+v, %v", pos, target, r, err)
				}
			}
		}
		var point *PointError
		_, _, err := m.restoreAt(0, AtTx(first+1))
		if !errors.As(err, &point) || point.Before == nil || point.After == nil || point.Before.Pos != (Pos{Timeline: 1, Tx: first}) || point.After.Pos != (Pos{Timeline: 2, Tx: first + 3}) {
			t.Errorf("between the sizes: %v", err)
		}
		l, err := List(context.Background(), m.store, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(l.Gaps) != 0 || len(l.Squashed) != 1 || l.Squashed[0].First != first+1 || l.Squashed[0].Last != first+2 || l.PageSize != sizes[2] {
			t.Errorf("listing %+v", l)
		}
		for i, tl := range l.Timelines {
			if tl.PageSize != sizes[i] {
				t.Errorf("timeline %d has pages of %d bytes", tl.Timeline, tl.PageSize)
			}
		}
		if old, err := List(context.Background(), m.store, 1); err != nil || old.PageSize != sizes[0] {
			t.Errorf("listing of timeline 1: %+v, %v", old, err)
		}
	}
}

// A timeline that was opened for a page size, and whose snapshot is not there yet, is at the point where it left its parent.
func TestPageSizeBeforeTheSnapshot(t *testing.T) {
	m := newModel(t, 2, 512)
	m.snapshot(m.commit(1))
	last := m.commits(2)[1]
	name := m.resize(4096, 0)
	m.damage(name, remove)
	r, b, err := m.restoreAt(0, Newest())
	if err != nil || !bytes.Equal(b, last.state) || r.Timeline != 2 || r.Point.Pos != last.pos() || r.PageSize != 512 {
		t.Errorf("%+v, %v", r, err)
	}
}

// The snapshot that such a timeline begins with is what has to be named when it is damaged or missing.
func TestPageSizeWithoutItsSnapshot(t *testing.T) {
	for reason, change := range map[string]func([]byte) []byte{"missing": remove, "cut short": cut, "corrupt": func(b []byte) []byte { return flip(len(b) / 2)(b) }} {
		m := newModel(t, 3, 512)
		m.snapshot(m.commit(1))
		last := m.commits(2)[1]
		name := m.resize(4096, 3)
		m.commits(2)
		m.damage(name, change)
		_, _, err := m.restoreAt(0, Newest())
		var bad *ObjectError
		if !errors.As(err, &bad) || bad.Reason() != reason || !strings.HasPrefix(bad.Object, "00000002/snapshot/") || bad.Newest == nil || bad.Newest.Pos != last.pos() {
			t.Errorf("%s: %v", reason, err)
		}
	}
}
