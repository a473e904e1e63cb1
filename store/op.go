package store

import (
	"context"
	"fmt"
	"time"
)

// Op is a method of Store, as a class of requests.
type Op uint8

// The classes in the order of Store's methods.
const (
	OpCreate Op = iota
	OpRead
	OpStat
	OpList
	OpDelete
	numOps
)

// String is the method in lower case: "create".
func (o Op) String() string {
	switch o {
	case OpCreate:
		return "create"
	case OpRead:
		return "read"
	case OpStat:
		return "stat"
	case OpList:
		return "list"
	case OpDelete:
		return "delete"
	}
	return fmt.Sprintf("op(%d)", uint8(o))
}

// Clock is the time as the decorators see it, so that a test need not wait.
type Clock interface {
	Now() time.Time

	// Sleep returns nil after d, or ctx.Err() when that ends before.
	Sleep(ctx context.Context, d time.Duration) error
}

// SystemClock is the Clock of package time.
type SystemClock struct{}

var _ Clock = SystemClock{}

// Now is time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// Sleep waits on a timer of package time.
func (SystemClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
