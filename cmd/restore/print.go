package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"seawal/cmd/internal/cli"
	"seawal/restore"
)

func (a *app) printSkipped(r *request) error {
	if r.json {
		return a.JSON(restore.Result{Output: r.output, Skipped: true})
	}
	if r.quiet {
		return nil
	}
	return a.Text(fmt.Sprintf("%s exists: nothing to do\n", r.output))
}

func (a *app) printResult(r restore.Result) error {
	if r.Skipped {
		return a.Text(fmt.Sprintf("%s exists: nothing to do\n", r.Output))
	}
	verified := "verified"
	if r.Check == restore.CheckFull.String() {
		verified = "verified and read back"
	} else if r.Check == restore.CheckNone.String() {
		verified = "pages not verified"
	}
	return a.Text(fmt.Sprintf("%s restored to %v: %d pages of %d bytes, checksum %s (%s); %s from %d objects of %s in %v, %s/s\n",
		r.Output, r.Point, r.PageCount, r.PageSize, r.Checksum, verified,
		cli.Size(r.Bytes), r.Objects, cli.Size(r.Fetched), r.Elapsed.Round(time.Millisecond),
		cli.Size(int64(float64(r.Bytes)/max(r.Elapsed.Seconds(), 1e-9)))))
}

func (a *app) printPlan(p *restore.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Would restore %s (replica %s) to %v from %d objects, %s:\n", cli.Word(p.Database), p.Replica, p.Target, len(p.Steps), cli.Size(p.Bytes()))
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tTRANSACTIONS\tSIZE\tOBJECT")
	for _, s := range p.Steps {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Kind, span(s.First, s.Last), cli.Size(s.Size), s.Object)
	}
	w.Flush() // b never fails
	for _, v := range p.Avoided {
		fmt.Fprintf(&b, "Goes around object %s: %s\n", v.Object, cli.Word(v.Reason))
	}
	if p.Sampled {
		b.WriteString("There are many segments: whether one is missing was not looked at. Restoring tells, and so does --thorough.\n")
	}
	return a.Text(b.String())
}

func (a *app) printListing(l *restore.Listing) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Replica %s of %s, pages of %d bytes. Timeline %d: %d objects, %s.\n",
		l.Replica, cli.Word(l.Database), l.PageSize, l.Timeline, l.Objects, cli.Size(l.Bytes))
	if l.First == nil {
		b.WriteString("Nothing can be restored.\n")
	}
	w := &tables{tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)}
	w.points(l)
	w.spans("Squashed, no points", l.Squashed)
	w.spans("Lost, no points", l.Gaps)
	w.trouble(l)
	w.timelines(l.Timelines)
	w.Flush() // b never fails
	if l.Sampled {
		b.WriteString("\nThere are many segments: not all were looked at. --thorough finds squashed spans, and what is missing in between.\n")
	}
	return a.Text(b.String())
}

// tables prints the parts of a listing that aren't empty.
type tables struct{ *tabwriter.Writer }

// begin starts a table, unless it has no rows.
func (w *tables) begin(rows int, title, head string) {
	if rows > 0 {
		fmt.Fprintf(w, "\n%s\n%s\n", title, head)
	}
}

func (w *tables) points(l *restore.Listing) {
	w.begin(len(l.Ranges), "Restore points", "FIRST\tTIME\tLAST\tTIME\tPOINTS")
	for _, r := range l.Ranges {
		fmt.Fprintf(w, "%v\t%s\t%v\t%s\t%d\n", r.First.Pos, clock(r.First), r.Last.Pos, clock(r.Last), r.Points)
	}
	w.begin(len(l.Snapshots), "Snapshots", "AT\tTIME\tSIZE")
	for _, s := range l.Snapshots {
		fmt.Fprintf(w, "%v\t%s\t%s\n", s.Pos, clock(s.Point), cli.Size(s.Bytes))
	}
}

func (w *tables) spans(title string, all []restore.Span) {
	w.begin(len(all), title, "TRANSACTIONS\tNEXT POINT\tTIME")
	for _, s := range all {
		next, at := "none", ""
		if s.Next != nil {
			next, at = s.Next.Pos.String(), clock(*s.Next)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", span(s.First, s.Last), next, at)
	}
}

func (w *tables) trouble(l *restore.Listing) {
	w.begin(len(l.TimesGoBack), "Commit times go back", "AT\tTIME")
	for _, p := range l.TimesGoBack {
		fmt.Fprintf(w, "%v\t%s\n", p.Pos, clock(p))
	}
	w.begin(len(l.Unreadable), "Damaged objects", "OBJECT\tREASON")
	for _, u := range l.Unreadable {
		fmt.Fprintf(w, "%s\t%s\n", u.Object, cli.Word(u.Reason))
	}
}

// timelines prints where timelines come from, if there is more than one.
func (w *tables) timelines(all []restore.TimelineInfo) {
	if len(all) < 2 {
		return
	}
	w.begin(len(all), "Timelines", "TIMELINE\tFROM\tOPENED\tREASON")
	for _, t := range all {
		from := "-"
		if t.Parent.Timeline != 0 {
			from = t.Parent.String()
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", t.Timeline, from, restore.FormatTime(t.Created), cli.Word(t.Reason))
	}
}

func span(first, last uint64) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func clock(p restore.Point) string {
	if p.Time.IsZero() {
		return "unknown"
	}
	return restore.FormatTime(p.Time)
}
