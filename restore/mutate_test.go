package restore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeebo/xxh3"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// tape is where the choices of a mutation come from: the bytes of a fuzzer, or of a random source, and zeros behind them.
type tape struct{ rest []byte }

func (c *tape) byte() byte {
	if len(c.rest) == 0 {
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return b
}

func (c *tape) below(n int) int {
	return int(uint(c.byte())|uint(c.byte())<<8|uint(c.byte())<<16) % max(n, 1)
}

// mutant is a replica that somebody has tampered with. It is a store that can only be read.
type mutant struct {
	objects map[string][]byte
	sizes   map[string]int64 // what the listing says instead
}

var _ store.Store = (*mutant)(nil)

func (m *mutant) Create(context.Context, string, store.Body) error { return store.ErrExist }
func (m *mutant) Delete(context.Context, string) error             { return store.ErrNotExist }
func (m *mutant) Close() error                                     { return nil }

func (m *mutant) object(name string, b []byte) store.Object {
	size, lies := m.sizes[name]
	if !lies {
		size = int64(len(b))
	}
	return store.Object{Name: name, Size: size}
}

func (m *mutant) Read(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	b, ok := m.objects[name]
	if err := store.ValidateRange(off, n); err != nil || !ok || ctx.Err() != nil {
		return nil, fmt.Errorf("read %s: %w", name, cmpErr(err, ctx.Err(), store.ErrNotExist))
	}
	rest := b[min(off, int64(len(b))):]
	if n < 0 {
		n = int64(len(rest))
	}
	return store.RangeReader(io.NopCloser(bytes.NewReader(rest)), n), nil
}

// cmpErr is the first error of several.
func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *mutant) Stat(_ context.Context, name string) (store.Object, error) {
	b, ok := m.objects[name]
	if !ok {
		return store.Object{}, fmt.Errorf("stat %s: %w", name, store.ErrNotExist)
	}
	return m.object(name, b), nil
}

func (m *mutant) List(ctx context.Context, prefix, after string) iter.Seq2[store.Object, error] {
	return func(yield func(store.Object, error) bool) {
		for _, name := range slices.Sorted(maps.Keys(m.objects)) {
			if err := ctx.Err(); err != nil {
				yield(store.Object{}, err)
				return
			}
			if strings.HasPrefix(name, prefix) && name > after && !yield(m.object(name, m.objects[name]), nil) {
				return
			}
		}
	}
}

// Sizes and places of the format that a mutation has to know to make checksums right again; see FORMAT.md.
const (
	headerBytes = 80
	blockBytes  = 24
	footerBytes = 200
)

// sealAgain makes all checksums of a segment right after a change, as far as its lengths still lead.
func sealAgain(b []byte) {
	if len(b) < headerBytes+blockBytes+footerBytes {
		return
	}
	le := binary.LittleEndian
	seed := xxh3.Hash(b[:72])
	le.PutUint64(b[72:], seed)
	footer := b[len(b)-footerBytes:]
	for at := headerBytes; at+blockBytes <= len(b)-footerBytes; {
		n := blockBytes + int(le.Uint32(b[at+12:]))
		if n > 4<<20 || at+n > len(b)-footerBytes {
			break
		}
		le.PutUint64(b[at:], xxh3.HashSeed(b[at+8:at+n], seed^uint64(at)))
		at += n
	}
	le.PutUint64(footer[160:], uint64(len(b)))
	le.PutUint64(footer[168:], xxh3.Hash(b[:len(b)-footerBytes+168]))
	le.PutUint64(footer[176:], xxh3.Hash(footer[:176]))
}

var number = regexp.MustCompile(`: \d+`)

// wildNumbers are put where a document or a name has one.
var wildNumbers = []uint64{0, 1, 2, 3, 7, 20, 1<<31 - 1, 1<<32 - 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}

// mutate changes one thing. other is another replica of the same kind.
func (m *mutant) mutate(c *tape, other map[string][]byte) {
	names := slices.Sorted(maps.Keys(m.objects))
	if len(names) == 0 {
		return
	}
	name := names[c.below(len(names))]
	b := bytes.Clone(m.objects[name])
	at := c.below(len(b))
	switch c.below(14) {
	case 0: // flip
		if len(b) > 0 {
			b[at] ^= 1 << c.below(8)
		}
	case 1, 2, 3: // some bytes, of a segment also with right checksums
		for range 1 + c.below(3) {
			if k := c.below(len(b)); k < len(b) {
				b[k] = c.byte()
			}
		}
		if c.below(4) > 0 {
			sealAgain(b)
		}
	case 4: // header or footer, with right checksums
		if len(b) > headerBytes+footerBytes {
			k := c.below(headerBytes + footerBytes)
			if k >= headerBytes {
				k = len(b) - 1 - (k - headerBytes)
			}
			binary.LittleEndian.PutUint16(b[min(k, len(b)-2):], uint16(wildNumbers[c.below(len(wildNumbers))]))
			sealAgain(b)
		}
	case 5: // cut
		b = b[:at]
	case 6: // more
		b = append(b, bytes.Repeat([]byte{c.byte()}, c.below(500))...)
	case 7: // splice of two objects
		o := m.objects[names[c.below(len(names))]]
		b = append(b[:at], o[min(at, len(o)):]...)
		if c.below(2) == 0 {
			sealAgain(b)
		}
	case 8: // one's content under another's name
		b = m.objects[names[c.below(len(names))]]
	case 9: // that of another replica
		b = other[name]
	case 10:
		delete(m.objects, name)
		return
	case 11: // a copy under a name that there isn't
		m.objects[c.wildName()] = b
		return
	case 12: // a document of an earlier version, which has no checksum
		b, _, _ = bytes.Cut(b, []byte(",\n  \"checksum\""))
		k := 0
		hit := c.below(8)
		b = number.ReplaceAllFunc(append(bytes.Clone(b), "\n}\n"...), func(old []byte) []byte {
			if k++; k-1 != hit%6 {
				return old
			}
			return fmt.Appendf(nil, ": %d", wildNumbers[c.below(len(wildNumbers))])
		})
	case 13: // a listing that lies about the size
		m.sizes[name] = int64(wildNumbers[c.below(len(wildNumbers))])
		return
	}
	if len(b) == 0 && c.below(2) == 0 {
		delete(m.objects, name)
		return
	}
	m.objects[name] = b
}

// wildName is the name of an object that could be anywhere.
func (c *tape) wildName() string {
	n := func() uint64 { return wildNumbers[c.below(len(wildNumbers))] }
	switch c.below(6) {
	case 0:
		return segment.LogName(uint32(n()), n())
	case 1:
		return segment.SnapshotName(uint32(n()), n())
	case 2:
		return segment.MergedName(uint32(n()), c.below(5), n(), n())
	case 3:
		return segment.TimelineName(uint32(n()))
	case 4:
		return segment.LogName(1+uint32(c.below(3)), 1+uint64(c.below(40)))
	}
	return segment.SnapshotName(1+uint32(c.below(3)), 1+uint64(c.below(40)))
}

// mutationBase are the objects of a random replica, and all the states that its source had.
type mutationBase struct {
	objects map[string][]byte
	other   map[string][]byte
	states  map[uint64]bool // by hash
	largest int
}

func newMutationBase(t testing.TB, seed uint64) *mutationBase {
	base := &mutationBase{states: map[uint64]bool{}}
	take := func(seed uint64) map[string][]byte {
		m := newModel(t, seed, 512)
		randomReplica(m, 12)
		for _, tx := range m.txs {
			base.states[xxh3.Hash(tx.state)] = true
			base.largest = max(base.largest, len(tx.state))
		}
		objects := map[string][]byte{}
		for o, err := range m.store.List(t.Context(), "", "") {
			m.ok(err)
			objects[o.Name] = m.object(o.Name)
		}
		return objects
	}
	base.other = take(seed + 100)
	base.objects = take(seed)
	return base
}

// tamper mutates the replica as choices say, and reads it in every way. It returns what a restore of it gave that the source
// never had, and whether one succeeded.
func (base *mutationBase) tamper(t testing.TB, choices []byte) (restored, wrong int) {
	t.Helper()
	c := &tape{choices}
	m := &mutant{objects: maps.Clone(base.objects), sizes: map[string]int64{}}
	for range 1 + c.below(4) {
		m.mutate(c, base.other)
	}
	// A replica of a few KiB takes a fraction of this in any way; a wait that has no end takes longer.
	const memory = 256 << 20
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var before, after runtime.MemStats
	within := func(what string, f func() error) {
		t.Helper()
		runtime.ReadMemStats(&before)
		err := f()
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > memory {
			t.Errorf("%s takes %d MiB", what, used>>20)
		}
		if ctx.Err() != nil {
			t.Fatalf("%s doesn't end: %v", what, err)
		}
	}
	dir := memoryDir(t)
	at := epoch.Add(time.Duration(c.below(30_000)) * time.Millisecond)
	for _, o := range []Options{
		{Check: CheckFull},
		{Target: AtTx(uint64(c.below(30))), Timeline: uint32(c.below(3))},
		{Target: AtTime(at), Timeline: uint32(c.below(3))},
	} {
		o.Output = filepath.Join(dir, "app.db")
		var err error
		within("restore", func() error { _, err = Run(ctx, m, o); return err })
		entries, _ := os.ReadDir(dir)
		if want := min(1, len(entries)); err == nil && len(entries) != 1 || err != nil && len(entries) != 0 || want == 1 && entries[0].Name() != "app.db" {
			t.Errorf("restore, %v: the folder has %v", err, entries)
		}
		if err != nil {
			continue
		}
		restored++
		if got, err := os.ReadFile(o.Output); err != nil || !base.states[xxh3.Hash(got)] {
			wrong++
			t.Errorf("restored a database of %d bytes that there never was, %v", len(got), err)
		}
		if err := os.Remove(o.Output); err != nil {
			t.Error(err)
		}
	}
	within("list", func() error { _, err := List(ctx, m, 0); return err })
	within("plan", func() error { _, err := NewPlan(ctx, m, 0, Newest()); return err })
	within("timelines", func() error { _, err := replica.Timelines(ctx, m); return err })
	for timeline := range uint32(2) {
		within("reach", func() error {
			r, err := replica.ReachOf(ctx, m, timeline+1)
			if err == nil && !r.At.IsZero() {
				_, err = replica.SoundTableAt(ctx, m, r.At, nil, Pos{})
			}
			return err
		})
		within("newest", func() error { _, _, err := replica.Newest(ctx, m, timeline+1, Pos{}); return err })
	}
	return restored, wrong
}

// memoryDir is a folder in memory, where there is one: on a disk each restore waits for it twice.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "seawal-restore-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestTamperedReplicas: whatever is done to the objects, documents, names and sizes of a replica, reading it neither panics nor takes more
// than it may, a restore writes nothing but its output, and what it restores is a state that the source had.
func TestTamperedReplicas(t *testing.T) {
	n := 300
	if testing.Short() {
		n = 50
	}
	var bases []*mutationBase
	for seed := range uint64(4) {
		bases = append(bases, newMutationBase(t, seed))
	}
	restored, wrong := 0, 0
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 17))
		choices := make([]byte, 96)
		for k := range choices {
			choices[k] = byte(r.Uint32())
		}
		ok := t.Run(fmt.Sprint(i), func(t *testing.T) {
			good, bad := bases[i%len(bases)].tamper(t, choices)
			restored, wrong = restored+good, wrong+bad
		})
		if !ok {
			t.Logf("choices of %d: %x", i, choices)
		}
	}
	if restored < n {
		t.Errorf("%d of %d restores succeeded: the mutations destroy too much to say anything", restored, 3*n)
	}
	reliability.Record(t, reliability.Fault{
		Group: reliability.Hostile, Name: "a replica that somebody has tampered with",
		How:     "bytes, blocks, objects, names, documents and listed sizes of a random replica are changed, cut, spliced, swapped or sealed again with right checksums, up to four at a time; it is restored in three ways, listed, planned, and read as an application does",
		AtLeast: 50,
	}, n, wrong)
}

// FuzzReplica tampers with a replica as a fuzzer says.
func FuzzReplica(f *testing.F) {
	var bases []*mutationBase
	for seed := range uint64(2) {
		bases = append(bases, newMutationBase(f, seed))
	}
	for i := range byte(14) {
		f.Add([]byte{i, 1, 0, 0, i, 0, 0, 9, 0, 0, i})
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		bases[len(choices)%len(bases)].tamper(t, choices)
	})
}
