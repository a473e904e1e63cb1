package shipper

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/replica"
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
				// The other one has noticed nothing yet. Opened again, it goes on from what it has shipped.
				a.commit(2)
				a.stop()
				a.m.checkpoint(true)
				a.offline(a.tx(2))
				a.m.checkpoint(true)
				a.follow()
				if st := a.sh.Status(); st.Durable.Timeline != 3 || !strings.Contains(st.Notice, "timeline 3 at 1/10") {
					t.Errorf("the other one's status %+v", st)
				}
				b.verifyAt(replica.Pos{Timeline: 2, Tx: b.sh.Durable().Tx})
			})
		})
	}
}
