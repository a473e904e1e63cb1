package store_test

import (
	"testing"

	"seawal/store"
	"seawal/store/storetest"
)

func TestFileStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := store.Open(t.Context(), "file://"+t.TempDir()+"/not/there/yet")
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// TestStack runs the suite through every decorator at once.
func TestStack(t *testing.T) {
	b, err := store.NewBudget(store.Limits{Concurrent: 4, BytesPerSecond: 1 << 40, RequestsPerSecond: 1e9})
	if err != nil {
		t.Fatal(err)
	}
	storetest.Run(t, func(t *testing.T) store.Store {
		return store.Stack(storetest.NewMemory(), store.StackOptions{Budget: b, Counts: new(store.Counts)})
	})
}
