package transfer

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// Services limit the number of parts, and one wants them equal: an object has room in them as far as it can be, in parts that fit
// into memory for objects of the usual size.
func TestSizesOfParts(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		name    string
		limits  Limits
		room    int64 // of all parts, at least
		ordered int64 // bytes of an object whose largest part is still no more than 64 MiB, at least
	}{
		{"most services", Limits{}, 5 << 40, 56 * gib},
		{"few parts", Limits{Count: 1000}, 700 * gib, 5 * gib},
		{"equal parts", Limits{Equal: true}, 78 * gib, 78 * gib},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var room, ordered int64
			for n := 1; n <= tt.limits.Most(); n++ {
				size := int64(tt.limits.size(n))
				room += size
				if size <= 64<<20 {
					ordered += size
				}
				if before := int64(tt.limits.size(max(1, n-1))); size < before || size > 5*gib || tt.limits.Equal && size != before {
					t.Fatalf("part %d has %d bytes, the one before %d", n, size, before)
				}
			}
			if room < tt.room || ordered < tt.ordered {
				t.Errorf("room for %d bytes, %d in small parts; want %d and %d", room, ordered, tt.room, tt.ordered)
			}
		})
	}
}

// The sizes that go up are those of the limits, and what has no room in the parts fails by name.
func TestPartsWithinLimits(t *testing.T) {
	body := make([]byte, 3*PartSize)
	for _, tt := range []struct {
		name   string
		limits Limits
		want   []int // sizes; nil: too large
	}{
		{"room", Limits{Count: 1000}, []int{PartSize, PartSize, PartSize}},
		{"growing", Limits{Count: 1}, nil},
		{"too large", Limits{Count: 2, Equal: true}, nil},
		{"equal", Limits{Equal: true}, []int{PartSize, PartSize, PartSize}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := bytes.NewReader(body)
			first, _, err := First(in)
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			got := make([]int, 3)
			_, err = UploadWithin(t.Context(), tt.limits, in, first, func(_ context.Context, p Part) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				got[p.Number-1] = len(p.Content)
				return "tag", nil
			})
			if tt.want == nil {
				if !errors.Is(err, ErrTooLarge) {
					t.Errorf("error %v, parts %v; want ErrTooLarge", err, got)
				}
				return
			}
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("parts %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}
