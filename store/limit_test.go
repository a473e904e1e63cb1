package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"seawal/store"
	"seawal/store/faultstore"
	"seawal/store/storetest"
)

func newBudget(t *testing.T, l store.Limits) *store.Budget {
	t.Helper()
	b, err := store.NewBudget(l)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLimitBytes(t *testing.T) {
	clock := new(fakeClock)
	b := newBudget(t, store.Limits{BytesPerSecond: 1 << 20, Clock: clock})
	// Two stores share one budget: the first second's worth is free.
	one, two := store.Limit(storetest.NewMemory(), b), store.Limit(storetest.NewMemory(), b)
	body := store.BytesBody(bytes.Repeat([]byte("x"), 4<<20))
	start := clock.Now()
	if err := one.Create(t.Context(), "a", body); err != nil {
		t.Fatal(err)
	}
	wantAbout(t, "4 MiB out", clock.Now().Sub(start), 3*time.Second)
	start = clock.Now()
	if err := two.Create(t.Context(), "a", body); err != nil {
		t.Fatal(err)
	}
	wantAbout(t, "4 MiB more", clock.Now().Sub(start), 4*time.Second)
	start = clock.Now()
	if got := readAll(t, one, "a"); len(got) != 4<<20 {
		t.Errorf("read %d bytes", len(got))
	}
	wantAbout(t, "4 MiB in", clock.Now().Sub(start), 4*time.Second)
}

func wantAbout(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if math.Abs(float64(got-want)) > float64(10*time.Millisecond) {
		t.Errorf("%s took %s; want %s", what, got, want)
	}
}

func TestLimitRequests(t *testing.T) {
	clock := new(fakeClock)
	s := store.Limit(storetest.NewMemory(), newBudget(t, store.Limits{RequestsPerSecond: 10, Clock: clock}))
	start := clock.Now()
	for range 110 {
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
	}
	wantAbout(t, "110 requests", clock.Now().Sub(start), 10*time.Second)
	// Idle time saves up one second's worth and no more.
	clock.Sleep(t.Context(), time.Hour)
	start = clock.Now()
	for range 20 {
		s.Stat(t.Context(), "a")
	}
	wantAbout(t, "20 requests after an hour", clock.Now().Sub(start), time.Second)
}

func TestLimitEndsWithTheContext(t *testing.T) {
	clock := new(fakeClock)
	s := store.Limit(storetest.NewMemory(), newBudget(t, store.Limits{RequestsPerSecond: 0.001, Clock: clock}))
	ctx, cancel := context.WithCancel(t.Context())
	clock.onSleep = func(int) { cancel() }
	var err error
	for i := 0; err == nil && i < 10; i++ {
		err = s.Delete(ctx, "a")
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v; want context.Canceled", err)
	}
}

func TestLimitConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := storetest.NewMemory()
		if err := m.Create(t.Context(), "a", store.BytesBody([]byte("x"))); err != nil {
			t.Fatal(err)
		}
		slow := faultstore.Wrap(m, faultstore.Options{}, faultstore.When(faultstore.OnOp(store.OpStat), faultstore.Slow(time.Minute)))
		s := store.Limit(slow, newBudget(t, store.Limits{Concurrent: 3}))
		start := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := s.Stat(t.Context(), "a"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		wantAbout(t, "10 requests of a minute, 3 at once", time.Since(start), 4*time.Minute)

		// A reader holds its slot to its end, or to Close, once.
		var open []io.ReadCloser
		for range 3 {
			r, err := s.Read(t.Context(), "a", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, r)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Stat(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a fourth request: %v; want it to wait", err)
		}
		if _, err := io.ReadAll(open[0]); err != nil {
			t.Error(err)
		}
		for _, r := range append(open, open...) {
			r.Close()
		}
		for range 5 {
			if _, err := s.Read(t.Context(), "absent", 0, -1); !errors.Is(err, store.ErrNotExist) {
				t.Errorf("read of an absent object: %v", err)
			}
		}
		if _, err := s.Stat(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	})
}

// Each verb takes a slot for as long as it lasts: an upload that is slow counts all the while. A listing holds none while its caller makes
// other requests, which could wait for it.
func TestLimitConcurrentOfEveryVerb(t *testing.T) {
	for _, op := range []store.Op{store.OpCreate, store.OpRead, store.OpStat, store.OpDelete} {
		t.Run(op.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := faultstore.Wrap(storetest.NewMemory(), faultstore.Options{}, faultstore.When(faultstore.OnOp(op), faultstore.Slow(time.Minute)))
				s := store.Limit(slow, newBudget(t, store.Limits{Concurrent: 3}))
				start := time.Now()
				var wg sync.WaitGroup
				for i := range 10 {
					wg.Go(func() {
						name := fmt.Sprintf("a%d", i)
						switch op {
						case store.OpCreate:
							s.Create(t.Context(), name, store.BytesBody([]byte("x")))
						case store.OpRead:
							s.Read(t.Context(), name, 0, -1) // of an object that isn't there
						case store.OpStat:
							s.Stat(t.Context(), name)
						case store.OpDelete:
							s.Delete(t.Context(), name)
						}
					})
				}
				wg.Wait()
				wantAbout(t, "10 requests of a minute, 3 at once", time.Since(start), 4*time.Minute)
			})
		})
	}
}

func TestNewBudgetRefusesNegatives(t *testing.T) {
	for _, l := range []store.Limits{{BytesPerSecond: -1}, {RequestsPerSecond: -1}, {Concurrent: -1}} {
		if _, err := store.NewBudget(l); err == nil {
			t.Errorf("%+v: no error", l)
		}
	}
}

func TestCounts(t *testing.T) {
	var c store.Counts
	m := storetest.NewMemory()
	faults := faultstore.Wrap(m, faultstore.Options{})
	s := store.Count(faults, &c)
	body := store.BytesBody(make([]byte, 1000))
	for range 2 {
		s.Create(t.Context(), "a", body) // the second meets ErrExist, an answer
	}
	readAll(t, s, "a")
	s.Stat(t.Context(), "absent")
	faults.SetRules(faultstore.When(faultstore.OnOp(store.OpStat, store.OpDelete, store.OpList), faultstore.Fail(errDown)),
		faultstore.When(faultstore.OnOp(store.OpRead), faultstore.CutShort(10)))
	s.Stat(t.Context(), "a")
	s.Delete(t.Context(), "a")
	for range s.List(t.Context(), "", "") {
	}
	if r, err := s.Read(t.Context(), "a", 0, -1); err == nil {
		io.ReadAll(r)
		r.Read(make([]byte, 1))
		r.Close()
	}
	got := c.Usage()
	want := store.Usage{
		Create: store.OpUsage{Requests: 2, Bytes: 2000},
		Read:   store.OpUsage{Requests: 2, Errors: 1, Bytes: 1010},
		Stat:   store.OpUsage{Requests: 2, Errors: 1},
		List:   store.OpUsage{Requests: 1, Errors: 1},
		Delete: store.OpUsage{Requests: 1, Errors: 1},
	}
	if got != want {
		t.Errorf("usage %+v\nwant  %+v", got, want)
	}
}

// TestStackOrder: every attempt of a call is counted and pays, and a call that
// waits to be repeated holds no slot.
func TestStackOrder(t *testing.T) {
	var c store.Counts
	clock := new(fakeClock)
	faults := faultstore.Wrap(storetest.NewMemory(), faultstore.Options{}, faultstore.When(faultstore.Between(0, 4), faultstore.Fail(errDown)))
	o := store.StackOptions{
		Budget: newBudget(t, store.Limits{Concurrent: 1, Clock: clock}),
		Counts: &c,
		Retry:  store.RetryPolicy{Clock: clock},
	}
	s := store.Stack(faults, o)
	other := store.Limit(storetest.NewMemory(), o.Budget)
	clock.onSleep = func(int) {
		if err := other.Delete(t.Context(), "x"); err != nil { // would wait forever for the only slot
			t.Error(err)
		}
	}
	if err := s.Create(t.Context(), "a", store.BytesBody(nil)); err != nil {
		t.Fatal(err)
	}
	if got := c.Usage().Create; got != (store.OpUsage{Requests: 5, Errors: 4}) {
		t.Errorf("counted %+v; want 5 attempts, 4 failed", got)
	}
}
