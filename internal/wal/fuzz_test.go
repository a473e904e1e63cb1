package wal

import (
	"bytes"
	"testing"
)

// FuzzWAL reads raw as a log, and a valid log built from it that is then cut
// short and has one byte changed. Reader and specification must agree on each,
// and on what is behind the frame in the middle.
func FuzzWAL(f *testing.F) {
	l := newTestLog(512, [2]uint32{1, 2}, false)
	l.add(1, 0, filler(512, 1))
	l.add(2, 2, filler(512, 2))
	f.Add(l.b, uint8(0), false, uint16(0), uint16(0), byte(0))
	f.Add([]byte{1, 0, 0, 0, 2, 2, 0, 0, 1, 2}, uint8(1), true, uint16(100), uint16(700), byte(1))
	f.Add([]byte{}, uint8(7), true, uint16(0), uint16(3), byte(0x80))
	f.Fuzz(func(t *testing.T, raw []byte, sizeLog uint8, bigEndian bool, cut, at uint16, flip byte) {
		agree(t, raw)

		pageSize := minPageSize << (sizeLog % 8)
		l := newTestLog(pageSize, [2]uint32{uint32(cut), uint32(at)}, bigEndian)
		for i := 0; i < len(raw) && i < 48; i += 4 {
			page := make([]byte, pageSize)
			copy(page, raw[i:])
			l.add(uint32(raw[i]), uint32(raw[min(i+1, len(raw)-1)])&3, page)
		}
		agree(t, l.b)
		l.b = l.b[:max(0, len(l.b)-int(cut))]
		if len(l.b) > 0 {
			l.b[int(at)%len(l.b)] ^= flip
		}
		agree(t, l.b)
	})
}

func agree(t *testing.T, log []byte) {
	t.Helper()
	want, all, wantErr := recoverNaively(log)
	h, err := ReadHeader(bytes.NewReader(log))
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("ReadHeader: %v, want %v", err, wantErr)
	}
	if err != nil {
		return
	}
	if h != want {
		t.Fatalf("header %+v, want %+v", h, want)
	}
	got, end := frames(t, bytes.NewReader(log), h, h.Start())
	if !sameFrames(all, got) || int(end.Frame) != len(all) {
		t.Fatalf("%d frames, ends at %v, want %d", len(got), end, len(all))
	}
	half := len(all) / 2
	from, err := h.PlaceAt(bytes.NewReader(log), uint32(half))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := frames(t, bytes.NewReader(log), h, from); !sameFrames(all[half:], got) {
		t.Fatalf("%d frames behind frame %d of %d", len(got), half, len(all))
	}
}
