package crashtest

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(envJob); text != "" {
		if err := runWorkload(text); err != nil {
			fmt.Fprintln(os.Stderr, "workload:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

const (
	killsOnly  = 24 // without CYCLES
	killsPower = 16
	killsEach  = 4                // of one history
	budget     = 25 * time.Second // without CYCLES: no history begins later, on a slow machine or under -race
	atATime    = 2                // machines of two processors are common
)

// The process is killed at random moments; power stays on.
func TestKill(t *testing.T) { histories(t, false, killsOnly) }

// The process is killed, and the log is cut at a random byte.
func TestKillAndPowerLoss(t *testing.T) { histories(t, true, killsPower) }

func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func histories(t *testing.T, power bool, otherwise uint64) {
	cycles := number(t, "CYCLES", otherwise)
	seed := number(t, "SEED", uint64(time.Now().UnixNano()))
	end := time.Now().Add(budget)
	var mu sync.Mutex // for sum
	sum := stats{Reasons: map[string]int{}}
	t.Run("histories", func(t *testing.T) {
		slots := make(chan struct{}, atATime)
		for i := uint64(0); i*killsEach < cycles; i++ {
			t.Run(fmt.Sprint("seed=", seed+i), func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				if os.Getenv("CYCLES") == "" && time.Now().After(end) {
					t.Skip("the time is up; CYCLES asks for a number of kills however long they take")
				}
				s := live(t, seed+i, power)
				mu.Lock()
				defer mu.Unlock()
				sum.add(s)
			})
			if os.Getenv("SEED") != "" && os.Getenv("CYCLES") == "" {
				break
			}
		}
	})
	t.Logf("%+v", sum)
}

func live(t *testing.T, seed uint64, power bool) stats {
	dir, err := os.MkdirTemp("", "seawal-crash-")
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory(options{seed: seed, dir: dir, kills: killsEach, power: power})
	if err := h.run(t.Context()); err != nil {
		t.Errorf("%v\nfolder %s\nagain: SEED=%d go test ./internal/crashtest -run '%s$' -count=20\npage size %d, %+v",
			err, dir, seed, map[bool]string{false: "TestKill", true: "TestKillAndPowerLoss"}[power], h.pageSize, h.stats)
		return h.stats
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	return h.stats
}

func (s *stats) add(o stats) {
	for _, f := range []struct{ to, from *int }{
		{&s.Kills, &o.Kills},
		{&s.Commits, &o.Commits},
		{&s.Confirmed, &o.Confirmed},
		{&s.Points, &o.Points},
		{&s.Squashed, &o.Squashed},
		{&s.Resyncs, &o.Resyncs},
		{&s.Avoidable, &o.Avoidable},
		{&s.PowerLosses, &o.PowerLosses},
		{&s.Lost, &o.Lost},
		{&s.Behind, &o.Behind},
		{&s.Resumed, &o.Resumed},
		{&s.Rolled, &o.Rolled},
	} {
		*f.to += *f.from
	}
	for k, n := range o.Reasons {
		s.Reasons[k] += n
	}
}
