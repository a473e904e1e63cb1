package segment

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
)

// deltaSlack bounds what a delta can be longer than its page: a run over the
// whole page has a header of 4 bytes, and every further run's header (at most 6)
// is shorter than the 8 equal bytes that part it from the run before.
const deltaSlack = 8

// The scan for differences skips coarse bytes at once where it can, then fine
// ones, then goes word by word: most of a page is equal, and bytes.Equal runs
// at the speed of memory once its call is paid for.
const (
	coarse = 512
	fine   = 64
)

// AppendDelta appends the sparse XOR of two images of a page, old and new, to
// dst: for each run of differing bytes the number of equal bytes before it and
// its length as uvarints, then its XOR. Equal bytes between two runs that are
// fewer than 8 are absorbed, and up to 14 may be. Equal images give an empty delta.
//
// ok is false when the delta would be longer than limit bytes, or when old and new
// differ in length; dst is then returned unchanged. It allocates only when
// dst has no room.
func AppendDelta(dst, old, new []byte, limit int) (out []byte, ok bool) {
	n := len(new)
	if len(old) != n || limit < 0 {
		return dst, false
	}
	base, end := len(dst), 0 // end: of the last run
	for i := nextDifference(old, new, 0); i < n; {
		start := i + bits.TrailingZeros64(difference(old, new, i))/8
		last := difference(old, new, i)
		for i += 8; i < n; i += 8 {
			d := difference(old, new, i)
			if d == 0 {
				break
			}
			last = d
		}
		stop := i - bits.LeadingZeros64(last)/8
		dst = binary.AppendUvarint(dst, uint64(start-end))
		dst = binary.AppendUvarint(dst, uint64(stop-start))
		at := len(dst)
		if at-base+stop-start > limit {
			return dst[:base], false
		}
		dst = append(dst, new[start:stop]...)
		subtle.XORBytes(dst[at:], dst[at:], old[start:stop])
		end = stop
		i = nextDifference(old, new, i)
	}
	return dst, true
}

// nextDifference returns the offset of the first 8-byte word, at or after i, in
// which old and new differ; len(new) or more when there is none. i is a multiple of 8.
func nextDifference(old, new []byte, i int) int {
	n := len(new)
	for i < n {
		if i%coarse == 0 && i+coarse <= n && bytes.Equal(old[i:i+coarse], new[i:i+coarse]) {
			i += coarse
			continue
		}
		if i%fine == 0 && i+fine <= n && bytes.Equal(old[i:i+fine], new[i:i+fine]) {
			i += fine
			continue
		}
		for stop := (i/fine + 1) * fine; i < stop && i < n; i += 8 {
			if difference(old, new, i) != 0 {
				return i
			}
		}
	}
	return i
}

// difference is the XOR of the words at i; bytes beyond the end count as equal.
func difference(old, new []byte, i int) uint64 {
	if i+8 <= len(new) && i+8 <= len(old) {
		return binary.LittleEndian.Uint64(old[i:]) ^ binary.LittleEndian.Uint64(new[i:])
	}
	var d uint64
	for k := 0; i+k < len(new); k++ {
		d |= uint64(old[i+k]^new[i+k]) << (8 * k)
	}
	return d
}

// ApplyDelta turns page, in place, into the image on the other side of delta:
// XOR is its own inverse, so the same delta leads from old to new and back. A
// delta that doesn't fit the page is a *CorruptError; page is then undefined.
func ApplyDelta(page, delta []byte) error {
	at := 0
	for i := 0; i < len(delta); {
		gap, n1 := binary.Uvarint(delta[i:])
		if n1 <= 0 || gap > uint64(len(page)-at) {
			return corrupt(int64(i), "delta: run starts outside the page")
		}
		at += int(gap)
		length, n2 := binary.Uvarint(delta[i+n1:])
		if n2 <= 0 || length == 0 || length > uint64(len(page)-at) {
			return corrupt(int64(i), "delta: run ends outside the page")
		}
		from := i + n1 + n2
		if length > uint64(len(delta)-from) {
			return corrupt(int64(i), "delta: run is cut short")
		}
		n := int(length)
		subtle.XORBytes(page[at:at+n], page[at:at+n], delta[from:from+n])
		at += n
		i = from + n
	}
	return nil
}

// zeroPage is read only.
var zeroPage [MaxPageSize]byte

var mergePool = sync.Pool{New: func() any { return new([MaxPageSize]byte) }}

// MergeDelta appends to dst one delta that does what a and then b do, on a
// page of pageSize bytes; no image of the page is needed. A delta that doesn't
// fit the page is a *CorruptError. The result is never longer than the page by
// more than 8 bytes.
func MergeDelta(dst, a, b []byte, pageSize int) ([]byte, error) {
	if err := validatePageSize(pageSize); err != nil {
		return dst, fmt.Errorf("merge deltas: %w", err)
	}
	scratch := mergePool.Get().(*[MaxPageSize]byte)
	defer mergePool.Put(scratch)
	page := scratch[:pageSize]
	clear(page)
	if err := ApplyDelta(page, a); err != nil {
		return dst, fmt.Errorf("merge deltas: first: %w", err)
	}
	if err := ApplyDelta(page, b); err != nil {
		return dst, fmt.Errorf("merge deltas: second: %w", err)
	}
	out, _ := AppendDelta(dst, zeroPage[:pageSize], page, pageSize+deltaSlack)
	return out, nil
}
