package s3

import (
	"context"
	"errors"
	"time"
)

// errSilent is the cause when a peer has sent nothing for requestTimeout.
var errSilent = errors.New("the service has gone silent")

// watchdog is a context that ends when nobody has called kick for requestTimeout.
type watchdog struct {
	context.Context
	timer *time.Timer
}

func newWatchdog(ctx context.Context) (dog *watchdog, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	dog = &watchdog{ctx, time.AfterFunc(requestTimeout, func() { cancel(errSilent) })}
	return dog, func() {
		dog.timer.Stop()
		cancel(nil)
	}
}

func (d *watchdog) kick() { d.timer.Reset(requestTimeout) }
