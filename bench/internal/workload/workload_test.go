package workload

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/result"
)

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		if seen[s.Name] {
			t.Errorf("two workloads are called %q", s.Name)
		}
		seen[s.Name] = true
		if s.Title == "" || s.Why == "" || s.Unit == "" || s.Pairs == 0 || s.Weight == 0 || len(s.Designs) == 0 {
			t.Errorf("%s is incomplete: %+v", s.Name, s)
		}
		found, err := Find(s.Name)
		if err != nil || found.Title != s.Title {
			t.Errorf("Find(%q): %v", s.Name, err)
		}
	}
	if _, err := Find("no such"); err == nil {
		t.Error("a workload that isn't there was found")
	}
}

// Every workload on plain SQLite, as small as it can be.
func TestPlain(t *testing.T) {
	dir := t.TempDir()
	for _, s := range All() {
		if !slices.Contains(s.Designs, design.Plain) || s.kind == outage || s.Name == "databases-100" || s.Name == "databases-1000" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			if s.kind == manyIdle && testing.Short() {
				t.Skip("idles for seconds")
			}
			run, err := Do(context.Background(), Job{
				Workload: s.Name, Design: design.Plain, Seed: 1, Dir: dir, Quick: true, Rows: testRows(s), Ops: 40, Limit: 10 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			if run.Ops == 0 || run.Seconds <= 0 || run.PeakAnon == 0 {
				t.Errorf("%+v", run)
			}
			if s.kind != bulkLoad && s.kind != manyIdle && run.Latency.Count() != run.Ops {
				t.Errorf("%d operations, %d latencies", run.Ops, run.Latency.Count())
			}
			if s.readers > 0 && run.Reads == 0 {
				t.Error("no reads beside the writer")
			}
		})
	}
	left, err := filepath.Glob(filepath.Join(dir, "run-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// testRows keeps a bulk load small; the others have their size from the workload.
func testRows(s Spec) int {
	if s.kind == bulkLoad {
		return 500
	}
	return 0
}

func TestUnknownNamesAreErrors(t *testing.T) {
	for _, j := range []Job{{Workload: "no such", Design: design.Plain}, {Workload: "single", Design: "no such"}} {
		j.Dir, j.Ops, j.Limit = t.TempDir(), 1, time.Second
		if _, err := Do(context.Background(), j); err == nil {
			t.Errorf("%+v was measured", j)
		}
	}
}

// The same seed writes the same rows, whatever the design: only then is a pair a pair.
func TestSameSeedSameRows(t *testing.T) {
	rows := func(seed uint64) (sum string) {
		dir := t.TempDir()
		s, err := Find("single")
		if err != nil {
			t.Fatal(err)
		}
		s = s.ForQuick()
		path, err := makeTemplate(context.Background(), dir, s)
		if err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite3", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		c, err := newClient(context.Background(), db, s, seed, newWriteLock())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.repeat(context.Background(), result.NewLatency(), 50, time.Minute, 0); err != nil {
			t.Fatal(err)
		}
		c.close()
		if err := db.QueryRow("SELECT group_concat(item||at||body) FROM event").Scan(&sum); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	first := rows(3)
	if again := rows(3); first != again {
		t.Error("one seed, two contents")
	}
	if first == rows(4) {
		t.Error("two seeds, one content")
	}
}

// A commit that takes long delays the paced ones behind it, and their latencies have to show it.
func TestPacingCountsTheQueue(t *testing.T) {
	const stall = 60 * time.Millisecond
	first := true
	c := &client{op: func(context.Context) error {
		if first {
			first = false
			time.Sleep(stall)
		}
		return nil
	}}
	lat := result.NewLatency()
	if _, err := c.repeat(context.Background(), lat, 20, time.Minute, 1000); err != nil {
		t.Fatal(err)
	}
	if got := lat.At(0.5); got < stall/2 {
		t.Errorf("median %v: 20 operations were due within the %v of the first", got, stall)
	}
}

func TestRepeatEndsAtItsLimit(t *testing.T) {
	c := &client{op: func(context.Context) error { time.Sleep(5 * time.Millisecond); return nil }}
	n, err := c.repeat(context.Background(), result.NewLatency(), 1_000_000, 30*time.Millisecond, 0)
	if err != nil || n == 0 || n > 10 {
		t.Errorf("%d operations, %v", n, err)
	}
}

func TestTextIsOfTheLengthAskedFor(t *testing.T) {
	x := newText(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 17, 1000} {
		if got := x.next(n); len(got) != n {
			t.Errorf("asked for %d bytes, got %d", n, len(got))
		}
	}
}

func TestThin(t *testing.T) {
	p := make([]result.Point, 3*maxPoints+1)
	for i := range p {
		p[i].At = float64(i)
	}
	thin(&p)
	if len(p) > maxPoints || p[0].At != 0 || p[1].At != 4 {
		t.Errorf("%d points, the second at %v", len(p), p[1].At)
	}
}

func TestSameContent(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, same, other, longer := write("a", "abc"), write("same", "abc"), write("other", "abd"), write("longer", "abcd")
	if err := sameContent(a, same); err != nil {
		t.Error(err)
	}
	for _, b := range []string{other, longer, filepath.Join(dir, "missing")} {
		if err := sameContent(a, b); err == nil {
			t.Errorf("%s equals %s", a, b)
		}
	}
}
