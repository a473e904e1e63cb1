package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// TestHostileTexts: what the replica says for people reaches neither a terminal nor JSON with its control characters.
func TestHostileTexts(t *testing.T) {
	const evil = "\x1b]0;owned\a\x1b[2J\u009b1m\u202enosrep\r\n\U000e0041"
	url, dir := testReplica(t)
	s, err := store.OpenFolder(dir)
	ok(t, err)
	ctx := context.Background()
	id := segment.NewID()
	ok(t, replica.CreateTimeline(ctx, s, replica.Timeline{Timeline: 3, Parent: 2, ParentTx: 4, Reason: evil, Writer: id, Created: epoch}))
	r, err := replica.ReadReplica(ctx, s)
	ok(t, err)
	r.Name = "app.db" + evil
	ok(t, os.Remove(filepath.Join(dir, segment.ReplicaName)))
	ok(t, replica.CreateReplica(ctx, s, r))
	shown := 0
	lines := []string{"--list URL", "--list --json URL", "--dry-run URL", "--dry-run --json URL", "--json URL OUT", "--tx 99 URL OUT"}
	for _, args := range lines {
		o := runCommand(strings.Fields(strings.NewReplacer("URL", url, "OUT", filepath.Join(t.TempDir(), "app.db")).Replace(args))...)
		for _, c := range []string{"\x1b", "\a", "\r", "\u009b", "\u202e", "\U000e0041"} {
			if strings.Contains(o.out+o.errOut, c) {
				shown++
				t.Errorf("%s prints %q: %q", args, c, o.out+o.errOut)
			}
		}
		if strings.Contains(args, "--list") && !strings.Contains(o.out, "owned") {
			t.Errorf("%s doesn't print the reason: %+v", args, o)
		}
		if strings.Contains(args, "--json") {
			var got struct {
				Database  string
				Timelines []struct{ Reason string }
			}
			if err := json.Unmarshal([]byte(o.out), &got); err != nil || got.Database != r.Name ||
				len(got.Timelines) > 0 && got.Timelines[2].Reason != evil {
				t.Errorf("%s: %v, %+v, want what the replica says", args, err, got)
			}
		}
	}
	reliability.Record(t, reliability.Fault{
		Group: reliability.Hostile, Name: "names and reasons in the replica that are commands for a terminal",
		How: "replica.json and timeline.json say escape sequences, control characters and marks that turn text around; the restore command lists, plans and restores, in words and as JSON",
	}, len(lines), shown)
}

// TestListOfNothing: a replica that can give nothing back is no success.
func TestListOfNothing(t *testing.T) {
	url, dir := testReplica(t)
	for _, name := range []string{segment.LogName(1, 1), segment.LogName(1, 2), segment.SnapshotName(1, 2)} {
		ok(t, os.Remove(filepath.Join(dir, filepath.FromSlash(name))))
	}
	if o := runCommand("--list", url); o.code != exitFailed || !strings.Contains(o.out, "Nothing can be restored.") {
		t.Errorf("%+v", o)
	}
	if o := runCommand("--list", "--json", url); o.code != exitFailed || !json.Valid([]byte(o.out)) || o.errOut != "" {
		t.Errorf("%+v, want one JSON document", o)
	}
}
