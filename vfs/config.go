//go:build cgo

package vfs

import (
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/mattn/go-sqlite3"

	"seawal/store"
)

// Durability says when a commit returns to the application.
type Durability string

const (
	// Async: when SQLite is done; the replica follows within the interval.
	Async Durability = "async"
	// Remote: when the replica has it, or else with ErrNotDurable, never nil: it is then committed locally, replication unknown. So it
	// ends when its context does, at DurabilityTimeout, at Close, and at once when nothing is shipped any more.
	Remote Durability = "remote"
)

// OnFull says what happens in an outage of the store when the log has grown past Config.MaxWAL.
type OnFull string

const (
	// Squash lets SQLite reuse the log. When the store is back, the net difference is shipped as one
	// transaction: the history has no points in between, and says so.
	Squash OnFull = "squash"
	// Block makes writers wait until the log has been read.
	Block OnFull = "block"
)

// Restore says what happens when the database does not exist and its replica does.
type Restore string

const (
	// RestoreNever: opening fails.
	RestoreNever Restore = "never"
	// RestoreIfMissing rebuilds the file from the replica first.
	RestoreIfMissing Restore = "if-missing"
)

// Behind says what happens when a loss of power has taken transactions from the database that its replica has. It is asked
// before the database is opened, and only where the state folder knows of such a loss: a database that was closed cleanly, or whose file was put back by
// somebody, is never changed.
type Behind string

const (
	// BehindRoll gets them back where that can be proven right, and opens the database all the same where it can't be or the store doesn't
	// answer; then it goes on without them, on a new timeline, once it is written.
	BehindRoll Behind = "roll"
	// BehindRefuse gets them back, or fails to open the database: also when the store doesn't answer, and when the machine was started
	// again and it isn't certain what became of the file since.
	BehindRefuse Behind = "refuse"
	// BehindFork never gets them back: the database goes on from where it is, on a new timeline.
	BehindFork Behind = "fork"
)

// Recreated says what happens when the file at a database's path isn't the one that its replica is of, and nothing proves that it comes from there:
// it was removed and is made again (tests, caches, job queues), or it was moved away and an application's own backup was put in its place.
type Recreated string

const (
	// RecreatedRefuse: it isn't replicated, or, while the file is missing, not opened, until a person has said what is meant.
	RecreatedRefuse Recreated = "refuse"
	// RecreatedNewTimeline: whatever is at the path is the database. It goes on in the replica on a new timeline, and what was there before stays
	// readable on the old one. A replica that was made for a database at another path is refused all the same.
	RecreatedNewTimeline Recreated = "new-timeline"
)

// Checkpoint says who runs checkpoints.
type Checkpoint string

const (
	// CheckpointSeawal: seawal does, off the writer's path; connections open with wal_autocheckpoint=0.
	// An application that sets wal_autocheckpoint or checkpoints by itself is obeyed all the same.
	CheckpointSeawal Checkpoint = "seawal"
	// CheckpointApp: the application does, as with the plain driver.
	CheckpointApp Checkpoint = "app"
)

// Look says whether the replica is looked at now and then, to see whether it has all its objects still.
type Look string

const (
	// LookOn: with one request when the database is opened, one an hour while something is shipped, and one a day while nothing is.
	LookOn Look = "on"
	// LookOff: an idle database makes no request at all, and what others delete from its replica is found by who needs it.
	LookOff Look = "off"
)

// Defaults of Config.
const (
	DefaultInterval        = time.Second
	DefaultRingBytes       = 16 << 20
	DefaultMaxWAL          = 1 << 30
	DefaultCheckpointBytes = 64 << 20
	DefaultCloseTimeout    = 30 * time.Second
)

// Config is how the databases of one driver are replicated. The zero value is
// useful: the driver "seawal" has it. Parameters of a DSN come before it.
type Config struct {
	// Replica is the exact URL of the replica (DSN: _replica). Base, used when it is empty, is a URL under which
	// each database has its replica by its file name (environment: SEAWAL_REPLICA, read when a
	// database is opened, in case Base is empty too). A Base with placeholders has it where they say: {name} is the
	// file's name, {dir} the name of its folder, {path} the whole path. NoReplica in place of one of them turns
	// replication off. With none of them the driver behaves as "sqlite3" does.
	Replica, Base string

	// Exclude are patterns of files that have no replica under Base, as for filepath.Match: of the file's name, or, with a slash in it, of
	// the whole path (environment: SEAWAL_EXCLUDE, separated by commas, in addition). A replica that is named for a database comes before them.
	Exclude []string

	// Replicas are the exact URLs of several replicas, in place of Replica (DSN: _replica, given more than once). Each has its
	// own position and catches up by itself: one whose store is down holds up neither the application nor the others. Positions are
	// those of the first one. At most MaxReplicas.
	Replicas []string

	// WaitFor is how many of several replicas have to have a commit before Wait, Flush or a commit with Remote durability
	// returns (_wait_for); 0: all of them.
	WaitFor int

	// Adopt is the id of a replica that this database is to go on in, on a new timeline, though nothing proves that it is the database's: its
	// state directory is lost, and it is at no point of the replica (_adopt). The error that asks for it names the id. "": none.
	Adopt string

	Interval   time.Duration // ship at least this often while there are commits (_ship_interval); 0: DefaultInterval
	Durability Durability    // _durability; "": Async
	// DurabilityTimeout is how long a commit with Remote durability waits before it returns ErrNotDurable (_durability_timeout), in
	// whole milliseconds; 0: no limit. It is what ends the wait of sql.Tx.Commit, and of a Row or Rows that is being
	// closed, which hear of no context.
	DurabilityTimeout time.Duration
	Restore           Restore    // _restore; "": RestoreNever
	Behind            Behind     // _behind; "": BehindRoll, and BehindRefuse with Remote durability
	Recreated         Recreated  // _recreated; "": RecreatedRefuse
	OnFull            OnFull     // _on_full; "": Squash
	Checkpoint        Checkpoint // _checkpoint; "": CheckpointSeawal
	Look              Look       // _look; "": LookOn

	// RingBytes is the memory for captured frames of one database, in bytes; 0: DefaultRingBytes. Each replica that falls behind others
	// may take as much again.
	RingBytes int64

	// MaxWAL is the size of the log at which OnFull applies, bytes; 0: DefaultMaxWAL. It holds while the database is read for a
	// snapshot, too: that is given up then, and the next attempt goes through a file in the state folder, if the disk has
	// room for two of them. A database that is written faster than its disk can read it is given more from the fourth attempt on.
	MaxWAL int64

	// CheckpointBytes is the size of the log, in bytes, at which it is started again whatever it takes; 0: DefaultCheckpointBytes. From
	// 1,000 frames on that is done as often as writers needn't be held for it for more than a 32nd of the time.
	CheckpointBytes int64

	// CloseTimeout is how long closing the last *sql.DB of a database may take to
	// ship the rest; 0: DefaultCloseTimeout.
	CloseTimeout time.Duration

	Logger *slog.Logger // nil: slog.Default

	// VFS is the SQLite VFS below seawal's; "" is SQLite's default one. The parameter vfs of a DSN comes before it.
	VFS string

	// Extensions and ConnectHook are as in sqlite3.SQLiteDriver.
	Extensions  []string
	ConnectHook func(*sqlite3.SQLiteConn) error

	// How soon what failed is tried again, and how large a segment may be; zeros: what store.Retry and the shipper think
	// right. For tests.
	retry      store.RetryPolicy
	retryWait  time.Duration
	stall      time.Duration // as stallTimeout
	batchBytes int64
}

// MaxReplicas is how many replicas a database can have: each has a connection of its own that reads.
const MaxReplicas = maxReaders

// maxDurabilityTimeout is what PRAGMA seawal_durability_timeout can say.
const maxDurabilityTimeout = math.MaxInt32 * time.Millisecond

// minRingBytes holds four frames of the largest page size.
const minRingBytes = 1 << 20

// withDefaults is c with its zero values filled in.
func (c Config) withDefaults() Config {
	setDefault(&c.Interval, DefaultInterval)
	setDefault(&c.Durability, Async)
	setDefault(&c.Restore, RestoreNever)
	if c.Durability == Remote {
		setDefault(&c.Behind, BehindRefuse)
	}
	setDefault(&c.Behind, BehindRoll)
	setDefault(&c.Recreated, RecreatedRefuse)
	setDefault(&c.OnFull, Squash)
	setDefault(&c.Checkpoint, CheckpointSeawal)
	setDefault(&c.Look, LookOn)
	setDefault(&c.RingBytes, DefaultRingBytes)
	setDefault(&c.MaxWAL, DefaultMaxWAL)
	setDefault(&c.CheckpointBytes, DefaultCheckpointBytes)
	setDefault(&c.CloseTimeout, DefaultCloseTimeout)
	setDefault(&c.WaitFor, max(1, len(c.Replicas)))
	return c
}

func setDefault[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}

// validate says what is wrong with c, which has its defaults. Each message names the field, the
// value and what may stand there.
func (c Config) validate() error {
	if _, err := c.adopted(); err != nil {
		return err
	}
	switch n := max(1, len(c.Replicas)); {
	case c.Replica != "" && len(c.Replicas) > 0:
		return fmt.Errorf("%w: Replica and Replicas are both set; put %s into Replicas", ErrConfig, store.Redact(c.Replica))
	case n > MaxReplicas:
		return fmt.Errorf("%w: there are %d Replicas; a database has %d at most", ErrConfig, n, MaxReplicas)
	case c.WaitFor < 0 || c.WaitFor > n && (n > 1 || c.Replica+c.Base != ""):
		return fmt.Errorf("%w: WaitFor (_wait_for) is %d; use 1 to %d, the number of replicas, or 0 for all", ErrConfig, c.WaitFor, n)
	case c.Interval < time.Millisecond:
		return fmt.Errorf("%w: Interval is %v; the shortest is 1ms", ErrConfig, c.Interval)
	case c.DurabilityTimeout < 0 || c.DurabilityTimeout%time.Millisecond != 0 || c.DurabilityTimeout > maxDurabilityTimeout:
		return fmt.Errorf("%w: DurabilityTimeout (_durability_timeout) is %v; use whole milliseconds up to %v, or 0 for no limit",
			ErrConfig, c.DurabilityTimeout, maxDurabilityTimeout)
	case c.CloseTimeout < 0:
		return fmt.Errorf("%w: CloseTimeout is %v; it can't be negative", ErrConfig, c.CloseTimeout)
	case c.RingBytes < minRingBytes:
		return fmt.Errorf("%w: RingBytes is %d; the smallest ring is %d bytes", ErrConfig, c.RingBytes, minRingBytes)
	case c.MaxWAL < minRingBytes:
		return fmt.Errorf("%w: MaxWAL is %d; the smallest log is %d bytes", ErrConfig, c.MaxWAL, minRingBytes)
	case c.CheckpointBytes < minRingBytes:
		return fmt.Errorf("%w: CheckpointBytes is %d; the smallest value is %d", ErrConfig, c.CheckpointBytes, minRingBytes)
	}
	if b := c.Behind; b != BehindRoll && b != BehindRefuse && b != BehindFork {
		return fmt.Errorf("%w: Behind (_behind) is %q; use %q, %q or %q", ErrConfig, b, BehindRoll, BehindRefuse, BehindFork)
	}
	for _, e := range []struct {
		name, value string
		allowed     []string
	}{
		{"Durability (_durability)", string(c.Durability), []string{string(Async), string(Remote)}},
		{"Restore (_restore)", string(c.Restore), []string{string(RestoreNever), string(RestoreIfMissing)}},
		{"Recreated (_recreated)", string(c.Recreated), []string{string(RecreatedRefuse), string(RecreatedNewTimeline)}},
		{"OnFull (_on_full)", string(c.OnFull), []string{string(Squash), string(Block)}},
		{"Checkpoint (_checkpoint)", string(c.Checkpoint), []string{string(CheckpointSeawal), string(CheckpointApp)}},
		{"Look (_look)", string(c.Look), []string{string(LookOn), string(LookOff)}},
	} {
		if e.value != e.allowed[0] && e.value != e.allowed[1] {
			return fmt.Errorf("%w: %s is %q; use %q or %q", ErrConfig, e.name, e.value, e.allowed[0], e.allowed[1])
		}
	}
	return nil
}

// replicas are the normalised URLs of the replicas.
func (c Config) replicas() ([]string, error) {
	given := c.Replicas
	if len(given) == 0 {
		given = []string{c.Replica}
	}
	var urls []string
	for _, u := range given {
		url, err := store.Normalize(u)
		if err != nil {
			return nil, err
		}
		if slices.Contains(urls, url) {
			return nil, fmt.Errorf("%w: %s is given twice", ErrConfig, store.Redact(url))
		}
		urls = append(urls, url)
	}
	return urls, nil
}
