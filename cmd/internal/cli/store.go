package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"seawal/store"
)

// giveUp is the number of failed attempts in a row, of one request, after which
// the store is taken for unreachable: about 90 seconds.
const giveUp = 20

// Stores opens the stores of commands.
type Stores struct {
	Open  func(ctx context.Context, rawURL string) (store.Store, error)
	Clock store.Clock // for the waits between attempts; nil: the system's

	Patience time.Duration // how long a store that is read may be silent; 0: for ever
}

// With calls f with the store at a URL. Requests that fail are repeated until giveUp, and told to failed (nil: to nobody) now
// and then. The context of f ends when the store is given up, and the error says what it has said.
func (o Stores) With(ctx context.Context, rawURL string, failed func(store.Failure), f func(ctx context.Context, s store.Store) error) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dog := newWatchdog(o.Patience, cancel)
	defer func() {
		var gone *unreachableError
		var silent *SilentError
		switch cause := context.Cause(ctx); {
		case err == nil:
		case errors.As(cause, &gone):
			err = gone
		case errors.As(cause, &silent):
			err = silent
		}
	}()
	opened := dog.wait("open " + store.Redact(rawURL))
	raw, err := o.Open(ctx, rawURL)
	opened(err)
	if errors.Is(err, store.ErrScheme) {
		return &UsageError{err}
	}
	if err != nil {
		return err
	}
	s := watched{store.Stack(raw, store.StackOptions{Retry: store.RetryPolicy{Clock: o.Clock, OnError: func(f store.Failure) {
		dog.failed(f.Err)
		switch {
		case f.Wait == 0: // comes back as the error
		case f.Attempt >= giveUp:
			cancel(&unreachableError{f})
		case f.Attempt%5 == 1 && failed != nil:
			failed(f)
		}
	}}}), dog}
	defer func() { err = errors.Join(err, s.Close()) }()
	return f(ctx, s)
}

// unreachableError ends a run whose store doesn't answer.
type unreachableError struct{ f store.Failure }

func (e *unreachableError) Error() string {
	return fmt.Sprintf("gave up after %d attempts: %s %s: %v", e.f.Attempt, e.f.Op, e.f.Name, e.f.Err)
}

func (e *unreachableError) Unwrap() error { return e.f.Err }
