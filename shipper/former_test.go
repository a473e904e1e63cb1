package shipper

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"seawal/store/storetest"
)

// A URL that is new begins a replica, and who has misspelled the old one is told so, with what is left behind; also when the first
// process at it was killed before it had shipped anything. Who has no other replica is told nothing, nor who adds a second one.
func TestNewReplicaBesideAFormerOne(t *testing.T) {
	for _, c := range []struct {
		name   string
		former bool // the old URL isn't configured any more
		killed bool // when the first process at the new one has made replica.json
	}{
		{name: "another URL", former: true},
		{name: "another URL, and the first process at it was killed", former: true, killed: true},
		{name: "a second URL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := shipped(t, true)
				old, last, id := w.sh.cfg.StateDir, w.sh.Durable(), w.sh.ID()
				if n := w.sh.Status().Notice; n != "" {
					t.Errorf("the first replica: %q", n)
				}
				w.cfg.StateDir, w.cfg.OtherDirs, w.cfg.Only = filepath.Join(old, "other"), []string{old}, c.former
				if c.former {
					w.cfg.Former = []Former{{Dir: old, URL: "gs://bucket/app"}}
				}
				w.store = storetest.NewMemory()
				clear(w.want)
				if c.killed {
					s := w.store
					w.store = createHook{s, func(name string) {
						if strings.Contains(name, "timeline.json") {
							w.sh.stop()
						}
					}}
					w.start()
					synctest.Wait()
					_ = w.kill() // nothing is shipped
					w.store = s
				}
				w.start()
				w.commit(1)
				w.flush()
				st := w.sh.Status()
				if !c.former {
					if st.Notice != "" {
						t.Errorf("notice %q", st.Notice)
					}
				} else {
					for _, word := range []string{id.String(), w.sh.ID().String(), last.String(), "gs://bucket/app", w.m.path} {
						if !strings.Contains(st.Notice, word) {
							t.Errorf("%q isn't in the notice %q", word, st.Notice)
						}
					}
				}
				w.stop()
				w.verify()
				w.start() // at the same URL again
				w.position()
				if st := w.sh.Status(); st.Notice != "" {
					t.Errorf("told again: %q", st.Notice)
				}
				w.stop()
			})
		})
	}
}
