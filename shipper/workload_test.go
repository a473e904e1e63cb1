package shipper

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"seawal/internal/replica"
)

// A random life of a database: commits of every kind, checkpoints, restarts of the
// process in order and by force, with the folder and without, changes while nobody
// looks, store outages of every kind of luck. In the end every transaction in the replica is the one
// that was committed.
func TestRandomWorkload(t *testing.T) {
	base := t.TempDir()
	bubble(t, func(t *testing.T) {
		rapid.Check(noDeadline{t}, func(rt *rapid.T) {
			dir, err := os.MkdirTemp(base, "")
			if err != nil {
				rt.Fatal(err)
			}
			w := newWorld(rt, dir)
			defer func() { _ = w.kill() }() // after a failure; else it is closed already
			w.rnd = rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
			w.m.rollback = rapid.IntRange(0, 4).Draw(rt, "rollback") == 0
			w.cfg.BatchBytes = int64(rapid.SampledFrom([]int{1, 2000, 4 << 20}).Draw(rt, "batch"))
			w.cfg.CacheBytes = int64(rapid.SampledFrom([]int{-1, 2048, 1 << 20}).Draw(rt, "cache"))
			if rapid.Bool().Draw(rt, "old database") {
				w.offline(w.txOn(6, 20))
			}
			w.start()
			for range rapid.IntRange(1, 40).Draw(rt, "steps") {
				randomStep(rt, w)
			}
			w.commit(1)
			w.flush()
			w.stop()
			w.verify()
		})
	})
}

// noDeadline hides what a bubble doesn't allow to ask for.
type noDeadline struct{ rapid.TB }

func randomStep(rt *rapid.T, w *world) {
	n := rapid.IntRange(1, 30).Draw(rt, "pages")
	switch op := rapid.IntRange(0, 16).Draw(rt, "op"); op {
	default:
		w.commit(n)
	case 5: // shrink
		w.src.commit(CommitFrames, w.txOn(rapid.IntRange(1, 8).Draw(rt, "size"), n))
		w.note()
	case 6:
		if w.m.rollback {
			return
		}
		for range rapid.IntRange(1, 4).Draw(rt, "ranges") {
			w.src.commit(CommitRange, w.tx(n))
			w.note()
		}
	case 7:
		if w.m.rollback {
			return
		}
		// Several at once: some of them are in no point of the replica when the log is gone.
		w.src.commit(CommitRange, w.tx(n), w.tx(1), w.tx(n))
		w.note()
	case 8:
		w.src.commit(CommitGap, w.tx(n), w.tx(2))
		w.note()
	case 9:
		// The log is held back for what was not released.
		if ticket, _ := w.src.Last(); w.released() == ticket {
			w.m.checkpoint(rapid.Bool().Draw(rt, "drop"))
		}
	case 10:
		time.Sleep(time.Duration(n) * 100 * time.Millisecond)
	case 11:
		w.flush()
	case 12:
		w.flush()
		w.stop()
		if rapid.Bool().Draw(rt, "lose the folder") {
			// Without it, a database that is changed as well could be taken for another one.
			w.loseFolder()
			w.start()
			w.position()
			return
		}
		restart(rt, w, n)
	case 14:
		if len(w.m.state()) > 0 {
			w.vacuum(rapid.SampledFrom([]int{512, 1024, 2048}).Draw(rt, "page size"), rapid.SampledFrom([]CommitKind{CommitFrames, CommitGap}).Draw(rt, "kind"))
		}
	case 13:
		var u *UnshippedError
		if err := w.kill(); err != nil && !errors.As(err, &u) {
			rt.Fatalf("close: %v", err)
		}
		// What was not durable is numbered anew when its log is gone.
		for pos := range w.want {
			if pos.Compare(w.sh.Durable()) > 0 {
				delete(w.want, pos)
			}
		}
		restart(rt, w, n)
	}
}

func restart(rt *rapid.T, w *world, n int) {
	if rapid.Bool().Draw(rt, "checkpoint at close") && len(w.m.state()) > 0 {
		w.m.checkpoint(true)
	}
	if rapid.Bool().Draw(rt, "offline") && len(w.m.state()) > 0 {
		w.offline(w.tx(1), w.tx(min(n, 3)))
	}
	if rapid.IntRange(0, 3).Draw(rt, "offline vacuum") == 0 && len(w.m.state()) > 0 {
		w.vacuum(rapid.SampledFrom([]int{512, 1024, 2048}).Draw(rt, "page size"), 0)
	}
	w.start()
}

func (w *world) released() uint64 {
	w.src.mu.Lock()
	defer w.src.mu.Unlock()
	return w.src.released
}

// position waits until the replica has answered.
func (w *world) position() replica.Pos {
	w.t.Helper()
	pos, err := w.sh.Position(context.Background())
	if err != nil {
		w.t.Fatalf("position: %v", err)
	}
	return pos
}
