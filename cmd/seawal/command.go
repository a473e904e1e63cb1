package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"seawal/cmd/internal/cli"
	"seawal/internal/segment"
	"seawal/internal/version"
	"seawal/restore"
	"seawal/store"
)

// Exit codes, as those of the command restore.
const (
	exitDone      = 0
	exitFailed    = 1
	exitUsage     = 2
	exitNoReplica = 3
)

// app is the world as the command sees it.
type app struct {
	cli.Printer
	stores cli.Stores
	json   bool // results and errors as JSON
}

// main runs one command line and returns its exit code.
func (a *app) main(ctx context.Context, args []string) int {
	cmd := a.command()
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	// A command line that doesn't parse may still have asked for JSON.
	return a.fail(err, a.json || slices.Contains(args, "--json"))
}

func (a *app) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:           "seawal",
		Short:         "Look after the replicas of SQLite databases",
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return cli.Usagef("there is no verb %q; seawal --help has them", args[0])
			}
			return cmd.Help()
		},
	}
	cmd.SetOut(a.Out)
	cmd.SetErr(a.Err)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &cli.UsageError{Err: err} })
	cmd.PersistentFlags().BoolVar(&a.json, "json", false, "write results and errors to standard output as JSON")
	cmd.AddCommand(a.compactCommand())
	return cmd
}

// one is the check of a verb that takes a replica's URL and nothing else.
func one(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return cli.Usagef("the replica's URL is missing")
	case 1:
		if _, err := store.Normalize(args[0]); err != nil {
			return &cli.UsageError{Err: err}
		}
		return nil
	}
	return cli.Usagef("too many arguments: want a replica's URL, have %q", args)
}

// failure is an error as JSON: {"error": {...}}.
type failure struct {
	Kind    string `json:"kind"` // usage, no_replica, object, interrupted or failed
	Message string `json:"message"`
	Exit    int    `json:"exit_code"`
	Object  string `json:"object,omitempty"` // what is damaged
}

func classify(err error) failure {
	f := failure{Kind: "failed", Message: err.Error(), Exit: exitFailed}
	var usage *cli.UsageError
	var corrupt *segment.CorruptError
	switch {
	case errors.As(err, &usage):
		f.Kind, f.Exit = "usage", exitUsage
	case errors.Is(err, restore.ErrNoReplica):
		f.Kind, f.Exit = "no_replica", exitNoReplica
	case errors.Is(err, context.Canceled):
		f.Kind, f.Message = "interrupted", "interrupted: "+f.Message
	case errors.As(err, &corrupt):
		f.Kind, f.Object = "object", corrupt.Object
	}
	return f
}

// fail reports an error and returns the exit code.
func (a *app) fail(err error, asJSON bool) int {
	f := classify(err)
	if !asJSON {
		a.Complain("%s", f.Message)
		return f.Exit
	}
	a.Failure(f)
	return f.Exit
}
