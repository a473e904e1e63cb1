package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/zeebo/xxh3"

	"seawal/internal/pagesum"
)

// smallObject is testObject with a page size that lets a test try every byte.
func smallObject(t testing.TB, kind Kind) []byte {
	b, _ := testObject(kind, MinPageSize).mustEncode(t)
	return b
}

func TestEveryPrefixIsAnError(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			b := smallObject(t, kind)
			for n := range b {
				if _, _, err := decode(bytes.NewReader(b[:n])); !errors.Is(err, ErrTorn) {
					t.Fatalf("decode %d of %d bytes: %v, want ErrTorn", n, len(b), err)
				}
				if _, err := ReadInfo(bytes.NewReader(b[:n]), int64(n)); !errors.Is(err, ErrTorn) {
					t.Fatalf("ReadInfo of %d of %d bytes: %v, want ErrTorn", n, len(b), err)
				}
				// The size from a listing, the bytes from a copy that was cut short.
				if _, err := ReadInfo(bytes.NewReader(b[:n]), int64(len(b))); !errors.Is(err, ErrTorn) {
					t.Fatalf("ReadInfo of %d bytes as %d: %v, want ErrTorn", n, len(b), err)
				}
			}
		})
	}
}

func TestEveryFlippedByteIsDetected(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			b := smallObject(t, kind)
			for i := range b {
				for _, mask := range []byte{1, 0x80, 0xff} {
					b[i] ^= mask
					if _, _, err := decode(bytes.NewReader(b)); !isDamage(err) {
						t.Fatalf("decode with byte %d of %d changed by %#x: %v", i, len(b), mask, err)
					}
					_, err := ReadInfo(bytes.NewReader(b), int64(len(b)))
					if inFooter := i >= len(b)-FooterSize; isDamage(err) != inFooter {
						t.Fatalf("ReadInfo with byte %d of %d changed by %#x: %v", i, len(b), mask, err)
					}
					b[i] ^= mask
				}
			}
		})
	}
}

func TestFlippedByteInBlockIsDetected(t *testing.T) {
	b := smallObject(t, Snapshot)
	info, err := ReadInfo(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	x, err := ReadIndex(bytes.NewReader(b), info)
	if err != nil {
		t.Fatal(err)
	}
	nothing := func(Page) error { return nil }
	k := x.Blocks[1]
	raw := b[k.Offset : k.Offset+int64(k.Length)]
	for i := range raw {
		raw[i] ^= 0x10
		if err := x.Decode(1, raw, nothing); !isDamage(err) {
			t.Fatalf("Decode with byte %d of %d changed: %v", i, len(raw), err)
		}
		raw[i] ^= 0x10
	}
	if err := x.Decode(0, raw, nothing); !isDamage(err) {
		t.Errorf("Decode of a block in another's place: %v", err)
	}
	if err := x.Decode(1, raw[:len(raw)-1], nothing); !isDamage(err) {
		t.Errorf("Decode of a block cut short: %v", err)
	}
	for i := int(info.IndexOffset); i < len(b)-FooterSize; i++ {
		b[i] ^= 0x10
		if _, err := ReadIndex(bytes.NewReader(b), info); !isDamage(err) {
			t.Fatalf("ReadIndex with byte %d changed: %v", i, err)
		}
		b[i] ^= 0x10
	}
}

func TestBytesBehindTheEnd(t *testing.T) {
	for _, kind := range kinds {
		b := append(smallObject(t, kind), 0)
		if _, _, err := decode(bytes.NewReader(b)); !isDamage(err) {
			t.Errorf("%v: decode: %v", kind, err)
		}
		if _, err := ReadInfo(bytes.NewReader(b), int64(len(b))); !isDamage(err) {
			t.Errorf("%v: ReadInfo: %v", kind, err)
		}
	}
}

func TestReadErrorIsKept(t *testing.T) {
	broken := errors.New("broken")
	b := smallObject(t, Merged)
	for n := range b {
		_, _, err := decode(io.MultiReader(bytes.NewReader(b[:n]), errorReader{broken}))
		if !errors.Is(err, broken) || isDamage(err) {
			t.Fatalf("reading fails behind %d bytes: %v", n, err)
		}
	}
	if _, _, err := decode(io.MultiReader(bytes.NewReader(b), errorReader{broken})); !errors.Is(err, broken) {
		t.Errorf("reading fails behind the end: %v", err)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// resealHeader makes the header's checksum right again after a change.
func resealHeader(b []byte) {
	binary.LittleEndian.PutUint64(b[headerFields:], xxh3.Hash(b[:headerFields]))
}

// resealFooter makes the footer's own checksum right again after a change.
func resealFooter(b []byte) {
	f := b[len(b)-FooterSize:]
	binary.LittleEndian.PutUint64(f[footerOwnSum:], xxh3.Hash(f[:footerOwnSum]))
}

func TestNewerVersionAndFlags(t *testing.T) {
	tests := []struct {
		name   string
		change func(b []byte)
		want   VersionError
	}{
		{"version", func(b []byte) {
			b[8] = 3
			b[len(b)-FooterSize+footerTail] = 3
		}, VersionError{Version: 3}},
		{"encrypted", func(b []byte) {
			b[12] |= byte(flagEncrypted)
			b[len(b)-FooterSize+12] |= byte(flagEncrypted)
			resealHeader(b)
			resealFooter(b)
		}, VersionError{Version: 1, Flags: flagEncrypted}},
		{"flags", func(b []byte) {
			b[15] |= 0x80
			b[len(b)-FooterSize+15] |= 0x80
			resealHeader(b)
			resealFooter(b)
		}, VersionError{Version: 1, Flags: 1 << 31}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := smallObject(t, Log)
			test.change(b)
			_, _, err1 := decode(bytes.NewReader(b))
			_, err2 := ReadInfo(bytes.NewReader(b), int64(len(b)))
			for _, err := range []error{err1, err2} {
				var got *VersionError
				if !errors.As(err, &got) || *got != test.want {
					t.Errorf("got %v, want %+v", err, test.want)
				}
			}
		})
	}
}

func TestImpossibleFooter(t *testing.T) {
	put := func(at int, v uint64) func([]byte) {
		return func(f []byte) { binary.LittleEndian.PutUint64(f[at:], v) }
	}
	tests := []struct {
		name   string
		change func(f []byte)
	}{
		{"last before first", put(footerLast, 1)},
		{"size", put(footerSize, 1)},
		{"index before the blocks", put(footerIndexOffset, 8)},
		{"index behind the end", put(footerIndexOffset, 1<<40)},
		{"index offset negative", put(footerIndexOffset, 1<<63)},
		{"no transactions", put(footerTxs, 0)},
		{"reserved", put(footerKey, 1)},
		{"page size", func(f []byte) { f[16] = 1 }},
		{"kind", func(f []byte) { f[10] = 9 }},
		{"version differs", func(f []byte) { f[8] = 7 }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := smallObject(t, Log)
			test.change(b[len(b)-FooterSize:])
			resealFooter(b)
			if _, err := ReadInfo(bytes.NewReader(b), int64(len(b))); !isDamage(err) {
				t.Errorf("ReadInfo: %v", err)
			}
			if _, _, err := decode(bytes.NewReader(b)); !isDamage(err) {
				t.Errorf("decode: %v", err)
			}
		})
	}
}

// A key stands in an object of version 2 and in no other.
func TestImpossibleKey(t *testing.T) {
	for _, key := range []pagesum.Key{0, goldenKey} {
		o := testObject(Log, 512)
		o.Header.Key = key
		b, _ := o.mustEncode(t)
		binary.LittleEndian.PutUint64(b[len(b)-FooterSize+footerKey:], uint64(goldenKey-key))
		resealFooter(b)
		if _, err := ReadInfo(bytes.NewReader(b), int64(len(b))); !isDamage(err) {
			t.Errorf("with %v: ReadInfo: %v", key, err)
		}
		if _, _, err := decode(bytes.NewReader(b)); !isDamage(err) {
			t.Errorf("with %v: decode: %v", key, err)
		}
	}
}

// forge builds an object of one block, right in everything but its records.
func forge(kind Kind, blockKind byte, records []byte, sums int) []byte {
	h := testHeader(kind, MinPageSize)
	b := appendHeaderFields(nil, h)
	seed := xxh3.Hash(b)
	b = binary.LittleEndian.AppendUint64(b, seed)
	block := appendBlock(nil, blockKind, records, make([]byte, sums*sumSize), true, blockSeed(seed, HeaderSize))
	return append(b, block...)
}

func TestImpossibleRecords(t *testing.T) {
	var s recordState
	begin := appendBegin(nil, &s, Tx{Span: 1, PageCount: 9})
	delta := func(number uint32, data string) []byte {
		return appendPage(bytes.Clone(begin), &recordState{}, &Page{Number: number, Kind: Delta, Data: []byte(data)})
	}
	tests := []struct {
		name    string
		kind    Kind
		block   byte
		records []byte
		sums    int
	}{
		{"unknown tag", Log, typeRecords, []byte{9}, 0},
		{"page first", Log, typeRecords, delta(1, "")[len(begin):], 1},
		{"end first", Log, typeRecords, []byte{tagEnd}, 1},
		{"begin twice", Log, typeRecords, append(bytes.Clone(begin), begin...), 0},
		{"begin cut short", Log, typeRecords, begin[:2], 0},
		{"span 0", Log, typeRecords, []byte{tagBegin, 0, 0, 0}, 0},
		{"page 0", Log, typeRecords, delta(0, ""), 1},
		{"page beyond the database", Log, typeRecords, delta(10, ""), 1},
		{"page number below 0", Log, typeRecords, append(bytes.Clone(begin), tagDelta, 1, 0), 1},
		{"full page cut short", Log, typeRecords, append(bytes.Clone(begin), tagFull, 2, 0), 1},
		{"delta cut short", Log, typeRecords, append(bytes.Clone(begin), tagDelta, 2, 7, 0), 1},
		{"delta longer than its page", Log, typeRecords, delta(1, string(make([]byte, MinPageSize+deltaSlack+1))), 1},
		{"checksum missing", Log, typeRecords, delta(1, "xx"), 0},
		{"checksum too many", Log, typeRecords, append(delta(1, "xx"), tagEnd), 3},
		{"block of pages in a log", Log, typePages, delta(1, "xx")[len(begin):], 1},
		{"page among records of a snapshot", Snapshot, typeRecords, delta(1, "xx"), 1},
		{"snapshot of two commits", Snapshot, typeRecords, []byte{tagBegin, 2, 0, 0}, 0},
		{"snapshot without its pages", Snapshot, typeRecords, append(bytes.Clone(begin), tagEnd), 1},
		{"page among records of a merged segment", Merged, typeRecords, delta(1, "xx"), 1},
		{"partition that doesn't belong", Log, typePartition, begin, 0},
		{"root that doesn't belong", Log, typeRoot, begin, 0},
		{"unknown type", Log, 9, begin, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := decode(bytes.NewReader(forge(test.kind, test.block, test.records, test.sums)))
			var corruptErr *CorruptError
			if !errors.As(err, &corruptErr) {
				t.Errorf("got %v, want *CorruptError", err)
			}
		})
	}
}

func TestErrorsStay(t *testing.T) {
	b := smallObject(t, Log)
	b[HeaderSize+blockHeaderSize] ^= 1
	d, err := NewDecoder(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := d.NextTx()
	_, err2 := d.NextTx()
	if err1 == nil || err1 != err2 || d.NextPage(new(Page)) != err1 {
		t.Errorf("errors: %v, %v", err1, err2)
	}
	if d.Info() != (Info{}) {
		t.Errorf("Info after an error: %+v", d.Info())
	}
}

func TestErrorText(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{&CorruptError{Offset: 7, Err: errRecord}, "segment is corrupt at byte 7: record is cut short or impossible"},
		{&CorruptError{Object: "00000001/log/x", Offset: 7, Err: errRecord}, "segment 00000001/log/x is corrupt at byte 7: record is cut short or impossible"},
		{&VersionError{Version: 3}, "segment was written by a newer seawal: format version 3, this one reads up to 2"},
		{&VersionError{Version: 1, Flags: 1}, "segment was written by a newer seawal: unknown flags 0x00000001"},
	}
	for _, test := range tests {
		if got := fmt.Sprint(test.err); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// TestLengthsAreNotTrusted gives the decoder a block header that promises as
// much as it may, and little behind it.
func TestLengthsAreNotTrusted(t *testing.T) {
	b := smallObject(t, Log)[:HeaderSize]
	var header [blockHeaderSize]byte
	binary.LittleEndian.PutUint32(header[blockPayload:], maxBlockSize)
	b = append(append(b, header[:]...), make([]byte, 100)...)
	d, err := NewDecoder(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.NextTx(); !errors.Is(err, ErrTorn) {
		t.Fatal(err)
	}
	if cap(d.buf) > 256<<10 {
		t.Errorf("decoder took %d bytes for a block of 124", cap(d.buf))
	}
}

func TestLockPage(t *testing.T) {
	h := testHeader(Merged, MaxPageSize)
	lock := pagesum.LockPage(h.PageSize)
	if snapshotPages(lock-1, lock) != uint64(lock-1) || snapshotPages(lock, lock) != uint64(lock-1) || snapshotPages(lock+9, lock) != uint64(lock+8) {
		t.Error("snapshotPages counts the lock page")
	}
	o := object{Header: h, Txs: []tx{{Tx{Number: 42, PageCount: lock + 1}, []Page{{Number: lock, Kind: Delta}}}}}
	if _, _, err := o.encode(); err == nil {
		t.Error("encoder takes the lock page")
	}
}
