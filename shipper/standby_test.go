package shipper

import "testing"

func TestPositionFile(t *testing.T) {
	for _, p := range []position{
		{},
		{epoch: 1<<63 + 5, timeline: 7, captured: 1 << 40, durable: 1<<40 - 1, mark: Mark{Salt: [2]uint32{1, 1 << 31}, Frame: 9}},
		{epoch: 3, timeline: 1, mark: Mark{Rollback: true, Counter: 1<<32 - 1}},
	} {
		b := p.encode()
		if got, ok := decodePosition(b); !ok || got != p || len(b) != positionSize {
			t.Errorf("%+v came back as %+v, %v", p, got, ok)
		}
		for n := range b {
			if _, ok := decodePosition(b[:n]); ok {
				t.Errorf("%d bytes of it are taken for one", n)
			}
			b[n] ^= 0x40
			if got, ok := decodePosition(b); ok {
				t.Errorf("with byte %d changed it is %+v", n, got)
			}
			b[n] ^= 0x40
		}
	}
}

func TestMarkCovers(t *testing.T) {
	log := func(generation, frame uint32) Mark { return Mark{Salt: [2]uint32{generation, 1}, Frame: frame} }
	counter := func(n uint32) Mark { return Mark{Rollback: true, Counter: n} }
	for _, c := range []struct {
		m, o Mark
		want bool
	}{
		{log(1, 5), log(1, 5), true},
		{log(1, 6), log(1, 5), true},
		{log(1, 4), log(1, 5), false},
		{log(2, 9), log(1, 5), false}, // later, perhaps: whoever asks looks again
		{counter(5), counter(5), true},
		{counter(0), counter(1<<32 - 1), true},
		{counter(4), counter(5), false},
		{counter(4), log(1, 5), false},
		{log(1, 5), counter(4), false},
	} {
		if got := c.m.covers(c.o); got != c.want {
			t.Errorf("%+v covers %+v: %v", c.m, c.o, got)
		}
	}
}
