package shipper

import (
	"os"
	"testing"
	"time"

	"seawal/store/faultstore"
)

// What needs the store before it can go on lets go of the commit in hand: as long as it is held, so is all that
// comes behind it, and another replica of the database gets nothing. It is confirmed no sooner for that.
func TestCommitInHandIsReleasedBeforeTheStoreIsWaitedFor(t *testing.T) {
	for name, commit := range map[string]func(w *world){
		"pages of another size": func(w *world) { w.vacuum(2*testPage, CommitFrames) },
		"a gap":                 func(w *world) { w.src.commit(CommitGap, w.tx(2)) },
		"an error in encoding": func(w *world) {
			if err := os.RemoveAll(w.sh.cfg.StateDir); err != nil { // where spool files go
				w.t.Fatal(err)
			}
			w.commit(2)
		},
		"a database that can't be read": func(w *world) {
			w.src.mu.Lock()
			w.src.deny = errReset
			w.src.mu.Unlock()
			w.src.commit(CommitGap, w.tx(2))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := shipped(t, true)
				w.cfg.BatchBytes = 1 // all is spooled to a file, and nothing waits in front of the uploader
				f := w.faulty()
				w.start()
				durable := w.position()
				f.SetRules(faultstore.When(faultstore.Always(), faultstore.Fail(errReset)))
				commit(w)
				ticket, _ := w.src.Last()
				time.Sleep(time.Minute)
				w.src.mu.Lock()
				released := w.src.released
				w.src.deny = nil
				w.src.mu.Unlock()
				if released < ticket {
					t.Errorf("commit %d is in hand after a minute", ticket)
				}
				if d := w.sh.Durable(); d != durable {
					t.Errorf("%v is durable, %v was before the store was down", d, durable)
				}
				if err := os.MkdirAll(w.sh.cfg.StateDir, 0o700); err != nil {
					t.Fatal(err)
				}
				f.SetRules()
				w.commit(1)
				w.flush()
				w.stop()
				w.verify()
			})
		})
	}
}
