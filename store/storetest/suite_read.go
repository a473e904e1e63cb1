package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"testing/iotest"

	"seawal/store"
)

func testEmpty(t *suite) {
	t.create("empty", nil)
	t.wantContent("empty", nil)
	err := t.s.Create(t.ctx, "empty", store.BytesBody([]byte("more")))
	if !errors.Is(err, store.ErrExist) {
		t.Errorf("create over an empty object: %v; want ErrExist", err)
	}
}

// testBig sends 20 MiB that are never in memory at once on our side, in reads
// of odd sizes, and reads them back as a stream.
func testBig(t *suite) {
	const size = 20<<20 + 7
	piece := patternBase()
	stream := func() io.Reader { return io.LimitReader(&loop{b: piece}, size) }
	err := t.s.Create(t.ctx, "00000001/snapshot/0000000000000001", func() (io.ReadCloser, error) {
		return io.NopCloser(iotest.DataErrReader(stream())), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want, got := sha256.New(), sha256.New()
	io.Copy(want, stream())
	r, err := t.s.Read(t.ctx, "00000001/snapshot/0000000000000001", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := io.Copy(got, r)
	if err != nil || n != size || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		t.Errorf("read back %d bytes, error %v; want the %d written", n, err, size)
	}
	tail, err := t.read("00000001/snapshot/0000000000000001", size-100, 100)
	whole := make([]byte, 100)
	for i := range whole {
		whole[i] = piece[(size-100+i)%len(piece)]
	}
	if err != nil || !bytes.Equal(tail, whole) {
		t.Errorf("last 100 bytes: %d bytes, error %v", len(tail), err)
	}
}

// loop repeats b without end.
type loop struct {
	b   []byte
	pos int
}

func (l *loop) Read(p []byte) (int, error) {
	n := copy(p, l.b[l.pos:])
	l.pos = (l.pos + n) % len(l.b)
	return n, nil
}

func testRanges(t *suite) {
	const size = 10000
	content := pattern(size)
	t.create("ranged", content)
	for _, tt := range []struct {
		off, n int64
		want   []byte
		short  bool // ends in io.ErrUnexpectedEOF
	}{
		{0, -1, content, false},
		{0, size, content, false},
		{0, 0, nil, false},
		{0, 1, content[:1], false},
		{1, 1, content[1:2], false},
		{1, -1, content[1:], false},
		{1, size - 1, content[1:], false},
		{4095, 2, content[4095:4097], false},
		{5000, 0, nil, false},
		{size - 1, 1, content[size-1:], false},
		{size - 1, -1, content[size-1:], false},
		{size, 0, nil, false},
		{size, -1, nil, false},
		{0, size + 1, content, true},
		{1, size, content[1:], true},
		{size - 1, 2, content[size-1:], true},
		{size, 1, nil, true},
		{size + 1, 1, nil, true},
		{size + 1, 0, nil, true},
		{size + 1, -1, nil, true},
		{0, math.MaxInt64, content, true},
		{math.MaxInt64 - 1, 1, nil, true},
	} {
		b, err := t.read("ranged", tt.off, tt.n)
		if tt.short != errors.Is(err, io.ErrUnexpectedEOF) || !tt.short && err != nil {
			t.Errorf("read of %d bytes from %d: error %v; want io.ErrUnexpectedEOF: %v", tt.n, tt.off, err, tt.short)
		}
		if !bytes.Equal(b, tt.want) {
			t.Errorf("read of %d bytes from %d: %d wrong bytes; want %d", tt.n, tt.off, len(b), len(tt.want))
		}
	}
	for _, r := range [][2]int64{{-1, 1}, {-1, -1}, {math.MaxInt64, 1}, {1, math.MaxInt64}} {
		if _, err := t.read("ranged", r[0], r[1]); !store.IsPermanent(err) {
			t.Errorf("read of %d bytes from %d: %v; want a Permanent error", r[1], r[0], err)
		}
	}
}

func testConcurrentReads(t *suite) {
	content := pattern(1 << 20)
	t.create("shared", content)
	inParallel(32, 8, func(i int) {
		off := int64(i * 31_000)
		b, err := t.read("shared", off, 40_000)
		if err != nil || !bytes.Equal(b, content[off:off+40_000]) {
			t.Errorf("reader %d: %d bytes, error %v", i, len(b), err)
		}
	})
	// Several readers of one object, read by turns from one goroutine.
	var rs [3]io.ReadCloser
	for i := range rs {
		r, err := t.s.Read(t.ctx, "shared", int64(i), -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		rs[i] = r
	}
	for step := range 10 {
		for i, r := range rs {
			p := make([]byte, 1000)
			if _, err := io.ReadFull(r, p); err != nil || !bytes.Equal(p, content[i+step*1000:][:1000]) {
				t.Fatalf("reader %d, step %d: wrong bytes, error %v", i, step, err)
			}
		}
	}
}

func testReadAfterCancel(t *suite) {
	t.create("big", pattern(8<<20))
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	r, err := t.s.Read(ctx, "big", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	// What a buffer held may still come, but not 8 MiB of it.
	if n, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %d bytes more, error %v; want context.Canceled", n, err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("close after cancel: %v", err)
	}
}

func testAbsent(t *suite) {
	t.wantAbsent("nothing")
	t.create("00000001/log/x", []byte("x"))
	t.wantAbsent("00000001")
	t.wantAbsent("00000001/log")
	t.wantAbsent("00000001/log/y")
	t.wantAbsent("00000002/log/x")
	// A range does not turn "no such object" into something else.
	if _, err := t.read("nothing", 10, 5); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("ranged read of an absent object: %v; want ErrNotExist", err)
	}
}

func testDelete(t *suite) {
	if err := t.s.Delete(t.ctx, "d/never"); err != nil {
		t.Errorf("delete of an absent object: %v; want nil", err)
	}
	t.create("d/one", []byte("1"))
	t.create("d/two", []byte("2"))
	if err := t.s.Delete(t.ctx, "d"); err != nil {
		t.Errorf("delete of an absent object that is a prefix: %v; want nil", err)
	}
	t.wantContent("d/one", []byte("1"))
	errs := make([]error, 5)
	inParallel(len(errs), len(errs), func(i int) { errs[i] = t.s.Delete(t.ctx, "d/one") })
	if err := errors.Join(errs...); err != nil {
		t.Errorf("delete: %v", err)
	}
	t.wantAbsent("d/one")
	t.wantContent("d/two", []byte("2"))
	t.create("d/one", []byte("another"))
	t.wantContent("d/one", []byte("another"))
}

func testEndedContext(t *suite) {
	t.create("here", []byte("x"))
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	_, statErr := t.s.Stat(ctx, "here")
	var listErr error
	for _, listErr = range t.s.List(ctx, "", "") {
		if listErr == nil {
			t.Error("list: an object after the context ended")
			break
		}
	}
	r, readErr := t.s.Read(ctx, "here", 0, -1)
	if readErr == nil {
		_, readErr = io.ReadAll(r)
		r.Close()
	}
	for _, tt := range []struct {
		op  string
		err error
	}{
		{"create", t.s.Create(ctx, "new", store.BytesBody(nil))},
		{"read", readErr},
		{"stat", statErr},
		{"list", listErr},
		{"delete", t.s.Delete(ctx, "here")},
	} {
		if !errors.Is(tt.err, context.Canceled) {
			t.Errorf("%s: %v; want context.Canceled", tt.op, tt.err)
		}
	}
	t.wantContent("here", []byte("x"))
	t.wantAbsent("new")
}

func testCloseTwice(t *suite) {
	t.create("here", []byte("x"))
	for i := range 2 {
		if err := t.s.Close(); err != nil {
			t.Error(fmt.Errorf("close %d: %w", i+1, err))
		}
	}
}
