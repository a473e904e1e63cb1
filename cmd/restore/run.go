package main

import (
	"context"
	"errors"

	"seawal/cmd/internal/cli"
	"seawal/restore"
	"seawal/store"
)

// run does what the request asks for.
func (a *app) run(ctx context.Context, r *request) error {
	failed := a.TryingAgain
	if r.json {
		failed = nil
	}
	stores := a.stores
	stores.Patience = r.timeout
	return stores.With(ctx, r.url, failed, func(ctx context.Context, s store.Store) error {
		switch {
		case r.list:
			return a.list(ctx, s, r)
		case r.dryRun:
			return a.plan(ctx, s, r)
		}
		return a.restore(ctx, s, r)
	})
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
		b := newBar(a.Err)
		o.Progress = b.set
		defer b.clear()
	}
	result, err := restore.Run(ctx, s, o)
	if err != nil {
		return err
	}
	if r.json {
		return a.JSON(result)
	}
	for _, v := range result.Avoided {
		a.Complain("warning: went around object %s: %s", v.Object, cli.Word(v.Reason))
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
		return a.JSON(plan)
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
		err = a.JSON(l)
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
