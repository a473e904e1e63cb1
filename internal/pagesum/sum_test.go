package pagesum

import (
	"bytes"
	"fmt"
	"testing"
)

// A stored table outlives the program that wrote it: these values never change.
func TestOfIsStable(t *testing.T) {
	for _, tc := range []struct {
		page uint32
		data []byte
		want Sum
	}{
		{1, make([]byte, 4096), 0xeca1fdafb7b0bd2a},
		{2, make([]byte, 4096), 0xdae284c37489d958},
		{1, bytes.Repeat([]byte{0xa5, 1}, 256), 0x3c1e54033c4d6351},
		{1 << 31, make([]byte, 65536), 0x2cf98b92ee7fca41},
	} {
		if got := Unkeyed.Of(tc.page, tc.data); got != tc.want {
			t.Errorf("Of(%d, %d bytes) = %v, want %v", tc.page, len(tc.data), got, tc.want)
		}
	}
}

func TestOfSeesTheNumberAndEveryByte(t *testing.T) {
	page := make([]byte, 512)
	seen := map[Sum]string{Unkeyed.Of(1, page): "zeros"}
	add := func(s Sum, what string) {
		if was, ok := seen[s]; ok {
			t.Fatalf("%s has the sum of %s", what, was)
		}
		seen[s] = what
	}
	for n := uint32(2); n < 1000; n++ {
		add(Unkeyed.Of(n, page), fmt.Sprintf("zeros as page %d", n))
	}
	for i := range page {
		page[i] ^= 1
		add(Unkeyed.Of(1, page), fmt.Sprintf("byte %d flipped", i))
		page[i] ^= 1
	}
}

func TestSumString(t *testing.T) {
	if got := Sum(0xab).String(); got != "00000000000000ab" {
		t.Errorf("got %q", got)
	}
}

func TestLockPage(t *testing.T) {
	for size, want := range map[int]uint32{512: 2097153, 4096: 262145, 65536: 16385} {
		if got := LockPage(size); got != want {
			t.Errorf("LockPage(%d) = %d, want %d", size, got, want)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	for _, size := range []int{512, 4096, 65536} {
		page := make([]byte, size)
		b.Run(fmt.Sprintf("page=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				Unkeyed.Of(7, page)
			}
		})
	}
}
