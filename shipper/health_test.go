package shipper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"seawal/internal/replica"
	"seawal/store"
)

func TestHealth(t *testing.T) {
	at := replica.Pos{Timeline: 1, Tx: 7}
	for _, c := range []struct {
		name string
		st   Status
		want Word
		text string
	}{
		{"all is well", Status{Attached: true, Mode: ModeShipping, Durable: at}, WordOK, "1/7"},
		{"attaching", Status{Mode: ModeAttaching}, WordOK, "compared"},
		{"a moment's lag", Status{Attached: true, Mode: ModeShipping, LagTx: 3, Lag: time.Second}, WordOK, ""},
		{"slower than the writers", Status{Attached: true, Mode: ModeShipping, LagTx: 3, Lag: time.Minute}, WordBehind, "3 transactions"},
		{"an outage", Status{Attached: true, Mode: ModeShipping, Err: errReset}, WordBehind, errReset.Error()},
		{"wrong credentials", Status{Attached: true, Mode: ModeShipping, Err: store.Permanent(errReset)}, WordBlocked, "somebody acts"},
		{"behind its replica", Status{Mode: ModeBehind, Err: &BehindError{}}, WordBlocked, ErrBehind.Error()},
		{"the replica is gone", Status{Mode: ModeAttaching, Err: &GoneError{Err: store.ErrNotExist}}, WordGone, "gone"},
		{"gone, and damage is what says so", Status{Err: fmt.Errorf("x: %w", &GoneError{Err: &replica.CorruptError{Err: errReset}})}, WordGone, ""},
		{"damaged", Status{Mode: ModeAttaching, Err: &replica.CorruptError{Object: "o", Err: errReset}}, WordDamaged, "o is corrupt"},
		{"fenced", Status{Mode: ModeStopped, Fenced: true, Err: ErrFenced}, WordFenced, ErrFenced.Error()},
		{"another database", Status{Mode: ModeStopped, Err: ErrOtherDatabase}, WordNotReplicated, ErrOtherDatabase.Error()},
		{"replaced", Status{Mode: ModeStopped, Err: ErrReplaced}, WordNotReplicated, ErrReplaced.Error()},
	} {
		if got := health(&c.st); got.Word != c.want || got.Sentence == "" || !strings.Contains(got.Sentence, c.text) {
			t.Errorf("%s: %+v, want %q with %q", c.name, got, c.want, c.text)
		}
	}
}

// Nothing was committed in the life of a process, and what the file has isn't known to be in the replica: Close says so. It is known where the
// file is as it was closed.
func TestCloseWithNothingCaptured(t *testing.T) {
	for _, c := range []struct {
		name   string
		prior  func(w *world)
		silent bool
	}{
		{"never shipped", func(*world) {}, false},
		{"closed with everything shipped", func(w *world) { w.start(); w.flush(); w.stop() }, true},
		{"written since", func(w *world) { w.start(); w.flush(); w.stop(); w.offline(w.tx(1)) }, false},
		{"empty", func(w *world) { w.m.set(nil); mustDo(t, os.Remove(w.m.path)) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, t.TempDir())
				w.m.rollback = true
				w.offline(w.txOn(5, 10))
				c.prior(w)
				w.open = unreachable
				w.start()
				time.Sleep(time.Minute)
				err := w.sh.Close(t.Context())
				var u *UnshippedError
				if c.silent && err != nil {
					t.Errorf("close: %v, want nil", err)
				}
				if !c.silent && (!errors.As(err, &u) || !errors.Is(err, errReset) || !strings.Contains(err.Error(), "it isn't known")) {
					t.Errorf("close: %v", err)
				}
			})
		})
	}
}

// unreachable is Config.Open of a store that never answers.
func unreachable(context.Context, func(store.Failure)) (store.Store, error) { return nil, errReset }
