package faultstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"seawal/store"
	"seawal/store/faultstore"
	"seawal/store/storetest"
)

var errDown = errors.New("connection refused")

func TestWithoutFaultsItIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store {
		return faultstore.Wrap(storetest.NewMemory(), faultstore.Options{}, faultstore.When(faultstore.Always(), faultstore.Pass()))
	})
}

// newStore is a store that holds "one" and "two", without faults yet, and the store behind it.
func newStore(t *testing.T) (*faultstore.Store, store.Store) {
	t.Helper()
	m := storetest.NewMemory()
	for _, name := range []string{"one", "two"} {
		if err := m.Create(t.Context(), name, store.BytesBody([]byte("content of "+name))); err != nil {
			t.Fatal(err)
		}
	}
	return faultstore.Wrap(m, faultstore.Options{}), m
}

// do makes one call of each class and returns what came of it: "ok", what was
// read or listed, and the error.
func do(ctx context.Context, s store.Store, op store.Op) (got string, err error) {
	switch op {
	case store.OpCreate:
		return "", s.Create(ctx, "new", store.BytesBody([]byte("0123456789")))
	case store.OpRead:
		r, err := s.Read(ctx, "one", 0, -1)
		if err != nil {
			return "", err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		return string(b), err
	case store.OpStat:
		o, err := s.Stat(ctx, "one")
		return o.Name, err
	case store.OpList:
		for o, lerr := range s.List(ctx, "", "") {
			got, err = got+o.Name, lerr
		}
		return got, err
	}
	return "", s.Delete(ctx, "one")
}

func TestEffects(t *testing.T) {
	const created, deleted = "new", "one"
	for _, tt := range []struct {
		effect  string
		e       faultstore.Effect
		op      store.Op
		got     string
		err     error
		applied bool // a Create or Delete took place
	}{
		{"pass", faultstore.Pass(), store.OpCreate, "", nil, true},
		{"pass", faultstore.Pass(), store.OpRead, "content of one", nil, false},
		{"fail", faultstore.Fail(errDown), store.OpCreate, "", errDown, false},
		{"fail", faultstore.Fail(errDown), store.OpRead, "", errDown, false},
		{"fail", faultstore.Fail(errDown), store.OpStat, "", errDown, false},
		{"fail", faultstore.Fail(errDown), store.OpList, "", errDown, false},
		{"fail", faultstore.Fail(errDown), store.OpDelete, "", errDown, false},
		{"cut 4", faultstore.CutShort(4), store.OpCreate, "", io.ErrUnexpectedEOF, false},
		{"cut 0", faultstore.CutShort(0), store.OpCreate, "", io.ErrUnexpectedEOF, false},
		{"cut 9", faultstore.CutShort(9), store.OpCreate, "", io.ErrUnexpectedEOF, false},
		{"cut 10", faultstore.CutShort(10), store.OpCreate, "", nil, true},
		{"cut 4", faultstore.CutShort(4), store.OpRead, "cont", io.ErrUnexpectedEOF, false},
		{"cut 0", faultstore.CutShort(0), store.OpRead, "", io.ErrUnexpectedEOF, false},
		{"cut 99", faultstore.CutShort(99), store.OpRead, "content of one", nil, false},
		{"cut 1", faultstore.CutShort(1), store.OpList, "one", io.ErrUnexpectedEOF, false},
		{"cut 2", faultstore.CutShort(2), store.OpList, "onetwo", nil, false},
		{"cut 1", faultstore.CutShort(1), store.OpStat, "", io.ErrUnexpectedEOF, false},
		{"cut 1", faultstore.CutShort(1), store.OpDelete, "", io.ErrUnexpectedEOF, false},
		{"lost ack", faultstore.LostAck(errDown), store.OpCreate, "", errDown, true},
		{"lost ack", faultstore.LostAck(errDown), store.OpRead, "content of one", errDown, false},
		{"lost ack", faultstore.LostAck(errDown), store.OpStat, "", errDown, false},
		{"lost ack", faultstore.LostAck(errDown), store.OpList, "onetwo", errDown, false},
		{"lost ack", faultstore.LostAck(errDown), store.OpDelete, "", errDown, true},
		{"late", faultstore.Late(errDown), store.OpCreate, "", errDown, false},
		{"late", faultstore.Late(errDown), store.OpRead, "", errDown, false},
		{"late", faultstore.Late(errDown), store.OpStat, "", errDown, false},
		{"late", faultstore.Late(errDown), store.OpList, "", errDown, false},
		{"late", faultstore.Late(errDown), store.OpDelete, "", errDown, false},
	} {
		t.Run(fmt.Sprintf("%s/%s", tt.effect, tt.op), func(t *testing.T) {
			s, behind := newStore(t)
			s.SetRules(faultstore.When(faultstore.Always(), tt.e))
			got, err := do(t.Context(), s, tt.op)
			if got != tt.got || !errors.Is(err, tt.err) {
				t.Errorf("%q, error %v; want %q, %v", got, err, tt.got, tt.err)
			}
			_, newErr := behind.Stat(t.Context(), created)
			_, oneErr := behind.Stat(t.Context(), deleted)
			if applied := newErr == nil || oneErr != nil; applied != tt.applied {
				t.Errorf("applied: %v; want %v", applied, tt.applied)
			}
		})
	}
}

func TestLateIsDelivered(t *testing.T) {
	s, behind := newStore(t)
	s.SetRules(faultstore.When(faultstore.Always(), faultstore.Late(errDown)))
	for _, op := range []store.Op{store.OpCreate, store.OpDelete, store.OpCreate} {
		if _, err := do(t.Context(), s, op); !errors.Is(err, errDown) {
			t.Errorf("%s: %v; want %v", op, err, errDown)
		}
	}
	answers := s.Deliver(t.Context())
	if len(answers) != 3 || answers[0] != nil || answers[1] != nil || !errors.Is(answers[2], store.ErrExist) {
		t.Errorf("delivered: %v; want nil, nil, ErrExist", answers)
	}
	if o, err := behind.Stat(t.Context(), "new"); err != nil || o.Size != 10 {
		t.Errorf("new: %+v, error %v", o, err)
	}
	if again := s.Deliver(t.Context()); len(again) != 0 {
		t.Errorf("delivered twice: %v", again)
	}
}

func TestHangEndsWithTheContext(t *testing.T) {
	for op := store.OpCreate; op <= store.OpDelete; op++ {
		synctest.Test(t, func(t *testing.T) {
			s, _ := newStore(t)
			s.SetRules(faultstore.When(faultstore.Always(), faultstore.Hang()))
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			start := time.Now()
			if _, err := do(ctx, s, op); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v; want context.DeadlineExceeded", op, err)
			}
			if took := time.Since(start); took != time.Hour {
				t.Errorf("%s hung for %s; want 1h", op, took)
			}
		})
	}
}

func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newStore(t)
		s.SetRules(faultstore.When(faultstore.OnOp(store.OpStat), faultstore.Slow(time.Minute)))
		start := time.Now()
		if got, err := do(t.Context(), s, store.OpStat); got != "one" || err != nil || time.Since(start) != time.Minute {
			t.Errorf("%q, error %v, after %s; want it after 1m", got, err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := do(ctx, s, store.OpStat); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("slower than its deadline: %v", err)
		}
	})
}

func TestPredicates(t *testing.T) {
	even := func() faultstore.Predicate {
		n := 0
		return faultstore.PredicateFunc(func(faultstore.Call) bool { n++; return n%2 == 1 })
	}
	calls := []faultstore.Call{
		{Op: store.OpCreate, Name: "1/log/a"}, {Op: store.OpCreate, Name: "1/log/b"}, {Op: store.OpRead, Name: "1/log/a"},
		{Op: store.OpList, Name: "1/log/"}, {Op: store.OpCreate, Name: "2/log/c"}, {Op: store.OpCreate, Name: "1/timeline.json"},
	}
	creates := faultstore.OnOp(store.OpCreate)
	on := new(faultstore.Toggle)
	on.On()
	for _, tt := range []struct {
		name string
		p    faultstore.Predicate
		want string // one digit a call
	}{
		{"Always", faultstore.Always(), "111111"},
		{"OnOp", creates, "110011"},
		{"OnOp of two", faultstore.OnOp(store.OpRead, store.OpList), "001100"},
		{"OnIndex", faultstore.OnIndex(2), "001000"},
		{"Between", faultstore.Between(1, 3), "011000"},
		{"OnIndex among creates", faultstore.And(creates, faultstore.OnIndex(2)), "000010"},
		{"NameMatch", faultstore.NameMatch("*/log/*"), "111110"},
		{"NameMatch exact", faultstore.NameMatch("1/timeline.json"), "000001"},
		{"Not", faultstore.Not(creates), "001100"},
		{"Or", faultstore.Or(faultstore.OnOp(store.OpRead), faultstore.NameMatch("2/*/*")), "001010"},
		{"And asks no further", faultstore.And(creates, even()), "100010"},
		{"Toggle on", on, "111111"},
		{"Toggle off", new(faultstore.Toggle), "000000"},
		{"Counter of nothing", new(faultstore.Counter), "000000"},
		{"Randomly never", faultstore.Randomly(0, 1), "000000"},
		{"Randomly always", faultstore.Randomly(1, 1), "111111"},
	} {
		c := &faultstore.Counter{P: tt.p}
		got, n := "", 0
		for _, call := range calls {
			if c.Match(call) {
				got, n = got+"1", n+1
			} else {
				got += "0"
			}
		}
		if got != tt.want || c.Count() != n {
			t.Errorf("%s: %s, counted %d; want %s", tt.name, got, c.Count(), tt.want)
		}
	}
}

func TestRandomlyRepeatsWithItsSeed(t *testing.T) {
	run := func(seed uint64) (hits []bool) {
		p := faultstore.Randomly(0.3, seed)
		for range 1000 {
			hits = append(hits, p.Match(faultstore.Call{}))
		}
		return hits
	}
	a, b, c := run(1), run(1), run(2)
	if !slices.Equal(a, b) || slices.Equal(a, c) {
		t.Errorf("same seed, same hits: %v; other seed, same hits: %v", slices.Equal(a, b), slices.Equal(a, c))
	}
	n := 0
	for _, hit := range a {
		if hit {
			n++
		}
	}
	if n < 230 || n > 370 {
		t.Errorf("%d of 1000 hit; want about 300", n)
	}
}

func TestFirstRuleWinsAndCallsAreRecorded(t *testing.T) {
	s, _ := newStore(t)
	outage := new(faultstore.Toggle)
	other := errors.New("other")
	s.SetRules(faultstore.When(outage, faultstore.Fail(errDown)), faultstore.When(faultstore.OnOp(store.OpStat), faultstore.Fail(other)))
	_, before := s.Stat(t.Context(), "one")
	outage.On()
	_, during := s.Stat(t.Context(), "one")
	outage.Off()
	after := s.Delete(t.Context(), "two")
	if !errors.Is(before, other) || !errors.Is(during, errDown) || after != nil {
		t.Errorf("before %v, during %v, after %v", before, during, after)
	}
	if want := "stat one: connection refused"; during.Error() != want {
		t.Errorf("error %q; want %q", during, want)
	}
	want := []faultstore.Call{{Op: store.OpStat, Name: "one"}, {Op: store.OpStat, Name: "one"}, {Op: store.OpDelete, Name: "two"}}
	if got := s.Calls(); !slices.Equal(got, want) {
		t.Errorf("calls: %v; want %v", got, want)
	}
}

// Example scripts an outage and a lost acknowledgement.
func Example() {
	ctx := context.Background()
	errRefused := errors.New("connection refused")
	outage := new(faultstore.Toggle)
	s := faultstore.Wrap(storetest.NewMemory(), faultstore.Options{},
		faultstore.When(outage, faultstore.Fail(errRefused)),
		faultstore.When(faultstore.And(faultstore.OnOp(store.OpCreate), faultstore.OnIndex(0)), faultstore.LostAck(errRefused)),
	)
	body := store.BytesBody([]byte("x"))
	fmt.Println(s.Create(ctx, "a", body))
	fmt.Println(s.Create(ctx, "a", body))
	outage.On()
	fmt.Println(s.Create(ctx, "b", body))
	// Output:
	// create a: connection refused
	// create a: object exists already
	// create b: connection refused
}
