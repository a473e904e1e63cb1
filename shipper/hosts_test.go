package shipper

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

// deed is what happens to a host in a step.
type deed string

// deeds are what can happen, as often as they are named.
var deeds = []deed{
	doShip, doShip, doShip, doShip, doShip, doWrite, doWrite, doCheckpoint, doCheckpoint,
	doOpen, doOpen, doOpen, doOpen, doKill, doKill, doClosed, doClosed,
	doPower, doPower, doPower, doCloned, doCloned, doRestored, doCopyAway, doCopyAway,
	doFileBack, doFolderBack, doBothBack,
	doFolderLost, doUnmount, doMount, doBlank, doUnfortunate, doUnfortunate, doFortunate,
	doDeliver, doDeliver, doIdle, doEmptied,
}

const (
	doShip        deed = "commits, and asks whether it is durable"
	doWrite       deed = "commits"
	doCheckpoint  deed = "checkpoint"
	doOpen        deed = "is opened"
	doKill        deed = "its process is killed"
	doClosed      deed = "is closed"
	doPower       deed = "loses power"
	doCloned      deed = "is cloned"
	doRestored    deed = "another machine begins with a restore"
	doCopyAway    deed = "is copied away"
	doFileBack    deed = "an older file is put back"
	doFolderBack  deed = "an older state directory is put back"
	doBothBack    deed = "an older file and state directory are put back"
	doFolderLost  deed = "its state directory is lost"
	doUnmount     deed = "the store is unmounted"
	doMount       deed = "the store is mounted"
	doBlank       deed = "listings show nothing"
	doUnfortunate deed = "the store fails"
	doFortunate   deed = "the store works"
	doDeliver     deed = "what the store had not done yet, it does"
	doIdle        deed = "an hour passes"
	doEmptied     deed = "the bucket is emptied"
)

// step is a deed.
type step struct {
	Deed deed
	Host int // modulo the number of hosts
	N    int // what the deed takes it for
}

// histories draws lists of steps.
var histories = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
	return step{
		Deed: rapid.SampledFrom(deeds).Draw(t, "deed"),
		Host: rapid.IntRange(0, 3).Draw(t, "host"),
		N:    rapid.IntRange(0, 11).Draw(t, "n"),
	}
}), 5, 60)

// mostHosts is how many machines a history may have.
const mostHosts = 4

// play begins with one machine that has shipped something, takes the steps, and looks at the end
// what everybody was told.
func play(t tb, dir string, weak weakness, steps []step) *site {
	f := newSite(t, dir, weak)
	defer func() {
		for _, h := range f.hosts {
			h.die()
		}
	}()
	a := f.add()
	a.write(3)
	a.reboot()
	a.begin()
	a.write(2)
	f.must(a.flush())
	a.copyAway()
	for _, s := range steps {
		f.take(s)
		if f.isOver {
			return f
		}
		f.must(f.bucket.check())
	}
	f.audit()
	return f
}

// take takes a step.
func (f *site) take(s step) {
	h := f.hosts[s.Host%len(f.hosts)]
	f.did[string(s.Deed)]++
	switch s.Deed {
	case doShip:
		if h.begin(); h.isUp {
			h.write(1 + s.N%3)
			_ = h.flush() // whatever it says, it counts
		}
	case doWrite:
		h.write(1 + s.N%3)
	case doCheckpoint:
		if !h.isUp || h.released() == h.captured() {
			h.tidy(!h.isUp && s.N%2 == 0)
		}
	case doOpen:
		h.begin()
	case doKill:
		h.die()
	case doClosed:
		h.end()
	case doPower:
		h.losePower(s.N % 4)
		if s.N%3 > 0 {
			h.begin()
		}
	case doCloned:
		if len(f.hosts) < mostHosts {
			h.clone()
		}
	case doRestored:
		if len(f.hosts) < mostHosts {
			f.restored()
		}
	case doCopyAway:
		h.copyAway()
	case doFileBack:
		h.die()
		h.putBack(true, false, s.N%2 == 0, s.N/2)
	case doFolderBack:
		h.die()
		h.putBack(false, true, false, s.N/2)
	case doBothBack:
		h.die()
		h.putBack(true, true, s.N%2 == 0, s.N/2)
	case doFolderLost:
		h.die()
		h.loseFolder()
		h.own = map[digest]bool{}
	case doUnmount:
		h.link.isOut.Store(true)
	case doMount:
		h.link.isOut.Store(false)
	case doBlank:
		h.link.isBlank.Store(true)
	case doUnfortunate:
		h.faults.SetRules(misfortune(s.N))
	case doFortunate:
		h.recover()
	case doDeliver:
		h.faults.Deliver(context.Background())
	case doIdle:
		time.Sleep(time.Hour + time.Minute)
	case doEmptied:
		if s.N < 2 {
			f.empty()
		}
	}
	synctest.Wait()
	if h.isUp {
		h.hear()
	}
}

// misfortune is how a store fails from now on.
func misfortune(n int) faultstore.Rule {
	create := faultstore.OnOp(store.OpCreate)
	switch n % 6 {
	case 0:
		return faultstore.When(create, faultstore.Fail(errReset))
	case 1:
		return faultstore.When(faultstore.Always(), faultstore.Fail(errReset))
	case 2:
		return faultstore.When(create, faultstore.LostAck(errReset))
	case 3:
		return faultstore.When(create, faultstore.Late(errReset))
	case 4:
		second := faultstore.NameMatch(segment.TimelineName(2))
		return faultstore.When(faultstore.And(create, second), faultstore.Late(errReset))
	}
	return faultstore.When(faultstore.And(create, faultstore.OnIndex(0)), faultstore.Late(errReset))
}

func (h *host) recover() {
	h.faults.SetRules()
	h.link.isOut.Store(false)
	h.link.isBlank.Store(false)
}

// empty has somebody empty the bucket under a process that ships, and under some that don't run.
// That ends the history: the first one finds out by itself, the others do when they are opened, and
// what they ship from then on is another replica's matter.
//
// Not covered: a bucket that is emptied under a process that has taken over and shipped nothing
// yet. What it ships then tells whose replica it is, so that the look finds nothing missing.
func (f *site) empty() {
	all, err := replica.Timelines(context.Background(), f.bucket)
	f.must(err)
	if len(all) > 1 {
		return
	}
	f.isOver = true
	f.did["the bucket was emptied"]++
	for i, h := range f.hosts {
		h.recover()
		if i > 0 {
			h.die()
		}
	}
	time.Sleep(time.Minute)
	f.must(f.bucket.empty())
	clear(f.confirmed)
	isTold := func(h *host, wait time.Duration) {
		h.isBlind = true
		h.write(1)
		heard := h.heard
		_ = h.flush() // it can't know yet
		time.Sleep(wait)
		h.write(1)
		// A clone may have told its own application, and begun anew with what this one has, too.
		err := h.flush()
		if h.heard > heard {
			return
		}
		if err != nil || f.history()[h.sh.Durable()] != digestOf(h.m.state()) {
			f.Fatalf("%s ships to a bucket that was emptied (%v), and was told nothing. Status: %+v",
				h.name, err, h.sh.Status())
		}
	}
	if h := f.hosts[0]; h.isUp && h.sh.Status().Health.Word == WordOK {
		isTold(h, 2*lookShipping)
	}
	for _, h := range f.hosts {
		if _, _, known := Known(h.stateDir()); !h.isUp && known {
			heard := h.heard
			if h.begin(); h.heard == heard {
				isTold(h, 0)
			}
		}
	}
}

// audit has everybody ship once more, with a store that works, and looks what has become of all
// that was confirmed.
func (f *site) audit() {
	for _, h := range f.hosts {
		h.recover()
		h.faults.Deliver(context.Background())
	}
	for range 2 { // who ships later may have taken over from who shipped before
		for _, h := range f.hosts {
			h.begin()
			h.write(1)
			_ = h.flush() // what it says counts
		}
	}
	f.must(f.bucket.check())
	is := f.history()
	for _, h := range f.hosts {
		for _, p := range h.proofs {
			if is[p.at] != p.state && h.heard == p.heard && !h.isToldElsewhere(p) {
				f.Fatalf("%s was told that %v is durable; a restore doesn't lead there, "+
					"and it was told nothing since. Status: %+v", h.name, p.at, h.sh.Status())
			}
		}
	}
}

// isToldElsewhere says whether somebody has put older files here and cloned the machine then, and
// the clone was told: nothing here remembers the proof any more, and the clone has shipped before.
func (h *host) isToldElsewhere(p proof) bool {
	for _, c := range h.f.hosts {
		if c.chosenOn == h && c.heard > 0 && c.proofsThen > slices.Index(h.proofs, p) {
			return true
		}
	}
	return false
}

// sound code is held against the first fixedHistories in every run of the tests, and against random
// ones where -rapid.seed says so: the soak does.
const fixedHistories = 50

// Whatever happens to the hosts of one replica: what was confirmed can be restored, or its
// application was told; no database is brought to a state that isn't its own; and nothing in the
// store is overwritten.
func TestHosts(t *testing.T) {
	if statFile(t.TempDir()) == nil {
		t.Skip("this system doesn't tell files apart")
	}
	base := fastDir(t)
	if seed := flag.Lookup("rapid.seed").Value.String(); seed != "0" {
		rapid.Check(t, func(rt *rapid.T) {
			if _, wrong := try(t, base, sound, histories.Draw(rt, "steps")); wrong != "" {
				rt.Fatal(wrong)
			}
		})
		return
	}
	did := map[string]int{}
	for i := range fixedHistories {
		f, wrong := try(t, base, sound, histories.Example(i))
		if wrong != "" {
			t.Fatalf("history %d: %s", i, wrong)
		}
		for what, n := range f.did {
			did[what] += n
		}
	}
	for _, what := range append(slices.Clone(deeds), "confirmed", "confirmed on a later timeline",
		"commits lost with the power", "judged to be a loss of power", "rolled forward",
		"the bucket was emptied") {
		if did[string(what)] == 0 {
			t.Errorf("%q is in no history", what)
		}
	}
	t.Log(did)
}

// A rule of the package is left out, and the model finds a history that goes wrong by that. Not
// covered: an empty listing that is taken for an empty replica. Who begins a replica tells its
// application so, which is all that this model asks for.
func TestHostsFindWhatIsLeftOut(t *testing.T) {
	if statFile(t.TempDir()) == nil {
		t.Skip("this system doesn't tell files apart")
	}
	for _, c := range []struct {
		name     string
		weak     weakness
		from, to int // histories, of which the first is known to go wrong, and many others
	}{
		{name: "rolls forward by the writer's id", weak: rollsByWriter, from: 41, to: 200},
		{name: "a takeover leaves the timeline open", weak: leavesOpen, from: 5, to: 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			base := fastDir(t)
			for i := c.from; i < c.to; i++ {
				steps := histories.Example(i)
				_, wrong := try(t, base, c.weak, steps)
				if wrong == "" {
					continue
				}
				t.Logf("history %d: %s", i, wrong)
				if _, also := try(t, base, sound, steps); also != "" {
					t.Errorf("history %d goes wrong with the rule, too: %s", i, also)
				}
				return
			}
			t.Error("no history went wrong")
		})
	}
}

// try plays a history, with a clock of its own, and says what went wrong; "": nothing.
func try(t *testing.T, base string, weak weakness, steps []step) (f *site, wrong string) {
	t.Helper()
	dir, err := os.MkdirTemp(base, "")
	mustDo(t, err)
	defer os.RemoveAll(dir)
	bubble(t, func(*testing.T) {
		defer func() {
			r := recover()
			found, ok := r.(finding)
			if r != nil && !ok {
				panic(r)
			}
			wrong = string(found)
		}()
		f = play(finder{}, dir, weak, steps)
	})
	return f, wrong
}

// finder is a tb whose first failure ends the history.
type finder struct{}

// finding is a failure of a finder.
type finding string

func (finder) Helper()                           {}
func (finder) Fatal(args ...any)                 { panic(finding(fmt.Sprint(args...))) }
func (finder) Fatalf(format string, args ...any) { panic(finding(fmt.Sprintf(format, args...))) }

// fastDir is a folder for many small files, in memory where there is such a place: nothing here
// asks whether a sync does what it should.
func fastDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "seawal-hosts-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// captured is the ticket of the newest commit.
func (h *host) captured() uint64 {
	ticket, _ := h.src.Last()
	return ticket
}
