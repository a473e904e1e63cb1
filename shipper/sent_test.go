package shipper

import (
	"slices"
	"testing"

	"seawal/internal/replica"
)

// What a process was about to send when it was killed stays known while the next one sends, and however often that has to try.
func TestSentStaysKnown(t *testing.T) {
	dir := t.TempDir()
	of := func(timeline uint32, tx uint64) sent {
		return sent{replica.Pos{Timeline: timeline, Tx: tx}, tx << 32}
	}
	process := func(all ...sent) {
		t.Helper()
		s := &Shipper{}
		s.cfg.StateDir = dir
		if err := s.beginTelling(); err != nil {
			t.Fatal(err)
		}
		defer s.telling.file.Close()
		for _, x := range all {
			for range 2 * sentKept {
				s.noteSent(x)
			}
		}
	}
	known := func(want ...sent) {
		t.Helper()
		got := readSent(dir)
		for _, x := range want {
			if !slices.Contains(got, x) {
				t.Errorf("%+v is not known, %+v are", x, got)
			}
		}
		if len(got) > sentKept {
			t.Errorf("%d records", len(got))
		}
	}
	process(of(1, 7))
	process(of(1, 8))
	known(of(1, 7), of(1, 8))
	for tx := uint64(9); tx < 40; tx++ {
		process(of(1, tx))
		known(of(1, tx), of(1, tx-1), of(1, tx-2))
	}
	process(of(2, 38))
	process(of(2, 39))
	known(of(2, 39), of(2, 38), of(1, 39))
}
