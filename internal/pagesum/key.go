package pagesum

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/zeebo/xxh3"
)

// Key is the secret of a replica's page sums. Whoever writes to a database knows the number and the content of each page, and
// two contents with one sum can be written down for a sum that is public; the second one would never be shipped. The key is in the
// replica, which those who only write to the database don't see. 0 is no key: that of replicas made before there were keys.
type Key uint64

// NewKey returns a random key.
func NewKey() Key {
	for {
		var b [8]byte
		rand.Read(b[:]) // never fails: crypto/rand ends the process first
		if k := Key(binary.LittleEndian.Uint64(b[:])); k != 0 {
			return k
		}
	}
}

// Format doesn't tell the key, whatever the verb: what is printed is read by more people than a replica.
func (k Key) Format(f fmt.State, _ rune) {
	if k == 0 {
		fmt.Fprint(f, "no key")
		return
	}
	fmt.Fprint(f, "a key")
}

// MarshalText writes 16 hex digits, also as JSON.
func (k Key) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%016x", uint64(k)), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *Key) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || fmt.Sprintf("%016x", n) != string(text) {
		return fmt.Errorf("%q is no key of 16 hex digits", text)
	}
	*k = Key(n)
	return nil
}

// Hasher computes page sums under a key. nil is the Hasher without a key. Safe for concurrent use.
type Hasher struct {
	key Key
	pad atomic.Pointer[[]byte] // as long as the longest page so far
}

// Unkeyed computes the sums of replicas without a key.
var Unkeyed *Hasher

// NewHasher returns the Hasher of a key.
func NewHasher(k Key) *Hasher {
	if k == 0 {
		return Unkeyed
	}
	return &Hasher{key: k}
}

// Key is the key of the sums.
func (h *Hasher) Key() Key {
	if h == nil {
		return 0
	}
	return h.key
}

// maxPage is the largest page of SQLite, bytes.
const maxPage = 1 << 16

var scratch = sync.Pool{New: func() any { return new([maxPage]byte) }}

// Of returns the sum of a page: XXH3-64 of its content, seeded with its number,
// so that two pages that change places change the checksum of the database. It
// is never 0; the one hash value in 2^64 that is 0 becomes 1.
//
// Under a key the content is hidden from the hash's own constants by a pad, and the seed is the number XOR the key. A seed alone would
// not do: XXH3 takes the difference of two of its constants as it is, whatever the seed, and in about one of a hundred keys
// two changes of one page cancel out each other because of it. data is at most 64 KiB.
func (h *Hasher) Of(page uint32, data []byte) Sum {
	if h == nil {
		return nonZero(xxh3.HashSeed(data, uint64(page)))
	}
	buf := scratch.Get().(*[maxPage]byte)
	n := subtle.XORBytes(buf[:], data, h.padOf(len(data)))
	sum := xxh3.HashSeed(buf[:n], uint64(page)^uint64(h.key))
	scratch.Put(buf)
	return nonZero(sum)
}

func nonZero(sum uint64) Sum {
	if sum != 0 {
		return Sum(sum)
	}
	return 1
}

// padOf is the first n bytes of the pad, which is SHA-256 of key and counter, 8 bytes each and little-endian, for the counters from 0.
func (h *Hasher) padOf(n int) []byte {
	if p := h.pad.Load(); p != nil && len(*p) >= n {
		return (*p)[:n]
	}
	var in [16]byte
	binary.LittleEndian.PutUint64(in[:], uint64(h.key))
	pad := make([]byte, 0, n+sha256.Size)
	for i := uint64(0); len(pad) < n; i++ {
		binary.LittleEndian.PutUint64(in[8:], i)
		block := sha256.Sum256(in[:])
		pad = append(pad, block[:]...)
	}
	h.pad.Store(&pad)
	return pad[:n]
}
