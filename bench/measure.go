package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"slices"
	"time"

	"seawal/bench/internal/design"
	"seawal/bench/internal/report"
	"seawal/bench/internal/result"
	"seawal/bench/internal/workload"
)

// measurer goes through the workloads.
type measurer struct {
	o        options
	dir      string
	exe      string
	file     *result.File
	progress *progress
}

// slowest is how many times longer than plain SQLite a design may take before it is stopped early.
const slowest = 4

// group is a workload with what can be measured of it here.
type group struct {
	spec    workload.Spec
	designs []string
	skipped []string
}

func (g group) seconds(base float64) float64 { return base * g.spec.Weight }

// each is about how long a measurement takes.
func (g group) each(base float64) float64 { return g.seconds(base) + g.spec.Overhead() }

// estimate is about how long the group takes, in seconds.
func (g group) estimate(base float64) float64 { return g.estimatePairs(base, g.spec.Pairs) }

// estimatePairs is estimate for so many pairs.
func (g group) estimatePairs(base float64, pairs int) float64 {
	n := 0
	for pair := range pairs {
		n += len(g.inPair(pair))
	}
	if n == 0 {
		return 0
	}
	if g.spec.Calibrated() {
		n++
	}
	return g.spec.Preparation() + float64(n)*g.each(base)
}

// inPair returns the designs of a pair in the order in which they are measured. It alternates: what comes first in one pair
// comes last in the next, so that neither a machine that gets slower nor what the neighbour left behind favours a design.
func (g group) inPair(pair int) []string {
	var out []string
	for _, d := range g.designs {
		if g.spec.InPair(d, pair) {
			out = append(out, d)
		}
	}
	if pair%2 == 1 {
		slices.Reverse(out)
	}
	return out
}

// flexible reports whether the group may lose pairs when time runs out.
func (g group) flexible(quick bool) bool {
	return g.spec.Pairs > 1 && (quick || g.spec.Pairs < workload.ManyPairs)
}

// estimates adds up groups, all of them and the flexible ones.
func estimates(groups []group, o options) (all, flexible float64) {
	for _, g := range groups {
		e := g.estimate(o.seconds)
		all += e
		if g.flexible(o.quick) {
			flexible += e
		}
	}
	return all, flexible
}

// deadline shares out the time that is left once the groups which take what they take have had it: the
// first of groups, if flexible, gets its part. The zero time is no deadline.
func (m *measurer) deadline(groups []group) time.Time {
	g := groups[0]
	if m.o.budget == 0 || !g.flexible(m.o.quick) {
		return time.Time{}
	}
	all, flexible := estimates(groups, m.o)
	rest := (m.o.budget - time.Since(m.file.Started)).Seconds() - (all - flexible)
	return time.Now().Add(time.Duration(rest * g.estimate(m.o.seconds) / flexible * float64(time.Second)))
}

// all measures the workloads. A measurement that fails doesn't end the run, but is its error.
func (m *measurer) all(ctx context.Context, specs []workload.Spec) error {
	var groups []group
	for _, s := range specs {
		groups = append(groups, available(s))
	}
	left, _ := estimates(groups, m.o)
	m.progress.begin(left)
	defer m.progress.clear()
	var failed []error
	for i, g := range groups {
		w := result.Workload{
			Name: g.spec.Name, Title: g.spec.Title, Why: g.spec.Why, Unit: g.spec.Unit,
			Settings: g.spec.Settings(), Designs: g.designs, Pairs: g.spec.Pairs, Skipped: g.skipped,
		}
		err := m.group(ctx, g, &w, m.deadline(groups[i:]))
		left, _ = estimates(groups[i+1:], m.o)
		m.progress.settle(left)
		m.file.Workloads = append(m.file.Workloads, w)
		m.progress.clear()
		report.Workload(os.Stdout, m.file, &w)
		if err != nil {
			return err
		}
		for _, r := range w.Runs {
			if r.Error != "" {
				failed = append(failed, fmt.Errorf("%s, %s, pair %d: %s", w.Name, r.Design, r.Pair+1, r.Error))
			}
		}
	}
	return errors.Join(failed...)
}

// available finds out which designs of a workload can be measured here.
func available(s workload.Spec) group {
	g := group{spec: s}
	for _, name := range s.Designs {
		if _, err := design.Lookup(name); err != nil {
			g.skipped = append(g.skipped, err.Error())
			continue
		}
		g.designs = append(g.designs, name)
	}
	if len(g.designs) == 1 && len(s.Designs) > 1 {
		g.designs = nil // nothing to compare it with
	}
	return g
}

// group measures one workload into w.
func (m *measurer) group(ctx context.Context, g group, w *result.Workload, deadline time.Time) error {
	if len(g.designs) == 0 {
		return nil
	}
	seconds := g.seconds(m.o.seconds)
	job := workload.Job{
		Workload: g.spec.Name, Design: g.designs[0], Dir: m.dir, Quick: m.o.quick, Prepare: true,
		Limit: time.Duration(seconds * slowest * float64(time.Second)),
	}
	m.progress.show(g.spec.Title, "preparing the database", 0)
	r, err := m.measure(ctx, job)
	if err != nil {
		return err
	}
	if r.Error != "" {
		w.Runs = append(w.Runs, r)
		return nil
	}
	job.Prepare = false
	if job.Ops, err = m.operations(ctx, g, job, seconds); err != nil {
		w.Skipped = append(w.Skipped, "calibration failed: "+err.Error())
		return ctx.Err()
	}
	w.Ops = job.Ops
	for pair := range g.spec.Pairs {
		if pair > 0 && !deadline.IsZero() && time.Now().After(deadline) {
			w.Skipped = append(w.Skipped, fmt.Sprintf("%d of %d pairs: time was up", g.spec.Pairs-pair, g.spec.Pairs))
			return nil
		}
		for order, name := range g.inPair(pair) {
			job.Design, job.Pair, job.Order, job.Seed = name, pair, order, seed(g.spec.Name, pair)
			m.progress.show(g.spec.Title, fmt.Sprintf("%s, pair %d of %d", design.Title(name), pair+1, g.spec.Pairs), g.each(m.o.seconds))
			r, err := m.measure(ctx, job)
			if err != nil {
				return err
			}
			w.Runs = append(w.Runs, r)
		}
	}
	return nil
}

// operations is how many a measurement does: the same for all designs, so that all of them write
// the same. Where no rate says it, it is what the first design gets done; that measurement also warms the machine up, and is thrown away.
func (m *measurer) operations(ctx context.Context, g group, job workload.Job, seconds float64) (int64, error) {
	if !g.spec.Calibrated() {
		return g.spec.OpsIn(seconds), nil
	}
	m.progress.show(g.spec.Title, "calibrating", g.each(m.o.seconds))
	job.Limit, job.Seed = time.Duration(seconds*float64(time.Second)), seed(g.spec.Name, -1)
	r, err := m.measure(ctx, job)
	if err != nil {
		return 0, err
	}
	if r.Error != "" {
		return 0, errors.New(r.Error)
	}
	return round(r.Rate() * seconds), nil
}

// round keeps two digits: more would pretend that the number means something.
func round(x float64) int64 {
	if x < 10 {
		return int64(max(x, 1))
	}
	unit := math.Pow(10, math.Floor(math.Log10(x))-1)
	return int64(math.Round(x/unit) * unit)
}

// seed is the same for all designs of a pair, and for every run of this program.
func seed(name string, pair int) uint64 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return uint64(h.Sum32())<<16 + uint64(pair+1)
}
