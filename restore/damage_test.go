package restore

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"seawal/internal/pagesum"
	"seawal/internal/segment"
	"seawal/store"
)

// newerVersion makes an object look as if a later seawal had written it.
func newerVersion(b []byte) []byte {
	binary.LittleEndian.PutUint16(b[8:], segment.Version+1)
	binary.LittleEndian.PutUint16(b[len(b)-16:], segment.Version+1)
	return b
}

// TestDamagedObject: the error names the object, the reason, and the newest
// point before the target that restores, and that point does.
func TestDamagedObject(t *testing.T) {
	// A log of segments 1-3, 4-6, ... 16-18, a snapshot at 6 and merged 7-12
	// without the log under it.
	build := func(t *testing.T) *model {
		m := newModel(t, 11, 512)
		var txs []*modelTx
		for range 18 {
			txs = append(txs, m.commit(1))
		}
		for i := 0; i < 18; i += 3 {
			m.log(txs[i : i+3]...)
		}
		m.merge(1, txs[6:12]...)
		m.damage(segment.LogName(1, 7), remove)
		m.damage(segment.LogName(1, 10), remove)
		return m
	}
	logObject, merged := segment.LogName(1, 13), segment.MergedName(1, 1, 7, 12)
	first := segment.LogName(1, 1)
	lastLog := segment.LogName(1, 16)
	table := []struct {
		object string
		how    string
		change func([]byte) []byte
		reason string // part of the message
		newest uint64 // 0: none
	}{
		{logObject, "missing", remove, "missing", 12},
		{logObject, "cut short", cut, "cut short", 14},
		{logObject, "cut to nothing", func([]byte) []byte { return []byte{} }, "cut short", 12},
		{logObject, "block flipped", flip(120), "corrupt", 12},
		{logObject, "header flipped", flip(30), "corrupt", 12},
		{logObject, "newer version", newerVersion, "newer seawal", 12},
		{merged, "missing", remove, "missing", 6},
		{merged, "cut short", cut, "cut short", 6},
		{merged, "block flipped", flip(200), "corrupt", 6},
		{first, "block flipped", flip(120), "corrupt", 0},
		{first, "missing", remove, "before the first point", 0},
		{lastLog, "cut short", cut, "cut short", 18}, // what it ends with is whole
		{lastLog, "footer flipped", flip(-30), "corrupt", 18},
		{lastLog, "cut to nothing", func([]byte) []byte { return []byte{} }, "cut short", 15},
		{lastLog, "block flipped", flip(120), "corrupt", 15},
		{lastLog, "index flipped", flip(-230), "corrupt", 17},
		{lastLog, "other transactions", nil, "corrupt", 15},
	}
	for _, c := range table {
		t.Run(filepath.Base(c.object)+"/"+c.how, func(t *testing.T) {
			m := build(t)
			change := c.change
			if change == nil {
				change = func([]byte) []byte { return m.object(logObject) }
			}
			m.damage(c.object, change)
			target := AtTx(18)
			if c.object == lastLog {
				target = Newest() // where it ends, only the object itself tells
			}
			path, _, err := restoreTo(t, m, Options{Target: target})
			if err == nil {
				t.Fatal("restored")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), c.reason) {
				t.Errorf("error %q doesn't say %q", err, c.reason)
			}
			checkFolder(t, filepath.Dir(path))
			var e *ObjectError
			if !errors.As(err, &e) {
				if c.newest != 0 {
					t.Fatalf("error %T, want an ObjectError", err)
				}
				return
			}
			name := c.object
			if c.how == "missing" {
				name = segment.LogName(1, mustParse(t, c.object).First)
			}
			if e.Object != name {
				t.Errorf("error blames %s, want %s", e.Object, name)
			}
			if c.newest == 0 {
				if e.Newest != nil {
					t.Errorf("newest point %v, want none", e.Newest)
				}
				return
			}
			if e.Newest == nil || e.Newest.Pos.Tx != c.newest || e.Newest.Time.IsZero() {
				t.Fatalf("newest point %v, want %d with its time", e.Newest, c.newest)
			}
			path, _, err = restoreTo(t, m, Options{Target: AtTx(e.Newest.Pos.Tx), Check: CheckFull})
			if err != nil {
				t.Fatalf("newest point doesn't restore: %v", err)
			}
			checkState(t, path, m.at(e.Newest.Pos).state)
		})
	}
}

func mustParse(t *testing.T, name string) segment.Name {
	t.Helper()
	n, err := segment.ParseName(name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestGoesAroundDamage: other objects lead to the target, so they are taken,
// and the result says so.
func TestGoesAroundDamage(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"cut short": cut, "block flipped": flip(150), "index flipped": flip(-230), "newer": newerVersion,
		"removed after the listing": nil,
	} {
		for _, kind := range []segment.Kind{segment.Snapshot, segment.Merged} {
			t.Run(name+"/"+kind.String(), func(t *testing.T) {
				m := newModel(t, 12, 512)
				txs := m.commits(12)
				m.snapshot(txs[2])
				object := segment.SnapshotName(1, 8)
				m.snapshot(txs[7])
				if kind == segment.Merged {
					object = m.merge(1, txs[8:11]...)
				}
				var s store.Store = m.store
				if change != nil {
					m.damage(object, change)
				} else {
					s = &vanishing{Store: m.store, name: object}
				}
				out := filepath.Join(t.TempDir(), "app.db")
				r, err := Run(context.Background(), s, Options{Output: out, Check: CheckFull})
				if err != nil {
					t.Fatal(err)
				}
				checkState(t, out, m.state)
				checkFolder(t, filepath.Dir(out), "app.db")
				if len(r.Avoided) != 1 || r.Avoided[0].Object != object || r.Avoided[0].Reason == "" {
					t.Errorf("avoided %+v, want %s", r.Avoided, object)
				}
			})
		}
	}
}

// vanishing is a store whose object is gone when it is first read.
type vanishing struct {
	store.Store
	name string
}

func (v *vanishing) Read(ctx context.Context, name string, off, n int64) (r io.ReadCloser, err error) {
	if name == v.name {
		if err := v.Store.Delete(ctx, name); err != nil {
			return nil, err
		}
	}
	return v.Store.Read(ctx, name, off, n)
}

// TestTwoDamagedSegments: the newest point lies before the first of them, in whatever
// order they were found.
func TestTwoDamagedSegments(t *testing.T) {
	m := newModel(t, 13, 512)
	m.commits(30)
	m.damage(segment.LogName(1, 9), flip(120))
	m.damage(segment.LogName(1, 20), cut)
	m.damage(segment.LogName(1, 30), cut)
	_, _, err := restoreTo(t, m, Options{})
	for want := range uint64(2) { // the last one is met first, by its footer
		var e *ObjectError
		if !errors.As(err, &e) || e.Newest == nil {
			t.Fatalf("error %v, want an ObjectError", err)
		}
		t.Log(want, e)
		_, _, err = restoreTo(t, m, Options{Target: AtTx(e.Newest.Pos.Tx)})
		if err == nil {
			return
		}
	}
	t.Errorf("still: %v", err)
}

// TestForeignSegment: an object of another replica under the right name.
func TestForeignSegment(t *testing.T) {
	m, other := newModel(t, 1, 512), newModel(t, 1, 512)
	m.commits(5)
	other.commits(5)
	name := segment.LogName(1, 4)
	m.damage(name, func([]byte) []byte { return other.object(name) })
	_, _, err := restoreTo(t, m, Options{})
	var e *ObjectError
	if !errors.As(err, &e) || e.Object != name || !strings.Contains(err.Error(), "belongs to replica") {
		t.Errorf("error %v, want an ObjectError for %s", err, name)
	}
}

// TestWrongPageSum: a segment that is whole by its own checksums, and leads to
// another database than its writer had.
func TestWrongPageSum(t *testing.T) {
	build := func(spoil func(tx *modelTx)) *model {
		m := newModel(t, 14, 512)
		m.commits(4)
		bad := m.commit(1)
		spoil(bad)
		m.log(bad)
		return m
	}
	table := []struct {
		name  string
		spoil func(tx *modelTx)
		want  string
	}{
		{"image is not what its sum says", func(tx *modelTx) {
			tx.pages[0].Data, tx.pages[0].Kind = make([]byte, 512), segment.Full
		}, "has checksum"},
		{"page left out", func(tx *modelTx) { tx.pages = tx.pages[1:] }, "after transaction 5 the database has checksum"},
		{"another database before", func(tx *modelTx) { tx.before = make([]byte, 512) }, "before transaction 5 the database has checksum"},
		{"delta outside the page", func(tx *modelTx) {
			tx.pages[0].Data, tx.pages[0].Kind = []byte{0xff, 0x7f, 1, 1}, segment.Delta
		}, "delta"},
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) {
			m := build(c.spoil)
			_, _, err := restoreTo(t, m, Options{})
			var e *ObjectError
			if !errors.As(err, &e) || e.Newest == nil || e.Newest.Pos.Tx != 4 || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q and newest point 4", err, c.want)
			}
		})
	}
	t.Run("none does not look at images", func(t *testing.T) {
		m := build(table[0].spoil)
		if _, _, err := restoreTo(t, m, Options{Check: CheckNone}); err != nil {
			t.Error(err)
		}
	})
}

// TestLockPage: a database beyond 1 GiB. The page there is left out of it, and
// comes back as zeros (a hole, so the file takes no room).
func TestLockPage(t *testing.T) {
	const pageSize = 65536
	lock := pagesum.LockPage(pageSize)
	m := newModel(t, 15, pageSize)
	first, beyond := make([]byte, pageSize), make([]byte, pageSize)
	copy(first, sqliteMagic)
	first[17] = 1
	m.scribble(beyond, true)
	tx := &modelTx{timeline: 1, Tx: segment.Tx{Number: 1, Span: 1, Time: 1, PageCount: lock + 2}}
	for _, p := range []struct {
		n   uint32
		img []byte
	}{{1, first}, {lock - 1, beyond}, {lock + 1, beyond}, {lock + 2, beyond}} {
		sum := m.hasher.Of(p.n, p.img)
		tx.pages = append(tx.pages, segment.Page{Number: p.n, Kind: segment.Full, Data: p.img, Sum: sum})
		tx.After ^= sum
	}
	m.log(tx)
	path, r, err := restoreTo(t, m, Options{Check: CheckNone})
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(lock+2) * pageSize; r.Bytes != want {
		t.Errorf("size %d, want %d", r.Bytes, want)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 4*pageSize)
	if _, err := f.ReadAt(got, int64(lock-2)*pageSize); err != nil {
		t.Fatal(err)
	}
	want := append(append(append(append([]byte{}, beyond...), make([]byte, pageSize)...), beyond...), beyond...)
	if xxh3.Hash(got) != xxh3.Hash(want) {
		t.Error("pages around the lock page differ")
	}
}
