package restore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"seawal/internal/segment"
	"seawal/store"
)

// stretchOf is a log segment of a test.
type stretchOf struct {
	name        string
	first, last uint64
}

// segments commits n transactions and writes them as log segments of random lengths.
func segments(m *model, rng *rand.Rand, n int) (all []stretchOf) {
	for n > 0 {
		var txs []*modelTx
		for range min(n, 1+rng.IntN(5)) {
			txs = append(txs, m.commit(1))
		}
		n -= len(txs)
		all = append(all, stretchOf{m.log(txs...), txs[0].Number, txs[len(txs)-1].Number})
	}
	return all
}

// TestMissingSegment takes one log segment out of a replica. Names don't tell that something is missing, only where
// segments begin; all the same a plan, a restore and a listing name it, and what still restores, and go around it
// where there is a way.
func TestMissingSegment(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			m := newModel(t, seed, 512)
			logs := segments(m, rng, 24)
			fork := uint64(0)
			if seed%3 == 2 { // the history goes on elsewhere; of the parent the rest is of no interest
				fork = 12 + rng.Uint64N(8)
				m.fork(1, fork)
				logs = append(logs, segments(m, rng, 10)...)
			}
			timelineOf := func(tx uint64) uint32 {
				if fork > 0 && tx > fork {
					return 2
				}
				return 1
			}
			newest := m.last
			snapshot := uint64(0) // behind the gap, by chance
			var gone stretchOf
			for gone.name == "" {
				g := logs[1+rng.IntN(len(logs)-2)]
				if n := mustParse(t, g.name); n.Timeline == timelineOf(g.first) && g.last < newest {
					gone = g
					if n.Timeline == 1 && fork > 0 {
						gone.last = min(g.last, fork)
					}
				}
			}
			if rng.IntN(2) == 0 {
				snapshot = gone.last + rng.Uint64N(newest-gone.last+1)
				m.snapshot(m.at(Pos{Timeline: timelineOf(snapshot), Tx: snapshot}))
			}
			m.damage(gone.name, remove)
			for tx := uint64(1); tx <= newest; tx++ {
				restores := tx < gone.first || snapshot > 0 && tx >= snapshot
				target := AtTx(tx)
				if tx == newest && seed%2 == 0 {
					target = Newest()
				}
				path, _, runErr := restoreTo(t, m, Options{Target: target})
				_, planErr := NewPlan(context.Background(), m.store, 0, target)
				if restores {
					if runErr != nil || planErr != nil {
						t.Fatalf("transaction %d: %v; %v", tx, runErr, planErr)
					}
					checkState(t, path, m.at(Pos{Timeline: timelineOf(tx), Tx: tx}).state)
					continue
				}
				for _, err := range []error{runErr, planErr} {
					var e *ObjectError
					if !errors.As(err, &e) || !errors.Is(err, ErrMissing) || e.Object != gone.name || e.Newest == nil || e.Newest.Pos.Tx != gone.first-1 {
						t.Fatalf("transaction %d: %v, want an error that names %s and %d", tx, err, gone.name, gone.first-1)
					}
				}
			}
			l, err := List(context.Background(), m.store, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := Span{First: gone.first, Last: newest}
			if snapshot > 0 {
				want.Last = snapshot - 1
			}
			if want.Last >= want.First != (len(l.Gaps) == 1) || len(l.Gaps) == 1 && (l.Gaps[0].First != want.First || l.Gaps[0].Last != want.Last) {
				t.Errorf("gaps %+v, want %+v", l.Gaps, want)
			}
			checkListing(t, m, l)
		})
	}
}

// TestMomentInFrontOfWhatIsMissing: of a moment behind the last transaction in front of a gap nobody knows whether it
// lies in the gap.
func TestMomentInFrontOfWhatIsMissing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	m := newModel(t, 4, 512)
	logs := segments(m, rng, 40)
	for _, gone := range logs[1 : len(logs)-1] {
		kept := m.object(gone.name)
		m.damage(gone.name, remove)
		for n := gone.first - 1; n <= gone.last; n++ {
			_, err := NewPlan(context.Background(), m.store, 0, AtTime(unixTime(unixNano(int64(n)))))
			var e *ObjectError
			if !errors.As(err, &e) || e.Object != gone.name || e.Newest == nil || e.Newest.Pos.Tx != gone.first-1 {
				t.Errorf("transaction %d without %s: %v", n, gone.name, err)
			}
		}
		for _, n := range []uint64{gone.first - 2, gone.last + 1} {
			p, err := NewPlan(context.Background(), m.store, 0, AtTime(unixTime(unixNano(int64(n)))))
			if n > 0 && n < gone.first && (err != nil || p.Target.Pos.Tx != n) || n > gone.last && !errors.Is(err, ErrMissing) {
				t.Errorf("transaction %d without %s: %+v, %v", n, gone.name, p, err)
			}
		}
		m.put(gone.name, kept)
	}
}

// TestGapIsMetOnTheWay: a restore doesn't read footers to find a gap. It meets it, and then makes another plan.
func TestGapIsMetOnTheWay(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 2))
	m := newModel(t, 5, 512)
	var txs []*modelTx
	for range 30 {
		txs = append(txs, m.commit(1))
	}
	for i := 0; i < 30; i += 3 {
		m.log(txs[i : i+3]...)
	}
	around := m.merge(1, txs[9:18]...) // 10 to 18
	m.damage(segment.LogName(1, 13), remove)
	var counts store.Counts
	out := filepath.Join(t.TempDir(), "app.db")
	r, err := Run(context.Background(), store.Count(m.store, &counts), Options{Output: out, Target: AtTx(30)})
	if err != nil {
		t.Fatal(err)
	}
	checkState(t, out, m.state)
	if u := counts.Usage(); r.Objects != 8 || u.Read.Requests > 3*10 {
		t.Errorf("%d objects, %+v", r.Objects, u)
	}
	m.damage(around, remove)
	_, _, err = restoreTo(t, m, Options{Target: AtTx(uint64(14 + rng.IntN(16)))})
	var e *ObjectError
	if !errors.As(err, &e) || e.Object != segment.LogName(1, 13) || e.Newest.Pos.Tx != 12 {
		t.Error(err)
	}
}

// TestOverlap: two segments never hold one transaction. Where they seem to, the one in front is none of this log, and
// says so rather than lead on.
func TestOverlap(t *testing.T) {
	m := newModel(t, 6, 512)
	var txs []*modelTx
	for range 9 {
		txs = append(txs, m.commit(1))
	}
	m.log(txs[:3]...)
	long := m.log(txs[3:8]...) // 4 to 8
	m.log(txs[6:9]...)         // 7 to 9
	for _, target := range []Target{Newest(), AtTx(9), AtTx(6), AtTime(unixTime(txs[8].Time))} {
		_, _, err := restoreTo(t, m, Options{Target: target})
		var e *ObjectError
		if !errors.As(err, &e) || !errors.Is(err, ErrUnfit) || e.Object != long {
			t.Errorf("%v: %v", target, err)
		}
	}
	if _, _, err := restoreTo(t, m, Options{Target: AtTx(5)}); err != nil {
		t.Error(err)
	}
}
