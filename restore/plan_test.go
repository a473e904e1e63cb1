package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"seawal/internal/segment"
	"seawal/store"
)

// stepNames returns the steps without what all names have in common.
func stepNames(p *Plan) (names []string) {
	for _, s := range p.Steps {
		names = append(names, fmt.Sprintf("%s %d-%d", s.Kind, s.First, s.Last))
	}
	return names
}

func TestPlan(t *testing.T) {
	type build func(m *model, txs []*modelTx)
	table := []struct {
		name   string
		build  build // on 12 transactions, each a log segment
		target Target
		want   []string
	}{
		{"log from the empty database", func(m *model, txs []*modelTx) {}, AtTx(2), []string{"log 1-1", "log 2-2"}},
		{"newest snapshot at or before", func(m *model, txs []*modelTx) {
			m.snapshot(txs[3])
			m.snapshot(txs[8])
			m.snapshot(txs[10])
		}, AtTx(10), []string{"snapshot 9-9", "log 10-10"}},
		{"snapshot is the target", func(m *model, txs []*modelTx) { m.snapshot(txs[8]) }, AtTx(9), []string{"snapshot 9-9"}},
		{"highest level first", func(m *model, txs []*modelTx) {
			m.snapshot(txs[0])
			m.merge(1, txs[1:4]...)
			m.merge(1, txs[4:8]...)
			m.merge(2, txs[1:8]...)
			m.merge(1, txs[8:10]...)
		}, Newest(), []string{"snapshot 1-1", "merged 2-8", "merged 9-10", "log 11-11", "log 12-12"}},
		{"merged segment that goes too far is not taken", func(m *model, txs []*modelTx) {
			m.snapshot(txs[0])
			m.merge(1, txs[1:3]...)
			m.merge(2, txs[1:8]...)
		}, AtTx(5), []string{"snapshot 1-1", "merged 2-3", "log 4-4", "log 5-5"}},
		{"back from a dead end", func(m *model, txs []*modelTx) {
			m.snapshot(txs[0])
			m.merge(2, txs[1:8]...) // leads to 8, from where nothing leads on
			m.merge(1, txs[5:11]...)
			m.damage(segment.LogName(1, 9), remove)
		}, Newest(), []string{"snapshot 1-1", "log 2-2", "log 3-3", "log 4-4", "log 5-5", "merged 6-11", "log 12-12"}},
		{"out of a log segment where a merged one begins", func(m *model, txs []*modelTx) {
			m.damage(segment.LogName(1, 3), remove)
			m.damage(segment.LogName(1, 4), remove)
			m.log(txs[2], txs[3])
			m.merge(1, txs[3:6]...)
			m.damage(segment.LogName(1, 5), remove)
			m.damage(segment.LogName(1, 6), remove)
		}, AtTx(7), []string{"log 1-1", "log 2-2", "log 3-3", "merged 4-6", "log 7-7"}},
		{"older snapshot when the newer one leads nowhere", func(m *model, txs []*modelTx) {
			m.snapshot(txs[1])
			m.snapshot(txs[5])
			m.merge(1, txs[2:9]...)
			m.damage(segment.LogName(1, 7), remove)
		}, Newest(), []string{"snapshot 2-2", "merged 3-9", "log 10-10", "log 11-11", "log 12-12"}},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			m := newModel(t, 7, 512)
			c.build(m, m.commits(12))
			p, err := NewPlan(context.Background(), m.store, 0, c.target)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, stepNames(p)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			path, _, err := restoreTo(t, m, Options{Target: c.target})
			if err != nil {
				t.Fatal(err)
			}
			checkState(t, path, m.at(p.Target.Pos).state)
		})
	}
}

func TestPlanCutsSegments(t *testing.T) {
	m := newModel(t, 3, 512)
	var txs []*modelTx
	for range 9 {
		txs = append(txs, m.commit(1))
	}
	m.log(txs[:5]...)
	m.log(txs[5:]...)
	m.snapshot(txs[2])
	p, err := NewPlan(context.Background(), m.store, 0, AtTx(7))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"snapshot 3-3", "log 4-5", "log 6-7"}
	if diff := cmp.Diff(want, stepNames(p)); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if !p.Target.Time.Equal(unixTime(txs[6].Time)) {
		t.Errorf("time is %v, want %v", p.Target.Time, unixTime(txs[6].Time))
	}
}

// TestPlanRequests counts what a plan asks of the store: at most four LIST
// requests and one for every 1,000 segments. To prove it costs a read for each log segment, and no LIST.
func TestPlanRequests(t *testing.T) {
	const segments = 4500
	m := newModel(t, 5, 512)
	var txs []*modelTx
	for range segments {
		txs = append(txs, m.commitState(1, append([]byte(sqliteMagic), make([]byte, 512-16)...)))
	}
	for _, tx := range txs {
		m.log(tx)
	}
	m.snapshot(txs[0])
	m.snapshot(txs[3999])
	m.fork(1, 4400)
	m.commits(2)
	wide := newModel(t, 6, 512) // the segment behind the snapshot began long before it
	var long []*modelTx
	for range 3000 {
		long = append(long, wide.commitState(1, append([]byte(sqliteMagic), make([]byte, 512-16)...)))
	}
	wide.log(long...)
	wide.snapshot(long[2500])

	table := []struct {
		name     string
		m        *model
		timeline uint32
		target   Target
		lists    int64
		reads    int64
	}{
		{"newest, from a snapshot near the end", m, 1, Newest(), 4, 20},
		{"transaction in the middle", m, 1, AtTx(2000), 4 + 2, 20},
		{"on a child without a snapshot", m, 2, Newest(), 4 + 4, 20},
		{"by time", m, 1, AtTime(unixTime(txs[3000].Time)), 4 + 4, 40},
		{"long segment around the snapshot", wide, 1, AtTx(2600), 4, 20},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			for _, proves := range []bool{false, true} {
				var counts store.Counts
				p := newPlanner(store.Count(c.m.store, &counts))
				if proves {
					p.footers = len(c.m.txs)
				}
				plan, err := p.plan(context.Background(), c.timeline, c.target)
				if err != nil {
					t.Fatal(err)
				}
				reads := c.reads
				if proves {
					reads += int64(len(plan.Steps))
				}
				u := counts.Usage()
				if u.List.Requests > c.lists || u.Read.Requests > reads {
					t.Errorf("proves: %v: %d LIST and %d READ requests, want at most %d and %d", proves, u.List.Requests, u.Read.Requests, c.lists, reads)
				}
				t.Logf("proves: %v: %d LIST, %d READ", proves, u.List.Requests, u.Read.Requests)
			}
		})
	}
}

func TestNoPoint(t *testing.T) {
	empty := newModel(t, 1, 512)
	tail := newModel(t, 1, 512) // begins with a snapshot of transaction 5
	txs := tail.commits(9)
	tail.snapshot(txs[4])
	for n := uint64(1); n <= 5; n++ {
		tail.damage(segment.LogName(1, n), remove)
	}
	future := AtTime(epoch.AddDate(100, 0, 0))
	table := []struct {
		name     string
		m        *model
		timeline uint32
		target   Target
		want     []string // parts of the message
	}{
		{"nothing there yet", empty, 0, Newest(), []string{"no snapshot and no log yet"}},
		{"nothing there yet, by time", empty, 0, future, []string{"no snapshot and no log yet"}},
		{"no such timeline", tail, 3, Newest(), []string{"timeline 3", "the newest is 1"}},
		{"before the first", tail, 0, AtTx(4), []string{"transaction 4", "before the first", "1/5 (2026-03-04T05:06:12.800000009Z)", "1/9 (2026-03-04T05:06:16.800000009Z)"}},
		{"after the last", tail, 0, AtTx(10), []string{"transaction 10", "after the last", "1/5 (2026-", "1/9 (2026-"}},
		{"time before the first", tail, 0, AtTime(epoch), []string{"before the first", "1/5 (2026-", "1/9 (2026-"}},
		{"time in the future", tail, 0, future, []string{"in the future", "1/5 (2026-", "1/9 (2026-"}},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			path, _, err := restoreTo(t, c.m, Options{Timeline: c.timeline, Target: c.target})
			if !errors.Is(err, ErrNoPoint) {
				t.Fatalf("error %v, want ErrNoPoint", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q doesn't say %q", err, part)
				}
			}
			checkFolder(t, path[:len(path)-len("/app.db")])
		})
	}
}

func TestInsideSquash(t *testing.T) {
	m := newModel(t, 2, 512)
	m.log(m.commit(1), m.commit(4), m.commit(1)) // points 1, 5, 6
	merged := newModel(t, 2, 512)
	txs := merged.commits(9)
	merged.snapshot(txs[0])
	merged.merge(1, txs[1:6]...)
	for n := uint64(2); n <= 6; n++ {
		merged.damage(segment.LogName(1, n), remove)
	}
	table := []struct {
		name          string
		m             *model
		tx            uint64
		before, after uint64
	}{
		{"first of a span", m, 2, 1, 5},
		{"last of a span", m, 4, 1, 5},
		{"inside a merged segment", merged, 4, 1, 6},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := restoreTo(t, c.m, Options{Target: AtTx(c.tx)})
			var e *PointError
			if !errors.As(err, &e) || e.Before == nil || e.After == nil {
				t.Fatalf("error %v, want a PointError with the nearest points", err)
			}
			if e.Before.Pos.Tx != c.before || e.After.Pos.Tx != c.after {
				t.Errorf("nearest points are %v and %v, want %d and %d", e.Before, e.After, c.before, c.after)
			}
			for _, p := range []*Point{e.Before, e.After} {
				if p.Time.IsZero() {
					t.Errorf("point %v has no time", p)
				}
				path, _, err := restoreTo(t, c.m, Options{Target: AtTx(p.Pos.Tx)})
				if err != nil {
					t.Fatal(err)
				}
				checkState(t, path, c.m.at(p.Pos).state)
			}
		})
	}
}

func TestNoReplica(t *testing.T) {
	s, err := store.OpenFolder(t.TempDir() + "/none")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Run(context.Background(), s, Options{Output: t.TempDir() + "/app.db"})
	if !errors.Is(err, ErrNoReplica) {
		t.Errorf("error %v, want ErrNoReplica", err)
	}
	if _, err := List(context.Background(), s, 0); !errors.Is(err, ErrNoReplica) {
		t.Errorf("error of List %v, want ErrNoReplica", err)
	}
}

func TestAtTime(t *testing.T) {
	m := newModel(t, 4, 512)
	var txs []*modelTx
	for range 20 {
		txs = append(txs, m.commit(1))
	}
	for i := 0; i < 20; i += 4 {
		m.log(txs[i : i+4]...)
	}
	m.snapshot(txs[9])
	for _, tx := range txs {
		for _, c := range []struct {
			late int64 // after the commit, ns
			want uint64
		}{{-1, tx.Number - 1}, {0, tx.Number}, {1, tx.Number}, {999_999_999, tx.Number}} {
			if c.want == 0 {
				continue
			}
			p, err := NewPlan(context.Background(), m.store, 0, AtTime(unixTime(tx.Time+c.late)))
			if err != nil {
				t.Fatalf("%v%+d ns: %v", tx, c.late, err)
			}
			if p.Target.Pos.Tx != c.want {
				t.Errorf("%v%+d ns: plan for transaction %d, want %d", tx, c.late, p.Target.Pos.Tx, c.want)
			}
		}
	}
}

// TestAtTimeWhenTheClockWentBack holds AtTime to its word: the transaction chosen has a
// time not after the target, and the one behind it has a later one.
func TestAtTimeWhenTheClockWentBack(t *testing.T) {
	m := newModel(t, 4, 512)
	m.clock = func(tx uint64) int64 {
		if tx > 11 {
			tx -= 6 // set back behind transaction 11
		}
		return unixNano(int64(tx))
	}
	var txs []*modelTx
	for range 20 {
		txs = append(txs, m.commit(1))
	}
	for i := 0; i < 20; i += 3 {
		m.log(txs[i:min(i+3, 20)]...)
	}
	for second := int64(1); second <= 14; second++ {
		at := unixNano(second)
		p, err := NewPlan(context.Background(), m.store, 0, AtTime(unixTime(at)))
		if err != nil {
			t.Fatal(err)
		}
		n := p.Target.Pos.Tx
		if txs[n-1].Time > at || n < 20 && txs[n].Time <= at {
			t.Errorf("second %d: transaction %d of second %d, next of second %d", second, n, txs[n-1].Time, txs[min(n, 19)].Time)
		}
	}
}

func unixNano(second int64) int64 { return epoch.UnixNano() + second*1e9 }

func TestAtTimeBetweenLastCommitAndNow(t *testing.T) {
	m := newModel(t, 4, 512)
	m.commits(3)
	p := newPlanner(m.store)
	p.now = func() time.Time { return unixTime(unixNano(3600)) }
	plan, err := p.plan(context.Background(), 0, AtTime(unixTime(unixNano(3000))))
	if err != nil || plan.Target.Pos.Tx != 3 {
		t.Errorf("plan %+v, error %v, want transaction 3", plan, err)
	}
	if _, err := p.plan(context.Background(), 0, AtTime(unixTime(unixNano(3601)))); !errors.Is(err, ErrNoPoint) {
		t.Errorf("error %v for the future, want ErrNoPoint", err)
	}
}

// TestTimeInsideWhatIsMissing: the moment must not quietly become an earlier transaction.
func TestTimeInsideWhatIsMissing(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{"missing": remove, "footer damaged": flip(-30), "body damaged": flip(200)} {
		for _, n := range []uint64{5, 9} { // in the middle, and at the end
			t.Run(fmt.Sprintf("%s/tx=%d", name, n), func(t *testing.T) {
				m := newModel(t, 4, 512)
				m.commits(9)
				m.damage(segment.LogName(1, n), change)
				if name == "missing" && n == 9 {
					t.Skip("nothing tells of it")
				}
				_, _, err := restoreTo(t, m, Options{Target: AtTime(unixTime(unixNano(int64(n))))})
				var e *ObjectError
				if !errors.As(err, &e) || e.Newest == nil || e.Newest.Pos.Tx != n-1 {
					t.Errorf("error %v, want an ObjectError whose newest point is %d", err, n-1)
				}
			})
		}
	}
}
