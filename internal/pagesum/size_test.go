package pagesum

import (
	"math"
	"testing"
)

func TestCheckSize(t *testing.T) {
	tests := []struct {
		name     string
		sums     uint32
		n        uint32
		pageSize int
		room     int64
		ok       bool
	}{
		{"empty", 0, 0, 4096, 0, true},
		{"all written", 100, 100, 4096, 0, true},
		{"a trunk full of free pages", 2, 1022, 4096, 0, true},
		{"as many free pages as trunks can list", 10, 10 + 10*1024, 4096, 0, true},
		{"one more", 10, 11 + 10*1024, 4096, 0, false},
		{"nothing written", 0, 1, 4096, 0, false},
		{"a wild page count", 1000, math.MaxUint32, 4096, 0, false},
		{"a wild page count of a large database", 1 << 22, math.MaxUint32, 4096, 0, false},
		{"pages to come", 0, 1000, 4096, 1000, true},
		{"the lock page", 0, LockPage(65536), 65536, int64(LockPage(65536)) - 1, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := filled(test.sums).CheckSize(test.n, test.pageSize, test.room); (err == nil) != test.ok {
				t.Errorf("%d sums, %d pages: %v", test.sums, test.n, err)
			}
		})
	}
}
