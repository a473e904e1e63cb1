package crashtest

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"seawal/internal/reliability"
)

func TestMain(m *testing.M) {
	Child()
	os.Exit(m.Run())
}

// What every run is held to.
const (
	cyclesInAll   = 200
	killsAtLeast  = 60
	lossesAtLeast = 20
	pointsAtLeast = 60
	badAtLeast    = 5
)

// seed is SEED, or another one each time.
func seed(t *testing.T) uint64 {
	t.Helper()
	v := os.Getenv("SEED")
	if v == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("SEED: %v", err)
	}
	return n
}

// Processes and checks as go test has built them, with the race detector if it was asked for.
func TestHistories(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []Kind{Kill, Power} {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel()
			res := Live(t.Context(), Options{Exe: exe}, k, seed(t))
			if res.Error != "" {
				t.Error(res)
			}
			t.Logf("%+v", res.Stats)
		})
	}
}

// The same many times, without the race detector, which would make them four times as slow, and with the named points compiled in.
// Nothing ends it before it has killed as many processes as it promises.
func TestCycles(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: two hundred processes take minutes")
	}
	exe := filepath.Join(t.TempDir(), "crashtest")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "seawal_killpoints", "-o", exe, "./cmd").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	// Most of the time a history waits: for a bad store to be asked again, or for a patience to end.
	cmd := exec.CommandContext(t.Context(), exe, "-json", "-points", "-kinds", "kill,power,point", "-at-a-time", "6",
		"-seed", strconv.FormatUint(seed(t), 10), "-cycles", strconv.Itoa(cyclesInAll), "-kills", strconv.Itoa(killsAtLeast), "-losses", strconv.Itoa(lossesAtLeast))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	by := map[Kind]Stats{}
	wrong := map[Kind]int{}
	for dec := json.NewDecoder(out); ; {
		var res Result
		err := dec.Decode(&res)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if res.Error != "" {
			t.Error(res)
			wrong[res.Kind]++
		} else if testing.Verbose() {
			t.Log(res, res.Stats.Cycles())
		}
		s := by[res.Kind]
		s.Add(res.Stats)
		by[res.Kind] = s
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program: %v", err)
	}
	cycles := 0
	for _, k := range Kinds {
		t.Logf("%s: %+v", k, by[k])
		cycles += by[k].Cycles()
	}
	if cycles < cyclesInAll {
		t.Errorf("%d cycles, want %d", cycles, cyclesInAll)
	}
	recordCycles(t, by, wrong)
}

func recordCycles(t *testing.T, by map[Kind]Stats, wrong map[Kind]int) {
	for _, f := range []struct {
		group     reliability.Group
		name, how string
		n, floor  int
		histories int // in which something was wrong
	}{
		{reliability.Process, "kill -9 at a random moment",
			"SIGKILL at a random event of a process whose connections write, checkpoint, vacuum, open and close one or two databases, in every journal mode that survives it",
			by[Kill].Kills, killsAtLeast, wrong[Kill]},
		{reliability.Process, "kill -9 at a named point in shim, shipper or restore",
			"SIGKILL raised at each point in the sources where the order of two steps matters, at a random arrival there, once a point at least",
			by[Point].Points, pointsAtLeast, wrong[Point]},
		{reliability.Power, "the log is cut at a random byte",
			"after a kill the log is truncated anywhere behind what a checkpoint had synced, in three of four cases with another boot of the machine",
			by[Power].PowerLosses, lossesAtLeast, wrong[Power]},
		{reliability.Store, "kill -9 while the store fails",
			"random errors, lost acknowledgements, bodies cut short and outages in the process that is killed",
			by[Kill].Outages, badAtLeast, wrong[Kill]},
	} {
		reliability.Record(t, reliability.Fault{Group: f.group, Name: f.name, How: f.how, AtLeast: f.floor}, f.n, f.histories)
	}
}
