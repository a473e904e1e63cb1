package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"seawal/store"
)

// Run checks one kind of store. open is called once for each part and returns a
// new, empty store, which Run closes; it skips or fails the test itself when it
// cannot. Everything that the contract on store.Store promises and one process can
// see is asked for here; a store's own test adds only what its own storage can
// get wrong (visibility between two handles, requests on the wire).
//
// A store is asked for about 2,700 objects and 60 MiB in all.
func Run(t *testing.T, open func(t *testing.T) store.Store) { run(t, parts, open) }

// RunSmall asks a few of the questions of Run, some 50 requests in all, of a store whose kind was asked all of them: for one more
// service that it reaches.
func RunSmall(t *testing.T, open func(t *testing.T) store.Store) { run(t, smallParts, open) }

func run(t *testing.T, parts []part, open func(t *testing.T) store.Store) {
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			part.run(&suite{T: t, s: s, ctx: t.Context()})
		})
	}
}

// part is a question that the suite asks.
type part struct {
	name string
	run  func(*suite)
}

var parts = []part{
	{"CreateThenEverythingSeesIt", testVisible},
	{"CreateOfTakenName", testTaken},
	{"CreateInParts", testInParts},
	{"RacingCreates", testRace},
	{"NothingVisibleBeforeWhole", testInvisible},
	{"CancelledCreate", testCancelledCreate},
	{"FailingBody", testFailingBody},
	{"BodyIsClosed", testBodyClosed},
	{"EmptyObject", testEmpty},
	{"BigObject", testBig},
	{"Ranges", testRanges},
	{"ConcurrentReads", testConcurrentReads},
	{"ReadAfterCancel", testReadAfterCancel},
	{"AbsentObject", testAbsent},
	{"Delete", testDelete},
	{"Names", testNames},
	{"BadNames", testBadNames},
	{"EndedContext", testEndedContext},
	{"ListOrder", testListOrder},
	{"ListOfMany", testListMany},
	{"ListBesideChanges", testListChanges},
	{"CloseTwice", testCloseTwice},
}

// smallParts are those in which services that speak one protocol differ from each other, and that take few requests.
var smallParts = []part{
	{"CreateThenEverythingSeesIt", testVisible},
	{"CreateOfTakenName", testTaken},
	{"CreateInParts", testInParts},
	{"AbsentObject", testAbsent},
	{"Delete", testDelete},
}

// suite is one part under way.
type suite struct {
	*testing.T
	s   store.Store
	ctx context.Context
}

// create makes an object or ends the test.
func (t *suite) create(name string, content []byte) {
	t.Helper()
	if err := t.s.Create(t.ctx, name, store.BytesBody(content)); err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
}

// read returns a range and the error that ended it, nil for io.EOF.
func (t *suite) read(name string, off, n int64) ([]byte, error) {
	r, err := t.s.Read(t.ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if cerr := r.Close(); cerr != nil {
		t.Errorf("close reader of %s: %v", name, cerr)
	}
	return b, err
}

// wantContent fails unless name reads, stats and lists as content.
func (t *suite) wantContent(name string, content []byte) {
	t.Helper()
	b, err := t.read(name, 0, -1)
	if err != nil || !bytes.Equal(b, content) {
		t.Errorf("read %s: %d bytes, error %v; want the %d bytes written", name, len(b), err, len(content))
	}
	want := store.Object{Name: name, Size: int64(len(content))}
	if o, err := t.s.Stat(t.ctx, name); err != nil || o != want {
		t.Errorf("stat %s: %+v, error %v; want %+v", name, o, err, want)
	}
	if l := t.list(name, ""); !slices.Contains(l, name) {
		t.Errorf("list of prefix %s: %q; want it in there", name, l)
	}
}

// wantAbsent fails unless nothing shows the object.
func (t *suite) wantAbsent(name string) {
	t.Helper()
	if b, err := t.read(name, 0, -1); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("read of absent %s: %d bytes, error %v; want ErrNotExist", name, len(b), err)
	}
	if o, err := t.s.Stat(t.ctx, name); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("stat of absent %s: %+v, error %v; want ErrNotExist", name, o, err)
	}
	if l := t.list(name, ""); slices.Contains(l, name) {
		t.Errorf("list shows absent %s", name)
	}
}

// list returns the names of a listing, or ends the test.
func (t *suite) list(prefix, after string) []string {
	t.Helper()
	var names []string
	for o, err := range t.s.List(t.ctx, prefix, after) {
		if err != nil {
			t.Fatalf("list %q after %q: %v", prefix, after, err)
		}
		names = append(names, o.Name)
	}
	return names
}

// pattern is n bytes that differ from offset to offset; it repeats every 65,537
// bytes, a prime, so that no store's part or buffer ends where it does.
func pattern(n int) []byte {
	base := patternBase()
	b := make([]byte, n)
	for i := 0; i < n; {
		i += copy(b[i:], base)
	}
	return b
}

var patternBase = sync.OnceValue(func() []byte {
	b := make([]byte, 65537)
	x := uint32(2463534242)
	for i := range b { // xorshift32
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	return b
})

// inParallel runs f for 0 to n-1 on a few goroutines.
func inParallel(n, goroutines int, f func(i int)) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := g; i < n; i += goroutines {
				f(i)
			}
		})
	}
	wg.Wait()
}

// logName is a name as the shipper makes them.
func logName(i int) string { return fmt.Sprintf("00000001/log/%016x-%016x", i+1, i+1) }

func testVisible(t *suite) {
	t.create("replica.json", []byte("{}"))
	t.create(logName(0), pattern(1000))
	t.wantContent("replica.json", []byte("{}"))
	t.wantContent(logName(0), pattern(1000))
}

func testTaken(t *suite) {
	t.create("a/b", []byte("first"))
	err := t.s.Create(t.ctx, "a/b", store.BytesBody([]byte("second, and longer")))
	if !errors.Is(err, store.ErrExist) {
		t.Fatalf("create of a taken name: %v; want ErrExist", err)
	}
	if store.IsPermanent(err) || errors.Is(err, store.ErrNotExist) {
		t.Errorf("create of a taken name: %v is marked as something else too", err)
	}
	t.wantContent("a/b", []byte("first"))
}

// testInParts is testTaken the way large objects go.
func testInParts(t *suite) {
	inParts := store.WithParts(t.ctx)
	if err := t.s.Create(inParts, "a/b", store.BytesBody([]byte("first"))); err != nil {
		t.Fatal(err)
	}
	for _, ctx := range []context.Context{inParts, t.ctx} {
		if err := t.s.Create(ctx, "a/b", store.BytesBody([]byte("second, and longer"))); !errors.Is(err, store.ErrExist) {
			t.Fatalf("create of a taken name: %v; want ErrExist", err)
		}
	}
	t.wantContent("a/b", []byte("first"))
}

func testRace(t *suite) {
	const racers = 20
	for round := range 5 {
		name := fmt.Sprintf("race/%d", round)
		errs := make([]error, racers)
		inParallel(racers, racers, func(i int) {
			errs[i] = t.s.Create(t.ctx, name, store.BytesBody(bytes.Repeat([]byte{byte(i)}, 5000+i)))
		})
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: %d and %d both created the object", round, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, store.ErrExist):
				t.Errorf("round %d, loser %d: %v; want ErrExist", round, i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody created the object", round)
		}
		t.wantContent(name, bytes.Repeat([]byte{byte(winner)}, 5000+winner))
	}
}

func testInvisible(t *suite) {
	content := pattern(3 << 20)
	half := len(content) / 2
	err := t.s.Create(t.ctx, "x/whole", func() (io.ReadCloser, error) {
		looked := false
		return io.NopCloser(&hookReader{r: bytes.NewReader(content), at: half, hook: func() error {
			if !looked {
				looked = true
				t.wantAbsent("x/whole")
				if l := t.list("", ""); len(l) != 0 {
					t.Errorf("while the body is read the store lists %q; want nothing", l)
				}
			}
			return nil
		}}), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.wantContent("x/whole", content)
}

// hookReader calls hook before each read once at bytes have passed.
type hookReader struct {
	r    io.Reader
	at   int
	hook func() error
}

func (h *hookReader) Read(p []byte) (int, error) {
	if h.at <= 0 {
		if err := h.hook(); err != nil {
			return 0, err
		}
	} else if len(p) > h.at {
		p = p[:h.at]
	}
	n, err := h.r.Read(p)
	h.at -= n
	return n, err
}

func testCancelledCreate(t *suite) {
	content := pattern(2 << 20)
	for _, at := range []int{0, 1, len(content) / 2, len(content)} {
		name := fmt.Sprintf("cancelled/%d", at)
		ctx, cancel := context.WithCancel(t.ctx)
		err := t.s.Create(ctx, name, func() (io.ReadCloser, error) {
			return io.NopCloser(&hookReader{r: bytes.NewReader(content), at: at, hook: func() error { cancel(); return nil }}), nil
		})
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d bytes: %v; want context.Canceled", at, err)
		}
		switch b, rerr := t.read(name, 0, -1); {
		case rerr == nil:
			if !bytes.Equal(b, content) {
				t.Errorf("cancelled after %d bytes: %d bytes are visible, not the object", at, len(b))
			}
		case errors.Is(rerr, store.ErrNotExist):
			if err == nil {
				t.Errorf("cancelled after %d bytes: create said nil, but the object is not there", at)
			}
			t.wantAbsent(name)
		default:
			t.Errorf("cancelled after %d bytes: read: %v", at, rerr)
		}
		if err := t.s.Create(t.ctx, name, store.BytesBody(content)); err != nil && !errors.Is(err, store.ErrExist) {
			t.Errorf("create after a cancelled one: %v", err)
		}
		t.wantContent(name, content)
	}
}

var errBody = errors.New("the body broke")

func testFailingBody(t *suite) {
	content := pattern(2 << 20)
	for _, at := range []int{0, 1, len(content) / 2, len(content)} {
		name := fmt.Sprintf("broken/%d", at)
		err := t.s.Create(t.ctx, name, func() (io.ReadCloser, error) {
			return io.NopCloser(&hookReader{r: bytes.NewReader(content), at: at, hook: func() error { return errBody }}), nil
		})
		if !errors.Is(err, errBody) {
			t.Errorf("body broke after %d bytes: %v; want its error", at, err)
		}
		t.wantAbsent(name)
		t.create(name, content)
		t.wantContent(name, content)
	}
	if err := t.s.Create(t.ctx, "broken/open", func() (io.ReadCloser, error) { return nil, errBody }); !errors.Is(err, errBody) {
		t.Errorf("body did not open: %v; want its error", err)
	}
	t.wantAbsent("broken/open")
}

func testBodyClosed(t *suite) {
	var mu sync.Mutex
	opened, open := 0, 0
	body := func() (io.ReadCloser, error) {
		mu.Lock()
		defer mu.Unlock()
		if open != 0 {
			t.Errorf("body was opened again before it was closed")
		}
		opened++
		open++
		return &closeHook{Reader: strings.NewReader("content"), hook: func() {
			mu.Lock()
			defer mu.Unlock()
			open--
		}}, nil
	}
	for range 2 { // the second meets ErrExist
		if err := t.s.Create(t.ctx, "a", body); err != nil && !errors.Is(err, store.ErrExist) {
			t.Fatal(err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if opened == 0 || open != 0 {
		t.Errorf("body was opened %d times, %d left open", opened, open)
	}
}

type closeHook struct {
	io.Reader
	hook func()
	once sync.Once
}

func (c *closeHook) Close() error {
	c.once.Do(c.hook)
	return nil
}
