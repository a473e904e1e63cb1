package shipper

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
)

// clones are two machines of which one was copied from the other, each with a process that ships to one replica. The second one is
// fenced, and its process is closed.
func clones(t *testing.T) (a, b *world) {
	t.Helper()
	a = shipped(t, true)
	b = a.twinWorld(t.TempDir())
	b.cfg.Interval = time.Hour
	a.start()
	b.start()
	a.position()
	b.position()
	synctest.Wait()
	for range 3 {
		a.commit(2)
		a.flush()
	}
	b.commit(2)
	if err := b.sh.Flush(t.Context()); !errors.Is(err, ErrFenced) {
		t.Fatalf("the later one: %v", err)
	}
	b.commit(2)
	_ = b.kill() // fenced
	return a, b
}

// A clone that was fenced is closed, and opened again with its state folder, while the machine is up. What it has is no part of what the
// other one ships: it goes on from where they parted, on a timeline of its own, and both histories can be restored.
func TestFencedCloneIsOpenedAgain(t *testing.T) {
	for _, c := range []struct {
		name    string
		between func(b *world)
	}{
		{"with its log", func(*world) {}},
		{"with its log, written meanwhile", func(b *world) { b.offline(b.tx(2)) }},
		{"its log is in the file", func(b *world) { b.m.checkpoint(true) }},
		{"its log is in the file, written meanwhile", func(b *world) { b.m.checkpoint(true); b.offline(b.tx(2)) }},
		{"its log was started again", func(b *world) { b.m.checkpoint(false); b.offline(b.tx(2)) }},
		{"its pages have another size", func(b *world) { b.vacuum(1024, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				a, b := clones(t)
				defer func() { _ = a.kill() }() // after a failure; else it is closed already
				c.between(b)
				b.follow() // to its end it is what b has, point by point
				st := b.sh.Status()
				if st.Durable.Timeline != 2 || st.Err != nil || !strings.Contains(st.Notice, "timeline 2 at 1/6") {
					t.Errorf("status %+v", st)
				}
				a.verifyAt(replica.Pos{Timeline: 1, Tx: 9})
				// The other one notices when it ships again. Opened again, it goes on from what it has shipped.
				a.isFenced("timeline 2")
				a.m.checkpoint(true)
				a.offline(a.tx(2))
				a.m.checkpoint(true)
				a.follow()
				if st := a.sh.Status(); st.Durable.Timeline != 3 || !strings.Contains(st.Notice, "timeline 3 at 1/9") {
					t.Errorf("the other one's status %+v", st)
				}
				b.verifyAt(replica.Pos{Timeline: 2, Tx: b.sh.Durable().Tx})
			})
		})
	}
}

// A process is killed when the store has a segment, or the first snapshot, and before it knows. The next one, whose database has no log
// that tells, knows it for its own.
func TestSegmentUnderWayIsOurs(t *testing.T) {
	for _, snapshot := range []bool{true, false} {
		for _, rollback := range []bool{true, false} {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, t.TempDir())
				w.m.rollback = rollback
				w.offline(w.txOn(12, 30))
				f, name := w.faulty(), segment.SnapshotPrefix(1)+"*"
				if !snapshot {
					w.start()
					w.flush()
					name = segment.LogPrefix(1) + "*"
				}
				f.SetRules(faultstore.When(faultstore.And(faultstore.NameMatch(name), faultstore.OnOp(store.OpCreate)), faultstore.LostAck(errReset)),
					faultstore.When(faultstore.And(faultstore.NameMatch(name), faultstore.OnOp(store.OpStat)), faultstore.Fail(errReset)))
				if snapshot {
					w.start()
				}
				w.commit(2)
				time.Sleep(time.Minute)
				if d := w.sh.Durable(); d.Tx > 1 {
					t.Fatalf("durable %v", d)
				}
				_ = w.kill() // reports what is not known to be there
				f.SetRules()
				clear(w.want) // what is numbered anew
				if !rollback {
					w.m.checkpoint(true)
				}
				w.offline(w.tx(2))
				w.m.checkpoint(true)
				w.follow()
				if st := w.sh.Status(); st.Durable.Timeline != 1 {
					t.Errorf("snapshot %v, rollback %v: status %+v", snapshot, rollback, st)
				}
			})
		}
	}
}

// Two URLs lead to one replica, and each has a state folder of its own: what was shipped by way of the other one is known to be from here.
func TestTwoFoldersOfOneReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.m.rollback = true
		w.offline(w.txOn(12, 30))
		folders := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
		for i := range 6 {
			w.cfg.StateDir, w.cfg.OtherDirs = folders[i%2], folders[1-i%2:2-i%2]
			w.start()
			w.position()
			w.commit(2)
			w.flush()
			if i < 4 {
				w.stop()
			} else {
				_ = w.kill() // all is durable
			}
			if st := w.sh.Status(); st.Durable.Timeline != 1 {
				t.Fatalf("turn %d: status %+v", i, st)
			}
			w.offline(w.tx(1))
		}
		w.start()
		w.flush()
		w.stop()
		w.verify()
	})
}

// The first process at one URL was killed before there was a snapshot, the second one, at another URL, after it: the third one, at the first
// URL again, knows what the second one has shipped.
func TestTwoFoldersOfANewReplica(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, t.TempDir())
		w.m.rollback = true
		w.offline(w.txOn(12, 30))
		folders := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
		w.cfg.StateDir, w.cfg.OtherDirs = folders[0], folders[1:]
		f := w.faulty()
		f.SetRules(faultstore.When(faultstore.NameMatch(segment.SnapshotPrefix(1)+"*"), faultstore.Fail(errReset)))
		w.start()
		time.Sleep(time.Minute)
		_ = w.kill() // nothing is shipped
		f.SetRules()
		w.cfg.StateDir, w.cfg.OtherDirs = folders[1], folders[:1]
		w.start()
		w.position()
		w.commit(2)
		w.flush()
		was, _ := readState(folders[1])
		_ = w.kill() // all is durable; a process that is killed saves no state
		if was == nil {
			if err := os.Remove(filepath.Join(folders[1], stateFile)); err != nil {
				t.Fatal(err)
			}
		} else if err := writeState(folders[1], was); err != nil {
			t.Fatal(err)
		}
		w.offline(w.tx(2))
		w.cfg.StateDir, w.cfg.OtherDirs = folders[0], folders[1:]
		w.follow()
		if st := w.sh.Status(); st.Durable.Timeline != 1 {
			t.Errorf("status %+v", st)
		}
	})
}
