package azure_test

import (
	"testing"

	"seawal/internal/storetrial"
)

func TestLiars(t *testing.T) {
	s, p := proxied(t)
	storetrial.Liars(t, s, p)
}
