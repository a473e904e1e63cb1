package replica

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"seawal/internal/segment"
	"seawal/store"
)

const (
	// aheadObjects is how many objects are fetched at once: at a round trip of 10 ms, 3,200 small segments a second.
	aheadObjects = 32
	// aheadBytes bounds what is fetched and not yet read, bytes. One object is never more than wholeBytes of it.
	aheadBytes = 8 << 20
	// wholeBytes is the largest object that is fetched before its turn, bytes. The round trip of a larger one is a small part
	// of its transfer: it is read as it is decoded.
	wholeBytes = 1 << 20
)

// Ahead fetches objects before it is their turn to be read, so that the round trips to a distant store overlap. Whoever uses it
// starts objects in the order in which they are opened. What was fetched lies in memory and holds no request open, so that
// the one that is read now never waits for a request that is held by one behind it. It is not safe for concurrent use.
type Ahead struct {
	ctx     context.Context
	cancel  context.CancelFunc
	s       store.Store
	wg      sync.WaitGroup
	fetched map[string]*fetched
	bytes   int64 // of fetched
}

// fetched is an object, or as much of it as could be had.
type fetched struct {
	done chan struct{} // closed when the rest is valid
	data []byte
	err  error // that came behind data; nil: the object ends there
	open error // the object could not be opened
}

// NewAhead returns an Ahead that has fetched nothing. Close ends it.
func NewAhead(ctx context.Context, s store.Store) *Ahead {
	ctx, cancel := context.WithCancel(ctx)
	return &Ahead{ctx: ctx, cancel: cancel, s: s, fetched: map[string]*fetched{}}
}

// Start begins to fetch an object that a listing has shown. It returns false when there is no room: ask again once another one was
// read. One that is too large to be fetched whole takes no room.
func (a *Ahead) Start(o store.Object) bool {
	if o.Size <= 0 || o.Size > wholeBytes || a.fetched[o.Name] != nil {
		return true
	}
	if len(a.fetched) >= aheadObjects || a.bytes+o.Size > aheadBytes {
		return false
	}
	f := &fetched{done: make(chan struct{})}
	a.fetched[o.Name] = f
	a.bytes += o.Size
	a.wg.Go(func() {
		defer close(f.done)
		in, err := a.s.Read(a.ctx, o.Name, 0, o.Size)
		if err != nil {
			f.open = err
			return
		}
		defer in.Close() // read only
		f.data = make([]byte, o.Size)
		n, err := io.ReadFull(in, f.data)
		f.data, f.err = f.data[:n], err
	})
	return true
}

// Open returns the bytes of an object: those that were fetched, or a stream from the store. The caller closes it.
func (a *Ahead) Open(o store.Object) (io.ReadCloser, error) {
	f := a.fetched[o.Name]
	if f == nil {
		return a.s.Read(a.ctx, o.Name, 0, o.Size)
	}
	<-f.done // the store ends every request with its context
	a.Drop(o)
	if f.open != nil {
		return nil, f.open
	}
	in := io.Reader(bytes.NewReader(f.data))
	if f.err != nil {
		in = io.MultiReader(in, failingReader{f.err})
	}
	return io.NopCloser(in), nil
}

// Drop lets go of an object that isn't needed after all, or that was opened.
func (a *Ahead) Drop(o store.Object) {
	if a.fetched[o.Name] != nil {
		delete(a.fetched, o.Name)
		a.bytes -= o.Size
	}
}

// Close ends what is still being fetched.
func (a *Ahead) Close() {
	a.cancel()
	a.wg.Wait()
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// way leads a walk along the log segments of a leg. Of a segment the name tells where it begins, and only its content where it
// ends: that the next one is missing shows when its neighbour in front has been applied and the one behind still begins too late.
type way struct {
	*walk
	leg   Leg
	ahead *Ahead
	queue []wayStep // listed and not yet come by, in order
	start int       // steps of queue before it are started, or aren't needed
	held  wayStep   // of those that begin at or before the next transaction the last: it is in there, or nowhere; zero: none
	next  uint64    // first transaction that is there behind a gap
}

// wayStep is a log segment.
type wayStep struct {
	store.Object
	name segment.Name
}

// list takes in the next segment that a listing shows, and walks on where enough of them are known to keep the store busy.
// done says that the way ends here.
func (w *way) list(s wayStep) (done bool, err error) {
	w.queue = append(w.queue, s)
	w.fetch(false)
	if len(w.queue) > aheadObjects {
		return w.step()
	}
	return false, nil
}

// fetch starts what is sure to be needed: of the segments that begin at or before the next transaction only the last, and none
// behind the end of the leg. all says that no other one follows those in the queue.
func (w *way) fetch(all bool) {
	if w.held.Name == "" && len(w.queue) > 0 && w.queue[0].name.First > w.at+1 {
		return // a gap: what lies behind it may lead nowhere
	}
	for ; w.start < len(w.queue); w.start++ {
		s := w.queue[w.start]
		last := w.start+1 == len(w.queue)
		switch {
		case last && !all:
			return
		case s.name.First > w.leg.Last, !last && w.queue[w.start+1].name.First <= w.at+1:
			continue
		}
		if !w.ahead.Start(s.Object) {
			return
		}
	}
}

// step comes by the first segment of the queue. done says that the end of the leg, or a gap, was reached.
func (w *way) step() (done bool, err error) {
	s := w.queue[0]
	w.queue = w.queue[1:]
	w.start = max(0, w.start-1)
	if s.name.First > w.at+1 {
		if err := w.take(); err != nil {
			return true, err
		}
	}
	if w.at >= w.leg.Last {
		return true, nil
	}
	if s.name.First > w.at+1 {
		w.next = s.name.First
		return true, nil
	}
	w.ahead.Drop(w.held.Object)
	w.held = s
	w.fetch(false)
	return false, nil
}

// finish comes by the rest.
func (w *way) finish() error {
	w.fetch(true)
	for len(w.queue) > 0 {
		if done, err := w.step(); done || err != nil {
			return err
		}
		w.fetch(true)
	}
	return w.take()
}

// ended is nil at the end of the leg, else what is missing.
func (w *way) ended() error {
	if w.at >= w.leg.Last {
		return nil
	}
	return &GapError{Timeline: w.leg.Timeline, Wanted: w.leg.Last, Missing: w.at + 1, Next: w.next}
}

// take leads the table through the last segment that was come by.
func (w *way) take() error {
	s := w.held
	w.held = wayStep{}
	if s.Name == "" {
		return nil
	}
	return w.apply(w.ahead, s.Object, s.name, w.leg.Last)
}

// apply leads the table through a log segment, up to transaction last at most.
func (w *walk) apply(ahead *Ahead, o store.Object, n segment.Name, last uint64) error {
	in, err := ahead.Open(o)
	if err != nil {
		return fmt.Errorf("read segment %s: %w", o.Name, err)
	}
	w.size = o.Size
	ended, err := w.decode(in, n, last)
	in.Close() // read only; and before another request: with store.Limits.Concurrent there may be no other one
	if err != nil {
		return InObject(o.Name, err)
	}
	if w.strict && !ended {
		if _, _, err := Inspect(w.ctx, w.s, o); err != nil {
			return err
		}
	}
	w.whole, w.last = Pos{Timeline: n.Timeline, Tx: w.at}, o
	return nil
}
