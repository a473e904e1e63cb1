package segment

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/zeebo/xxh3"

	"seawal/internal/pagesum"
)

var updateGolden = flag.Bool("update-golden", false, "write golden objects that don't exist yet (never one that does)")

// golden is an object in a folder of testdata, with what a reader has to find in it beside it.
type golden struct {
	name   string
	encode func() ([]byte, Info, error)
}

// goldens are what users have in their stores, by format version: a change of the code that can't
// read them is wrong, and so is a change of the files. New ones may be added.
var goldens = map[string][]golden{"testdata/v1": goldens1, "testdata/v2": goldens2}

// goldenKey is the key of the page sums in objects of version 2.
const goldenKey pagesum.Key = 0xfedcba9876543210

var goldens2 = []golden{
	{"log", keyed(Log)},
	{"merged", keyed(Merged)},
	{"snapshot", keyed(Snapshot)},
	{"close", func() ([]byte, Info, error) {
		c := testClose()
		c.Key = goldenKey
		b, err := c.Encode()
		return b, Info{}, err
	}},
}

func keyed(kind Kind) func() ([]byte, Info, error) {
	o := testObject(kind, 512)
	o.Header.Key = goldenKey
	return o.encode
}

var goldens1 = []golden{
	{"log", testObject(Log, 512).encode},
	{"log-blocks", func() ([]byte, Info, error) { return testObject(Log, 1024).encodeIn(smallBlocks, 1) }},
	{"log-64k", goldenLarge},
	{"merged", testObject(Merged, 512).encode},
	{"merged-partitions", func() ([]byte, Info, error) { return testObject(Merged, 512).encodeIn(smallBlocks, 1) }},
	{"snapshot", testObject(Snapshot, 512).encode},
	{"snapshot-partitions", func() ([]byte, Info, error) { return testObject(Snapshot, 512).encodeIn(smallBlocks, 256) }},
	{"snapshot-empty", func() ([]byte, Info, error) {
		h := testHeader(Snapshot, 4096)
		h.First = 0
		return object{Header: h, Txs: []tx{{Tx: Tx{Span: 1, Time: -1}}}}.encode()
	}},
	{"close", func() ([]byte, Info, error) {
		b, err := testClose().Encode()
		return b, Info{}, err
	}},
}

// goldenLarge has the largest page and numbers.
func goldenLarge() ([]byte, Info, error) {
	h := testHeader(Log, MaxPageSize)
	h.Timeline, h.First = 1<<32-1, 1<<64-2
	page := bytes.Repeat([]byte("seawal "), MaxPageSize/7+1)[:MaxPageSize]
	return object{Header: h, Place: testPlace, Txs: []tx{
		{Tx{1<<64 - 2, 1, 1<<63 - 1, 1<<32 - 1, 1}, []Page{{1<<32 - 1, Full, page, 1<<64 - 1}, {1, Delta, nil, 1}}},
		{Tx{1<<64 - 1, 1, -1 << 63, 1<<32 - 1, 1<<64 - 1}, []Page{{2, Delta, []byte{0x80, 0x80, 2, 1, 9}, 2}}},
	}}.encode()
}

func TestGolden(t *testing.T) {
	for dir, all := range goldens {
		for _, g := range all {
			t.Run(filepath.Base(dir)+"/"+g.name, func(t *testing.T) {
				path := filepath.Join(dir, g.name+".seg")
				if *updateGolden {
					b, _, err := g.encode()
					if err != nil {
						t.Fatal(err)
					}
					writeGolden(t, path, b)
					writeGolden(t, strings.TrimSuffix(path, ".seg")+".txt", []byte(dump(b)))
				}
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				want, err := os.ReadFile(strings.TrimSuffix(path, ".seg") + ".txt")
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(string(want), dump(b)); d != "" {
					t.Errorf("golden object reads differently (-then +now):\n%s", d)
				}
			})
		}
	}
}

// writeGolden writes a file that doesn't exist; one that does stays as it is.
func writeGolden(t *testing.T, path string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		t.Logf("%s exists and stays as it is", path)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestGoldenIsComplete keeps the table and the folders the same.
func TestGoldenIsComplete(t *testing.T) {
	for dir, all := range goldens {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) != 2*len(all) {
			t.Errorf("%s has %d files, want an object and a text for each of %d", dir, len(files), len(all))
		}
	}
}

// dump says what a reader finds in an object.
func dump(b []byte) string {
	var s strings.Builder
	if c, err := ParseClose(b); err == nil {
		return dumpClose(c, b)
	}
	o, info, err := decode(bytes.NewReader(b))
	if err != nil {
		fmt.Fprintf(&s, "error: %v\n", err)
	}
	h := o.Header
	fmt.Fprintf(&s, "%v segment, %d bytes, checksum %016x\n", h.Kind, info.Size, info.Checksum)
	fmt.Fprintf(&s, "page size %d, timeline %d, first %d, replica %v, writer %v, before %v\n", h.PageSize, h.Timeline, h.First, h.Replica, h.Writer, h.Before)
	if h.Key != 0 {
		key, _ := h.Key.MarshalText() // never fails
		fmt.Fprintf(&s, "format version %d, key %s\n", versionOf(h.Key), key)
	}
	for _, t := range o.Txs {
		fmt.Fprintf(&s, "transaction %d, span %d, time %d, %d pages, after %v\n", t.Number, t.Span, t.Time, t.PageCount, t.After)
		for _, p := range t.Pages {
			fmt.Fprintf(&s, "  page %d %v, %d bytes %016x, sum %v\n", p.Number, p.Kind, len(p.Data), xxh3.Hash(p.Data), p.Sum)
		}
	}
	f := info.Footer
	fmt.Fprintf(&s, "last %d, times %d to %d, after %v, %d pages, place %v %08x, %d transactions, %d pages stored\n",
		f.Last, f.FirstTime, f.LastTime, f.After, f.PageCount, f.Place, f.Place.Cksum, f.Txs, f.Pages)
	if tail, err := ReadInfo(bytes.NewReader(b), int64(len(b))); err != nil || tail != info {
		fmt.Fprintf(&s, "ReadInfo differs: %+v, %v\n", tail, err)
	}
	x, err := ReadIndex(bytes.NewReader(b), info)
	if err != nil {
		fmt.Fprintf(&s, "error: %v\n", err)
		return s.String()
	}
	fmt.Fprintf(&s, "index at %d\n", info.IndexOffset)
	for i, k := range x.Blocks {
		fmt.Fprintf(&s, "block at %d, %d bytes, page %d and %d more, transaction %d, %d in all\n", k.Offset, k.Length, k.FirstPage, max(k.Pages-1, 0), k.FirstTx, k.Txs)
		if h.Kind == Log {
			continue
		}
		err := x.Decode(i, b[k.Offset:k.Offset+int64(k.Length)], func(p Page) error {
			fmt.Fprintf(&s, "  page %d %v, %016x\n", p.Number, p.Kind, xxh3.Hash(p.Data))
			return nil
		})
		if err != nil {
			fmt.Fprintf(&s, "error: %v\n", err)
		}
	}
	x.Sums(func(page uint32, sum pagesum.Sum) { fmt.Fprintf(&s, "sum of page %d %v\n", page, sum) })
	return s.String()
}
