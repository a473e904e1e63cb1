package shipper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a database, its replica and the process in between, with the state
// that every transaction of the replica has to have.
type world struct {
	t      tb
	m      *model
	store  store.Store
	open   func(context.Context, func(store.Failure)) (store.Store, error)
	cfg    Config
	rnd    *rand.Rand
	src    *fakeSource
	sh     *Shipper
	deny   func(int) error // denyLog of the sources
	settle func() error    // Settle of the sources; nil: they have none
	want   map[replica.Pos]image
	states map[uint64]image // of the commits of this process, by ticket, whose position isn't known yet
}

const testPage = 512

// tb is what the tests need of a *testing.T, a *testing.B and a *rapid.T.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newWorld(t tb, dir string) *world {
	t.Helper()
	w := &world{t: t, m: newModel(dir, testPage), store: storetest.NewMemory(), rnd: rand.New(rand.NewPCG(1, 2)), want: make(map[replica.Pos]image)}
	w.open = func(_ context.Context, onError func(store.Failure)) (store.Store, error) {
		return store.Stack(noClose{w.store}, store.StackOptions{Retry: store.RetryPolicy{OnError: onError}}), nil
	}
	w.cfg = Config{DBPath: w.m.path, Logger: slog.New(slog.DiscardHandler)}
	return w
}

// noClose is a store that outlives a process.
type noClose struct{ store.Store }

func (noClose) Close() error { return nil }

// start begins a process.
func (w *world) start() {
	w.t.Helper()
	w.src, w.states = newFakeSource(w.m), make(map[uint64]image)
	w.src.denyLog = w.deny
	cfg := w.cfg
	cfg.Source, cfg.Open = w.src, w.open
	if w.settle != nil {
		cfg.Source = settler{w.src, w.settle}
	}
	sh, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.sh = sh
	sh.Start()
}

// settler is a source that can empty its log into the file.
type settler struct {
	*fakeSource
	settle func() error
}

func (s settler) Settle() error { return s.settle() }

// stop ends it in order.
func (w *world) stop() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := w.sh.Close(ctx); err != nil {
		w.t.Fatalf("close: %v; status %+v", err, w.sh.Status())
	}
}

// kill ends it without a chance to ship.
func (w *world) kill() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return w.sh.Close(ctx)
}

// tx makes a transaction of small changes to n random pages, or new ones.
func (w *world) tx(n int) tx {
	return w.txOn(len(w.m.state()), n)
}

// txOn is tx for a database that has size pages by then.
func (w *world) txOn(size, n int) tx {
	pages := w.m.state()
	t := tx{pageCount: uint32(max(1, size))}
	for range n {
		page := uint32(1 + w.rnd.IntN(int(t.pageCount)+1))
		t.pageCount = max(t.pageCount, page)
		data := make([]byte, w.m.pageSize)
		if int(page) <= len(pages) {
			copy(data, pages[page-1])
		}
		for range 1 + w.rnd.IntN(5) {
			data[w.rnd.IntN(len(data))] = byte(w.rnd.Uint32())
		}
		if w.rnd.IntN(8) == 0 {
			for i := range data {
				data[i] = byte(w.rnd.Uint32())
			}
		}
		t.changes = append(t.changes, change{page, data})
	}
	return t
}

// commit commits through the source and remembers the state.
func (w *world) commit(n int) {
	w.src.commit(CommitFrames, w.tx(n))
	w.note()
}

// note remembers the state of the newest commit, and which transactions the ones
// before it are as soon as that is known.
func (w *world) note() {
	if ticket, _ := w.src.Last(); ticket > 0 {
		w.states[ticket] = w.m.state()
	}
	w.sh.mu.Lock()
	defer w.sh.mu.Unlock()
	if !w.sh.mapped {
		return
	}
	for ticket, state := range w.states {
		w.want[w.sh.posLocked(ticket)] = state
	}
	clear(w.states)
}

func (w *world) flush() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := w.sh.Flush(ctx); err != nil {
		w.t.Fatalf("flush: %v; status %+v", err, w.sh.Status())
	}
	w.note()
}

// offline commits while no process looks.
func (w *world) offline(txs ...tx) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	for _, t := range txs {
		w.m.resizeLocked(t.pageSize, func() { w.m.applyLocked(t.changes, t.pageCount) })
	}
}

// vacuum writes the database anew with pages of another size, as one commit, or while no process looks.
func (w *world) vacuum(size int, kind CommitKind) {
	pages := len(w.m.state())
	t := tx{pageCount: uint32(1 + pages/2), pageSize: size}
	for page := uint32(1); page <= t.pageCount; page++ {
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(w.rnd.Uint32())
		}
		t.changes = append(t.changes, change{page, data})
	}
	if kind == 0 {
		w.offline(t)
		return
	}
	w.src.commit(kind, t)
	w.note()
}

// losePower cuts the log behind a transaction that a segment ends with.
func (w *world) losePower(tx uint64) {
	w.t.Helper()
	for o, err := range w.store.List(context.Background(), segment.LogPrefix(1), "") {
		if err != nil {
			w.t.Fatal(err)
		}
		if _, info, err := replica.Inspect(context.Background(), w.store, o); err == nil && info.Last == tx {
			w.m.cutLog(info.Place, w.want[replica.Pos{Timeline: 1, Tx: tx}])
			return
		}
	}
	w.t.Fatalf("no segment ends with transaction %d", tx)
}

// loseFolder removes the state folder.
func (w *world) loseFolder() {
	w.t.Helper()
	if err := os.RemoveAll(w.m.path + "-seawal"); err != nil {
		w.t.Fatal(err)
	}
}

// verify replays the newest timeline from its first snapshot, holds every transaction against what it
// has to be and the last one against the database. It returns all of them.
func (w *world) verify() []segment.Tx {
	w.t.Helper()
	txs, err := w.replay()
	if err != nil {
		w.t.Fatal(err)
	}
	return txs
}

func (w *world) replay() ([]segment.Tx, error) {
	ctx := context.Background()
	all, err := replica.Timelines(ctx, w.store)
	if err != nil || len(all) == 0 {
		return nil, fmt.Errorf("timelines: %d, %v", len(all), err)
	}
	r, err := w.replayTo(ctx, replica.Pos{Timeline: all[len(all)-1].Timeline, Tx: 1<<63 - 1})
	if err != nil {
		return nil, err
	}
	if now := w.m.state(); !r.pages.equal(now) {
		return nil, fmt.Errorf("the replica ends with a database of %d pages that differs from the source's %d", len(r.pages), len(now))
	}
	return r.txs, nil
}

// replayTo replays the history of a position.
func (w *world) replayTo(ctx context.Context, end replica.Pos) (*replayer, error) {
	return w.replayEach(ctx, end, nil)
}

// replayEach is replayTo; each, which may be nil, is called after every transaction.
func (w *world) replayEach(ctx context.Context, end replica.Pos, each func(replica.Pos, image)) (*replayer, error) {
	legs, err := replica.Lineage(ctx, w.store, end)
	if err != nil {
		return nil, err
	}
	rep, err := replica.ReadReplica(ctx, w.store)
	if err != nil {
		return nil, err
	}
	r := &replayer{w: w, hasher: pagesum.NewHasher(rep.Key), table: pagesum.New(), each: each}
	for _, leg := range legs {
		for _, prefix := range []string{segment.SnapshotPrefix(leg.Timeline), segment.LogPrefix(leg.Timeline)} {
			for o, err := range w.store.List(ctx, prefix, "") {
				if err != nil {
					return nil, err
				}
				n, err := segment.ParseName(o.Name)
				if err == nil && n.First <= leg.Last {
					err = r.object(o.Name, leg.Last)
				}
				if err != nil && w.isClose(o) {
					break // the next timeline isn't there, or not yet
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %w", o.Name, err)
				}
			}
		}
	}
	return r, nil
}

// isClose says whether an object ends the log of its timeline.
func (w *world) isClose(o store.Object) bool {
	_, _, err := replica.Inspect(context.Background(), w.store, o)
	return errors.As(err, new(*replica.ClosedError))
}

// replayer is the oracle's restore: slow and simple.
type replayer struct {
	w        *world
	hasher   *pagesum.Hasher
	pages    image
	table    *pagesum.Table
	at       uint64
	txs      []segment.Tx
	timeline uint32 // of the last of txs
	each     func(replica.Pos, image)
}

func (r *replayer) object(name string, last uint64) error {
	in, err := r.w.store.Read(context.Background(), name, 0, -1)
	if err != nil {
		return err
	}
	defer in.Close()
	d, err := segment.NewDecoder(in)
	if err != nil {
		return err
	}
	h := d.Header()
	if h.Kind == segment.Log && (h.First != r.at+1 || h.Before != r.table.Total()) {
		return fmt.Errorf("begins with %d, before %v; the replica is at %d, %v", h.First, h.Before, r.at, r.table.Total())
	}
	if h.Kind == segment.Snapshot {
		r.pages, r.table = nil, pagesum.New()
	}
	for {
		t, err := d.NextTx()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if t.Number > last {
			return nil
		}
		if err := r.transaction(d, t, h); err != nil {
			return fmt.Errorf("transaction %d: %w", t.Number, err)
		}
	}
}

func (r *replayer) transaction(d *segment.Decoder, t segment.Tx, h segment.Header) error {
	r.pages = r.pages.clone()
	var p segment.Page
	for {
		err := d.NextPage(&p)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for len(r.pages) < int(p.Number) {
			r.pages = append(r.pages, make([]byte, h.PageSize))
		}
		page := bytes.Clone(r.pages[p.Number-1])
		if p.Kind == segment.Full {
			copy(page, p.Data)
		} else if err := segment.ApplyDelta(page, p.Data); err != nil {
			return err
		}
		if r.hasher.Of(p.Number, page) != p.Sum {
			return fmt.Errorf("page %d has another checksum", p.Number)
		}
		r.pages[p.Number-1] = page
		r.table.Set(p.Number, p.Sum)
	}
	r.pages = slices.Clip(r.pages[:t.PageCount])
	r.table.Truncate(t.PageCount)
	if d.TxEnd() != r.table.Total() || r.pages.total(r.hasher) != r.table.Total() {
		return errors.New("the checksum of the database is another one")
	}
	if want, ok := r.w.want[replica.Pos{Timeline: h.Timeline, Tx: t.Number}]; ok && !want.equal(r.pages) {
		return errors.New("the database is not what it was")
	}
	if n := len(r.txs); n > 0 && h.Timeline == r.timeline && t.Time <= r.txs[n-1].Time {
		return fmt.Errorf("its time is %v before that of transaction %d, and has to be later", time.Duration(r.txs[n-1].Time-t.Time), r.txs[n-1].Number)
	}
	r.at, r.timeline = t.Number, h.Timeline
	r.txs = append(r.txs, t)
	if r.each != nil {
		r.each(replica.Pos{Timeline: h.Timeline, Tx: t.Number}, r.pages)
	}
	return nil
}
