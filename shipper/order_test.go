package shipper

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/store"
	"seawal/store/storetest"
)

// fleet is one database with several replicas, which several processes have open.
type fleet struct {
	t      *testing.T
	m      *model
	stores map[string]store.Store
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, m: newModel(t.TempDir(), testPage), stores: map[string]store.Store{}}
	newFakeSource(f.m).commit(CommitFrames, tx{pageCount: 1})
	return f
}

// process has Shippers for some of the replicas, each named by a letter. They are in order, and are not started.
func (f *fleet) process(replicas string) map[string]*Shipper {
	var all []*Shipper
	by := map[string]*Shipper{}
	for _, name := range strings.Split(replicas, "") {
		if f.stores[name] == nil {
			f.stores[name] = storetest.NewMemory()
		}
		st := noClose{f.stores[name]}
		s, err := New(Config{
			Source: newFakeSource(f.m), DBPath: f.m.path, StateDir: filepath.Join(f.m.path+StateSuffix, name), Logger: slog.New(slog.DiscardHandler),
			Open: func(context.Context, func(store.Failure)) (store.Store, error) { return st, nil },
		})
		if err != nil {
			f.t.Fatal(err)
		}
		all, by[name] = append(all, s), s
	}
	InOrder(all...)
	return by
}

// want compares who ships, a letter each, with what has to be.
func (f *fleet) want(process map[string]*Shipper, ships string) {
	f.t.Helper()
	synctest.Wait()
	for name, s := range process {
		mode, st := ModeStandby, s.Status()
		if strings.Contains(ships, name) {
			mode = ModeShipping
		}
		if st.Mode != mode {
			f.t.Errorf("%s is in mode %s, want %s; %v", name, st.Mode, mode, st.Err)
		}
	}
}

func (f *fleet) close(process map[string]*Shipper) {
	f.t.Helper()
	for name, s := range process {
		if err := s.Close(context.Background()); err != nil {
			f.t.Errorf("closing %s: %v", name, err)
		}
	}
}

// Of two processes with the same replicas one ships to all of them, however their first attempts cross each other; and when
// that one ends, the other does.
func TestOneProcessShipsToAllReplicas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFleet(t)
		one, other := f.process("abc"), f.process("abc")
		one["a"].Start()
		synctest.Wait()
		for _, s := range other {
			s.Start() // finds b and c free
		}
		synctest.Wait()
		one["b"].Start()
		one["c"].Start()
		f.want(one, "abc")
		f.want(other, "")
		time.Sleep(time.Hour)
		f.want(one, "abc")
		f.want(other, "")
		third := f.process("abc")
		for _, s := range third {
			s.Start()
		}
		f.want(third, "")
		f.close(one)
		f.close(third)
		time.Sleep(2 * standbyTurn)
		f.want(other, "abc")
		f.close(other)
	})
}

// Processes whose lists differ: each replica is shipped to by one that knows it.
func TestProcessesWithOtherReplicas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFleet(t)
		var all []map[string]*Shipper
		for _, replicas := range []string{"b", "abc", "cd", "ad"} {
			p := f.process(replicas)
			for _, s := range p {
				s.Start()
			}
			all = append(all, p)
			time.Sleep(2 * outOfTurn * standbyTurn)
		}
		for i, ships := range []string{"b", "ac", "d", ""} {
			f.want(all[i], ships)
		}
		f.close(all[1])
		f.close(all[2])
		time.Sleep(2 * outOfTurn * standbyTurn)
		f.want(all[0], "b")
		f.want(all[3], "ad")
		f.close(all[0])
		f.close(all[3])
	})
}

// A replica that the process with the other locks has given up is taken by the next one, which may fare better.
func TestReplicaThatAProcessHasGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFleet(t)
		one, other := f.process("ab"), f.process("ab")
		for _, p := range []map[string]*Shipper{one, other} {
			for _, s := range p {
				s.Start()
			}
			synctest.Wait()
		}
		f.want(one, "ab")
		one["b"].End(ErrReplaced)
		time.Sleep(2 * outOfTurn * standbyTurn)
		f.want(map[string]*Shipper{"a": one["a"]}, "a")
		f.want(other, "b")
		f.close(map[string]*Shipper{"a": one["a"]})
		time.Sleep(2 * standbyTurn)
		f.want(other, "ab")
		f.close(other)
		f.close(one)
	})
}

// askedOnRelease asks each time that what was shipped is released.
type askedOnRelease struct {
	*fakeSource
	ask func()
}

func (a askedOnRelease) Release(ticket uint64) {
	a.ask()
	a.fakeSource.Release(ticket)
}

// Whoever waited until the first snapshot is durable reads in the status that it is over.
func TestModeChangesWithDurable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFleet(t)
		asked := false
		var s *Shipper
		ask := func() {
			st := s.Status()
			if asked = true; st.Durable.IsZero() || st.Mode != ModeShipping {
				t.Errorf("durable up to %v, in mode %s", st.Durable, st.Mode)
			}
		}
		s, err := New(Config{
			Source: askedOnRelease{newFakeSource(f.m), ask}, DBPath: f.m.path, StateDir: f.m.path + StateSuffix, Logger: slog.New(slog.DiscardHandler),
			Open: func(context.Context, func(store.Failure)) (store.Store, error) { return storetest.NewMemory(), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		synctest.Wait()
		f.close(map[string]*Shipper{"a": s})
		if !asked {
			t.Error("nothing was shipped")
		}
	})
}
