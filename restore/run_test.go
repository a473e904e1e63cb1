package restore

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

// restoreTo runs Run with an output in a folder of its own.
func restoreTo(t *testing.T, m *model, o Options) (path string, r Result, err error) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "app.db")
	o.Output = path
	r, err = Run(context.Background(), m.store, o)
	return path, r, err
}

// checkState compares a file with a state of the model.
func checkState(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("restored file of %d bytes differs from the source of %d bytes", len(got), len(want))
	}
}

// checkFolder checks that a folder holds these files and nothing else, hidden ones included.
func checkFolder(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if len(got) != len(want) {
		t.Fatalf("folder holds %q, want %q", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("folder holds %q, want %q", got, want)
		}
	}
}

// small returns a model of a few transactions.
func small(t *testing.T) *model {
	t.Helper()
	m := newModel(t, 21, 512)
	txs := m.commits(6)
	m.snapshot(txs[3])
	return m
}

// files writes files into a new folder and returns it.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// checkFiles checks that a folder holds these files and nothing else.
func checkFiles(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		got, err := os.ReadFile(filepath.Join(dir, e.Name()))
		text, wanted := want[e.Name()]
		if err != nil || !wanted || string(got) != text {
			t.Errorf("%s: %d bytes, error %v; in the list: %v", e.Name(), len(got), err, wanted)
		}
	}
	if len(entries) != len(want) {
		t.Errorf("folder has %d files, want %d", len(entries), len(want))
	}
}

// randomReplica fills a model: log segments of one to five transactions, some of them
// squashed, snapshots, merged segments of two levels, and a second timeline
// that leaves the first one inside a segment.
func randomReplica(m *model, txs int) {
	m.t.Helper()
	for tl := range 2 {
		var run, all []*modelTx
		for range txs {
			span := uint64(1)
			if m.rng.IntN(8) == 0 {
				span = 2 + uint64(m.rng.IntN(4))
			}
			run = append(run, m.commit(span))
			if m.rng.IntN(5) == 0 || len(run) == 5 {
				m.log(run...)
				all, run = append(all, run...), nil
			}
		}
		if len(run) > 0 {
			m.log(run...)
			all = append(all, run...)
		}
		for i, tx := range all {
			if m.rng.IntN(12) == 0 {
				m.snapshot(tx)
			}
			if n := 2 + m.rng.IntN(6); m.rng.IntN(6) == 0 && i+n <= len(all) {
				m.merge(1+m.rng.IntN(2), all[i:i+n]...)
			}
		}
		if tl == 0 {
			m.fork(1, all[len(all)/2].Number)
		}
	}
}

func TestEveryPointComesBack(t *testing.T) {
	for _, pageSize := range []int{512, 4096} {
		for seed := range uint64(3) {
			m := newModel(t, seed, pageSize)
			randomReplica(m, 25)
			for pos, tx := range m.txs {
				path, r, err := restoreTo(t, m, Options{Timeline: pos.Timeline, Target: AtTx(pos.Tx), Check: CheckFull})
				if err != nil {
					t.Fatalf("seed %d: %v: %v", seed, pos, err)
				}
				if r.Point.Pos != pos || r.Point.Time.UnixNano() != tx.Time {
					t.Fatalf("seed %d: result says %v, want %v", seed, r.Point, pos)
				}
				checkState(t, path, tx.state)
				checkFolder(t, filepath.Dir(path), "app.db")
			}
		}
	}
}
