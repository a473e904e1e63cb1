package shipper

import (
	"context"
	"errors"
	"testing"
	"time"

	"seawal/store"
	"seawal/store/faultstore"
)

// patientSource ends the test binary when the drain goroutine asks it again and again without a pause: the clock of a bubble would stand still.
type patientSource struct {
	*fakeSource
	asked int
	at    time.Time
}

func (s *patientSource) Idle() bool {
	if now := time.Now(); now != s.at {
		s.asked, s.at = 0, now
	}
	if s.asked++; s.asked > 10_000 {
		panic("the drain goroutine asks its source without a pause")
	}
	return s.fakeSource.Idle()
}

// While the store is away, one batch is under way and somebody waits for the next one: nothing is done until the first one has landed, or
// fails for good.
func TestOutageCostsNoProcessor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		w.stop()
		f := w.faulty()
		w.src, w.states = newFakeSource(w.m), make(map[uint64]image)
		cfg := w.cfg
		cfg.Source, cfg.Open = &patientSource{fakeSource: w.src}, w.open
		sh, err := New(cfg)
		mustDo(t, err)
		w.sh = sh
		sh.Start()
		w.position()
		f.SetRules(faultstore.When(faultstore.OnOp(store.OpCreate), faultstore.Fail(errReset)))
		for range 3 {
			w.commit(1)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if err := sh.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("flush: %v", err)
			}
			cancel()
		}
		f.SetRules()
		w.flush()
		w.stop()
		w.verify()
	})
}
