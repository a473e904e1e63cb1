package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
)

// Kind says how the processes of a history end.
type Kind string

// The kinds of histories.
const (
	Kill  Kind = "kill"  // by SIGKILL at random moments
	Power Kind = "power" // likewise, and after some kills the log is cut at a random byte
	Point Kind = "point" // by SIGKILL at a named point in the code
	Test  Kind = "test"  // none: other tests that draw what they do
)

// Kinds are all of them.
var Kinds = []Kind{Kill, Power, Point, Test}

// killsEach is how many processes are killed in a history at random moments.
const killsEach = 4

// Stats is what happened in a history, or in several.
type Stats struct {
	Kills       int // at random moments
	Points      int // kills at named points
	PowerLosses int // of the kills, those after which the log was cut
	Outages     int // of the kills, those in a process whose store failed
	Commits     int // acknowledged
	Confirmed   int // events that said that something is durable
	Restored    int // points restored by number
	Squashed    int // that could not be, since a difference was shipped
	Resyncs     int // differences shipped in place of single transactions
	Avoidable   int // of these, while the log had all that the replica lacked when the process was killed
	Lost        int // transactions that a database lost with its power
	Behind      int // times that it was refused for that
	Resumed     int // times that it went on
	Rolled      int // times that it was rolled forward
	Tests       int // runs of other tests
	Reasons     map[string]int
}

// Cycles is how many times a process was killed and both questions were asked.
func (s Stats) Cycles() int { return s.Kills + s.Points }

// Add adds what happened elsewhere.
func (s *Stats) Add(o Stats) {
	to, from := reflect.ValueOf(s).Elem(), reflect.ValueOf(o)
	for i := range to.NumField() {
		if to.Field(i).Kind() == reflect.Int {
			to.Field(i).SetInt(to.Field(i).Int() + from.Field(i).Int())
		}
	}
	if s.Reasons == nil {
		s.Reasons = map[string]int{}
	}
	for k, n := range o.Reasons {
		s.Reasons[k] += n
	}
}

// history is one or two databases that the processes of one program write, one after the other.
type history struct {
	exe       string
	dir       string
	r         *rand.Rand
	dbs       []*database
	processes int // so far
	stats     Stats
}

// newHistory makes a history in an empty folder.
func newHistory(exe, dir string, seed uint64, n int, nature func(*rand.Rand) nature) (*history, error) {
	h := &history{exe: exe, dir: dir, r: rand.New(rand.NewPCG(seed, 1))}
	h.stats.Reasons = map[string]int{}
	for i := range n {
		d := &database{nature: nature(h.r), dir: filepath.Join(dir, fmt.Sprintf("db%d", i)), r: h.r, stats: &h.stats}
		if err := os.Mkdir(d.dir, 0o755); err != nil {
			return nil, err
		}
		h.dbs = append(h.dbs, d)
	}
	return h, nil
}

// random lets databases live, be killed at random moments, and be closed.
func (h *history) random(ctx context.Context, power bool) error {
	for range killsEach {
		killed, err := h.incarnation(ctx, h.jobs(nil), end{event: h.moment()})
		if err != nil {
			return err
		}
		if killed {
			h.stats.Kills++
		}
		if !killed || !power || h.r.IntN(3) == 0 {
			continue
		}
		n := 0
		for _, d := range h.dbs {
			isCut, err := d.losePower(ctx, d.anywhere)
			if err != nil {
				return fmt.Errorf("%s, when power was lost: %w", d.dir, err)
			}
			if isCut {
				n = 1
			}
		}
		h.stats.PowerLosses += n
	}
	return h.finish(ctx)
}

// jobs draws a job for each database.
func (h *history) jobs(change func(*job)) []job {
	var jobs []job
	for _, d := range h.dbs {
		j := randomJob(h.r, d.dir, d.nature)
		if change != nil {
			change(&j)
		}
		jobs = append(jobs, j)
	}
	return jobs
}

// moment is the event at which a process is killed.
func (h *history) moment() int {
	switch h.r.IntN(10) {
	case 0:
		return 1 + h.r.IntN(8) // it opens
	case 1, 2, 3, 4:
		return 5 + h.r.IntN(100)
	}
	return 50 + h.r.IntN(600)
}

// incarnation runs one process that has to be killed, or to end by itself when e is zero, and checks what it leaves. killed is false
// too where a database was refused, which ends a process.
func (h *history) incarnation(ctx context.Context, jobs []job, e end) (killed bool, err error) {
	refusals := h.stats.Behind
	killed, err = h.live(ctx, jobs, e)
	if isRefused := h.stats.Behind > refusals; err == nil && !isRefused && killed != (e != end{}) {
		err = errors.New("the process ended by itself")
	}
	if err != nil {
		return killed, fmt.Errorf("process %d: %w", h.processes-1, err)
	}
	return killed, nil
}

// live runs one process and checks what it leaves.
func (h *history) live(ctx context.Context, jobs []job, e end) (killed bool, err error) {
	for i, d := range h.dbs {
		jobs[i].AskFirst = jobs[i].AskFirst || d.askFirst
		jobs[i].IfMissing = jobs[i].IfMissing || d.isGone
		if d.newWriter {
			if jobs[i].Adopt, err = d.replicaID(ctx); err != nil {
				return false, err
			}
		}
	}
	log := logPath(h.dir, h.processes)
	h.processes++
	events, killed, err := incarnate(ctx, h.exe, log, orders{Jobs: jobs}, e)
	if err != nil {
		return killed, err
	}
	if killed {
		for _, j := range jobs {
			if j.Store.isBad() {
				h.stats.Outages++
				break
			}
		}
	}
	for i, d := range h.dbs {
		var its []event
		for _, ev := range events {
			if ev.DB == i {
				its = append(its, ev)
			}
		}
		if err := d.check(ctx, jobs[i], log, its); err != nil {
			return killed, fmt.Errorf("%s (page size %d, %s): %w", d.dir, d.pageSize, jobs[i].Journal, err)
		}
	}
	return killed, nil
}

// finish lets the databases be closed, and compares them with their replicas, byte for byte.
func (h *history) finish(ctx context.Context) error {
	for try := 0; ; try++ {
		refusals := h.stats.Behind
		if _, err := h.incarnation(ctx, h.jobs(h.closes), end{}); err != nil {
			return err
		}
		if h.stats.Behind == refusals {
			break
		}
		if try == 2 {
			return errors.New("refused again after it was mended")
		}
	}
	for _, d := range h.dbs {
		if err := d.checkClosed(ctx); err != nil {
			return fmt.Errorf("%s: %w", d.dir, err)
		}
	}
	return nil
}

// closes makes a job one that ends, with everything shipped.
func (h *history) closes(j *job) {
	j.Sessions, j.Steps = 1+h.r.IntN(2), 1+h.r.IntN(60)
	j.Store = weather{}
	if j.Journal == "WAL" && j.Exclusive {
		j.Exclusive = false
	}
}

// Result is what became of a history.
type Result struct {
	Kind  Kind
	Seed  uint64
	Dir   string // kept if Error is set
	Error string
	Stats Stats
}

// Options say how Live runs histories.
type Options struct {
	Exe    string                                       // of the processes: a program that calls Child first; for Point built with the tag seawal_killpoints
	Points *Points                                      // where Point kills; nil: that kind can't be lived
	Tests  func(ctx context.Context, seed uint64) error // what Test does; likewise
}

// Live runs the history of a kind and a seed in a folder of its own, which is removed if nothing was wrong.
func Live(ctx context.Context, o Options, k Kind, seed uint64) Result {
	res := Result{Kind: k, Seed: seed}
	dir, err := os.MkdirTemp("", "seawal-crash-")
	if err != nil {
		res.Error = err.Error()
		return res
	}
	res.Dir = dir
	res.Stats, err = live(ctx, o, k, seed, dir)
	if err == nil {
		err = os.RemoveAll(dir)
	}
	if err != nil {
		res.Error = err.Error()
	}
	return res
}

func live(ctx context.Context, o Options, k Kind, seed uint64, dir string) (Stats, error) {
	switch k {
	case Test:
		return Stats{Tests: 1}, o.Tests(ctx, seed)
	case Point:
		return o.Points.live(ctx, o.Exe, seed, dir)
	}
	// Of three histories one has a bad store, of four one has two databases.
	h, err := newHistory(o.Exe, dir, seed, 1+int(seed%4)/3, func(r *rand.Rand) nature {
		n := randomNature(r)
		n.bad = seed%3 == 0
		return n
	})
	if err != nil {
		return Stats{}, err
	}
	err = h.random(ctx, k == Power)
	return h.stats, err
}

// String says in a line what went wrong, and how to see it again.
func (r Result) String() string {
	if r.Error == "" {
		return fmt.Sprintf("%s seed %d: nothing wrong", r.Kind, r.Seed)
	}
	return fmt.Sprintf("%s seed %d: %s\n\tfolder %s\n\tagain (timing differs: repeat it): go run -tags seawal_killpoints ./internal/crashtest/cmd -kinds %s -seed %d -histories 1",
		r.Kind, r.Seed, strings.ReplaceAll(r.Error, "\n", "\n\t"), r.Dir, r.Kind, r.Seed)
}
