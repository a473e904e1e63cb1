//go:build cgo

package vfs

import (
	"fmt"
	"sync/atomic"

	"seawal/store"
)

// budget is what all stores of this process share; nil: no limit.
var budget atomic.Pointer[store.Budget]

// SetLimits bounds what the replication of all databases of this process may use together: bandwidth, requests a second,
// and requests under way. It is for the databases that are opened from then on, so call it first. The zero Limits lifts them.
// Commits never wait for a limit: what may not be sent yet waits where an outage would leave it, in the ring and the log.
func SetLimits(l store.Limits) error {
	if l.BytesPerSecond == 0 && l.RequestsPerSecond == 0 && l.Concurrent == 0 {
		budget.Store(nil)
		return nil
	}
	b, err := store.NewBudget(l)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	budget.Store(b)
	return nil
}
