package transfer

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"seawal/store"
)

// Begin is what every call of a store does first: the first of the checks that failed, or the end of ctx.
func Begin(ctx context.Context, checks ...error) error {
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Object is one that is read: how a service is asked for it, and what its answers mean.
type Object struct {
	// Get asks for n bytes from off on, or for all behind off when n < 0. length is that of the body, nil when the
	// service doesn't say.
	Get func(ctx context.Context, off, n int64) (body io.ReadCloser, length *int64, err error)

	Size     func(ctx context.Context) (int64, error)
	IsBehind func(error) bool  // Get failed because the object ends before off
	Failed   func(error) error // what to make of an error in the middle of a body
}

// Read is store.Store's Read for o. The range is valid.
func Read(ctx context.Context, o Object, off, n int64) (io.ReadCloser, error) {
	if n == 0 {
		return o.atEnd(ctx, off, n)
	}
	dog := newWatchdog(ctx)
	body, length, err := o.Get(dog, off, n)
	if err != nil {
		dog.stop()
		if o.IsBehind(err) {
			return o.atEnd(ctx, off, n)
		}
		return nil, err
	}
	if n < 0 {
		if length == nil {
			dog.stop()
			return nil, errors.Join(errors.New("the service does not say how long the object is"), body.Close())
		}
		n = *length
	}
	return store.RangeReader(&reader{body: body, dog: dog, failed: o.Failed}, n), nil
}

// atEnd answers reads that begin at the end of the object or behind it, or that want nothing.
func (o Object) atEnd(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	size, err := o.Size(ctx)
	if err != nil {
		return nil, err
	}
	left := max(n, 0)
	if off > size {
		left = max(left, 1) // behind the end even nothing is too much
	}
	if off < size {
		left = 0
	}
	return store.RangeReader(io.NopCloser(strings.NewReader("")), left), nil
}

// errSilent is the cause when a peer has sent nothing for RequestTimeout.
var errSilent = errors.New("the service has gone silent")

// watchdog is a context that ends when nobody has called kick for RequestTimeout.
type watchdog struct {
	context.Context
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

// newWatchdog returns one that has just been kicked. It has to be stopped.
func newWatchdog(ctx context.Context) *watchdog {
	ctx, cancel := context.WithCancelCause(ctx)
	return &watchdog{ctx, time.AfterFunc(RequestTimeout, func() { cancel(errSilent) }), cancel}
}

func (d *watchdog) kick() { d.timer.Reset(RequestTimeout) }

func (d *watchdog) stop() {
	d.timer.Stop()
	d.cancel(nil)
}

// reader is a body that is being received under a watchdog.
type reader struct {
	body   io.ReadCloser
	dog    *watchdog
	failed func(error) error
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if n > 0 {
		r.dog.kick()
	}
	if err != nil && err != io.EOF {
		err = r.failed(err)
	}
	return n, err
}

func (r *reader) Close() error {
	r.dog.stop()
	err := r.body.Close()
	if errors.Is(err, context.Canceled) {
		return nil // by the line before, or by the caller
	}
	return err
}
