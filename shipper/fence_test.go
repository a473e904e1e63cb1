package shipper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/store/storetest"
)

// twin is a writer that others were cloned from, or that is a clone: a database of one page, what it holds encoded, and
// the uploader's part of a Shipper.
type twin struct {
	sh      *Shipper
	page    []byte                 // of the database
	after   map[uint64]pagesum.Sum // of the database, by transaction
	local   uint64                 // last transaction committed
	cut     uint64                 // last transaction in a batch
	images  map[uint64][]byte      // of those that are in none
	batches []twinBatch            // closed and not durable
	durable uint64                 // as far as it knows
	seen    segment.Info           // where the replica ended when it last looked: what attaching goes by
	err     error                  // that ended it
	out     bool                   // it attached, and found a history that isn't its own: it would open a new timeline
}

// twinBatch is a closed segment, to be uploaded by whoever holds it.
type twinBatch struct {
	first, last uint64
	raw         []byte
	info        segment.Info
}

// twins are the writers of one timeline. Transaction 1 is its first snapshot.
type twins struct {
	t      tb
	store  store.Store // without the faults
	faulty store.Store
	all    []*twin

	restarted bool // one of them
}

func newTwins(t tb, seed uint64) *twins {
	t.Helper()
	m := &twins{t: t, store: storetest.NewMemory()}
	// Each call may fail; a Create may fail having stored, and the object of one may be taken for missing.
	m.faulty = faultstore.Wrap(m.store, faultstore.Options{},
		faultstore.When(faultstore.And(faultstore.OnOp(store.OpCreate), faultstore.Randomly(0.3, seed)), faultstore.LostAck(errReset)),
		faultstore.When(faultstore.Randomly(0.1, seed+1), faultstore.Fail(errReset)))
	w := &twin{page: make([]byte, testPage), after: map[uint64]pagesum.Sum{}, images: map[uint64][]byte{}}
	w.sh = m.shipper(segment.NewID(), segment.NewID())
	ctx := context.Background()
	err := replica.CreateTimeline(ctx, m.store, replica.Timeline{Timeline: 1, Writer: w.sh.writer, Created: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	w.commit(0)
	b := m.encode(w, segment.Snapshot, 1)
	if err := m.store.Create(ctx, segment.SnapshotName(1, 1), store.BytesBody(b.raw)); err != nil {
		t.Fatal(err)
	}
	w.durable, w.cut, w.seen = 1, 1, b.info
	m.all = append(m.all, w)
	return m
}

func (m *twins) shipper(id, writer segment.ID) *Shipper {
	m.t.Helper()
	sh, err := New(Config{
		Source: newFakeSource(newModel("", testPage)), Open: func(context.Context, func(store.Failure)) (store.Store, error) { return nil, nil },
		DBPath: "app.db", RetryWait: time.Nanosecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	sh.store, sh.id, sh.writer, sh.timeline = m.faulty, id, writer, 1
	return sh
}

// commit makes a transaction. Twins that do the same are in the same state.
func (w *twin) commit(what byte) {
	w.local++
	w.page = bytes.Clone(w.page)
	w.page[0], w.page[1+w.local%100] = byte(w.local), what
	w.images[w.local] = w.page
	w.after[w.local] = pagesum.Unkeyed.Of(1, w.page)
}

// encode makes a segment that ends with transaction last.
func (m *twins) encode(w *twin, kind segment.Kind, last uint64) twinBatch {
	m.t.Helper()
	h := segment.Header{Kind: kind, PageSize: testPage, Timeline: 1, First: w.cut + 1, Replica: w.sh.id, Writer: w.sh.writer}
	if kind == segment.Log {
		h.Before = w.after[w.cut]
	}
	var out bytes.Buffer
	enc, err := segment.NewEncoder(&out, h)
	for n := w.cut + 1; n <= last && err == nil; n++ {
		err = errors.Join(
			enc.Begin(segment.Tx{Number: n, Span: 1, Time: int64(n), PageCount: 1}),
			enc.Page(segment.Page{Number: 1, Kind: segment.Full, Data: w.images[n], Sum: w.after[n]}),
			enc.End(w.after[n]))
		delete(w.images, n)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	info, err := enc.Close(wal.Place{})
	if err != nil {
		m.t.Fatal(err)
	}
	b := twinBatch{first: h.First, last: last, raw: out.Bytes(), info: info}
	w.cut = last
	return b
}

// clone is the machine, copied as it runs.
func (m *twins) clone(w *twin) *twin {
	c := *w
	c.sh = m.shipper(w.sh.id, w.sh.writer)
	c.after, c.images = maps.Clone(w.after), maps.Clone(w.images)
	c.batches = append([]twinBatch(nil), w.batches...)
	m.all = append(m.all, &c)
	return &c
}

// upload uploads the oldest batch.
func (w *twin) upload() {
	b := w.batches[0]
	w.batches = w.batches[1:]
	w.err = w.sh.uploadBatch(context.Background(), &batch{first: b.first, last: b.last, info: b.info, out: &spool{mem: b.raw}})
	if w.err == nil {
		w.durable = b.last
	}
}

// look finds the end of the replica, as attaching does.
func (m *twins) look(w *twin) {
	m.t.Helper()
	_, info, err := replica.Newest(context.Background(), m.store, 1, replica.Pos{})
	if err != nil {
		m.t.Fatal(err)
	}
	w.seen = info
}

// attach is a start of the process anew: what was in memory is gone, and the log of the database is encoded again from
// where the replica ended when it was looked at.
func (w *twin) attach(images map[uint64][]byte) {
	if w.local < w.seen.Last || w.after[w.seen.Last] != w.seen.After {
		w.out = true
		return
	}
	w.out = false
	w.cut, w.durable, w.batches, w.err, w.images = w.seen.Last, w.seen.Last, nil, nil, images
}

// check holds the replica and what everybody believes of it against each other.
func (m *twins) check() {
	m.t.Helper()
	ctx := context.Background()
	chain, at := map[uint64]pagesum.Sum{}, uint64(1)
	for o, err := range m.store.List(ctx, segment.LogPrefix(1), "") {
		if err != nil {
			m.t.Fatal(err)
		}
		_, info, err := replica.Inspect(ctx, m.store, o)
		if err != nil || info.First != at+1 {
			m.t.Fatalf("%s begins with %d, behind %d; %v", o.Name, info.First, at, err)
		}
		at = info.Last
	}
	for n := uint64(1); n <= at; n++ {
		table, err := replica.TableAt(ctx, m.store, replica.Pos{Timeline: 1, Tx: n}, nil, replica.Pos{})
		if err != nil {
			m.t.Fatalf("transaction %d can't be restored: %v", n, err)
		}
		chain[n] = table.Total()
	}
	for i, w := range m.all {
		if w.err != nil && !errors.Is(w.err, ErrFenced) {
			m.t.Fatalf("writer %d: %v", i, w.err)
		}
		for n := uint64(1); n <= w.durable; n++ {
			if chain[n] != w.after[n] {
				m.t.Fatalf("writer %d takes transaction %d for durable, and the replica has another one; it ends at %d", i, n, at)
			}
		}
	}
}

// step is one step of somebody. log is what the databases went through.
func (m *twins) step(rt *rapid.T, log map[*twin]map[uint64][]byte, tally *tally) {
	i := rapid.IntRange(0, len(m.all)-1).Draw(rt, "who")
	w := m.all[i]
	switch rapid.SampledFrom([]string{"commit", "commit", "close", "upload", "upload", "look", "attach", "clone"}).Draw(rt, "what") {
	case "commit":
		w.commit(rapid.SampledFrom([]byte{0, 0, 0, byte(1 + i)}).Draw(rt, "content"))
		log[w][w.local] = w.page
	case "close":
		if w.cut < w.local {
			w.batches = append(w.batches, m.encode(w, segment.Log, w.cut+1+rapid.Uint64Range(0, w.local-w.cut-1).Draw(rt, "cut")))
		}
	case "upload":
		if len(w.batches) == 0 || w.err != nil || w.out {
			return
		}
		_, err := m.store.Stat(context.Background(), segment.LogName(1, w.batches[0].first))
		w.upload()
		tally.note(err == nil, w.err)
	case "look":
		m.look(w)
	case "attach":
		m.restarted = true
		w.attach(maps.Clone(log[w]))
	case "clone":
		if len(m.all) < 3 {
			c := m.clone(w)
			log[c] = maps.Clone(log[w])
		}
	}
}

// tally counts what happened, so that a test which never met what it is about fails.
type tally struct{ created, equal, fenced int }

func (c *tally) note(taken bool, err error) {
	switch {
	case errors.Is(err, ErrFenced):
		c.fenced++
	case taken:
		c.equal++
	default:
		c.created++
	}
}

// Clones of a writer, made at any moment, that cut their segments as they like, do the same for a while and then not,
// lose acknowledgements, and start again by what they saw of the replica some time ago: nobody ever takes a transaction for
// durable that the replica doesn't have, all that it has can be restored, and who was too late is fenced.
func TestClonesAreFenced(t *testing.T) {
	emptyPools()
	var tally tally
	rapid.Check(t, func(rt *rapid.T) {
		m := newTwins(rt, rapid.Uint64().Draw(rt, "seed"))
		log := map[*twin]map[uint64][]byte{m.all[0]: {}}
		for range rapid.IntRange(5, 80).Draw(rt, "steps") {
			m.step(rt, log, &tally)
		}
		m.check()
		if w := m.all[0]; len(m.all) == 1 && !m.restarted && w.err != nil {
			rt.Fatalf("fenced, and nobody else was there: %v", w.err)
		}
	})
	if tally.created == 0 || tally.equal == 0 || tally.fenced == 0 {
		t.Errorf("proves little: %+v", tally)
	}
	t.Logf("%+v", tally)
}

// Clones that ship at the same time, as fast as they can: one of them gets past, and the others don't.
func TestClonesRace(t *testing.T) {
	emptyPools()
	for seed := range uint64(30) {
		m := newTwins(t, seed)
		w := m.all[0]
		for range 3 {
			w.commit(0)
		}
		w.batches = append(w.batches, m.encode(w, segment.Log, 2))
		m.clone(w)
		m.clone(w)
		var all sync.WaitGroup
		for i, w := range m.all {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			all.Go(func() {
				same := rnd.IntN(4) // segments until it goes its own way
				for n := 0; n < 12 && w.err == nil; n++ {
					if len(w.batches) == 0 {
						for range 1 + rnd.IntN(3) {
							w.commit(byte(max(0, n-same) * (i + 1)))
						}
						w.batches = append(w.batches, m.encode(w, segment.Log, w.cut+1+rnd.Uint64N(w.local-w.cut)))
					}
					w.upload()
				}
			})
		}
		all.Wait()
		m.check()
		past := 0
		for _, w := range m.all {
			if w.err == nil {
				past++
			}
		}
		if past != 1 {
			t.Fatalf("seed %d: %d of 3 got past", seed, past)
		}
	}
}

// twinWorld is a world whose machine was copied while no process ran: the database, its log and the state folder.
func (w *world) twinWorld(dir string) *world {
	w.t.Helper()
	c := newWorld(w.t, dir)
	c.store, c.rnd = w.store, rand.New(rand.NewPCG(3, 4))
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	m := w.m
	c.m = &model{
		path: filepath.Join(dir, "app.db"), pageSize: m.pageSize, pages: m.pages.clone(), file: m.file.clone(), log: bytes.Clone(m.log),
		head: m.head, sum: m.sum, frames: m.frames, salt: m.salt, written: m.written, logFile: m.logFile,
	}
	c.cfg.DBPath = c.m.path
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(m.path))); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// A clone with its state folder attaches as its original does. Whoever ships first what the other one did not goes on.
func TestCloneOfAMachine(t *testing.T) {
	for _, c := range []struct {
		name        string
		first, then func(a, b *world)
	}{
		{"other commits", func(a, b *world) { a.commit(2) }, func(a, b *world) { b.commit(2) }},
		{"other commits, cut in another way", func(a, b *world) { a.commits(1); a.commits(1) }, func(a, b *world) { b.commits(5) }},
		{"the same commits, and then others", func(a, b *world) {
			t := a.tx(2)
			a.src.commit(CommitFrames, t)
			b.src.commit(CommitFrames, t)
			a.flush()
			b.flush() // nothing is wrong with that
			a.commit(1)
		}, func(a, b *world) { b.commit(1) }},
		{"the same commits, cut in another way", func(a, b *world) {
			for range 3 {
				t := a.tx(2)
				a.src.commit(CommitFrames, t)
				time.Sleep(time.Second)
				b.src.commit(CommitFrames, t) // at another time, as when it is read back from the log
				a.flush()
			}
			b.flush() // it is all there
			a.commit(1)
		}, func(a, b *world) { b.commit(1) }},
		{"the same commits, of which the later one has more", func(a, b *world) {
			for i := range 4 {
				t := b.tx(2)
				b.src.commit(CommitFrames, t)
				if i < 2 {
					a.src.commit(CommitFrames, t)
				}
			}
			a.flush()
			b.flush() // the other two go into a segment of their own
			*a, *b = *b, *a
		}, func(a, b *world) { b.commit(1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a := shipped(t, true)
				b := a.twinWorld(t.TempDir())
				b.cfg.Interval = time.Hour
				a.start()
				b.start()
				a.position()
				b.position()
				synctest.Wait()
				c.first(a, b)
				a.flush()
				before := a.objects()
				c.then(a, b)
				if err := b.sh.Flush(t.Context()); !errors.Is(err, ErrFenced) || !b.sh.Status().Fenced {
					t.Errorf("the later one: %v", err)
				}
				if after := a.objects(); after != before {
					t.Errorf("objects:\n%s\nwere\n%s", after, before)
				}
				_ = b.kill() // fenced
				a.commit(3)
				a.flush()
				a.stop()
				a.verify()
			})
		})
	}
}

// commits makes n transactions, and ships them as one segment.
func (w *world) commits(n int) {
	for range n {
		w.commit(1)
	}
	_ = w.sh.Flush(context.Background()) // fenced, perhaps: the caller asks
}

// The error of a writer that met a segment under its own id says what that means.
func TestForeignErrors(t *testing.T) {
	a, b := segment.NewID(), segment.NewID()
	for err, want := range map[*foreignError]string{
		{"x", a, b}: fmt.Sprintf("x was written by %v, this is %v", a, b),
		{"x", a, a}: "x has other transactions than were to be shipped from here",
	} {
		if !errors.Is(err, ErrFenced) || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Error(err)
		}
	}
}
