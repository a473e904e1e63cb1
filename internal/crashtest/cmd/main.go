// Command cmd runs histories of internal/crashtest for a time or a number of kills, and exits with 1 if one found something wrong.
//
//	go run -tags seawal_killpoints ./internal/crashtest/cmd -seconds 600
//	go run -tags seawal_killpoints ./internal/crashtest/cmd -kinds power -seed 17 -histories 1
//
// It needs the build tag: without it no process can be killed at a named point.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"seawal/internal/crashtest"
	"seawal/internal/killpoint"
)

func main() {
	crashtest.Child()
	var s soak
	flag.IntVar(&s.seconds, "seconds", 0, "how long; 0: until the other limits are reached")
	flag.IntVar(&s.histories, "histories", 0, "how many of each kind; 0: as many as it takes")
	flag.IntVar(&s.kills, "kills", 0, "stop kind kill after so many")
	flag.IntVar(&s.cycles, "cycles", 0, "go on with kind kill until there are so many of all kinds")
	flag.IntVar(&s.losses, "losses", 0, "stop kind power after so many losses of power")
	flag.BoolVar(&s.points, "points", false, "stop kind point when each point was the end of a process")
	flag.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano()), "of the first history of each kind")
	kinds := flag.String("kinds", "kill,power,point,test", "what is done in turn: histories, and the tests of other packages that draw what they do")
	flag.BoolVar(&s.json, "json", false, "print each result as JSON")
	flag.IntVar(&s.atATime, "at-a-time", 2, "histories")
	flag.Parse()
	for _, k := range strings.Split(*kinds, ",") {
		s.kinds = append(s.kinds, crashtest.Kind(k))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := s.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// grace is how long a history that has begun may go on when the time is over, before it is cut off and counts for nothing.
const grace = 30 * time.Second

// soak is what the flags say.
type soak struct {
	seconds, histories, kills, cycles, losses, atATime int
	points, json                                       bool
	seed                                               uint64
	kinds                                              []crashtest.Kind
}

func (s *soak) run(ctx context.Context) error {
	for _, k := range s.kinds {
		if !slices.Contains(crashtest.Kinds, k) {
			return fmt.Errorf("there is no kind %q: %q", k, crashtest.Kinds)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	o := crashtest.Options{Exe: exe}
	start := time.Now()
	if slices.Contains(s.kinds, crashtest.Test) {
		t := new(tests)
		if t.root, err = moduleRoot(); err != nil {
			return err
		}
		if t.dir, err = os.MkdirTemp("", "seawal-soak-"); err != nil {
			return err
		}
		defer os.RemoveAll(t.dir)
		o.Tests = t.live
	}
	if slices.Contains(s.kinds, crashtest.Point) {
		if o.Points, err = findPoints(); err != nil {
			return err
		}
	}
	if s.seconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, start.Add(time.Duration(s.seconds)*time.Second+grace))
		defer cancel()
	}
	p := &progress{soak: s, start: start}
	c := crashtest.Campaign{Options: o, Seed: s.seed, AtATime: s.atATime, Next: s.next(o.Points, start), Done: p.done}
	done, failures := c.Run(ctx)
	if !s.json {
		p.end(done, failures)
	}
	if failures > 0 {
		return fmt.Errorf("%d histories found something wrong", failures)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return errors.New("interrupted")
	}
	if len(done) == 0 {
		return errors.New("the time was over before anything came to its end: nothing was tested")
	}
	return nil
}

func findPoints() (*crashtest.Points, error) {
	if !killpoint.Enabled {
		return nil, errors.New("built without the tag seawal_killpoints: no process can be killed at a point; leave out -kinds point")
	}
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	return crashtest.FindPoints(root)
}

// moduleRoot is the folder with go.mod that the working directory is in.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("not inside the module: its sources say which points there are")
		}
		dir = up
	}
	return "", err
}

// next takes the kinds in turn, without those that have done enough.
func (s *soak) next(points *crashtest.Points, start time.Time) func(map[crashtest.Kind]crashtest.Stats) (crashtest.Kind, bool) {
	begun := map[crashtest.Kind]int{}
	return func(done map[crashtest.Kind]crashtest.Stats) (crashtest.Kind, bool) {
		if s.seconds > 0 && time.Since(start) >= time.Duration(s.seconds)*time.Second {
			return "", false
		}
		best, ok := crashtest.Kind(""), false
		for _, k := range s.kinds {
			if s.isEnough(k, begun[k], done, points) {
				continue
			}
			if !ok || begun[k] < begun[best] {
				best, ok = k, true
			}
		}
		if !ok && slices.Contains(s.kinds, crashtest.Kill) && cycles(done) < s.cycles {
			best, ok = crashtest.Kill, true
		}
		begun[best]++
		return best, ok
	}
}

// isEnough says that a kind has reached its limit.
func (s *soak) isEnough(k crashtest.Kind, begun int, done map[crashtest.Kind]crashtest.Stats, points *crashtest.Points) bool {
	switch {
	case s.histories > 0 && begun >= s.histories:
		return true
	case k == crashtest.Kill:
		return s.kills > 0 && done[k].Kills >= s.kills
	case k == crashtest.Power:
		return s.losses > 0 && done[k].PowerLosses >= s.losses
	}
	return k == crashtest.Point && s.points && begun >= len(points.Names)
}

func cycles(done map[crashtest.Kind]crashtest.Stats) (n int) {
	for _, s := range done {
		n += s.Cycles()
	}
	return n
}

// progress prints how far it is.
type progress struct {
	*soak
	start     time.Time
	last      time.Time
	sum       crashtest.Stats
	histories int
	failures  int
}

const between = 5 * time.Second // lines of progress

func (p *progress) done(r crashtest.Result) {
	if p.json {
		_ = json.NewEncoder(os.Stdout).Encode(r) // who reads it is gone
		return
	}
	p.sum.Add(r.Stats)
	p.histories++
	if r.Error != "" {
		p.failures++
		fmt.Printf("FAILED %v\n", r)
	}
	if now := time.Now(); now.Sub(p.last) >= between {
		p.last = now
		fmt.Printf("%4.0f s  %d cycles in %d histories, %d transactions confirmed, %d failures\n",
			now.Sub(p.start).Seconds(), p.sum.Cycles(), p.histories, p.sum.Confirmed, p.failures)
	}
}

func (p *progress) end(done map[crashtest.Kind]crashtest.Stats, failures int) {
	for _, k := range p.kinds {
		d := done[k]
		if k == crashtest.Test {
			fmt.Printf("%-6s %d runs of the tests of other packages that draw what they do\n", k, d.Tests)
			continue
		}
		fmt.Printf("%-6s %d kills at random moments (%d with power lost, %d with a bad store), %d at named points\n", k, d.Kills, d.PowerLosses, d.Outages, d.Points)
	}
	fmt.Printf("cycles %d, histories %d, seeds from %d, %d commits acknowledged, %d points restored, failures %d\n",
		p.sum.Cycles(), p.histories, p.seed, p.sum.Commits, p.sum.Restored, failures)
}
