package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

func TestReadHeader(t *testing.T) {
	edit := func(f func(b []byte)) []byte {
		b := bytes.Clone(newTestLog(1024, [2]uint32{1, 2}, false).b)
		f(b)
		return b
	}
	reseal := func(b []byte) {
		copy(b[headerSummed:], append32(nil, Header{}.Checksum([2]uint32{}, b[:headerSummed])))
	}
	at := func(off int64) func(error) bool {
		return func(err error) bool {
			var c *CorruptError
			return errors.As(err, &c) && c.Offset == off && c.Err != nil
		}
	}
	is := func(want error) func(error) bool {
		return func(err error) bool { return errors.Is(err, want) }
	}
	for _, tc := range []struct {
		name string
		b    []byte
		want func(error) bool
	}{
		{"empty", nil, is(io.EOF)},
		{"one byte", edit(func([]byte) {})[:1], is(ErrTorn)},
		{"one byte short", edit(func([]byte) {})[:31], is(ErrTorn)},
		{"magic", edit(func(b []byte) { b[0]++ }), at(0)},
		{"page size 256", edit(func(b []byte) { b[10] = 1; reseal(b) }), at(8)},
		{"page size 131072", edit(func(b []byte) { b[9], b[10] = 2, 0; reseal(b) }), at(8)},
		{"page size 1536", edit(func(b []byte) { b[10] = 6; reseal(b) }), at(8)},
		{"page size 0", edit(func(b []byte) { b[10] = 0; reseal(b) }), at(8)},
		{"checksum", edit(func(b []byte) { b[30]++ }), at(24)},
		{"other checksum order", edit(func(b []byte) { b[3]++ }), at(24)},
		{"version", edit(func(b []byte) { b[7]++; reseal(b) }), at(4)},
		{"good", edit(func([]byte) {}), is(nil)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := ReadHeader(bytes.NewReader(tc.b)); !tc.want(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	broken := errors.New("I/O error")
	if _, err := ReadHeader(&flakyFile{err: broken}); !errors.Is(err, broken) {
		t.Errorf("read error: %v", err)
	}
}

func TestHeaderFields(t *testing.T) {
	for _, bigEndian := range []bool{false, true} {
		l := newTestLog(65536, [2]uint32{0xdeadbeef, 0x01020304}, bigEndian)
		h, err := ParseHeader(l.b)
		if err != nil {
			t.Fatal(err)
		}
		if h != l.h {
			t.Errorf("got %+v, want %+v", h, l.h)
		}
		if got := h.Start().String(); got != "deadbeef-01020304/0" {
			t.Errorf("Start is %s", got)
		}
		if h.FrameOffset(1) != 32 || h.FrameOffset(3) != 32+2*(24+65536) {
			t.Errorf("offsets %d, %d", h.FrameOffset(1), h.FrameOffset(3))
		}
	}
}

// flakyFile fails with err on every read that reaches from on, after the bytes before it.
type flakyFile struct {
	b     []byte
	from  int
	err   error
	reads int
}

func (f *flakyFile) ReadAt(p []byte, off int64) (int, error) {
	f.reads++
	if f.err != nil && int(off)+len(p) > f.from {
		return copy(p, f.b[min(int(off), f.from):f.from]), f.err
	}
	return bytes.NewReader(f.b).ReadAt(p, off)
}

// log10 is a log of ten frames, page 1 to 10, every second one a commit.
func log10(pageSize int) *testLog {
	l := newTestLog(pageSize, [2]uint32{5, 6}, false)
	for i := 1; i <= 10; i++ {
		l.add(uint32(i), uint32((1-i%2)*i), filler(pageSize, i))
	}
	return l
}

func TestNextReturnsEveryFrame(t *testing.T) {
	for pageSize := 512; pageSize <= 65536; pageSize *= 2 {
		l := log10(pageSize)
		_, want, err := recoverNaively(l.b)
		if err != nil || len(want) != 10 {
			t.Fatal(len(want), err)
		}
		got, end := frames(t, bytes.NewReader(l.b), l.h, l.h.Start())
		if !sameFrames(want, got) {
			t.Errorf("page size %d: the frames differ", pageSize)
		}
		if want := (Place{Salt: l.h.Salt, Frame: 10, Cksum: l.sum}); end != want {
			t.Errorf("page size %d: ends at %v, want %v", pageSize, end, want)
		}
	}
}

func TestReaderContinuesBehindEveryPlace(t *testing.T) {
	l := log10(512)
	r := bytes.NewReader(l.b)
	_, want, _ := recoverNaively(l.b)
	for n := range uint32(11) {
		from, err := l.h.PlaceAt(r, n)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := frames(t, r, l.h, from)
		if !sameFrames(want[n:], got) {
			t.Errorf("behind frame %d: the frames differ", n)
		}
		for what, bad := range map[string]Place{
			"checksum":   {Salt: from.Salt, Frame: n, Cksum: [2]uint32{from.Cksum[0] ^ 1, from.Cksum[1]}},
			"generation": {Salt: [2]uint32{from.Salt[0] - 1, from.Salt[1]}, Frame: n, Cksum: from.Cksum},
			"frame":      {Salt: from.Salt, Frame: n + 1, Cksum: from.Cksum},
			"nowhere":    {},
		} {
			if all, end := frames(t, r, l.h, bad); len(all) != 0 || end != bad {
				t.Errorf("behind frame %d with another %s: %d frames, ends at %v", n, what, len(all), end)
			}
		}
	}
	if _, err := l.h.PlaceAt(r, 11); err != io.EOF {
		t.Errorf("place behind the end: %v", err)
	}
	other := l.h
	other.Salt[0]++
	if _, err := other.PlaceAt(r, 3); err != io.EOF {
		t.Errorf("place in another generation: %v", err)
	}
	broken := errors.New("I/O error")
	if _, err := l.h.PlaceAt(&flakyFile{err: broken}, 3); !errors.Is(err, broken) {
		t.Errorf("read error: %v", err)
	}
}

func TestReaderStopsWhereTheChainEnds(t *testing.T) {
	size := 24 + 512
	frame5 := 32 + 4*size
	other := log10(512)
	other.h.Salt[1]++
	for name, edit := range map[string]func(b []byte) []byte{
		"cut in the header": func(b []byte) []byte { return b[:frame5+23] },
		"cut in the page":   func(b []byte) []byte { return b[:frame5+size-1] },
		"page number 0":     func(b []byte) []byte { binary.BigEndian.PutUint32(b[frame5:], 0); return b },
		"commit":            func(b []byte) []byte { b[frame5+4]++; return b },
		"salt-1":            func(b []byte) []byte { b[frame5+8]++; return b },
		"salt-2":            func(b []byte) []byte { b[frame5+15]++; return b },
		"checksum":          func(b []byte) []byte { b[frame5+23]++; return b },
		"content":           func(b []byte) []byte { b[frame5+24]++; return b },
		"last byte":         func(b []byte) []byte { b[frame5+size-1]++; return b },
		"frame left out":    func(b []byte) []byte { return append(b[:frame5], b[frame5+size:]...) },
		"frame twice":       func(b []byte) []byte { copy(b[frame5:frame5+size], b[frame5-size:]); return b },
		"zeroed checksums":  func(b []byte) []byte { clear(b[frame5+8 : frame5+24]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			l := log10(512)
			all, end := frames(t, bytes.NewReader(edit(bytes.Clone(l.b))), l.h, l.h.Start())
			if len(all) != 4 || end.Frame != 4 {
				t.Errorf("%d frames, ends at %v", len(all), end)
			}
		})
	}
}

// A frame with page number 0 and a right checksum is no frame either.
func TestPageZeroEndsTheChain(t *testing.T) {
	l := newTestLog(512, [2]uint32{1, 2}, false)
	l.add(1, 1, filler(512, 1))
	l.add(0, 1, filler(512, 2))
	l.add(2, 2, filler(512, 3))
	if all, _ := frames(t, bytes.NewReader(l.b), l.h, l.h.Start()); len(all) != 1 {
		t.Errorf("%d frames", len(all))
	}
}

func TestReaderGoesOnWhenTheLogGrows(t *testing.T) {
	l := log10(512)
	file := &flakyFile{}
	r := NewReader(file, l.h, l.h.Start())
	var f Frame
	var got int
	for n := HeaderSize; n <= len(l.b); n += 100 {
		file.b = l.b[:n]
		for {
			err := r.Next(&f)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			got++
		}
		if want := (n - HeaderSize) / l.h.FrameSize(); got != want {
			t.Fatalf("%d frames in the first %d bytes, want %d", got, n, want)
		}
	}
}

func TestReadErrorIsNoEnd(t *testing.T) {
	l := log10(4096)
	broken := errors.New("I/O error")
	file := &flakyFile{b: l.b, from: int(l.h.FrameOffset(4)) + 100, err: broken}
	r := NewReader(file, l.h, l.h.Start())
	var f Frame
	for range 3 {
		if err := r.Next(&f); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := r.Next(&f); !errors.Is(err, broken) {
			t.Fatalf("got %v", err)
		}
	}
	file.err = nil
	if err := r.Next(&f); err != nil || f.Index != 4 {
		t.Errorf("frame %d, %v after the error went away", f.Index, err)
	}
}

func TestReaderReadsInLargePieces(t *testing.T) {
	l := newTestLog(4096, [2]uint32{1, 2}, false)
	for i := range 1000 {
		l.add(uint32(i+1), 0, filler(4096, i))
	}
	file := &flakyFile{b: l.b}
	if all, _ := frames(t, file, l.h, l.h.Start()); len(all) != 1000 {
		t.Fatalf("%d frames", len(all))
	}
	if most := len(l.b)/(200<<10) + 2; file.reads > most {
		t.Errorf("%d reads for %d bytes, want at most %d", file.reads, len(l.b), most)
	}
}

func TestChecksumRefusesAnOddLength(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Header{}.Checksum([2]uint32{}, make([]byte, 12))
}

func TestPlace(t *testing.T) {
	l := log10(512)
	p := l.h.Start()
	if p.IsZero() || !(Place{}).IsZero() {
		t.Error("IsZero")
	}
	if q := (Place{Salt: p.Salt, Frame: 9}); !p.SameGeneration(q) || p.SameGeneration(Place{}) {
		t.Error("SameGeneration")
	}
}

func BenchmarkReader(b *testing.B) {
	l := newTestLog(4096, [2]uint32{1, 2}, false)
	for i := range 1000 {
		l.add(uint32(i+1), 0, filler(4096, i))
	}
	b.SetBytes(int64(len(l.b)))
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(bytes.NewReader(l.b), l.h, l.h.Start())
		for f := (Frame{}); r.Next(&f) == nil; {
		}
	}
}
