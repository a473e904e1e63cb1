package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"seawal/cmd/internal/cli"
	"seawal/internal/replica"
	"seawal/internal/version"
	"seawal/restore"
	"seawal/store"
)

// app is the world as the command sees it.
type app struct {
	cli.Printer
	stores   cli.Stores
	terminal bool // of errors: show progress
	now      func() time.Time
}

// request is what the command line asks for.
type request struct {
	url, output string
	at, tx      string // as given
	timeline    uint32
	list        bool
	dryRun      bool
	thorough    bool
	json        bool
	ifMissing   bool
	force       bool
	check       string
	quiet       bool
	timeout     time.Duration

	target     restore.Target
	checkLevel restore.Check
}

const long = `Rebuild a SQLite database from its seawal replica, byte for byte, as of any
transaction. The output appears complete, verified and synced, or not at all.

TIME for --at is one of
  2026-03-04T15:04:05Z          RFC 3339, with fractions and any offset
  2026-03-04 15:04:05           local time; also without seconds, or the date alone (its midnight)
  15m, 2h, 1h30m, 3d            back from now
and means the last transaction committed at or before that moment.

--check quick (the default) compares every page and, after every transaction, the whole
database with its checksum. full also reads the finished file back and hashes every page
of it again; it is pure Go and does not run SQLite, so whether the source was
logically sound is for "PRAGMA integrity_check" to say. none trusts the objects' own checksums.

--force replaces an existing database together with its -wal, -shm and -journal. It refuses
while a process has it open: when it begins, and again right before it replaces the file, which
is locked from then on. A process that is idle in a rollback journal mode holds no lock;
it is found on Linux if it is of the same user, or for root. Stop others first.

--timeout is for a store that doesn't answer, or stops in the middle of an answer; it bounds no
transfer that gets on. A store that answers with errors is given up after 20 attempts.

Exit codes: 0 done, 1 failed (of --list: nothing can be restored), 2 wrong usage, 3 no such replica or point.`

const examples = `  restore file:///backup/app app.db
  restore --at 15m gs://bucket/app app.db
  restore --tx 1/42 --dry-run s3://bucket/app app.db
  restore --list --json sftp://user@host/backup/app`

// main runs one command line and returns its exit code.
func (a *app) main(ctx context.Context, args []string) int {
	var r request
	cmd := a.command(&r)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	// A command line that doesn't parse may still have asked for JSON.
	return a.fail(err, r.json || slices.Contains(args, "--json"))
}

func (a *app) command(r *request) *cobra.Command {
	cmd := &cobra.Command{
		Use:                   "restore [flags] <replica-url> <output>",
		Short:                 "Rebuild a SQLite database from its seawal replica",
		Long:                  long,
		Example:               examples,
		Version:               version.String(),
		SilenceUsage:          true,
		SilenceErrors:         true,
		DisableFlagsInUseLine: true,
		CompletionOptions:     cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:                  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := r.validate(args, cmd.Flags().Changed, a.now()); err != nil {
				return err
			}
			return a.run(cmd.Context(), r)
		},
	}
	cmd.SetOut(a.Out)
	cmd.SetErr(a.Err)
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &cli.UsageError{Err: err} })
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&r.at, "at", "", "restore the last transaction committed at or before `TIME`")
	f.StringVar(&r.tx, "tx", "", "restore the state after transaction `N`, also written timeline/N")
	f.Uint32Var(&r.timeline, "timeline", 0, "restore on timeline `T` (default the newest)")
	f.BoolVar(&r.list, "list", false, "show what can be restored, and write nothing")
	f.BoolVar(&r.dryRun, "dry-run", false, "show what would be restored, and write nothing")
	f.BoolVar(&r.thorough, "thorough", false, "with --list and --dry-run: look at every segment, however many there are")
	f.BoolVar(&r.json, "json", false, "write results and errors to standard output as JSON")
	f.BoolVar(&r.ifMissing, "if-missing", false, "succeed and do nothing when the output exists")
	f.BoolVar(&r.force, "force", false, "replace an existing output")
	f.StringVar(&r.check, "check", restore.CheckQuick.String(), "what to verify: `none|quick|full`")
	f.BoolVar(&r.quiet, "quiet", false, "no progress and no summary; warnings and errors only")
	f.DurationVar(&r.timeout, "timeout", cli.Patience, "give up when nothing has come from the store for `D`, such as 30s; 0: never")
	return cmd
}

// validate checks the command line as a whole and fills in what it means.
func (r *request) validate(args []string, given func(flag string) bool, now time.Time) error {
	switch {
	case len(args) == 0:
		return cli.Usagef("the replica's URL is missing; see restore --help")
	case len(args) > 2:
		return cli.Usagef("too many arguments: want a replica's URL and an output, have %q", args)
	}
	r.url = args[0]
	if len(args) == 2 {
		r.output = args[1]
	}
	if r.list {
		for _, flag := range []string{"at", "tx", "dry-run", "if-missing", "force", "check"} {
			if given(flag) {
				return cli.Usagef("--list and --%s don't go together", flag)
			}
		}
		if r.output != "" {
			return cli.Usagef("--list writes nothing: leave out the output %q", r.output)
		}
	} else if r.output == "" && !r.dryRun {
		return cli.Usagef("the output is missing: restore %s <output>", store.Redact(r.url))
	}
	if r.thorough && !r.list && !r.dryRun {
		return cli.Usagef("--thorough goes with --list or --dry-run: a restore looks at every segment")
	}
	if r.timeout < 0 {
		return cli.Usagef("--timeout %v: want 0 or more", r.timeout)
	}
	if r.ifMissing && r.force {
		return cli.Usagef("--if-missing and --force don't go together")
	}
	if _, err := store.Normalize(r.url); err != nil {
		return &cli.UsageError{Err: err}
	}
	if given("timeline") && r.timeline == 0 {
		return cli.Usagef("--timeline: timelines count from 1")
	}
	check, err := restore.ParseCheck(r.check)
	if err != nil {
		return cli.Usagef("--check: %w", err)
	}
	r.checkLevel = check
	return r.parseTarget(given, now)
}

func (r *request) parseTarget(given func(flag string) bool, now time.Time) error {
	switch {
	case given("at") && given("tx"):
		return cli.Usagef("--at and --tx don't go together")
	case given("at"):
		t, err := parseAt(r.at, now)
		if err != nil {
			return cli.Usagef("--at: %w", err)
		}
		r.target = restore.AtTime(t)
	case given("tx"):
		timeline, tx, err := parseTx(r.tx)
		if err != nil {
			return cli.Usagef("--tx: %w", err)
		}
		if timeline != 0 && given("timeline") && timeline != r.timeline {
			return cli.Usagef("--tx %s and --timeline %d name different timelines", r.tx, r.timeline)
		}
		if timeline != 0 {
			r.timeline = timeline
		}
		r.target = restore.AtTx(tx)
	}
	return nil
}

// parseTx reads "42" or "1/42". timeline is 0 when it isn't given.
func parseTx(s string) (timeline uint32, tx uint64, err error) {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return 0, n, nil
	}
	pos, err := replica.ParsePos(s)
	if err != nil || pos.Timeline == 0 {
		return 0, 0, errors.New("want a transaction's number, such as 42, or timeline/transaction, such as 1/42; have " + strconv.Quote(s))
	}
	return pos.Timeline, pos.Tx, nil
}
