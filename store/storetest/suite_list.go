package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"seawal/store"
)

// goodNames are names whose bytes, lengths or order a store may get wrong.
func goodNames() []string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789_-"
	names := []string{
		"a-b", "a.b", "a_b", "a0", "ab", "a/b", "a/b-c", "a/b.c/d", "a/b0", // "a/" stands between "a." and "a0"
		"deep/1/2/3/4/5/6/7/8/9/10/11/12",
		"-leading", "_leading", "--", "__", "con", "aux", "nul", "0",
		"a-b.tmp", "a..b", "x/lock", "create-x",
		letters,
		strings.Repeat("n", store.MaxComponentLen),
		strings.Repeat("m", store.MaxComponentLen) + "/" + strings.Repeat("m", store.MaxNameLen-store.MaxComponentLen-3) + "/x",
	}
	for _, c := range letters {
		names = append(names, "each/"+string(c), "each/x"+string(c)+"y")
	}
	names = append(names, "each/x.y")
	slices.Sort(names)
	return names
}

func testNames(t *suite) {
	names := goodNames()
	errs := make([]error, len(names))
	inParallel(len(names), 8, func(i int) {
		errs[i] = t.s.Create(t.ctx, names[i], store.BytesBody([]byte(names[i])))
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := t.list("", ""); !slices.Equal(got, names) {
		t.Errorf("list: %q\nwant: %q", got, names)
	}
	for _, name := range names {
		t.wantContent(name, []byte(name))
	}
}

// BadNames are names that no store takes, for tests of their own.
func BadNames() []string {
	return []string{
		"", "/", "/abs", "a//b", "a/", "..", "../x", "a/../b", "a/..", ".", "./a", "a/.", "a/./b",
		".hidden", "a/.hidden", "dot.", "dot./a", "A", "a b", "a\tb", "a\nb", "a\x00b", "ä", "\xff", "a\\b", "a:b", "a?b", "a#b", "a%b", "a*b",
		"a&b", "a+b", "a=b", "a@b", "a~b", "a\"b", "a'b", "a<b", "a|b", "c:/x", "-/\u2028",
		strings.Repeat("n", store.MaxComponentLen+1),
		strings.Repeat("n/", store.MaxNameLen/2) + "n",
	}
}

func testBadNames(t *suite) {
	for _, name := range BadNames() {
		_, statErr := t.s.Stat(t.ctx, name)
		_, readErr := t.s.Read(t.ctx, name, 0, -1)
		for _, tt := range []struct {
			op  string
			err error
		}{
			{"create", t.s.Create(t.ctx, name, store.BytesBody(nil))},
			{"read", readErr},
			{"stat", statErr},
			{"delete", t.s.Delete(t.ctx, name)},
		} {
			if !errors.Is(tt.err, store.ErrName) || !store.IsPermanent(tt.err) {
				t.Errorf("%s %.40q: %v; want a Permanent ErrName", tt.op, name, tt.err)
			}
		}
	}
	if got := t.list("", ""); len(got) != 0 {
		t.Errorf("list shows %q", got)
	}
	for _, p := range []string{"/", "../", "a//", ".", "A", "a b"} {
		for _, seq := range []struct{ prefix, after string }{{p, ""}, {"", p}} {
			n := 0
			for _, err := range t.s.List(t.ctx, seq.prefix, seq.after) {
				if n++; !errors.Is(err, store.ErrName) {
					t.Errorf("list %q after %q: %v; want ErrName", seq.prefix, seq.after, err)
				}
			}
			if n != 1 {
				t.Errorf("list %q after %q: %d values; want one error", seq.prefix, seq.after, n)
			}
		}
	}
}

// wanted is what a listing of names must yield.
func wanted(names []string, prefix, after string) []string {
	var w []string
	for _, n := range names {
		if strings.HasPrefix(n, prefix) && n > after {
			w = append(w, n)
		}
	}
	slices.Sort(w)
	return w
}

func testListOrder(t *suite) {
	if got := t.list("", ""); len(got) != 0 {
		t.Fatalf("an empty store lists %q", got)
	}
	names := []string{
		"00000001/log/01-01", "00000001/log/02-05", "00000001/log.x", "00000001/log-x", "00000001/log0", "00000001/timeline.json",
		"00000001/merged/1/01-09", "00000001/merged/10/01-99", "00000001/merged/2/01-50", "00000002/log/06-06", "00000002/timeline.json",
		"00000010/timeline.json", "0000001/x", "replica.json", "replica.json-old", "replica0/x",
	}
	for _, name := range names {
		t.create(name, []byte(name))
	}
	points := append([]string{
		"", "0", "00000001", "00000001/", "00000001/log", "00000001/log/", "00000001/log/0", "00000001/log/01-01", "00000001/log/01-01x",
		"00000001/log/03", "00000001/log/zz", "00000001/loh", "00000001/merged/1", "00000001/merged/1/", "00000002", "00000003", "replica", "zzz", "zzz/yyy",
	}, names...)
	for _, prefix := range points {
		for _, after := range points {
			if got, want := t.list(prefix, after), wanted(names, prefix, after); !slices.Equal(got, want) {
				t.Errorf("list %q after %q: %q; want %q", prefix, after, got, want)
			}
		}
	}
	seq := t.s.List(t.ctx, "00000001/", "")
	for round := range 2 { // a sequence may be ranged over again
		n := 0
		for o, err := range seq {
			if err != nil || o.Size != int64(len(o.Name)) {
				t.Errorf("round %d: %+v, error %v", round, o, err)
			}
			n++
		}
		if want := len(wanted(names, "00000001/", "")); n != want {
			t.Errorf("round %d: %d objects; want %d", round, n, want)
		}
	}
}

// manyObjects is more than two pages of a listing of the stores that page by 1,000.
const manyObjects = 2500

func testListMany(t *suite) {
	names := make([]string, manyObjects)
	errs := make([]error, manyObjects)
	for i := range names {
		names[i] = logName(i)
	}
	inParallel(manyObjects, 16, func(i int) {
		j := (i * 1009) % manyObjects // not in order; 1009 has no factor in common with 2500
		errs[j] = t.s.Create(t.ctx, names[j], store.BytesBody([]byte(names[j][:1+j%10])))
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := t.list("", ""); !slices.Equal(got, names) {
		t.Errorf("list: %d names, not the %d in order", len(got), manyObjects)
	}
	for _, i := range []int{0, 1, 998, 999, 1000, 1001, 1999, 2000, 2498, 2499} {
		if got := t.list("00000001/log/", names[i]); !slices.Equal(got, names[i+1:]) {
			t.Errorf("list after name %d: %d names; want %d", i, len(got), manyObjects-i-1)
		}
	}
	for _, stop := range []int{1, 999, 1000, 1001} {
		n := 0
		for o, err := range t.s.List(t.ctx, "00000001/log/", "") {
			if err != nil || o.Name != names[n] || o.Size != int64(1+n%10) {
				t.Fatalf("list, object %d: %+v, error %v", n, o, err)
			}
			if n++; n == stop {
				break
			}
		}
		if n != stop {
			t.Errorf("list to be stopped at %d stopped at %d", stop, n)
		}
	}
}

// testListChanges lists while the consumer deletes what it gets and others create.
func testListChanges(t *suite) {
	const n = 30
	for i := range n {
		t.create(fmt.Sprintf("old/%02d", i), []byte("x"))
	}
	var seen []string
	for o, err := range t.s.List(t.ctx, "old/", "") {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, o.Name)
		if err := t.s.Delete(t.ctx, o.Name); err != nil {
			t.Fatal(err)
		}
		t.create("new/"+o.Name[len("old/"):], nil)
	}
	if len(seen) != n || !slices.IsSorted(seen) {
		t.Errorf("list while its objects are deleted: %q", seen)
	}
	if got := t.list("old/", ""); len(got) != 0 {
		t.Errorf("list after all are deleted: %q", got)
	}
	if got := t.list("new/", ""); len(got) != n {
		t.Errorf("list of the new ones: %q", got)
	}
}
