package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"seawal/internal/pagesum"
	"seawal/internal/wal"
)

// tx is a transaction as a test has it.
type tx struct {
	Tx
	Pages []Page
}

// object is a segment as a test has it.
type object struct {
	Header Header
	Place  wal.Place
	Txs    []tx
}

// smallBlocks makes the encoder close blocks of a log and partitions of the
// index early, so that small objects have several.
const smallBlocks = 1 << 10

// encode writes the object and returns what it is.
func (o object) encode() ([]byte, Info, error) { return o.encodeIn(logBlockSize, partitionSize) }

func (o object) encodeIn(blockLimit, partitionLimit int) ([]byte, Info, error) {
	var buf bytes.Buffer
	e, err := NewEncoder(&buf, o.Header)
	if err != nil {
		return nil, Info{}, err
	}
	e.blockLimit, e.index.limit = blockLimit, partitionLimit
	for _, t := range o.Txs {
		if err := e.Begin(t.Tx); err != nil {
			return nil, Info{}, err
		}
		for _, p := range t.Pages {
			if err := e.Page(p); err != nil {
				return nil, Info{}, err
			}
		}
		if err := e.End(t.After); err != nil {
			return nil, Info{}, err
		}
	}
	info, err := e.Close(o.Place)
	return buf.Bytes(), info, err
}

// mustEncode is encode for objects that are right.
func (o object) mustEncode(t testing.TB) ([]byte, Info) {
	t.Helper()
	b, info, err := o.encode()
	if err != nil {
		t.Fatal(err)
	}
	return b, info
}

// decode reads a whole object back.
func decode(r io.Reader) (object, Info, error) {
	d, err := NewDecoder(r)
	if err != nil {
		return object{}, Info{}, err
	}
	o := object{Header: d.Header()}
	for {
		var t tx
		if t.Tx, err = d.NextTx(); err == io.EOF {
			o.Header, o.Place = d.Header(), d.Info().Place
			return o, d.Info(), nil
		} else if err != nil {
			return o, Info{}, err
		}
		for {
			var p Page
			if err := d.NextPage(&p); err == io.EOF {
				break
			} else if err != nil {
				return o, Info{}, err
			}
			p.Data = bytes.Clone(p.Data)
			t.Pages = append(t.Pages, p)
		}
		t.After = d.TxEnd()
		o.Txs = append(o.Txs, t)
	}
}

// decodeBlocks reads the pages back by way of the index, and checks it on the way.
func decodeBlocks(b []byte) ([]Page, error) {
	info, err := ReadInfo(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	x, err := ReadIndex(bytes.NewReader(b), info)
	if err != nil {
		return nil, err
	}
	if info.Kind == Log {
		return nil, nil
	}
	sums := map[uint32]pagesum.Sum{}
	x.Sums(func(page uint32, s pagesum.Sum) { sums[page] = s })
	var pages []Page
	for i, k := range x.Blocks {
		err := x.Decode(i, b[k.Offset:k.Offset+int64(k.Length)], func(p Page) error {
			p.Data = bytes.Clone(p.Data)
			pages = append(pages, p)
			if sums[p.Number] != p.Sum {
				return fmt.Errorf("page %d: index has %v, block %v", p.Number, sums[p.Number], p.Sum)
			}
			if at, ok := x.Find(p.Number); !ok || at != i {
				return fmt.Errorf("page %d: Find returns %d, %v, want %d", p.Number, at, ok, i)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(sums) != len(pages) {
		return nil, fmt.Errorf("index has %d sums for %d pages", len(sums), len(pages))
	}
	return pages, nil
}

// testRand is a fixed source for test data.
func testRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// testImage is a page's image, half of it noise.
func testImage(r *rand.Rand, size int) []byte {
	b := make([]byte, size)
	for i := 0; i < size/2; i++ {
		b[i] = byte(r.Uint32())
	}
	return b
}

func testHeader(kind Kind, pageSize int) Header {
	h := Header{
		Kind: kind, PageSize: pageSize, Timeline: 3, First: 42,
		Replica: ID{0: 1, 15: 2}, Writer: ID{0: 3, 15: 4}, Before: 0x1122334455667788,
	}
	if kind == Snapshot {
		h.Before = 0
	}
	return h
}

var testPlace = wal.Place{Salt: [2]uint32{0xa1b2c3d4, 0x01020304}, Frame: 77, Cksum: [2]uint32{5, 6}}

// testObject is an object of each kind: a Log of several transactions (one
// without pages, one that stands for several), else one with pages in more
// than one block.
func testObject(kind Kind, pageSize int) object {
	r := testRand(uint64(pageSize) + uint64(kind))
	o := object{Header: testHeader(kind, pageSize), Place: testPlace}
	full := func(n uint32) Page {
		return Page{Number: n, Kind: Full, Data: testImage(r, pageSize), Sum: pagesum.Sum(r.Uint64())}
	}
	delta := func(n uint32) Page {
		old := testImage(r, pageSize)
		changed := bytes.Clone(old)
		for range 5 {
			changed[r.IntN(pageSize)] ^= byte(1 + r.IntN(255))
		}
		d, _ := AppendDelta(nil, old, changed, pageSize)
		return Page{Number: n, Kind: Delta, Data: d, Sum: pagesum.Sum(r.Uint64())}
	}
	const now = 1_700_000_000_000_000_000
	switch kind {
	case Log:
		o.Txs = []tx{
			{Tx{42, 1, now, 20, 0xabcd}, []Page{full(1), delta(7), delta(20)}},
			{Tx{43, 1, now + 5, 20, 0xabcd}, nil},
			{Tx{53, 10, now + 3, 19, 0xef01}, []Page{delta(19), full(2), delta(3)}},
		}
	case Merged:
		t := tx{Tx: Tx{61, 20, now, 100, 0x1234}}
		for n := uint32(3); n < 90; n += 1 + r.Uint32N(5) {
			if n%2 == 0 {
				t.Pages = append(t.Pages, full(n))
			} else {
				t.Pages = append(t.Pages, delta(n))
			}
		}
		o.Txs = []tx{t}
	case Snapshot:
		t := tx{Tx: Tx{42, 1, now, 37, 0x1234}}
		for n := uint32(1); n <= 37; n++ {
			t.Pages = append(t.Pages, full(n))
		}
		o.Txs = []tx{t}
	}
	return o
}

var kinds = []Kind{Log, Merged, Snapshot}

func TestRoundTrip(t *testing.T) {
	for _, kind := range kinds {
		for pageSize := MinPageSize; pageSize <= MaxPageSize; pageSize *= 2 {
			t.Run(fmt.Sprintf("kind=%v/pageSize=%d", kind, pageSize), func(t *testing.T) {
				want := testObject(kind, pageSize)
				b, wantInfo := want.mustEncode(t)
				got, info, err := decode(bytes.NewReader(b))
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, got, byBytes); d != "" {
					t.Errorf("transactions (-wrote +read):\n%s", d)
				}
				if info != wantInfo {
					t.Errorf("Decoder.Info: %+v, Close returned %+v", info, wantInfo)
				}
				tail, err := ReadInfo(bytes.NewReader(b), int64(len(b)))
				if err != nil || tail != wantInfo {
					t.Errorf("ReadInfo: %+v, %v, Close returned %+v", tail, err, wantInfo)
				}
				pages, err := decodeBlocks(b)
				if err != nil {
					t.Error(err)
				}
				if kind != Log {
					if d := cmp.Diff(want.Txs[0].Pages, pages, byBytes); d != "" {
						t.Errorf("pages by index (-wrote +read):\n%s", d)
					}
				}
			})
		}
	}
}

// isDamage says that err is one of those that a damaged object may give.
func isDamage(err error) bool {
	var corruptErr *CorruptError
	var versionErr *VersionError
	return errors.Is(err, ErrTorn) || errors.As(err, &corruptErr) || errors.As(err, &versionErr)
}

// byBytes makes cmp compare page data at once.
var byBytes = cmp.Comparer(bytes.Equal)

func TestDecodeInParallel(t *testing.T) {
	o := testObject(Snapshot, 4096)
	b, info := o.mustEncode(t)
	x, err := ReadIndex(bytes.NewReader(b), info)
	if err != nil {
		t.Fatal(err)
	}
	var g sync.WaitGroup
	for i, k := range x.Blocks {
		for range 4 {
			g.Go(func() {
				err := x.Decode(i, b[k.Offset:k.Offset+int64(k.Length)], func(p Page) error {
					if !bytes.Equal(p.Data, o.Txs[0].Pages[p.Number-1].Data) {
						return fmt.Errorf("page %d differs", p.Number)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	g.Wait()
}
