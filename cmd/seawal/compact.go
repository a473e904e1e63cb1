package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"seawal/cmd/internal/cli"
	"seawal/compaction"
	"seawal/store"
)

const compactLong = `Merge what was shipped to a replica, so that a restore reads little however old the replica is.

A replica gets a log segment a second. What was committed within five minutes becomes one segment, those of an
hour another one, and those of a day another. When a restore reads more behind the newest snapshot than a new
one would take, a snapshot is made from the replica alone.

Nothing is deleted: every point that could be restored before can be restored afterwards. It may run while
applications ship to the replica, as often as wanted: from cron, for one.`

// compactFlags are those of seawal compact.
type compactFlags struct {
	dryRun     bool
	noSnapshot bool
	tempDir    string
}

func (a *app) compactCommand() *cobra.Command {
	var f compactFlags
	cmd := &cobra.Command{
		Use:   "compact [flags] <replica-url>",
		Short: "Merge what was shipped, so that a restore reads little",
		Long:  compactLong,
		Example: `  seawal compact gs://bucket/app
  seawal compact --dry-run s3://bucket/app`,
		DisableFlagsInUseLine: true,
		Args:                  one,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.compact(cmd.Context(), args[0], f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&f.dryRun, "dry-run", false, "show what would be merged, and create nothing")
	flags.BoolVar(&f.noSnapshot, "no-snapshot", false, "make no snapshot, which takes the size of the database on disk, twice")
	flags.StringVar(&f.tempDir, "temp-dir", "", "put aside in `DIR` what doesn't fit into memory (default that of the system)")
	return cmd
}

func (a *app) compact(ctx context.Context, url string, f compactFlags) error {
	failed := a.TryingAgain
	if a.json {
		failed = nil
	}
	return a.stores.With(ctx, url, failed, func(ctx context.Context, s store.Store) error {
		r, err := compaction.Run(ctx, s, compaction.Options{DryRun: f.dryRun, NoSnapshot: f.noSnapshot, TempDir: f.tempDir})
		if err != nil && len(r.Merged) == 0 && r.Snapshot == nil {
			return err
		}
		if a.json {
			if err == nil {
				return a.JSON(r)
			}
			return err
		}
		if perr := a.Text(compacted(r, f.dryRun)); perr != nil {
			return perr
		}
		return err
	})
}

// compacted says in words what was done.
func compacted(r compaction.Result, dryRun bool) string {
	var b strings.Builder
	did := "merged"
	if dryRun {
		did = "would merge"
	}
	if len(r.Merged) == 0 {
		fmt.Fprintf(&b, "%s: there is nothing to merge\n", cli.Word(r.Database))
	}
	for _, m := range r.Merged {
		fmt.Fprintf(&b, "%s %d/%d to %d/%d (%s) from %d objects: %s, %s\n", did, m.Timeline, m.First, m.Timeline, m.Last,
			m.Time.Format("2006-01-02T15:04:05Z07:00"), m.Objects, m.Object, cli.Size(m.Size))
	}
	if s := r.Snapshot; s != nil {
		made := "made a snapshot"
		if dryRun {
			made = "would make a snapshot"
		}
		fmt.Fprintf(&b, "%s of %v, because %s: %s", made, s.Point, s.Reason, s.Object)
		if s.Size > 0 {
			fmt.Fprintf(&b, ", %s", cli.Size(s.Size))
		}
		b.WriteString("\n")
	}
	return b.String()
}
