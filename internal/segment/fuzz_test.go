package segment

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"
	"pgregory.net/rapid"

	"seawal/internal/pagesum"
)

// reseal makes all checksums right again after a change, as far as the lengths still lead, so that
// what is behind them gets tested too.
func reseal(b []byte) {
	if len(b) < minSize {
		return
	}
	resealHeader(b)
	seed := xxh3.Hash(b[:headerFields])
	end := len(b) - FooterSize
	for at := HeaderSize; at+blockHeaderSize <= end; {
		n, err := blockLength(b[at:], int64(at))
		if err != nil || at+n > end {
			break
		}
		binary.LittleEndian.PutUint64(b[at:], xxh3.HashSeed(b[at+blockType:at+n], blockSeed(seed, int64(at))))
		at += n
	}
	binary.LittleEndian.PutUint64(b[end+footerSize:], uint64(len(b)))
	binary.LittleEndian.PutUint64(b[end+footerChecksum:], xxh3.Hash(b[:end+footerChecksum]))
	resealFooter(b)
}

// readAll reads an object in every way. What a Decoder takes, the other ways
// have to take, and an Encoder has to be able to write.
func readAll(t testing.TB, b []byte) {
	o, info, err := decode(bytes.NewReader(b))
	if err != nil && !isDamage(err) {
		t.Errorf("decode: %v", err)
	}
	tail, tailErr := ReadInfo(bytes.NewReader(b), int64(len(b)))
	if tailErr != nil && !isDamage(tailErr) {
		t.Errorf("ReadInfo: %v", tailErr)
	}
	if _, err := decodeBlocks(b); err != nil && !isDamage(err) {
		// An index that doesn't fit its blocks is found by reading all of the object only.
		t.Logf("decodeBlocks: %v", err)
	}
	if err != nil {
		return
	}
	if tailErr != nil || tail != info {
		t.Errorf("ReadInfo: %+v, %v, Decoder.Info %+v", tail, tailErr, info)
	}
	if _, err := decodeBlocks(b); err != nil {
		t.Errorf("decodeBlocks: %v", err)
	}
	again, _, err := o.encode()
	if err != nil {
		t.Fatalf("encode again: %v", err)
	}
	back, _, err := decode(bytes.NewReader(again))
	if err != nil {
		t.Fatalf("decode again: %v", err)
	}
	if d := cmp.Diff(o, back, byBytes); d != "" {
		t.Errorf("encoding again changes it:\n%s", d)
	}
}

// fuzzObjects are what FuzzDecode edits.
func fuzzObjects(f *testing.F) [][]byte {
	var objects [][]byte
	for _, dir := range slices.Sorted(maps.Keys(goldens)) { // inputs name an object by its number
		for _, g := range goldens[dir] {
			b, err := os.ReadFile(filepath.Join(dir, g.name+".seg"))
			if err != nil {
				f.Fatal(err)
			}
			objects = append(objects, b)
		}
	}
	return objects
}

// FuzzDecode reads objects in every way. Its inputs are edits of good objects rather than objects, so
// that they are short, and the fuzzer gets far with each byte: which is a
// number of a golden object; edits are groups of 4 bytes, an offset from the start and two
// bytes to put there, or, when the offset is beyond the end, a cut. free is read
// as an object, as the records of a block in one, and as the blocks of a whole one.
func FuzzDecode(f *testing.F) {
	objects := fuzzObjects(f)
	for i := range objects {
		f.Add(uint8(i), []byte{}, []byte{})
		f.Add(uint8(i), []byte{90, 0, 1, 2}, []byte{tagBegin, 1, 0, 9, tagDelta, 2, 1, 7, tagEnd})
		f.Add(uint8(i), []byte{0xff, 0xff, 9, 0}, []byte(startMagic))
		f.Add(uint8(i), []byte{}, []byte{1, 0, 4, tagBegin, 1, 0, 9})
		f.Add(uint8(i), []byte{}, []byte{0, 0, 4, tagBegin, 1, 0, 9, 1, 1, 3, tagDelta, 2, 0, 0, 1, 1, tagEnd})
	}
	f.Fuzz(func(t *testing.T, which uint8, edits, free []byte) {
		b := bytes.Clone(objects[int(which)%len(objects)])
		for ; len(edits) >= 4; edits = edits[4:] {
			at := int(binary.LittleEndian.Uint16(edits))
			if at+2 <= len(b) {
				copy(b[at:], edits[2:4])
			} else {
				b = b[:len(b)-min(len(b), int(edits[2]))]
			}
		}
		readAll(t, b)
		reseal(b)
		readAll(t, b)
		readAll(t, free)
		kind := kinds[int(which)%len(kinds)]
		readAll(t, forge(kind, typeRecords+which/8%2, free, int(which/16)))
		readAll(t, forgeObject(testHeader(kind, MinPageSize), script(free)...))
	})
}

func FuzzDelta(f *testing.F) {
	f.Add([]byte{9, 3, 1, 2, 3}, []byte{0, 1, 1, 8, 1, 5})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		merged, err := MergeDelta(nil, a, b, MinPageSize)
		page := make([]byte, MinPageSize)
		err1, err2 := ApplyDelta(page, a), ApplyDelta(page, b)
		if (err == nil) != (err1 == nil && err2 == nil) {
			t.Fatalf("MergeDelta %v, ApplyDelta %v and %v", err, err1, err2)
		}
		if err != nil {
			return
		}
		once := make([]byte, MinPageSize)
		if err := ApplyDelta(once, merged); err != nil || !bytes.Equal(once, page) {
			t.Fatalf("merged delta does something else, %v", err)
		}
	})
}

// drawObject draws an object of any kind and page size.
func drawObject(t *rapid.T) object {
	kind := rapid.SampledFrom(kinds).Draw(t, "kind")
	size := drawPageSize.Draw(t, "page size")
	r := testRand(rapid.Uint64().Draw(t, "seed"))
	o := object{Header: testHeader(kind, size), Place: testPlace}
	o.Header.First = rapid.Uint64Range(1, 1<<40).Draw(t, "first")
	page := func(n uint32) Page {
		old := testImage(r, size)
		if kind != Snapshot && r.IntN(3) > 0 {
			changed := drawChangeRand(r, old)
			if d, ok := AppendDelta(nil, old, changed, size/2); ok {
				return Page{n, Delta, d, pagesum.Unkeyed.Of(n, changed)}
			}
		}
		return Page{n, Full, old, pagesum.Unkeyed.Of(n, old)}
	}
	number := o.Header.First - 1
	txs := 1
	if kind == Log {
		txs = rapid.IntRange(1, 20).Draw(t, "transactions")
	}
	for range txs {
		x := tx{Tx: Tx{Span: 1, Time: int64(r.Uint64()), PageCount: 1 + r.Uint32N(70), After: pagesum.Sum(r.Uint64())}}
		if kind != Snapshot && r.IntN(4) == 0 {
			x.Span = 1 + r.Uint64N(1000)
		}
		number += x.Span
		x.Number = number
		for n := uint32(1); n <= x.PageCount; n++ {
			if kind == Snapshot || r.IntN(10) == 0 {
				x.Pages = append(x.Pages, page(n))
			}
		}
		if kind == Log {
			r.Shuffle(len(x.Pages), func(i, k int) { x.Pages[i], x.Pages[k] = x.Pages[k], x.Pages[i] })
		}
		o.Txs = append(o.Txs, x)
	}
	return o
}

func TestObjectProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawObject(t)
		b, info, err := want.encodeIn(rapid.IntRange(1, 1<<16).Draw(t, "block"), rapid.IntRange(1, 1<<12).Draw(t, "partition"))
		if err != nil {
			t.Fatal(err)
		}
		got, gotInfo, err := decode(bytes.NewReader(b))
		if err != nil || gotInfo != info {
			t.Fatalf("decode: %+v, %v, want %+v", gotInfo, err, info)
		}
		if d := cmp.Diff(want, got, byBytes); d != "" {
			t.Fatalf("transactions (-wrote +read):\n%s", d)
		}
		pages, err := decodeBlocks(b)
		if err != nil {
			t.Fatal(err)
		}
		if want.Header.Kind != Log {
			if d := cmp.Diff(want.Txs[0].Pages, pages, byBytes); d != "" {
				t.Fatalf("pages by index (-wrote +read):\n%s", d)
			}
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, _, err := decode(bytes.NewReader(b[:cut])); !isDamage(err) {
			t.Fatalf("decode %d of %d bytes: %v", cut, len(b), err)
		}
		at := rapid.IntRange(0, len(b)-1).Draw(t, "flip")
		b[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "mask"))
		if _, _, err := decode(bytes.NewReader(b)); !isDamage(err) {
			t.Fatalf("decode with byte %d changed: %v", at, err)
		}
	})
}
