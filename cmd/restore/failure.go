package main

import (
	"context"
	"errors"

	"seawal/cmd/internal/cli"
	"seawal/restore"
)

// Exit codes.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitNoPoint = 3 // no such replica or point
)

// failure is an error as JSON: {"error": {...}}.
type failure struct {
	Kind    string         `json:"kind"` // usage, no_replica, no_point, object, exists, in_use, silent, interrupted or failed
	Message string         `json:"message"`
	Exit    int            `json:"exit_code"`
	Object  string         `json:"object,omitempty"` // what is missing or damaged
	Reason  string         `json:"reason,omitempty"` // missing, cut short, corrupt or newer version
	Newest  *restore.Point `json:"newest,omitempty"` // newest point that restores without it
	First   *restore.Point `json:"first,omitempty"`  // ends of the history
	Last    *restore.Point `json:"last,omitempty"`
	Before  *restore.Point `json:"before,omitempty"` // nearest points
	After   *restore.Point `json:"after,omitempty"`
}

// classify says what an error means to the caller.
func classify(err error) failure {
	f := failure{Kind: "failed", Message: err.Error(), Exit: exitFailed}
	var usage *cli.UsageError
	var point *restore.PointError
	var object *restore.ObjectError
	var silent *cli.SilentError
	switch {
	case errors.As(err, &silent):
		f.Kind = "silent"
	case errors.As(err, &usage):
		f.Kind, f.Exit = "usage", exitUsage
	case errors.Is(err, restore.ErrNoReplica):
		f.Kind, f.Exit = "no_replica", exitNoPoint
	case errors.As(err, &point):
		f.Kind, f.Exit = "no_point", exitNoPoint
		f.First, f.Last, f.Before, f.After = point.First, point.Last, point.Before, point.After
	case errors.As(err, &object):
		f.Kind, f.Object, f.Reason, f.Newest = "object", object.Object, object.Reason(), object.Newest
	case errors.Is(err, restore.ErrExists):
		f.Kind = "exists"
	case errors.Is(err, restore.ErrInUse):
		f.Kind = "in_use"
	case errors.Is(err, context.Canceled):
		f.Kind = "interrupted"
		f.Message = "interrupted: " + f.Message
	}
	return f
}

// fail reports an error and returns the exit code.
func (a *app) fail(err error, asJSON bool) int {
	if errors.Is(err, errNothing) {
		return exitFailed
	}
	f := classify(err)
	if asJSON {
		a.Failure(f)
		return f.Exit
	}
	a.Complain("%s", f.Message)
	switch f.Kind {
	case "object":
		if f.Newest != nil {
			a.Complain("to have that point, add --tx %v", f.Newest.Pos)
		}
	case "exists":
		a.Complain("to replace what is there, add --force; to leave it alone and succeed, --if-missing")
	case "no_point":
		a.Complain("--list shows every point")
	}
	return f.Exit
}
