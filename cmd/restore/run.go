package main

import (
	"context"
	"errors"
	"fmt"

	"seawal/restore"
	"seawal/store"
)

// giveUp is the number of failed attempts in a row, of one request, after which
// the store is taken for unreachable: about 90 seconds.
const giveUp = 20

// run does what the request asks for.
func (a *app) run(ctx context.Context, r *request) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	raw, err := a.open(ctx, r.url)
	if errors.Is(err, store.ErrScheme) {
		return &usageError{err}
	}
	if err != nil {
		return err
	}
	s := store.Stack(raw, store.StackOptions{Retry: store.RetryPolicy{Clock: a.clock, OnError: func(f store.Failure) {
		a.storeFailed(r, f, cancel)
	}}})
	defer func() {
		var gone *unreachableError
		if err != nil && errors.As(context.Cause(ctx), &gone) {
			err = gone
		}
		err = errors.Join(err, s.Close())
	}()
	switch {
	case r.list:
		return a.list(ctx, s, r)
	case r.dryRun:
		return a.plan(ctx, s, r)
	}
	return a.restore(ctx, s, r)
}

// unreachableError ends a run whose store doesn't answer.
type unreachableError struct{ f store.Failure }

func (e *unreachableError) Error() string {
	return fmt.Sprintf("gave up after %d attempts: %s %s: %v", e.f.Attempt, e.f.Op, e.f.Name, e.f.Err)
}

func (e *unreachableError) Unwrap() error { return e.f.Err }

// storeFailed says what the store said, the first time and then now and then.
func (a *app) storeFailed(r *request, f store.Failure, cancel context.CancelCauseFunc) {
	if f.Wait == 0 {
		return // comes back as the error
	}
	if f.Attempt >= giveUp {
		cancel(&unreachableError{f})
		return
	}
	if !r.json && f.Attempt%5 == 1 {
		a.complain("%s %s: %v; trying again", f.Op, f.Name, f.Err)
	}
}

func (r *request) options() restore.Options {
	return restore.Options{
		Output: r.output, Timeline: r.timeline, Target: r.target,
		Check: r.checkLevel, IfMissing: r.ifMissing, Force: r.force,
	}
}

func (a *app) restore(ctx context.Context, s store.Store, r *request) error {
	o := r.options()
	if a.terminal && !r.quiet && !r.json {
		b := newBar(a.errOut)
		o.Progress = b.set
		defer b.clear()
	}
	result, err := restore.Run(ctx, s, o)
	if err != nil {
		return err
	}
	if r.json {
		return a.printJSON(result)
	}
	for _, v := range result.Avoided {
		a.complain("warning: went around object %s: %s", v.Object, word(v.Reason))
	}
	if r.quiet {
		return nil
	}
	return a.printResult(result)
}

func (a *app) plan(ctx context.Context, s store.Store, r *request) error {
	var skip bool
	if r.output != "" {
		var err error
		if skip, err = r.options().CheckOutput(); err != nil {
			return err
		}
	}
	if skip {
		return a.printSkipped(r)
	}
	newPlan := restore.NewPlan
	if r.thorough {
		newPlan = restore.ProvePlan
	}
	plan, err := newPlan(ctx, s, r.timeline, r.target)
	if err != nil {
		return err
	}
	switch {
	case r.json:
		return a.printJSON(plan)
	case r.quiet:
		return nil
	}
	return a.printPlan(plan)
}

func (a *app) list(ctx context.Context, s store.Store, r *request) error {
	list := restore.List
	if r.thorough {
		list = restore.ListAll
	}
	l, err := list(ctx, s, r.timeline)
	if err != nil {
		return err
	}
	if r.json {
		err = a.printJSON(l)
	} else {
		err = a.printListing(l)
	}
	if err == nil && l.First == nil {
		err = errNothing
	}
	return err
}

// errNothing is the error of a listing that has no point. The listing has said so.
var errNothing = errors.New("nothing can be restored")
