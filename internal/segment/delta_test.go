package segment

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendDelta(t *testing.T) {
	page := func(set map[int]byte) []byte {
		b := make([]byte, 32)
		for i, v := range set {
			b[i] = v
		}
		return b
	}
	tests := []struct {
		name string
		new  []byte
		want []byte
	}{
		{"equal", page(nil), []byte{}},
		{"first byte", page(map[int]byte{0: 7}), []byte{0, 1, 7}},
		{"last byte", page(map[int]byte{31: 7}), []byte{31, 1, 7}},
		{"gap absorbed", page(map[int]byte{7: 1, 9: 2}), []byte{7, 3, 1, 0, 2}},
		{"gap kept", page(map[int]byte{7: 1, 16: 2}), []byte{7, 1, 1, 8, 1, 2}},
		{"gap of 14 absorbed", page(map[int]byte{0: 1, 15: 2}), append(append([]byte{0, 16, 1}, make([]byte, 14)...), 2)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, ok := AppendDelta([]byte("x"), make([]byte, 32), test.new, 100)
			if !ok || !bytes.Equal(got, append([]byte("x"), test.want...)) {
				t.Fatalf("got %v, %v, want %v", got, ok, test.want)
			}
			if _, ok := AppendDelta(nil, make([]byte, 32), test.new, len(test.want)); !ok {
				t.Error("refused with just enough room")
			}
			got, ok = AppendDelta([]byte("x"), make([]byte, 32), test.new, len(test.want)-1)
			if ok || string(got) != "x" {
				t.Errorf("limit too small: got %v, %v", got, ok)
			}
		})
	}
	if _, ok := AppendDelta(nil, make([]byte, 8), make([]byte, 9), 100); ok {
		t.Error("images of different lengths are accepted")
	}
}

func TestApplyDeltaRefuses(t *testing.T) {
	tests := []struct {
		name  string
		delta []byte
	}{
		{"gap beyond the page", []byte{33, 1, 0}},
		{"gap to the end", []byte{32, 1, 0}},
		{"run beyond the page", []byte{31, 2, 0, 0}},
		{"second run beyond the page", []byte{20, 1, 7, 11, 1, 7}},
		{"empty run", []byte{0, 0}},
		{"no length", []byte{3}},
		{"no bytes", []byte{0, 4, 1, 2}},
		{"uvarint without an end", bytes.Repeat([]byte{0xff}, 20)},
		{"huge gap", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 0}},
		{"huge length", []byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var corruptErr *CorruptError
			if err := ApplyDelta(make([]byte, 32), test.delta); !errors.As(err, &corruptErr) {
				t.Errorf("ApplyDelta: %v", err)
			}
			bad := append([]byte{0x80, 0x04}, test.delta...) // behind a gap of 512
			if _, err := MergeDelta(nil, nil, bad, 512); !errors.As(err, &corruptErr) {
				t.Errorf("MergeDelta: %v", err)
			}
			if _, err := MergeDelta(nil, bad, nil, 512); !errors.As(err, &corruptErr) {
				t.Errorf("MergeDelta: %v", err)
			}
		})
	}
	if _, err := MergeDelta(nil, nil, nil, 1000); err == nil {
		t.Error("MergeDelta accepts a page size of 1000")
	}
}

// drawChange returns page with some of its bytes changed: a few runs, or all of them.
func drawChange(t *rapid.T, page []byte, label string) []byte {
	return drawChangeRand(testRand(rapid.Uint64().Draw(t, label)), page)
}

func drawChangeRand(r *rand.Rand, page []byte) []byte {
	out := bytes.Clone(page)
	runs := r.IntN(20)
	if runs == 19 {
		for i := range out {
			out[i] = byte(r.Uint32())
		}
		return out
	}
	for range runs {
		start := r.IntN(len(out))
		for i := start; i < min(len(out), start+1+r.IntN(60)); i++ {
			out[i] ^= byte(r.Uint32())
		}
	}
	return out
}

var drawPageSize = rapid.SampledFrom([]int{512, 1024, 2048, 4096, 8192, 16384, 32768, 65536})

func TestDeltaProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := drawPageSize.Draw(t, "page size")
		a := testImage(testRand(rapid.Uint64().Draw(t, "seed")), size)
		b := drawChange(t, a, "first")
		c := drawChange(t, b, "second")
		first, ok1 := AppendDelta(nil, a, b, size+deltaSlack)
		second, ok2 := AppendDelta(nil, b, c, size+deltaSlack)
		if !ok1 || !ok2 {
			t.Fatal("a delta is longer than its page by more than the slack")
		}
		merged, err := MergeDelta([]byte("x"), first, second, size)
		if err != nil {
			t.Fatal(err)
		}
		direct, _ := AppendDelta([]byte("x"), a, c, size+deltaSlack)
		if !bytes.Equal(merged, direct) {
			t.Fatal("merged delta differs from the direct one")
		}
		steps := []struct {
			name  string
			delta []byte
			want  []byte
		}{
			{"forward", first, b}, {"forward again", second, c}, {"back", merged[1:], a},
			{"at once", merged[1:], c}, {"back one", second, b}, {"back two", first, a},
		}
		page := bytes.Clone(a)
		for _, step := range steps {
			if err := ApplyDelta(page, step.delta); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(page, step.want) {
				t.Fatalf("%s: wrong page", step.name)
			}
		}
	})
}

func TestAppendDeltaOddLengths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.Byte(), 1, 600).Draw(t, "old")
		b := drawChange(t, a, "change")
		d, ok := AppendDelta(nil, a, b, 2*len(a)+deltaSlack)
		if !ok {
			t.Fatal("no delta")
		}
		if err := ApplyDelta(a, d); err != nil || !bytes.Equal(a, b) {
			t.Fatalf("wrong bytes, %v", err)
		}
	})
}
