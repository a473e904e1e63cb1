package segment

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"seawal/internal/pagesum"
)

func testClose() Close {
	h := testHeader(Closing, 4096)
	h.First = 1235
	return Close{Header: h, Next: h.Timeline + 1, Parent: h.Timeline, ParentTx: 1230, Time: 1_700_000_000_000_000_001}
}

func dumpClose(c Close, b []byte) string {
	var s strings.Builder
	h := c.Header
	fmt.Fprintf(&s, "%v, %d bytes\n", h.Kind, len(b))
	fmt.Fprintf(&s, "page size %d, timeline %d, first %d, replica %v, writer %v, before %v\n", h.PageSize, h.Timeline, h.First, h.Replica, h.Writer, h.Before)
	fmt.Fprintf(&s, "timeline %d goes on from transaction %d of timeline %d, time %d\n", c.Next, c.ParentTx, c.Parent, c.Time)
	info, err := ReadInfo(bytes.NewReader(b), int64(len(b)))
	fmt.Fprintf(&s, "footer: last %d, checksum %016x, %v\n", info.Last, info.Checksum, err)
	return s.String()
}

func TestClose(t *testing.T) {
	for _, key := range []pagesum.Key{0, goldenKey} {
		want := testClose()
		want.Key = key
		b, err := want.Encode()
		if got, perr := ParseClose(b); got != want || err != nil || perr != nil {
			t.Errorf("with %v: %v, %v\n%s", key, err, perr, cmp.Diff(want, got))
		}
	}
	want := testClose()
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != CloseSize {
		t.Errorf("%d bytes, want %d", len(b), CloseSize)
	}
	got, err := ParseClose(b)
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	if info, err := ReadInfo(bytes.NewReader(b), CloseSize); err != nil || info.Kind != Closing || info.Header != want.Header || info.Last != want.First-1 {
		t.Errorf("its footer: %+v, %v", info, err)
	}
	// It is no segment, and says so.
	if _, err := NewDecoder(bytes.NewReader(b)); !isDamage(err) {
		t.Errorf("a decoder takes it: %v", err)
	}
	if _, err := NewEncoder(&bytes.Buffer{}, want.Header); err == nil {
		t.Error("an encoder makes one")
	}
	for name, c := range map[string]func(c *Close){
		"no page size":         func(c *Close) { c.PageSize = 0 },
		"the same timeline":    func(c *Close) { c.Next = c.Timeline },
		"an earlier one":       func(c *Close) { c.Next = c.Timeline - 1 },
		"a parent after it":    func(c *Close) { c.Parent = c.Next },
		"no parent, and where": func(c *Close) { c.Parent = 0 },
		"the same, begun anew": func(c *Close) { c.Next, c.Parent, c.ParentTx = c.Timeline, 0, 0 },
		"before the first one": func(c *Close) { c.First = 0 },
	} {
		bad := testClose()
		c(&bad)
		if _, err := bad.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

// Every difference shows, and the bytes of an object that was cut short aren't taken for damage.
func TestCloseIsVerified(t *testing.T) {
	b, err := testClose().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if _, err := ParseClose(b[:n]); !errors.Is(err, ErrTorn) {
			t.Fatalf("%d of %d bytes: %v, want ErrTorn", n, len(b), err)
		}
		for _, mask := range []byte{1, 0x80, 0xff} {
			b[n] ^= mask
			if _, err := ParseClose(b); !isDamage(err) {
				t.Fatalf("byte %d changed by %#x: %v", n, mask, err)
			}
			b[n] ^= mask
		}
	}
	if _, err := ParseClose(append(bytes.Clone(b), 0)); !isDamage(err) {
		t.Errorf("with a byte more: %v", err)
	}
	for _, kind := range kinds {
		o := smallObject(t, kind)
		if _, err := ParseClose(o); !isDamage(err) {
			t.Errorf("a %v: %v", kind, err)
		}
		if _, err := ParseClose(o[:CloseSize]); !isDamage(err) {
			t.Errorf("a %v, cut to the size of a close: %v", kind, err)
		}
	}
}

// TestCloseWhoseFooterLies: whoever only reads the end of an object must see the same close as whoever reads all of it,
// so a footer that tells of another one is damage although each checksum is right.
func TestCloseWhoseFooterLies(t *testing.T) {
	for name, change := range map[string]func(f []byte){
		"writer":     func(f []byte) { f[48]++ },
		"timeline":   func(f []byte) { f[20]-- },
		"first":      func(f []byte) { f[24]++; f[footerLast]++ },
		"before":     func(f []byte) { f[64]++ },
		"first time": func(f []byte) { f[footerFirstTime]++ },
		"after":      func(f []byte) { f[footerAfter]++ },
		"place":      func(f []byte) { f[footerPlace]++ },
	} {
		b, err := testClose().Encode()
		if err != nil {
			t.Fatal(err)
		}
		change(b[CloseSize-FooterSize:])
		reseal(b)
		if _, err := ReadInfo(bytes.NewReader(b), CloseSize); err != nil {
			t.Fatalf("another %s: the footer alone is %v", name, err)
		}
		if _, err := ParseClose(b); !isDamage(err) {
			t.Errorf("another %s in its footer: %v", name, err)
		}
	}
}

// The shortest segment is longer than a close: the sizes in a listing tell which objects may be one.
func TestNoSegmentIsAsShortAsAClose(t *testing.T) {
	for _, kind := range kinds {
		h := testHeader(kind, MinPageSize)
		h.First = 1
		b, _ := object{Header: h, Txs: []tx{{Tx: Tx{Number: 1, Span: 1}}}}.mustEncode(t)
		if len(b) <= CloseSize {
			t.Errorf("a %v has %d bytes, a close %d", kind, len(b), CloseSize)
		}
	}
}

// FuzzClose: nothing but a close is taken for one, and what is taken is written as it was.
func FuzzClose(f *testing.F) {
	b, err := testClose().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		b := bytes.Clone(in)
		for range 2 {
			c, err := ParseClose(b)
			if err == nil {
				again, err := c.Encode()
				if err != nil || !bytes.Equal(again, b) {
					t.Fatalf("%+v is written otherwise: %v", c, err)
				}
			} else if !isDamage(err) {
				t.Fatal(err)
			}
			reseal(b)
		}
	})
}
