package pagesum

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/zeebo/xxh3"
)

func filled(n uint32) *Table {
	t := New()
	for p := uint32(1); p <= n; p++ {
		t.Set(p, Unkeyed.Of(p, []byte{byte(p)}))
	}
	return t
}

func stored(t testing.TB, tab *Table) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := tab.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v; wrote %d bytes", n, err, b.Len())
	}
	return b.Bytes()
}

func TestStoredTableComesBack(t *testing.T) {
	sparse := New()
	sparse.Set(2*chunkPages+5, 9)
	shrunk := filled(3000)
	shrunk.Truncate(chunkPages + 1)
	for name, tab := range map[string]*Table{
		"empty": New(), "one": filled(1), "chunk": filled(chunkPages), "more": filled(2*chunkPages + 1), "sparse": sparse, "shrunk": shrunk,
	} {
		t.Run(name, func(t *testing.T) {
			b := stored(t, tab)
			if len(b) != headSize+trailerSize+sumSize*int(tab.Len()) {
				t.Errorf("%d bytes for %d pages", len(b), tab.Len())
			}
			r := bytes.NewReader(append(b, "behind it"...))
			got, err := ReadTable(iotest.HalfReader(r))
			if err != nil {
				t.Fatal(err)
			}
			if r.Len() != len("behind it") {
				t.Errorf("read %d bytes too many", len("behind it")-r.Len())
			}
			if got.Len() != tab.Len() || got.Total() != tab.Total() {
				t.Fatalf("Len %d, Total %v; want %d, %v", got.Len(), got.Total(), tab.Len(), tab.Total())
			}
			for p := uint32(1); p <= tab.Len(); p++ {
				if got.Get(p) != tab.Get(p) {
					t.Fatalf("page %d has %v, want %v", p, got.Get(p), tab.Get(p))
				}
			}
		})
	}
}

func TestEveryPrefixIsTorn(t *testing.T) {
	b := stored(t, filled(20))
	for n := range b {
		if _, err := ReadTable(bytes.NewReader(b[:n])); !errors.Is(err, ErrTorn) {
			t.Fatalf("first %d of %d bytes: %v", n, len(b), err)
		}
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	b := stored(t, filled(5))
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := ReadTable(bytes.NewReader(b)); err == nil {
			t.Fatalf("bit %d of byte %d flipped: no error", i%8, i/8)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestReadTableNamesTheFault(t *testing.T) {
	reseal := func(b []byte) []byte {
		body := b[:len(b)-trailerSize]
		return binary.LittleEndian.AppendUint64(bytes.Clone(body), xxh3.Hash(body))
	}
	good := stored(t, filled(3))
	version2 := bytes.Clone(good)
	version2[8] = 2
	badSum := bytes.Clone(good)
	badSum[headSize]++
	badTotal := bytes.Clone(good)
	badTotal[16]++
	var corrupt *CorruptError
	if _, err := ReadTable(bytes.NewReader(badSum)); !errors.As(err, &corrupt) || corrupt.Offset != headSize+3*sumSize {
		t.Errorf("changed sum: %v", err)
	}
	if _, err := ReadTable(bytes.NewReader(reseal(badTotal))); !errors.As(err, &corrupt) || corrupt.Offset != 16 {
		t.Errorf("changed total: %v", err)
	}
	if _, err := ReadTable(bytes.NewReader(bytes.Repeat([]byte("x"), 64))); !errors.As(err, &corrupt) || corrupt.Offset != 0 {
		t.Errorf("another file: %v", err)
	}
	var newer *VersionError
	if _, err := ReadTable(bytes.NewReader(reseal(version2))); !errors.As(err, &newer) || newer.Version != 2 {
		t.Errorf("version 2: %v", err)
	}
	broken := errors.New("disk on fire")
	if _, err := ReadTable(iotest.ErrReader(broken)); !errors.Is(err, broken) || errors.Is(err, ErrTorn) {
		t.Errorf("read error: %v", err)
	}
	if _, err := filled(3).WriteTo(failingWriter{broken}); !errors.Is(err, broken) {
		t.Errorf("write error: %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// A head that promises four billion pages must not allocate for them.
func TestReadTableTrustsNoLength(t *testing.T) {
	b := stored(t, filled(3))
	binary.LittleEndian.PutUint32(b[12:], 1<<32-1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := ReadTable(bytes.NewReader(b))
	runtime.ReadMemStats(&after)
	if !errors.Is(err, ErrTorn) {
		t.Fatal(err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("%d bytes allocated", n)
	}
}

func FuzzReadTable(f *testing.F) {
	for _, n := range []uint32{0, 1, 3, chunkPages + 1} {
		f.Add(stored(f, filled(n)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, err := ReadTable(bytes.NewReader(b))
		if err != nil {
			return
		}
		if again := stored(t, tab); !bytes.HasPrefix(b, again) {
			t.Errorf("stored form of what was read differs from it")
		}
	})
}

func ExampleTable() {
	db := New()
	db.Set(1, Unkeyed.Of(1, []byte("first")))
	db.Set(2, Unkeyed.Of(2, []byte("second")))
	before := db.Total()
	db.Set(2, Unkeyed.Of(2, []byte("changed")))
	after := before ^ Unkeyed.Of(2, []byte("second")) ^ Unkeyed.Of(2, []byte("changed"))
	fmt.Println(db.Total() == after)

	var file bytes.Buffer
	if _, err := db.WriteTo(&file); err != nil {
		fmt.Println(err)
	}
	back, err := ReadTable(io.Reader(&file))
	fmt.Println(back.Len(), err)
	// Output:
	// true
	// 2 <nil>
}
