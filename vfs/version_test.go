package vfs

import (
	"fmt"
	"testing"
)

// The WAL-reset bug was fixed in 3.51.3, and in 3.50.7 and 3.44.6 for those who stay there.
func TestVersionsWithTheWALResetBugAreRefused(t *testing.T) {
	for version, want := range map[int]bool{
		3007000: false, 3044005: false, 3044006: true, 3044999: true, 3045000: false, 3050006: false,
		3050007: true, 3050999: true, 3051000: false, 3051002: false, 3051003: true, 3054001: true, 4000000: true,
	} {
		t.Run(fmt.Sprintf("version=%d", version), func(t *testing.T) {
			if got := trusted(version); got != want {
				t.Errorf("trusted is %v", got)
			}
		})
	}
}
