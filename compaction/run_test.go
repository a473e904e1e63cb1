package compaction

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/restore"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/store/storetest"
)

// busy is a history with a commit every pause, each in a log segment of its own, over some time.
func busy(t *testing.T, pause, whole time.Duration) *history {
	h := newHistory(t, t, 5)
	for n := range int(whole / pause) {
		h.transaction(pause, 1, 4, func(page int, image []byte) bool {
			image[n%modelPage]++
			return n == 0 || page == 1+n%4
		})
		h.ship()
	}
	return h
}

func names(all []Merge) (names []string) {
	for _, m := range all {
		names = append(names, m.Object)
	}
	return names
}

// With a commit a minute the slots have these transactions.
func TestSlots(t *testing.T) {
	h := busy(t, time.Minute, 26*time.Hour+30*time.Minute) // from 11:59
	r := h.compact(Options{NoSnapshot: true})
	var of [4][]Merge
	for _, m := range r.Merged {
		of[m.Level] = append(of[m.Level], m)
	}
	// 26.5 hours are 318 slots of 5 minutes; the first one has one commit, and the last one is not over.
	if n := len(of[1]); n != 317 {
		t.Errorf("%d segments of level 1, want 317", n)
	}
	if n := len(of[2]); n != 26 { // 12:00 to 13:00 on the next day but one; the first hour has one commit
		t.Errorf("%d segments of level 2, want 26", n)
	}
	if n := len(of[3]); n != 1 {
		t.Errorf("%d segments of level 3, want 1", n)
	}
	if first := of[1][0]; first.First != 2 || first.Last != 6 || first.Objects != 5 || !first.Time.Equal(time.Date(2026, 3, 1, 12, 4, 0, 0, time.UTC)) {
		t.Errorf("the first one is %+v", first)
	}
	if day := of[3][0]; day.First != 1 || day.Last != 721 || day.Objects != 13 || !day.Time.Equal(time.Date(2026, 3, 1, 23, 59, 0, 0, time.UTC)) {
		t.Errorf("the day is %+v", day)
	}
	last := replica.Pos{Timeline: 1, Tx: h.tx}
	steps := h.restores(h.store, 1, last)
	if len(steps) > 1+14+12+5 {
		t.Errorf("the newest point takes %d objects: %v", len(steps), steps)
	}
}

// A slot is merged a minute after its end, and what comes late for it is merged for itself.
func TestSlotIsOverAfterAMinute(t *testing.T) {
	h := newHistory(t, t, 5)
	commit := func(pause time.Duration) {
		h.transaction(pause, 1, 1, func(_ int, image []byte) bool { image[0]++; return true })
		h.ship()
	}
	commit(2 * time.Minute) // 12:00
	commit(time.Minute)
	at := func(clock string) func() time.Time {
		now, err := time.Parse(time.TimeOnly, clock)
		h.ok(err)
		return func() time.Time {
			return time.Date(2026, 3, 1, now.Hour(), now.Minute(), now.Second(), 0, time.UTC)
		}
	}
	for _, c := range []struct {
		now  string
		want []string
	}{
		{"12:04:59", nil},
		{"12:05:59", nil},
		{"12:06:00", []string{segment.MergedName(1, 1, 1, 2)}},
		{"12:06:01", nil},
	} {
		if r := h.compact(Options{Now: at(c.now), NoSnapshot: true}); !slices.Equal(names(r.Merged), c.want) {
			t.Errorf("at %s: %q, want %q", c.now, names(r.Merged), c.want)
		}
	}
	commit(time.Minute) // 12:02
	commit(time.Minute) // 12:03
	if r := h.compact(Options{Now: at("12:06:02"), NoSnapshot: true}); !slices.Equal(names(r.Merged), []string{segment.MergedName(1, 1, 3, 4)}) {
		t.Errorf("what came late: %q", names(r.Merged))
	}
	if r := h.compact(Options{Now: at("13:01:00"), NoSnapshot: true}); !slices.Equal(names(r.Merged), []string{segment.MergedName(1, 2, 1, 4)}) {
		t.Errorf("the hour: %q", names(r.Merged))
	}
}

func TestSlotsOfMoments(t *testing.T) {
	for at, want := range map[int64]int64{-11: -2, -10: -1, -1: -1, 0: 0, 9: 0, 10: 1} {
		if got := slotOf(at, 10); got != want {
			t.Errorf("moment %d lies in slot %d, want %d", at, got, want)
		}
	}
}

// A snapshot is made when what lies behind the last one costs more, and is what the point was.
func TestSnapshotIsDue(t *testing.T) {
	defer func(n int64) { snapshotBytes = n }(snapshotBytes)
	snapshotBytes = 10_000
	const pages = 60
	h := newHistory(t, t, 5)
	random := rand.New(rand.NewPCG(1, 2))
	write := func(written ...int) {
		h.transaction(time.Second, 1, pages, func(page int, image []byte) bool {
			for i := range image {
				image[i] = byte(random.Uint32())
			}
			return h.tx == 0 || slices.Contains(written, page)
		})
		h.ship()
	}
	write()
	h.snapshot()
	if r := h.compact(Options{}); r.Snapshot != nil {
		t.Errorf("nothing was committed since: %+v", r.Snapshot)
	}
	write(1)
	if r := h.compact(Options{}); r.Snapshot != nil {
		t.Errorf("one page was committed since: %+v", r.Snapshot)
	}
	h.clock = h.clock.Add(25 * time.Hour)
	if r := h.compact(Options{}); r.Snapshot != nil {
		t.Errorf("nothing was committed on the second day: %+v", r.Snapshot)
	}
	write(2)
	for _, dry := range []bool{true, false} {
		r := h.compact(Options{DryRun: dry})
		if r.Snapshot == nil || r.Snapshot.Point.Pos.Tx != 3 || !strings.Contains(r.Snapshot.Reason, "older than the newest commit") {
			t.Fatalf("something was committed a day later: %+v", r.Snapshot)
		}
	}
	if r := h.compact(Options{}); r.Snapshot != nil {
		t.Errorf("there is one now: %+v", r.Snapshot)
	}
	if steps := h.restores(h.store, 1, replica.Pos{Timeline: 1, Tx: 3}); len(steps) != 1 || steps[0].Kind != "snapshot" {
		t.Errorf("the point takes %+v", steps)
	}
	for range snapshotObjects + 1 {
		write(1)
	}
	r := h.compact(Options{})
	if r.Snapshot == nil || !strings.Contains(r.Snapshot.Reason, "257 objects") {
		t.Fatalf("many objects behind it: %+v", r.Snapshot)
	}
	all := make([]int, pages)
	for i := range all {
		all[i] = i + 1
	}
	write(all...)
	write(all...)
	if r := h.compact(Options{}); r.Snapshot == nil || !strings.Contains(r.Snapshot.Reason, "bytes behind the last one") {
		t.Fatalf("many bytes behind it: %+v", r.Snapshot)
	}
	h.restores(h.store, 1, replica.Pos{Timeline: 1, Tx: h.tx})
}

func TestDryRunCreatesNothing(t *testing.T) {
	h := busy(t, time.Minute, 3*time.Hour)
	before := h.objects(h.store)
	r := h.compact(Options{DryRun: true})
	if len(r.Merged) == 0 {
		t.Error("nothing would be merged")
	}
	if after := h.objects(h.store); after != before {
		t.Errorf("there was\n%s\nand there is\n%s", before, after)
	}
	if done := h.compact(Options{}); len(done.Merged) != len(r.Merged) {
		t.Errorf("%d merges were done, %d were announced", len(done.Merged), len(r.Merged))
	}
}

// Several at once do the same, and nobody is harmed.
func TestSeveralAtOnce(t *testing.T) {
	h := busy(t, time.Minute, 5*time.Hour)
	now := func() time.Time { return h.clock }
	var wg sync.WaitGroup
	var errs [3]error
	var made [3]int
	for i := range errs {
		wg.Go(func() {
			var r Result
			r, errs[i] = Run(t.Context(), h.store, Options{TempDir: t.TempDir(), Now: now})
			for _, m := range r.Merged {
				if !m.Existed {
					made[i]++
				}
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	alone := busy(t, time.Minute, 5*time.Hour)
	if want, got := len(alone.compact(Options{}).Merged), made[0]+made[1]+made[2]; got != want {
		t.Errorf("%v segments were made, want %d in all", made, want)
	}
	h.restores(h.store, 1, replica.Pos{Timeline: 1, Tx: h.tx})
}

// Whichever request fails, whether or not it was carried out: nothing is there that doesn't belong there, and the next run does the rest.
func TestEveryRequestFails(t *testing.T) {
	refused := errors.New("refused")
	whole := busy(t, 7*time.Minute, 2*time.Hour)
	whole.compact(Options{})
	want := whole.objects(whole.store)
	for name, effect := range map[string]faultstore.Effect{
		"refused":                          faultstore.Fail(refused),
		"carried out, and the answer lost": faultstore.LostAck(refused),
	} {
		failed := 0
		for n := 0; ; n++ {
			h := busy(t, 7*time.Minute, 2*time.Hour)
			s := faultstore.Wrap(h.store, faultstore.Options{}, faultstore.When(faultstore.OnIndex(n), effect))
			_, err := h.run(s, Options{})
			if len(s.Calls()) <= n {
				break // there are fewer requests
			}
			if err != nil {
				failed++
			}
			if err != nil && !errors.Is(err, refused) {
				t.Fatalf("%s, request %d: %v", name, n, err)
			}
			h.compact(Options{})
			if got := h.objects(h.store); got != want {
				t.Fatalf("%s, request %d: there is\n%s\nwant\n%s", name, n, got, want)
			}
		}
		if failed < 2 {
			t.Errorf("%s: only %d requests failed", name, failed)
		}
	}
}

// What is damaged is named, and what doesn't need it is merged.
func TestDamagedLog(t *testing.T) {
	for _, damage := range []struct {
		name   string
		change func(b []byte) []byte
	}{
		{"a bit", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		{"cut short", func(b []byte) []byte { return b[:len(b)-1] }},
		{"gone", nil},
	} {
		t.Run(damage.name, func(t *testing.T) {
			h := busy(t, time.Minute, 20*time.Minute)
			name := segment.LogName(1, 9)
			h.change(name, damage.change)
			r, err := h.run(h.store, Options{NoSnapshot: true})
			if damage.change != nil && (err == nil || !strings.Contains(err.Error(), name)) || damage.change == nil && err != nil {
				t.Errorf("the error is %v", err)
			}
			if len(r.Merged) == 0 {
				t.Error("nothing was merged")
			}
			for _, m := range r.Merged {
				if m.First <= 9 && m.Last >= 9 {
					t.Errorf("%s leads over it", m.Object)
				}
			}
		})
	}
}

// Segments that are whole, each for itself, and don't follow each other.
func TestForeignLog(t *testing.T) {
	for _, foreign := range []struct {
		name string
		key  pagesum.Key
		id   bool
		want string
	}{
		{"another replica", 5, true, "belongs to replica"},
		{"another past", 5, false, "checksum of the database before transaction 9"},
	} {
		t.Run(foreign.name, func(t *testing.T) {
			h, other := busy(t, time.Minute, 20*time.Minute), newHistory(t, t, foreign.key)
			if !foreign.id {
				other.rep.ID = h.rep.ID
			}
			for range 20 {
				other.transaction(time.Minute, 1, 4, func(page int, image []byte) bool { image[3]++; return true })
				other.ship()
			}
			name := segment.LogName(1, 9)
			h.change(name, func([]byte) []byte { return other.object(name) })
			_, err := h.run(h.store, Options{NoSnapshot: true})
			var corrupt *segment.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Object != name || !strings.Contains(err.Error(), foreign.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// A merged segment of another past, as somebody may have created it, is not built upon.
func TestForeignMerge(t *testing.T) {
	h := busy(t, time.Minute, 20*time.Minute)
	name := segment.Name{Kind: segment.Merged, Timeline: 1, Level: 1, First: 2, Last: 6}
	h.put(name, logged{tx: segment.Tx{Number: 6, Span: 5, Time: h.clock.UnixNano(), PageCount: 4, After: 99}, before: 98})
	r, err := h.run(h.store, Options{NoSnapshot: true})
	if err == nil || !strings.Contains(err.Error(), name.String()) {
		t.Errorf("the error is %v", err)
	}
	if len(r.Merged) > 0 {
		t.Errorf("it made %+v", r.Merged)
	}
}

// The name of a merge is taken while it is made, by an object of another content.
func TestNameIsTaken(t *testing.T) {
	h := busy(t, time.Minute, 20*time.Minute)
	name := segment.Name{Kind: segment.Merged, Timeline: 1, Level: 1, First: 2, Last: 6}
	s := &racingStore{Store: h.store, before: func(created string) {
		if created == name.String() {
			h.put(name, logged{tx: segment.Tx{Number: 6, Span: 5, Time: h.clock.UnixNano(), PageCount: 4, After: 99}, before: 98})
		}
	}}
	_, err := h.run(s, Options{NoSnapshot: true})
	if err == nil || !strings.Contains(err.Error(), name.String()) || !strings.Contains(err.Error(), "holds another state") {
		t.Errorf("the error is %v", err)
	}
}

// racingStore calls before in front of each Create.
type racingStore struct {
	store.Store
	before func(name string)
}

func (s *racingStore) Create(ctx context.Context, name string, body store.Body) error {
	s.before(name)
	return s.Store.Create(ctx, name, body)
}

func TestNoReplica(t *testing.T) {
	_, err := Run(t.Context(), storetest.NewMemory(), Options{})
	if !errors.Is(err, restore.ErrNoReplica) {
		t.Errorf("the error is %v", err)
	}
}

// More is put aside than is ever read side by side.
func TestRunsAreJoined(t *testing.T) {
	defer func(n int) { maxRuns = n }(maxRuns)
	maxRuns = 3
	h := busy(t, time.Minute, 2*time.Hour)
	r := h.compact(Options{Memory: 1, NoSnapshot: true})
	if len(r.Merged) == 0 {
		t.Error("nothing was merged")
	}
	h.restores(h.store, 1, replica.Pos{Timeline: 1, Tx: h.tx})
}

// change replaces an object; nil removes it.
func (h *history) change(name string, change func(b []byte) []byte) {
	b := h.object(name)
	h.ok(h.store.Delete(context.Background(), name))
	if change != nil {
		h.ok(h.store.Create(context.Background(), name, store.BytesBody(change(b))))
	}
}

// A database shrinks and grows again within a slot: what was cut off doesn't come back, whether or not the page that is there
// again is listed, and whether or not it was put aside.
func TestShrinksAndGrows(t *testing.T) {
	for _, c := range []struct {
		name   string
		listed bool // the page that comes back is
		made   int  // merged segments of level 1
	}{
		{"listed", true, 1},
		{"not listed", false, 2}, // one up to the smallest size, and one from there
	} {
		for _, memory := range []int{1, 1 << 20} {
			t.Run(c.name, func(t *testing.T) {
				h := newHistory(t, t, 5)
				write := func(count int, pages ...int) {
					h.transaction(time.Second, 1, count, func(page int, image []byte) bool {
						image[h.tx%modelPage]++
						return slices.Contains(pages, page)
					})
					h.ship()
				}
				write(4, 1, 2, 3, 4)
				h.clock = h.clock.Add(10 * time.Minute) // the next slot
				write(4, 3, 4)
				write(4, 1, 3)
				write(2, 1)
				if c.listed {
					write(4, 1, 3, 4)
				} else {
					write(4, 1)
				}
				write(4, 2)
				h.clock = h.clock.Add(10 * time.Minute)
				r := h.compact(Options{Memory: memory, NoSnapshot: true})
				if len(r.Merged) != c.made {
					t.Errorf("%q were made, want %d", names(r.Merged), c.made)
				}
				last := replica.Pos{Timeline: 1, Tx: h.tx}
				merged := 0
				for _, s := range h.restores(h.only([]replica.Pos{last}), 1, last) {
					if s.Kind == "merged" {
						merged++
					}
				}
				if merged != c.made {
					t.Errorf("%d of the objects that lead there are merged", merged)
				}
			})
		}
	}
}
