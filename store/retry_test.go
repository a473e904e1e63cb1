package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"seawal/store"
	"seawal/store/faultstore"
	"seawal/store/storetest"
)

// fakeClock is a Clock on which a Sleep takes no time and moves it on.
type fakeClock struct {
	mu    sync.Mutex
	now   time.Time       // under mu
	slept []time.Duration // under mu

	onSleep func(n int) // called with the number of the Sleep, from 1, before it ends; may be nil
}

var _ store.Clock = (*fakeClock)(nil)

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.slept = append(c.slept, d)
	n := len(c.slept)
	c.mu.Unlock()
	if c.onSleep != nil {
		c.onSleep(n)
	}
	return ctx.Err()
}

// retried is a faulty store in memory with Retry around it.
type retried struct {
	store.Store
	faults *faultstore.Store
	behind store.Store
	clock  *fakeClock

	mu       sync.Mutex
	failures []store.Failure // under mu while calls run
}

var errDown = errors.New("connection refused")

func newRetried(t *testing.T, rules ...faultstore.Rule) *retried {
	r := &retried{behind: storetest.NewMemory(), clock: new(fakeClock)}
	r.faults = faultstore.Wrap(r.behind, faultstore.Options{Clock: r.clock}, rules...)
	r.Store = store.Retry(r.faults, store.RetryPolicy{
		Clock: r.clock,
		Rand:  func() float64 { return 0.5 },
		OnError: func(f store.Failure) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.failures = append(r.failures, f)
		},
	})
	return r
}

// TestRetryConformance runs the suite over a store whose calls fail, hang up
// and are cut, three in ten, from a seed. Acknowledgements are not lost: Create
// would meet its own object, which the contract leaves to the caller.
func TestRetryConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store {
		return newRetried(t,
			faultstore.When(faultstore.Randomly(0.1, 1), faultstore.Fail(errDown)),
			faultstore.When(faultstore.And(faultstore.OnOp(store.OpCreate, store.OpRead), faultstore.Randomly(0.1, 2)), faultstore.CutShort(777)),
			faultstore.When(faultstore.And(faultstore.OnOp(store.OpRead, store.OpList), faultstore.Randomly(0.1, 3)), faultstore.LostAck(errDown)),
			faultstore.When(faultstore.And(faultstore.OnOp(store.OpList), faultstore.Randomly(0.3, 4)), faultstore.CutShort(400)),
		).Store
	})
}

func TestRetryWaits(t *testing.T) {
	r := newRetried(t, faultstore.When(faultstore.Between(0, 9), faultstore.Fail(errDown)))
	if err := r.Create(t.Context(), "a", store.BytesBody([]byte("x"))); err != nil {
		t.Fatal(err)
	}
	ms := time.Millisecond // three quarters of 100 ms doubled up to 5 s
	want := []time.Duration{75 * ms, 150 * ms, 300 * ms, 600 * ms, 1200 * ms, 2400 * ms, 3750 * ms, 3750 * ms, 3750 * ms}
	if !slices.Equal(r.clock.slept, want) {
		t.Errorf("waits %v; want %v", r.clock.slept, want)
	}
	for i, f := range r.failures {
		if f.Op != store.OpCreate || f.Name != "a" || f.Attempt != i+1 || f.Wait != want[i] || !errors.Is(f.Err, errDown) {
			t.Errorf("failure %d: %+v", i, f)
		}
	}
	if len(r.failures) != len(want) {
		t.Errorf("%d failures reported; want %d", len(r.failures), len(want))
	}
}

func TestRetryWaitIsJittered(t *testing.T) {
	for _, tt := range []struct {
		rand float64
		want time.Duration
	}{{0, 2500 * time.Millisecond}, {0.5, 3750 * time.Millisecond}, {0.9999, 4999750 * time.Microsecond}} {
		clock := new(fakeClock)
		s := store.Retry(faultstore.Wrap(storetest.NewMemory(), faultstore.Options{}, faultstore.When(faultstore.OnIndex(0), faultstore.Fail(errDown))),
			store.RetryPolicy{First: time.Hour, Clock: clock, Rand: func() float64 { return tt.rand }})
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(clock.slept, []time.Duration{tt.want}) {
			t.Errorf("rand %v: waits %v; want %v", tt.rand, clock.slept, tt.want)
		}
	}
}

// TestRetryGivesUp lists what is not repeated.
func TestRetryGivesUp(t *testing.T) {
	denied := store.Permanent(errors.New("bucket does not exist"))
	for _, tt := range []struct {
		name     string
		err      error
		failures int
	}{
		{"permanent", denied, 1},
		{"permanent, wrapped", fmt.Errorf("create: %w", denied), 1},
		{"exists", store.ErrExist, 0},
		{"absent", fmt.Errorf("read: %w", store.ErrNotExist), 0},
	} {
		r := newRetried(t, faultstore.When(faultstore.Always(), faultstore.Fail(tt.err)))
		_, statErr := r.Stat(t.Context(), "a")
		if !errors.Is(statErr, tt.err) || len(r.clock.slept) != 0 || len(r.failures) != tt.failures {
			t.Errorf("%s: error %v, %d waits, %d failures; want it at once", tt.name, statErr, len(r.clock.slept), len(r.failures))
		}
		for _, err := range r.List(t.Context(), "", "") {
			if !errors.Is(err, tt.err) || len(r.clock.slept) != 0 {
				t.Errorf("%s: list: error %v, %d waits", tt.name, err, len(r.clock.slept))
			}
		}
	}
}

func TestRetryEndsWithTheContext(t *testing.T) {
	for _, op := range []string{"create", "read", "stat", "list", "delete"} {
		r := newRetried(t, faultstore.When(faultstore.Always(), faultstore.Fail(errDown)))
		ctx, cancel := context.WithCancel(t.Context())
		r.clock.onSleep = func(n int) {
			if n == 3 {
				cancel()
			}
		}
		var err error
		switch op {
		case "create":
			err = r.Create(ctx, "a", store.BytesBody(nil))
		case "read":
			_, err = r.Read(ctx, "a", 0, -1)
		case "stat":
			_, err = r.Stat(ctx, "a")
		case "list":
			for _, err = range r.List(ctx, "", "") {
			}
		case "delete":
			err = r.Delete(ctx, "a")
		}
		cancel()
		if !errors.Is(err, context.Canceled) || !errors.Is(err, errDown) || len(r.failures) != 3 {
			t.Errorf("%s: error %v after %d failures; want cancelled, with the last failure, after 3", op, err, len(r.failures))
		}
	}
}

// TestRetryLeavesTheBodysErrorToTheCaller: a body that can't be read is not the
// store's failure, and repeating it forever would hide it.
func TestRetryLeavesTheBodysErrorToTheCaller(t *testing.T) {
	errBody := errors.New("the log was restarted")
	for name, body := range map[string]store.Body{
		"open": func() (io.ReadCloser, error) { return nil, errBody },
		"read": func() (io.ReadCloser, error) { return io.NopCloser(&failingReader{errBody}), nil },
	} {
		r := newRetried(t)
		if err := r.Create(t.Context(), "a", body); !errors.Is(err, errBody) || len(r.failures) != 0 {
			t.Errorf("%s: error %v, %d failures; want the body's error at once", name, err, len(r.failures))
		}
	}
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }

// TestRetryOfLostAck documents what the caller of Create has to expect.
func TestRetryOfLostAck(t *testing.T) {
	r := newRetried(t, faultstore.When(faultstore.OnIndex(0), faultstore.LostAck(errDown)))
	if err := r.Create(t.Context(), "a", store.BytesBody([]byte("mine"))); !errors.Is(err, store.ErrExist) {
		t.Errorf("error %v; want ErrExist of its own first attempt", err)
	}
	if got := readAll(t, r, "a"); string(got) != "mine" {
		t.Errorf("read back %q", got)
	}
}

func readAll(t *testing.T, s store.Store, name string) []byte {
	t.Helper()
	r, err := s.Read(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRetryReaderGoesOn: each connection breaks after 1,000 bytes, so a reader
// opens again where it stood, and the waits do not grow because each brought something.
func TestRetryReaderGoesOn(t *testing.T) {
	r := newRetried(t, faultstore.When(faultstore.OnOp(store.OpRead), faultstore.CutShort(1000)))
	content := bytes.Repeat([]byte("0123456789"), 1000)
	if err := r.behind.Create(t.Context(), "a", store.BytesBody(content)); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, r, "a"); !bytes.Equal(got, content) {
		t.Errorf("%d bytes; want the %d written", len(got), len(content))
	}
	for _, d := range r.clock.slept {
		if d != 75*time.Millisecond {
			t.Errorf("waited %s; want the first wait each time", d)
		}
	}
	reads := 0
	for _, c := range r.faults.Calls() {
		if c.Op == store.OpRead {
			reads++
		}
	}
	if reads != 10 {
		t.Errorf("%d reads of 1,000 bytes for 10,000", reads)
	}
}

// brokenEnd is a store whose first reader brings all there is, and then breaks.
type brokenEnd struct {
	store.Store
	reads int
}

func (b *brokenEnd) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := b.Store.Read(ctx, name, off, n)
	if b.reads++; err != nil || b.reads > 1 {
		return r, err
	}
	all, err := io.ReadAll(r)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader(all), iotest.ErrReader(io.ErrUnexpectedEOF))), r.Close()
}

// A connection that breaks exactly at the end of an object, when all of it has come, and says so instead of io.EOF: who reads to the
// end gets the end. Who asked for more bytes than there are is told that they are missing.
func TestRetryReaderBreaksAtTheEnd(t *testing.T) {
	const content = "0123456789"
	for _, c := range []struct {
		name string
		n    int64
		want error
	}{
		{"to the end", -1, nil},
		{"as many as there are", int64(len(content)), nil},
		{"more than there are", int64(len(content)) + 1, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRetried(t)
			r.Store = store.Retry(&brokenEnd{Store: r.behind}, store.RetryPolicy{Clock: r.clock})
			if err := r.behind.Create(t.Context(), "a", store.BytesBody([]byte(content))); err != nil {
				t.Fatal(err)
			}
			rc, err := r.Read(t.Context(), "a", 0, c.n)
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			if b, err := io.ReadAll(rc); string(b) != content || !errors.Is(err, c.want) {
				t.Errorf("%q, error %v; want all of it, and %v", b, err, c.want)
			}
		})
	}
}

// TestRetryBelievesAShortObject: the object really ends early, so no repetition.
func TestRetryBelievesAShortObject(t *testing.T) {
	r := newRetried(t)
	if err := r.behind.Create(t.Context(), "a", store.BytesBody([]byte("0123456789"))); err != nil {
		t.Fatal(err)
	}
	rc, err := r.Read(t.Context(), "a", 5, 10)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rc)
	if string(b) != "56789" || !errors.Is(err, io.ErrUnexpectedEOF) || len(r.clock.slept) != 0 {
		t.Errorf("%q, error %v, %d waits", b, err, len(r.clock.slept))
	}
	if err := rc.Close(); err != nil {
		t.Error(err)
	}
	if _, err := rc.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after close: %v; want an error", err)
	}
	if err := rc.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}

// TestRetryListGoesOn: each listing breaks after two names, and nothing is missed or doubled.
func TestRetryListGoesOn(t *testing.T) {
	r := newRetried(t, faultstore.When(faultstore.OnOp(store.OpList), faultstore.CutShort(2)))
	var want, got []string
	for i := range 9 {
		want = append(want, fmt.Sprintf("n%d", i))
		if err := r.behind.Create(t.Context(), want[i], store.BytesBody(nil)); err != nil {
			t.Fatal(err)
		}
	}
	for o, err := range r.List(t.Context(), "n", "n0") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, o.Name)
	}
	if !slices.Equal(got, want[1:]) {
		t.Errorf("list: %q; want %q", got, want[1:])
	}
}

func TestPermanent(t *testing.T) {
	if store.Permanent(nil) != nil {
		t.Error("Permanent(nil) is not nil")
	}
	base := errors.New("denied")
	err := fmt.Errorf("create: %w", store.Permanent(store.Permanent(base)))
	if !store.IsPermanent(err) || !errors.Is(err, base) || err.Error() != "create: denied" {
		t.Errorf("%q: permanent %v, is base %v", err, store.IsPermanent(err), errors.Is(err, base))
	}
	if store.IsPermanent(base) || store.IsPermanent(nil) {
		t.Error("permanent without a mark")
	}
}
