package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"seawal/vfs"
)

// options say what a history is like.
type options struct {
	seed  uint64
	dir   string // empty
	kills int
	power bool // after some kills, power is lost too
}

// stats is what happened in a history.
type stats struct {
	Kills       int
	Commits     int // acknowledged
	Confirmed   int // events that said that something is durable
	Points      int // restored by number
	Squashed    int // that could not be, since a difference was shipped
	Resyncs     int // differences shipped in place of single transactions
	Avoidable   int // of these, while the log had all that the replica lacked when the process was killed
	Reasons     map[string]int
	PowerLosses int
	Lost        int // transactions that the database lost with its power
	Behind      int // times that it was refused for that
	Resumed     int // times that it went on
	Rolled      int // times that it was rolled forward
}

// history is one database, its replica, and what is known of the two.
type history struct {
	options
	r          *rand.Rand
	pageSize   int
	autoVacuum int

	local    book    // of the database after the last incarnation
	durable  vfs.Pos // confirmed
	durableT int64   // transaction confirmed, of the past that local has
	timeline uint32  // newest one of the replica at the last look
	newest   vfs.Pos // the replica at the last look
	held     book    // what it had then
	points   []point

	canResume bool  // the log has all that the replica lacks
	resynced  bool  // the last incarnation shipped a difference
	isCut     bool  // power was lost, and nobody has said yet what becomes of it
	isReboot  bool  // the machine was started again since
	cutT      int64 // last transaction that was left then
	keptT     int64 // durableT then
	stale     book  // what the replica had then; nil once it goes on with local
	askFirst  bool  // the state folder was removed: the next incarnation attaches before it writes

	stats stats
}

func newHistory(o options) *history {
	r := rand.New(rand.NewPCG(o.seed, 1))
	return &history{
		options: o, r: r,
		pageSize:   512 << r.IntN(8),
		autoVacuum: []int{0, 0, 1, 2}[r.IntN(4)],
		stats:      stats{Reasons: map[string]int{}},
	}
}

// run lets the database live, and be killed.
func (h *history) run(ctx context.Context) error {
	for i := range h.kills {
		j := randomJob(h.r, h.dir, h.pageSize, h.autoVacuum)
		j.Incarnation = i
		if err := h.incarnation(ctx, j, h.moment()); err != nil {
			return fmt.Errorf("incarnation %d: %w", i, err)
		}
		h.stats.Kills++
		if h.power && h.r.IntN(3) > 0 {
			if err := h.losePower(ctx); err != nil {
				return fmt.Errorf("incarnation %d: %w", i, err)
			}
		}
	}
	for i := h.kills; ; i++ {
		j := randomJob(h.r, h.dir, h.pageSize, h.autoVacuum)
		j.Incarnation, j.Sessions, j.Steps = i, 1+h.r.IntN(2), 1+h.r.IntN(60)
		refusals := h.stats.Behind
		if err := h.incarnation(ctx, j, 0); err != nil {
			return fmt.Errorf("incarnation %d, which closes: %w", i, err)
		}
		if h.stats.Behind == refusals {
			break
		}
		if i > h.kills+1 {
			return errors.New("refused again after it was mended")
		}
	}
	return h.checkClosed(ctx)
}

// moment is the event at which an incarnation is killed.
func (h *history) moment() int {
	switch h.r.IntN(10) {
	case 0:
		return 1 + h.r.IntN(8) // it opens
	case 1, 2, 3, 4:
		return 5 + h.r.IntN(100)
	}
	return 50 + h.r.IntN(1200)
}

// incarnation runs one process and checks what it leaves.
func (h *history) incarnation(ctx context.Context, j job, kill int) error {
	j.AskFirst = j.AskFirst || h.askFirst
	events, err := incarnate(ctx, j, kill)
	if err != nil {
		return err
	}
	if err := h.countResyncs(j); err != nil {
		return err
	}
	before := h.local
	if h.local, err = h.readCopy(ctx); err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	if !h.local.has(before.last(), before.head()) {
		return fmt.Errorf("the database had transaction %d (%x), and is now at %d", before.last(), before.head(), h.local.last())
	}
	if err := h.take(events, before); err != nil {
		return err
	}
	if h.isCut {
		if err := h.afterPowerLoss(ctx, events); err != nil {
			return err
		}
	} else if n := len(events); n > 1 && events[n-2].Kind == refused {
		return fmt.Errorf("refused, and no power was lost: %s", events[n-2].Text)
	}
	return h.checkReplica(ctx)
}

// take holds the database to what was acknowledged, and remembers it.
func (h *history) take(events []event, before book) error {
	for _, e := range events {
		switch e.Kind {
		case seen, committed, noted:
			if !h.local.has(e.T, e.Chain) {
				return fmt.Errorf("transaction %d (%x) was %s, and is not in the database (which is at %d)", e.T, e.Chain, e.Kind, h.local.last())
			}
		}
		switch e.Kind {
		case committed:
			h.stats.Commits++
		case seen:
			if e.T < before.last() {
				return fmt.Errorf("the database was opened at transaction %d, and had %d", e.T, before.last())
			}
		case noted:
			h.points = append(h.points, point{pos: e.Pos, t: e.T, chain: e.Chain})
		case confirmed:
			h.stats.Confirmed++
			h.durableT = max(h.durableT, e.T)
			h.askFirst = false
			if h.durable.Compare(e.Pos) < 0 {
				h.durable = e.Pos
			}
		}
	}
	return nil
}

// differenceLogged is how the shipper's log says that it gave up single transactions, with the reason.
var differenceLogged = regexp.MustCompile(`msg="shipping the difference[^"]*".* reason=("[^"]*"|\S+)`)

// countResyncs reads them from the log, since a killed process doesn't tell its status. A
// log that SQLite restarted before it was read is right only where MaxWAL allows it.
func (h *history) countResyncs(j job) error {
	b, err := os.ReadFile(j.log())
	if err != nil {
		return err
	}
	h.resynced = false
	for _, m := range differenceLogged.FindAllSubmatch(b, -1) {
		h.stats.Resyncs++
		reason := string(m[1])
		h.stats.Reasons[reason]++
		isGone := strings.Contains(reason, "its log is gone")
		if !isGone && j.MaxWAL == 0 {
			return fmt.Errorf("a difference was shipped (%s), and the log was not too long", reason)
		}
		if isGone && h.canResume && !h.isCut {
			h.stats.Avoidable++
		}
		h.resynced = true
	}
	return nil
}

// readCopy reads a copy of the database file and its log by plain SQLite: the original is left for seawal.
func (h *history) readCopy(ctx context.Context) (book, error) {
	dir := filepath.Join(h.dir, "copy")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	for _, suffix := range []string{"", "-wal", "-journal"} {
		err := copyFile(databasePath(h.dir)+suffix, databasePath(dir)+suffix)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return readFile(ctx, databasePath(dir))
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
