package pagesum

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"
)

// Two of XXH3's constants, which are added to the seed and XORed with the first 8 bytes of the stripes 0 and 12.
const xxhKey0, xxhKey12 = 0xbe4ba423396cfeb8, 0x3f349ce33f76faa8

// cancelling is two contents of a page that have one sum under about one seed of a hundred. Flipping the highest bit of both words
// changes what they add to by 2^64, and their products by the same amount, if the low halves of the products are equal: the difference of
// the words makes up for that of the constants, and a seed that is added to both doesn't change it unless a carry is another one.
func cancelling(r *rand.Rand) (a, b []byte) {
	seed := r.Uint64()
	a = make([]byte, 4096)
	for i := range a {
		a[i] = byte(r.Uint32())
	}
	low := uint32(xxhKey0+seed) ^ uint32(xxhKey12+seed)
	binary.LittleEndian.PutUint32(a, binary.LittleEndian.Uint32(a[12*64:])^low)
	b = bytes.Clone(a)
	b[7] ^= 0x80
	b[12*64+7] ^= 0x80
	return a, b
}

// No contents that were made to collide, whatever the seed, collide under a key.
func TestKeyedSumsCannotBeMadeToCollide(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const tries = 20_000
	seeds, keys := 0, 0
	for range tries {
		a, b := cancelling(r)
		k := r.Uint64() | 1
		if xxh3.HashSeed(a, k) == xxh3.HashSeed(b, k) {
			seeds++
		}
		if h := NewHasher(Key(k)); h.Of(1, a) == h.Of(1, b) {
			keys++
		}
	}
	if seeds < 10 {
		t.Errorf("%d of %d pairs collide under a seed: the test's pairs are wrong", seeds, tries)
	}
	if keys > 0 {
		t.Errorf("%d of %d pairs collide under a key", keys, tries)
	}
}

// Sums under a key are in replicas: these values never change.
func TestKeyedSumsAreStable(t *testing.T) {
	h := NewHasher(0x0123456789abcdef)
	for _, tc := range []struct {
		page uint32
		data []byte
		want Sum
	}{
		{page: 1, data: make([]byte, 512), want: 0x3d7bedad94f84dc5},
		{page: 1, data: make([]byte, 65536), want: 0x2e336998ae27159a},
		{page: 2, data: bytes.Repeat([]byte{0xa5, 1}, 2048), want: 0x45af98ba51779df7},
	} {
		if got := h.Of(tc.page, tc.data); got != tc.want {
			t.Errorf("Of(%d, %d bytes) = %v, want %v", tc.page, len(tc.data), got, tc.want)
		}
	}
}

func TestKeyText(t *testing.T) {
	b, err := json.Marshal(struct {
		Key  Key `json:"key,omitempty"`
		None Key `json:"none,omitempty"`
	}{Key: 0xab})
	if err != nil || string(b) != `{"key":"00000000000000ab"}` {
		t.Errorf("%s, %v", b, err)
	}
	var k Key
	if err := k.UnmarshalText([]byte("00000000000000ab")); err != nil || k != 0xab {
		t.Errorf("%x, %v", uint64(k), err)
	}
	for _, bad := range []string{"", "ab", "00000000000000AB", "00000000000000abc", "+0000000000000ab"} {
		if err := k.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if got := fmt.Sprintf(verb, struct{ K Key }{0xab}); strings.Contains(got, "ab") || strings.Contains(got, "171") {
			t.Errorf("%s prints the key: %s", verb, got)
		}
	}
	if a, b := NewKey(), NewKey(); a == 0 || a == b {
		t.Errorf("new keys %x and %x", uint64(a), uint64(b))
	}
}

func BenchmarkKeyedOf(b *testing.B) {
	for _, size := range []int{512, 4096, 65536} {
		page, h := make([]byte, size), NewHasher(7)
		b.Run(fmt.Sprintf("page=%d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				h.Of(7, page)
			}
		})
	}
}
