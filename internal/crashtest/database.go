package crashtest

import (
	"bytes"
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

// database is one database, its replica, and what is known of the two.
type database struct {
	nature
	dir   string
	r     *rand.Rand
	stats *Stats

	local    book    // of the database after the last incarnation
	durable  vfs.Pos // confirmed
	durableT int64   // transaction confirmed, of the past that local has
	timeline uint32  // newest one of the replica at the last look
	newest   vfs.Pos // the replica at the last look
	held     book    // what it had then
	points   []point

	canResume    bool  // the log has all that the replica lacks
	resyncs      int   // differences shipped
	resynced     bool  // the last incarnation shipped a difference
	newWriter    bool  // an incarnation began without a state folder: it opened a timeline
	hasLostPower bool  // at some time
	isCut        bool  // power was lost, and nobody has said yet what becomes of it
	isReboot     bool  // the machine was started again since
	cutT         int64 // last transaction that was left then
	keptT        int64 // durableT then
	stale        book  // what the replica had then; nil once it goes on with local
	isGone       bool  // nothing is left of it but the replica, until a process opens it
	askFirst     bool  // the state folder was removed: the next incarnation attaches before it writes
}

// check asks, when a process has ended, what its database and its replica hold.
func (d *database) check(ctx context.Context, j job, log string, events []event) error {
	if err := d.countResyncs(j, log); err != nil {
		return err
	}
	before := d.local
	var err error
	if d.local, err = d.readCopy(ctx); err != nil {
		return fmt.Errorf("the database: %w", err)
	}
	if d.isGone && d.local == nil {
		d.local = before // killed before it was there again
	} else {
		d.isGone = false
	}
	if !d.local.has(before.last(), before.head()) {
		return fmt.Errorf("the database had transaction %d (%x), and is now at %d", before.last(), before.head(), d.local.last())
	}
	if err := d.take(events, before); err != nil {
		return err
	}
	if d.isCut {
		if err := d.afterPowerLoss(ctx, j, events); err != nil {
			return err
		}
	} else if n := len(events); n > 1 && events[n-2].Kind == refused {
		return fmt.Errorf("refused, and no power was lost: %s", events[n-2].Text)
	}
	return d.checkReplica(ctx)
}

// take holds the database to what was acknowledged, and remembers it.
func (d *database) take(events []event, before book) error {
	for _, e := range events {
		switch e.Kind {
		case seen, committed, noted:
			if !d.local.has(e.T, e.Chain) {
				return fmt.Errorf("transaction %d (%x) was %s, and is not in the database (which is at %d)", e.T, e.Chain, e.Kind, d.local.last())
			}
		}
		switch e.Kind {
		case committed:
			d.stats.Commits++
		case seen:
			if e.T < before.last() {
				return fmt.Errorf("the database was opened at transaction %d, and had %d", e.T, before.last())
			}
		case noted:
			d.points = append(d.points, point{pos: e.Pos, t: e.T, chain: e.Chain})
		case confirmed:
			d.stats.Confirmed++
			d.durableT = max(d.durableT, e.T)
			d.askFirst = false
			if d.durable.Compare(e.Pos) < 0 {
				d.durable = e.Pos
			}
		}
	}
	return nil
}

// differenceLogged is how the shipper's log says that it gave up single transactions, with the reason.
var differenceLogged = regexp.MustCompile(`msg="shipping the difference[^"]*".* reason=("[^"]*"|\S+)`)

// countResyncs reads them from the log, since a killed process doesn't tell its status. A
// log that SQLite restarted before it was read is right only where MaxWAL allows it.
func (d *database) countResyncs(j job, log string) error {
	b, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	d.resynced = false
	for line := range bytes.Lines(b) {
		m := differenceLogged.FindSubmatch(line)
		if m == nil || !bytes.Contains(line, []byte("database="+databasePath(d.dir)+" ")) {
			continue
		}
		d.stats.Resyncs++
		d.resyncs++
		reason := string(m[1])
		d.stats.Reasons[reason]++
		isGone := strings.Contains(reason, "its log is gone")
		if !isGone && !j.mayShipDifferences() {
			return fmt.Errorf("a difference was shipped (%s), and the log was not too long", reason)
		}
		if isGone && d.canResume && !d.isCut {
			d.stats.Avoidable++
		}
		d.resynced = true
	}
	return nil
}

// readCopy reads a copy of the database file and its log by plain SQLite: the original is left for seawal.
func (d *database) readCopy(ctx context.Context) (book, error) {
	dir := filepath.Join(d.dir, "copy")
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	for _, suffix := range []string{"", "-wal", "-journal"} {
		err := copyFile(databasePath(d.dir)+suffix, databasePath(dir)+suffix)
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
