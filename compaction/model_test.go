package compaction

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/restore"
	"seawal/store"
	"seawal/store/storetest"
)

const modelPage = 512

// modelChecks is how many random histories a plain run has; make soak has more.
const modelChecks = "40"

func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", modelChecks); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// history is a replica and what the database was at each point of it.
type history struct {
	tb     tester
	rt     *rapid.T // that draws what happens; nil: the test says it
	dir    string
	store  store.Store
	rep    replica.Replica
	hasher *pagesum.Hasher
	clock  time.Time

	timeline uint32
	tx       uint64
	pages    [][]byte      // of the database now; page 1 first
	sums     []pagesum.Sum // 0: no segment lists the page
	points   map[replica.Pos]point
	parents  map[uint32]replica.Pos
	batch    []logged // not in the store yet
}

// point is a state that can be restored.
type point struct {
	image []byte
	time  int64
}

// logged is a transaction for a log segment.
type logged struct {
	tx     segment.Tx
	pages  []segment.Page
	before pagesum.Sum
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
}

func newHistory(t *testing.T, tb tester, key pagesum.Key) *history {
	h := &history{
		tb: tb, dir: t.TempDir(), store: storetest.NewMemory(), clock: time.Date(2026, 3, 1, 11, 58, 0, 0, time.UTC),
		points: map[replica.Pos]point{}, parents: map[uint32]replica.Pos{},
	}
	h.rep = replica.Replica{ID: segment.NewID(), PageSize: modelPage, Created: h.clock, Name: "app.db"}
	h.rep.Key = key
	h.hasher = pagesum.NewHasher(h.rep.Key)
	h.ok(replica.CreateReplica(t.Context(), h.store, h.rep))
	h.open(0, 0)
	return h
}

func (h *history) ok(err error) {
	if err != nil {
		h.tb.Helper()
		h.tb.Fatal(err)
	}
}

func (h *history) open(parent uint32, parentTx uint64) {
	h.timeline++
	h.parents[h.timeline] = replica.Pos{Timeline: parent, Tx: parentTx}
	h.ok(replica.CreateTimeline(context.Background(), h.store, replica.Timeline{
		Timeline: h.timeline, Parent: parent, ParentTx: parentTx, Reason: "a test", Writer: segment.NewID(), Created: h.clock,
	}))
}

// commit makes a random transaction.
func (h *history) commit() {
	rt := h.rt
	pause := rapid.SampledFrom([]time.Duration{time.Millisecond, time.Second, 2 * time.Minute, 40 * time.Minute, 13 * time.Hour}).Draw(rt, "pause")
	span := uint64(1)
	if rapid.IntRange(0, 9).Draw(rt, "squash") == 0 {
		span = 3
	}
	count := len(h.pages)
	switch rapid.IntRange(0, 4).Draw(rt, "size") {
	case 0:
		count += rapid.IntRange(1, 6).Draw(rt, "grow")
	case 1:
		count -= min(count-1, rapid.IntRange(1, 6).Draw(rt, "shrink"))
	}
	count = max(count, 1)
	bare := rapid.IntRange(0, 3).Draw(rt, "bare") == 0
	old := len(h.pages)
	h.transaction(pause, span, count, func(page int, image []byte) bool {
		grown := page > old
		if !(grown && !(bare && page > 1) || rapid.IntRange(0, 3).Draw(rt, "write") == 0) {
			return false
		}
		if rapid.Bool().Draw(rt, "whole") {
			b := rapid.Byte().Draw(rt, "byte")
			for i := range image {
				image[i] = b + byte(i)
			}
		} else {
			image[rapid.IntRange(0, modelPage-1).Draw(rt, "at")] ^= rapid.Byte().Draw(rt, "bits")
		}
		return true
	})
}

// transaction makes one of span commits, some time after the last one, that leaves count pages. write changes a page, and says
// whether the transaction lists it: changed or not.
func (h *history) transaction(pause time.Duration, span uint64, count int, write func(page int, image []byte) bool) {
	h.clock = h.clock.Add(pause)
	l := logged{before: h.total()}
	h.resize(count)
	for page := 1; page <= count; page++ {
		image := h.pages[page-1]
		next := slices.Clone(image)
		if !write(page, next) {
			continue
		}
		p := segment.Page{Number: uint32(page), Kind: segment.Full, Data: next, Sum: h.hasher.Of(uint32(page), next)}
		if delta, ok := segment.AppendDelta(nil, image, next, modelPage/2); ok {
			p.Kind, p.Data = segment.Delta, delta
		}
		l.pages = append(l.pages, p)
		h.pages[page-1], h.sums[page-1] = next, p.Sum
	}
	h.tx += span
	l.tx = segment.Tx{Number: h.tx, Span: span, Time: h.clock.UnixNano(), PageCount: uint32(count), After: h.total()}
	h.batch = append(h.batch, l)
	h.note()
}

func (h *history) resize(count int) {
	for len(h.pages) < count {
		h.pages, h.sums = append(h.pages, make([]byte, modelPage)), append(h.sums, 0)
	}
	h.pages, h.sums = h.pages[:count], h.sums[:count]
}

func (h *history) total() (sum pagesum.Sum) {
	for _, s := range h.sums {
		sum ^= s
	}
	return sum
}

func (h *history) note() {
	h.points[replica.Pos{Timeline: h.timeline, Tx: h.tx}] = point{slices.Concat(h.pages...), h.clock.UnixNano()}
}

// ship creates the log segment of what was committed.
func (h *history) ship() {
	if len(h.batch) == 0 {
		return
	}
	first := h.batch[0].tx.Number - h.batch[0].tx.Span + 1
	h.put(segment.Name{Kind: segment.Log, Timeline: h.timeline, First: first}, h.batch...)
	h.batch = nil
}

func (h *history) put(name segment.Name, all ...logged) {
	var b bytes.Buffer
	enc, err := segment.NewEncoder(&b, segment.Header{
		Kind: name.Kind, PageSize: modelPage, Timeline: name.Timeline, First: name.First, Replica: h.rep.ID, Writer: segment.NewID(), Before: all[0].before, Key: h.rep.Key,
	})
	h.ok(err)
	for _, l := range all {
		h.ok(enc.Begin(l.tx))
		for _, p := range l.pages {
			h.ok(enc.Page(p))
		}
		h.ok(enc.End(l.tx.After))
	}
	_, err = enc.Close(wal.Place{Frame: uint32(name.First)})
	h.ok(err)
	h.ok(h.store.Create(context.Background(), name.String(), store.BytesBody(b.Bytes())))
}

// snapshot ships the whole database. What was committed and not shipped is in it alone: a gap in the log.
func (h *history) snapshot() {
	if len(h.pages) == 0 || slices.Contains(h.sums, 0) {
		return
	}
	for _, l := range h.batch[:max(0, len(h.batch)-1)] {
		delete(h.points, replica.Pos{Timeline: h.timeline, Tx: l.tx.Number})
	}
	h.batch = nil
	l := logged{tx: segment.Tx{Number: h.tx, Span: 1, Time: h.clock.UnixNano(), PageCount: uint32(len(h.pages)), After: h.total()}}
	for i, image := range h.pages {
		l.pages = append(l.pages, segment.Page{Number: uint32(i + 1), Kind: segment.Full, Data: image, Sum: h.sums[i]})
	}
	name := segment.Name{Kind: segment.Snapshot, Timeline: h.timeline, First: h.tx, Last: h.tx}
	if _, err := h.store.Stat(context.Background(), name.String()); err == nil {
		return
	}
	h.put(name, l)
}

// fork goes on from an older point on a timeline of its own.
func (h *history) fork() {
	h.ship()
	var all []replica.Pos
	for pos := range h.points {
		if pos.Timeline == h.timeline {
			all = append(all, pos)
		}
	}
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, replica.Pos.Compare)
	pos := rapid.SampledFrom(all).Draw(h.rt, "fork")
	// Which pages are listed by then isn't kept with the points: only where all are.
	if pos.Tx != h.tx {
		return
	}
	h.open(h.timeline, pos.Tx)
}

func (h *history) compact(o Options) Result {
	h.tb.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return h.clock }
	}
	r, err := h.run(h.store, o)
	h.ok(err)
	for _, m := range r.Merged {
		if width := levels[m.Level-1]; slotOf(m.Time.UnixNano(), width) >= slotOf(o.Now().Add(-settle).UnixNano(), width) {
			h.tb.Errorf("%s was merged at %v, when its slot was not over", m.Object, o.Now())
		}
	}
	return r
}

// run is Run, which leaves no file behind.
func (h *history) run(s store.Store, o Options) (Result, error) {
	h.tb.Helper()
	if o.Now == nil {
		o.Now = func() time.Time { return h.clock }
	}
	o.TempDir = h.dir
	r, rerr := Run(context.Background(), s, o)
	left, err := os.ReadDir(h.dir)
	h.ok(err)
	if len(left) > 0 {
		h.tb.Fatalf("%d files are left in the temporary directory", len(left))
	}
	return r, rerr
}

// restores compares a point of a store with the model, and returns what led to it.
func (h *history) restores(s store.Store, timeline uint32, pos replica.Pos) []restore.Step {
	h.tb.Helper()
	plan, err := restore.NewPlan(context.Background(), s, timeline, restore.AtTx(pos.Tx))
	if err != nil {
		h.tb.Fatalf("plan %v: %v\n%s", pos, err, h.objects(s))
	}
	out := filepath.Join(h.dir, "out")
	r, err := restore.Run(context.Background(), s, restore.Options{Output: out, Timeline: timeline, Target: restore.AtTx(pos.Tx)})
	if err != nil {
		h.tb.Fatalf("restore %v: %v", pos, err)
	}
	if len(r.Avoided) > 0 {
		h.tb.Errorf("restore of %v went around %v", pos, r.Avoided)
	}
	got, err := os.ReadFile(out)
	h.ok(err)
	h.ok(os.Remove(out))
	want := h.points[pos]
	if !bytes.Equal(got, want.image) {
		h.tb.Errorf("%v: %d bytes, not the %d that there were", pos, len(got), len(want.image))
	}
	if r.Point.Time.UnixNano() != want.time {
		h.tb.Errorf("%v has time %v, want %v", pos, r.Point.Time, time.Unix(0, want.time).UTC())
	}
	return plan.Steps
}

func (h *history) names(prefix string) (all []segment.Name) {
	for o, err := range h.store.List(context.Background(), prefix, "") {
		h.ok(err)
		if n, err := segment.ParseName(o.Name); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// only is a store that has what some points need, and no other segment.
func (h *history) only(points []replica.Pos) store.Store {
	ctx := context.Background()
	live := map[string]bool{}
	for _, pos := range points {
		plan, err := restore.NewPlan(ctx, h.store, pos.Timeline, restore.AtTx(pos.Tx))
		h.ok(err)
		for _, step := range plan.Steps {
			live[step.Object] = true
		}
	}
	s := storetest.NewMemory()
	for o, err := range h.store.List(ctx, "", "") {
		h.ok(err)
		if _, err := segment.ParseName(o.Name); err == nil && !live[o.Name] {
			continue
		}
		h.ok(s.Create(ctx, o.Name, store.BytesBody(h.object(o.Name))))
	}
	return s
}

// kept draws some points: among them ends of merged segments, as a policy would keep them.
func (h *history) kept() (points []replica.Pos) {
	var ends, all []replica.Pos
	for _, n := range h.names("") {
		if n.Kind == segment.Merged {
			ends = append(ends, replica.Pos{Timeline: n.Timeline, Tx: n.Last})
		}
	}
	for pos := range h.points {
		all = append(all, pos)
	}
	slices.SortFunc(all, replica.Pos.Compare)
	for _, from := range [][]replica.Pos{ends, all} {
		for range min(3, len(from)) {
			points = append(points, rapid.SampledFrom(from).Draw(h.rt, "point"))
		}
	}
	slices.SortFunc(points, replica.Pos.Compare)
	return slices.Compact(points)
}

// checkSlots looks whether each merged segment lies in one slot of its level.
func (h *history) checkSlots() {
	for _, n := range h.names("") {
		if n.Kind != segment.Merged {
			continue
		}
		slots := map[int64]bool{}
		for pos, p := range h.points {
			if pos.Timeline == n.Timeline && pos.Tx >= n.First && pos.Tx <= n.Last {
				slots[slotOf(p.time, levels[n.Level-1])] = true
			}
		}
		if len(slots) > 1 {
			h.tb.Errorf("%v holds commits of %d slots of %v", n, len(slots), levels[n.Level-1])
		}
	}
}

// Whatever was committed, shipped, squashed, cut off and forked: each point is restored as it was, from merged segments where there
// are some, and from a store that has nothing but what the points need that are to be kept.
func TestModel(t *testing.T) {
	var merged, alone int
	rapid.Check(t, func(rt *rapid.T) {
		h := newHistory(t, rt, rapid.SampledFrom([]pagesum.Key{0, 77}).Draw(rt, "key"))
		h.rt = rt
		if rapid.Bool().Draw(rt, "content before") {
			h.resize(3)
			for i := range h.pages {
				h.pages[i][i] = 1
				h.sums[i] = h.hasher.Of(uint32(i+1), h.pages[i])
			}
			h.tx++
			h.note()
			h.snapshot()
		}
		memory := rapid.SampledFrom([]int{1, 3 * modelPage, 1 << 20}).Draw(rt, "memory")
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			switch rapid.IntRange(0, 19).Draw(rt, "step") {
			case 0:
				h.snapshot()
			case 1:
				h.fork()
			case 2:
				h.ship()
				h.compact(Options{Memory: memory, NoSnapshot: true})
			case 3, 4, 5, 6, 7, 8:
				h.ship()
			default:
				h.commit()
			}
		}
		h.ship()
		h.clock = h.clock.Add(48 * time.Hour)
		h.compact(Options{Memory: memory, NoSnapshot: rapid.Bool().Draw(rt, "no snapshot")})
		if r := h.compact(Options{Memory: memory, NoSnapshot: true}); len(r.Merged) > 0 {
			rt.Errorf("right after it there is more to merge: %+v", r.Merged)
		}
		h.checkSlots()
		for _, n := range h.names("") {
			if n.Kind == segment.Merged {
				merged++
			}
		}
		points := h.kept()
		swept := h.only(points)
		for _, pos := range points {
			for _, s := range h.restores(swept, pos.Timeline, pos) {
				if s.Kind == "merged" {
					alone++
				}
			}
		}
	})
	t.Logf("%d merged segments, %d steps of a plan were merged", merged, alone)
	if merged == 0 || alone == 0 {
		t.Error("nothing was merged")
	}
}

func (h *history) objects(s store.Store) (all string) {
	for o, err := range s.List(context.Background(), "", "") {
		h.ok(err)
		_, info, _ := replica.Inspect(context.Background(), s, o)
		all += fmt.Sprintf("%s to %d\n", o.Name, info.Last)
	}
	return all
}

// object is the bytes of an object.
func (h *history) object(name string) []byte {
	in, err := h.store.Read(context.Background(), name, 0, -1)
	h.ok(err)
	var b bytes.Buffer
	_, err = b.ReadFrom(in)
	h.ok(err)
	return b.Bytes()
}
