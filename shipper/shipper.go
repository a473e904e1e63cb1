package shipper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/internal/wal"
	"seawal/store"
)

// Defaults of Config.
const (
	DefaultInterval   = time.Second
	DefaultTick       = 10 * time.Millisecond
	DefaultBatchBytes = 4 << 20
	DefaultCacheBytes = 8 << 20
	DefaultRetryWait  = 5 * time.Second
)

// StateSuffix makes the name of the state folder from that of the database.
const StateSuffix = "-seawal"

// Config is what a Shipper needs. Source, Open and DBPath have to be set; the rest
// has a useful zero value.
type Config struct {
	Source Source

	// Open opens the store, with what goes around it (store.Stack). onError is for
	// store.RetryPolicy.OnError: what fails shows in Status at once. Open is called
	// until it succeeds; the Shipper closes the store.
	Open func(ctx context.Context, onError func(store.Failure)) (store.Store, error)

	DBPath   string // of the database file
	StateDir string // folder for what a restart is quicker with; "": DBPath + "-seawal"

	// OtherDirs are the state folders of other replicas of the database, present and former. Where StateDir is new, one of them may be
	// the folder of the same replica, which was moved to another URL. With Only, the database has no other replica now: one that exists, and
	// that none of them knows, is not the database's.
	OtherDirs []string
	Only      bool

	// Former are those of OtherDirs whose URL the database has no more: a replica that is begun beside them is told of.
	Former []Former

	// Adopt is the id of a replica that a person has said to be this database's: without a state directory only what is exact proves that.
	// Where pages of the file are known to be damaged it says that they are right as they are, and the difference is shipped.
	// BeganEmpty says that the database was missing or empty when it was opened: then no replica with content is its.
	Adopt      segment.ID
	BeganEmpty bool

	// Recreated says that whatever is at DBPath is the database of a replica that was made for that path: removed and made again, or
	// replaced, it goes on there on a new timeline.
	Recreated bool

	// LogKept says that the process before had brought the WAL into the file (KeepLog), so that nothing is lost when it is done again.
	LogKept bool

	NoLook bool // nobody looks whether the replica has all its objects, when the database is opened and now and then

	Interval   time.Duration // between two segments while there are commits; 0: DefaultInterval
	Tick       time.Duration // between two looks at the source while there is work; 0: DefaultTick
	BatchBytes int64         // encoded bytes that close a segment early; 0: DefaultBatchBytes
	CacheBytes int64         // memory for images of pages, the bases of deltas; 0: DefaultCacheBytes, negative: none

	// RetryWait is the wait after what store.Retry doesn't repeat: a permanent error
	// that a person has to mend, a database that can't be read. 0: DefaultRetryWait.
	RetryWait time.Duration

	Logger *slog.Logger // nil: slog.Default

	// Found is what was found, and mended, before the database was opened: for Status.Notice.
	Found string

	// Judgement is how the database came to be what it was then. While it is at an earlier point than its replica, and a loss of power
	// has brought it there, nothing is shipped until it is written; else it goes on from that point at once.
	Judgement Judgement

	weakness weakness // sound, but in tests
}

func (c *Config) validate() error {
	switch {
	case c.Source == nil || c.Open == nil || c.DBPath == "":
		return errors.New("shipper: Source, Open and DBPath have to be set")
	case c.Interval < 0 || c.Tick < 0 || c.BatchBytes < 0 || c.RetryWait < 0:
		return errors.New("shipper: Interval, Tick, BatchBytes and RetryWait can't be negative")
	}
	if c.StateDir == "" {
		c.StateDir = c.DBPath + StateSuffix
	}
	orDefault(&c.Interval, DefaultInterval)
	orDefault(&c.Tick, DefaultTick)
	orDefault(&c.BatchBytes, DefaultBatchBytes)
	orDefault(&c.CacheBytes, DefaultCacheBytes)
	orDefault(&c.RetryWait, DefaultRetryWait)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

func orDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Shipper ships the commits of one database to one replica. Its methods are safe
// for concurrent use.
type Shipper struct {
	cfg    Config
	src    Source
	sharer Sharer // src, if it is one
	rank   rank   // among the Shippers of other replicas
	log    *slog.Logger

	stop     context.CancelFunc // ends all work at once
	kick     chan struct{}      // capacity 1: the drain goroutine has to look again
	uploads  chan *batch        // capacity 1: the closed batch that waits
	uploaded chan struct{}      // capacity 1: the uploader has finished one
	finished chan struct{}      // closed when every goroutine has ended

	// Of the drain goroutine alone.
	store store.Store
	began int64  // when Start was called, unix nanoseconds
	state *state // nil until the state folder is read
	lock  *lock
	file  *fileID        // the database file when the Shipper was made; nil: not known
	table *pagesum.Table // of the last transaction encoded
	scrub scrub          // of the database file

	damage      map[uint32]pagesum.Sum // its pages that no transaction wrote, as they are
	damageShown string                 // what shows that, where it isn't the comparison alone; begins with ": "

	hasher    *pagesum.Hasher  // of the replica's page sums, once that is known
	fresh     replica.Replica  // of a replica that this Shipper makes
	opening   replica.Timeline // the last one that this Shipper opened, or tried to
	lost      *lostPoint       // where the database was found behind its replica; nil: it wasn't
	newest    uint32           // timeline of the replica, as far as is known
	newestEnd replica.Pos      // where that ended when it was looked at; zero: it isn't known
	sawDamage bool             // to the replica, at a second look of which nothing was wrong
	apart     string           // why a timeline for pages of another size can't go on from the replica's end; "": it can
	unbegun   bool             // the timeline was opened for pages of another size, and has no snapshot yet
	place     wal.Place        // of the last transaction encoded
	latest    int64            // commit time of the last transaction encoded, unix nanoseconds: the next one has a later one
	isBack    bool             // the clock is behind latest, and that was noted
	grown     uint32           // pages up to which every one has a sum
	cache     *imageCache
	enc       encodeScratch
	batch     *batch    // open; nil when empty
	encoded   uint64    // last ticket encoded or skipped
	surely    uint64    // ticket of the state with which it attached: since then the source has seen which pages were written
	inHand    uint64    // last ticket that the source handed over
	nextDue   time.Time // earliest time to close a batch by cadence
	resynced  time.Time // when it last went on from what the replica has; zero: never
	saved     int       // segments since the state was saved
	savedAt   time.Time // when it was, or when Start was called
	storm     storm
	// spoolSnapshot: a snapshot could not be read to its end while the store took it, so the next one goes through a file.
	spoolSnapshot bool
	lockPage      uint32 // page that is never part of the database
	spare         spares // memory of batches; shared with the uploader

	// Likewise; of looks at the replica.
	lookers  sync.WaitGroup // the goroutine of a look
	looked   chan *look     // capacity 1: one that is done
	looking  bool           // one is under way
	pass     *look          // that goes on with the next one; nil: it begins anew
	lookDue  time.Time      // when the next one is
	lookedAt replica.Pos    // that the replica was at then
	holed    string         // what was deleted from the replica, until it is told

	// Likewise; as attaching has found them.
	rep   replica.Replica
	all   []replica.Timeline
	prior replica.Pos // what the process before had told to be durable; zero: nothing

	synced replica.Pos // a loss of power can't bring the database back behind it; zero: not known
	pages  *tableRef   // what the pages file is of; nil: not known

	sentBefore  []sent // what the processes before were about to send
	askedOthers bool   // the folders of other URLs were looked into
	elsewhere   bool   // and told something: of a replica that this one may be an older copy of

	tellMu  sync.Mutex // for telling
	telling *telling   // nil unless this process ships
	hearing *hearing   // of the drain goroutine

	mu           sync.Mutex
	started      bool           // guarded by mu, like all below
	closing      bool           // ship what is there, then end
	ended        bool           // no goroutine works any more
	mapped       bool           // timeline and base are known, and won't change
	id           segment.ID     // of the replica
	writer       segment.ID     // of this state folder
	pageSize     int            // of the timeline, bytes
	timeline     uint32         // it changes only while no segment is under way
	mappedOn     uint32         // the first one: those since then share their numbers
	base         uint64         // transaction = base + ticket, modulo 2^64
	durable      uint64         // transaction up to which the replica has everything
	census       []census       // of the replica's timelines, the current one last
	isCounted    bool           // the last of it counts everything up to durable
	landedSince  int            // log segments since the pass of a look began
	flying       int            // batches closed and not durable
	urgent       uint64         // ticket up to which someone wants to see it shipped now
	closed       uint64         // last ticket in a closed batch
	failure      error          // first fatal error
	ending       error          // why it is to end once it has shipped what is captured
	behindErr    error          // why nothing is shipped: the database is at an earlier point than the replica;
	goneErr      error          // why nothing is confirmed: the replica isn't there; nil: it is, as far as is known
	behindTicket uint64         // until something is committed behind this ticket
	standby      bool           // another process ships
	isPlaced     bool           // see LogIsPlaced
	handed       bool           // and has shipped all that was committed here
	given        given          // positions that the application has of it
	changed      chan struct{}  // closed and replaced when one of mapped, durable, failure, standby, ended changes
	stat         statusRecord   // for Status
	damaged      []damagedPage  // some of the damage, for the state
	pending      []pendingBatch // open, waiting and in flight, oldest first
}

// New returns a Shipper that does nothing before Start.
func New(cfg Config) (*Shipper, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Shipper{
		cfg:      cfg,
		src:      cfg.Source,
		log:      cfg.Logger.With("db", filepath.Base(cfg.DBPath)),
		kick:     make(chan struct{}, 1),
		uploads:  make(chan *batch, 1),
		uploaded: make(chan struct{}, 1),
		finished: make(chan struct{}),
		changed:  make(chan struct{}),
		looked:   make(chan *look, 1),
		stat:     statusRecord{mode: ModeAttaching},
		rank:     rank{tried: make(chan struct{})},
	}
	s.file = identify(cfg.DBPath)
	s.sharer, _ = cfg.Source.(Sharer)
	if cfg.Found != "" {
		s.noticeLocked(cfg.Found)
	}
	return s, nil
}

// Start begins to attach and to ship. It returns at once and may be called once.
func (s *Shipper) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started || s.ended {
		return
	}
	s.started = true
	s.savedAt = time.Now()
	s.began = s.savedAt.UnixNano()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go s.run(ctx)
}

// run is the drain goroutine. It starts the uploader and joins it.
func (s *Shipper) run(ctx context.Context) {
	defer close(s.finished)
	defer s.stop()
	var uploader sync.WaitGroup
	uploader.Go(func() { s.upload(ctx) })

	err := s.attachAndDrain(ctx)
	failed := err != nil && ctx.Err() == nil
	if failed {
		s.fail(err)
	}
	close(s.uploads)
	if err != nil {
		s.stop()
	}
	uploader.Wait()
	s.dropBatch()
	s.releaseCache()
	s.endTelling()
	if s.lock != nil {
		s.leaveLog()
		s.lock.release() // another process may fare better
	}
	s.rank.note(false) // nobody has to wait for this one any more
	if failed {
		s.discard()
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.log.Warn("closing the store of the replica", "err", err)
		}
	}
	s.mu.Lock()
	s.ended = true
	s.broadcastLocked()
	s.mu.Unlock()
}

func (s *Shipper) attachAndDrain(ctx context.Context) error {
	switch err := s.attachUntilDone(ctx); {
	case errors.Is(err, errNothingToDo):
		return nil
	case err != nil:
		return err
	}
	if err := s.drain(ctx); err != nil {
		return err
	}
	s.saveClean(ctx)
	return nil
}

// discard lets go of what is captured once nothing is shipped any more: the log
// must not be held back for ever. It ends when the Shipper is closed.
func (s *Shipper) discard() {
	s.src.Release(s.inHand)
	for !s.isClosing() {
		s.letGo()
		if !s.src.Idle() {
			continue
		}
		select {
		case <-s.src.Wake():
		case <-s.kick:
		}
	}
}

// letGo releases everything that is captured, unread.
func (s *Shipper) letGo() {
	for c, ok := s.src.Next(); ok; c, ok = s.src.Next() {
		s.src.Release(c.Ticket)
	}
}

// Close ships what is left, until ctx ends, saves the state and wakes everybody
// who waits. What could not be shipped is reported as *UnshippedError. No
// goroutine is left when it returns. A second Close does nothing.
func (s *Shipper) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closing || !s.started {
		s.closing, s.ended = true, s.ended || !s.started
		started := s.started
		s.broadcastLocked()
		s.mu.Unlock()
		if started {
			<-s.finished
		}
		return nil
	}
	s.closing = true
	// A store that doesn't answer isn't worth waiting for when there is nothing to ship.
	hopeless := !s.mapped && s.stat.err != nil
	s.mu.Unlock()
	if ticket, _ := s.src.Last(); ticket == 0 && hopeless {
		s.stop()
	}
	s.poke()
	select {
	case <-s.finished:
	case <-ctx.Done():
		s.stop()
		<-s.finished
	}
	return s.unshipped()
}

// unshipped compares what was captured with what is durable, at the end.
func (s *Shipper) unshipped() error {
	last, _ := s.src.Last()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handed {
		return nil
	}
	e := &UnshippedError{Err: s.failure, Commits: last}
	if e.Err == nil {
		e.Err = s.stat.err
	}
	if s.mapped {
		e.Commits = s.base + last - s.durable
		if int64(e.Commits) <= 0 {
			return nil
		}
		e.First = replica.Pos{Timeline: s.timeline, Tx: s.durable + 1}
		e.Last = replica.Pos{Timeline: s.timeline, Tx: s.base + last}
	}
	if e.Commits == 0 && (e.Err == nil || s.standby || s.behindErr != nil || s.isCovered()) {
		return nil
	}
	for _, p := range s.pending {
		e.Bytes += p.bytes
	}
	return e
}

// poke makes the drain goroutine look again.
func (s *Shipper) poke() { poke(s.kick) }

func (s *Shipper) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// nothingToDo says that the Shipper is closed and nothing was ever captured. It asks in this order: the last
// commit comes before Close.
func (s *Shipper) nothingToDo() bool {
	closing := s.isClosing()
	ticket, _ := s.src.Last()
	return closing && ticket == 0
}

// fail records the first fatal error and wakes everybody.
func (s *Shipper) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return
	}
	s.failure = err
	s.stat.fail(err)
	s.stat.mode = ModeStopped
	s.broadcastLocked()
	s.log.Error("shipping has stopped", "err", err)
}

// End ends shipping with err, once what is captured has been shipped. The first call counts.
func (s *Shipper) End(err error) {
	s.mu.Lock()
	first := s.ending == nil
	if first {
		s.ending = err
	}
	s.mu.Unlock()
	if first {
		s.noteError(err)
		s.poke()
	}
}

func (s *Shipper) isEnding() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

func (s *Shipper) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

func (s *Shipper) broadcastLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// pause waits for d, or until ctx ends, which is an error.
func (s *Shipper) pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait to try again: %w", ctx.Err())
	}
}
