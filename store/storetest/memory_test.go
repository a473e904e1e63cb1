package storetest_test

import (
	"testing"

	"seawal/store"
	"seawal/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return storetest.NewMemory() })
}
