package restore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faulty returns a model with a snapshot of several ranges' worth of blocks, many
// small segments, and one that is read as it is decoded.
func faulty(t testing.TB) *model {
	m := newModel(t, 31, 4096)
	big := make([]byte, 400*4096)
	m.scribble(big, true)
	copy(big, sqliteMagic+"\x10\x00")
	m.log(m.commitState(1, big))
	tx := m.commit(1)
	m.log(tx)
	m.snapshot(tx)
	m.commits(60)
	return m
}

// TestStoreFails: whatever call fails, the error says so, and nothing is left
// behind. With Retry around the same store the restore succeeds.
func TestStoreFails(t *testing.T) {
	m := faulty(t)
	refused := errors.New("connection refused")
	table := []struct {
		name string
		when faultstore.Predicate
		what faultstore.Effect
		is   error // nil: any
	}{
		{"replica.json", faultstore.NameMatch("replica.json"), faultstore.Fail(refused), refused},
		{"timeline.json", faultstore.NameMatch("*/timeline.json"), faultstore.Fail(refused), refused},
		{"every list", faultstore.OnOp(store.OpList), faultstore.Fail(refused), refused},
		{"second list", faultstore.And(faultstore.OnOp(store.OpList), faultstore.OnIndex(1)), faultstore.Fail(refused), refused},
		{"snapshot", faultstore.NameMatch("*/snapshot/*"), faultstore.Fail(refused), refused},
		{"snapshot, third read", faultstore.And(faultstore.NameMatch("*/snapshot/*"), faultstore.OnIndex(2)), faultstore.Fail(refused), refused},
		{"snapshot broken off", faultstore.NameMatch("*/snapshot/*"), faultstore.CutShort(100), nil},
		{"a segment", faultstore.NameMatch(segment.LogName(1, 20)), faultstore.Fail(refused), refused},
		{"a segment broken off", faultstore.NameMatch(segment.LogName(1, 20)), faultstore.CutShort(100), nil},
		{"the last segment", faultstore.NameMatch(segment.LogName(1, 62)), faultstore.Fail(refused), refused},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			o := Options{Output: filepath.Join(dir, "app.db")}
			r, err := Run(context.Background(), faultstore.Wrap(m.store, faultstore.Options{}, faultstore.When(c.when, c.what)), o)
			var object *ObjectError
			if err == nil || c.is != nil && !errors.Is(err, c.is) || errors.As(err, &object) {
				t.Fatalf("error %v, want the store's; %+v", err, r)
			}
			checkFolder(t, dir)
		})
	}
}

// TestRetryMendsFaults: any tenth call fails or breaks off.
func TestRetryMendsFaults(t *testing.T) {
	m := faulty(t)
	for seed := range uint64(10) {
		refused := errors.New("connection refused")
		s := store.Retry(faultstore.Wrap(m.store, faultstore.Options{},
			faultstore.When(faultstore.Randomly(0.1, seed), faultstore.Fail(refused)),
			faultstore.When(faultstore.Randomly(0.1, seed+100), faultstore.CutShort(1000)),
		), store.RetryPolicy{Clock: instantly{}})
		path := filepath.Join(t.TempDir(), "app.db")
		if _, err := Run(context.Background(), s, Options{Output: path}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		checkState(t, path, m.state)
	}
}

// instantly is a clock whose waits are over at once.
type instantly struct{ store.SystemClock }

func (instantly) Sleep(ctx context.Context, _ time.Duration) error { return ctx.Err() }

// TestCancel ends the context at every stage: nothing is left, the old file
// stays, and no goroutine is left (TestMain looks).
func TestCancel(t *testing.T) {
	m := faulty(t)
	for _, name := range []string{"replica.json", "*/timeline.json", "*/snapshot/*", segment.LogName(1, 3), segment.LogName(1, 40), segment.LogName(1, 62)} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			dir := files(t, map[string]string{"app.db": "old"})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			there := &arrival{Predicate: faultstore.NameMatch(name), met: make(chan struct{})}
			s := faultstore.Wrap(m.store, faultstore.Options{}, faultstore.When(there, faultstore.Hang()))
			result := make(chan error, 1)
			go func() {
				_, err := Run(ctx, s, Options{Output: filepath.Join(dir, "app.db"), Force: true})
				result <- err
			}()
			<-there.met
			cancel()
			if err := <-result; !errors.Is(err, context.Canceled) {
				t.Errorf("error %v, want context.Canceled", err)
			}
			checkFiles(t, dir, map[string]string{"app.db": "old"})
		})
	}
}

// arrival tells when its predicate first matches.
type arrival struct {
	faultstore.Predicate
	once sync.Once
	met  chan struct{}
}

func (a *arrival) Match(c faultstore.Call) bool {
	ok := a.Predicate.Match(c)
	if ok {
		a.once.Do(func() { close(a.met) })
	}
	return ok
}

func TestProgress(t *testing.T) {
	m := faulty(t)
	var last, total int64
	calls := 0
	tell := func(done, all int64) {
		if done < last || done > all || total != 0 && all != total {
			t.Errorf("progress went from %d of %d to %d of %d", last, total, done, all)
		}
		last, total = done, all
		calls++
	}
	path := filepath.Join(t.TempDir(), "app.db")
	r, err := Run(context.Background(), m.store, Options{Output: path, Progress: tell})
	if err != nil {
		t.Fatal(err)
	}
	if total != r.Fetched || calls < 60 || last < total*9/10 {
		t.Errorf("%d calls up to %d of %d, want about %d", calls, last, total, r.Fetched)
	}
}

// TestFullCheckReadsBack: what the disk gives back is not what was written.
func TestFullCheckReadsBack(t *testing.T) {
	m := small(t)
	h, err := openHistory(context.Background(), m.store, 0)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPlan(context.Background(), m.store, 0, Newest())
	if err != nil {
		t.Fatal(err)
	}
	for page := range len(m.state) / m.pageSize {
		f, err := os.Create(filepath.Join(t.TempDir(), "app.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := newBuilder(m.store, h.replica, p.PageSize, f, CheckFull, newProgress(0, nil))
		if err := b.build(context.Background(), p.Steps); err != nil {
			t.Fatal(err)
		}
		if err := b.finish(context.Background(), CheckFull); err != nil {
			t.Fatal(err)
		}
		at := int64(page*m.pageSize + 100)
		if _, err := f.WriteAt([]byte{^m.state[at]}, at); err != nil {
			t.Fatal(err)
		}
		if err := b.finish(context.Background(), CheckFull); err == nil {
			t.Errorf("page %d: damage not found", page+1)
		}
		if err := b.finish(context.Background(), CheckQuick); err != nil {
			t.Errorf("quick read the file back: %v", err)
		}
	}
}

// TestOneRequestAtATime restores large and small segments through a budget of one request: none that is open keeps one in front of it
// from the store.
func TestOneRequestAtATime(t *testing.T) {
	m := newModel(t, 61, 4096)
	m.snapshot(m.commits(1)[0])
	for i := range 12 {
		if i%3 == 2 {
			m.commits(1)
			continue
		}
		state := make([]byte, 2<<20) // several times what is read ahead of a segment
		m.scribble(state, true)
		m.log(m.commitState(1, state))
	}
	for _, n := range []int{1, 2} {
		b, err := store.NewBudget(store.Limits{Concurrent: n})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		path := filepath.Join(t.TempDir(), "app.db")
		if _, err := Run(ctx, store.Limit(m.store, b), Options{Output: path}); err != nil {
			t.Fatalf("with %d at a time: %v", n, err)
		}
		checkState(t, path, m.state)
	}
}
