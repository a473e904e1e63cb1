package shipper

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// Somebody else can delete objects of a replica: an expiry rule of the bucket, a person who makes room. Nothing that is shipped runs into
// that, and it would be found by the restore that fails. So the names are counted now and then: one list request when
// the database is opened, one an hour while something is shipped, one a day while nothing is. A request shows lookNames names; of
// a larger replica the next look goes on where the last one ended. Fewer names than there were make it read the replica from its snapshot
// on, and where that shows a hole a new timeline leaves it, as for damage that is found in another way (heal.go).
//
// The counts are in state.json, so that what was deleted while no process ran is noticed, too.

const (
	lookShipping = time.Hour
	lookIdle     = 24 * time.Hour
)

// lookNames is how many names a look takes: what the clouds answer to one request. Tests set it.
var lookNames = 1000

// census is how many objects a timeline is known to have had.
type census struct {
	Timeline  uint32 `json:"timeline"`
	UpTo      uint64 `json:"up_to"` // transaction: segments that begin behind it are not counted
	Log       int    `json:"log"`   // log segments
	Snapshots int    `json:"snapshots"`
}

// censusKept is of how many timelines the counts are kept, the newest ones.
const censusKept = 64

// countLocked takes note of a position that the replica is at: of another timeline it begins the count. It is whole when the
// timeline was opened from here, or was counted up to this position.
func (s *Shipper) countLocked(at replica.Pos, isNew bool) {
	i := slices.IndexFunc(s.census, func(c census) bool { return c.Timeline == at.Timeline })
	if i < 0 {
		s.census = append(s.census, census{Timeline: at.Timeline, UpTo: at.Tx})
		s.census = s.census[max(0, len(s.census)-censusKept):]
		s.isCounted = isNew
		return
	}
	s.isCounted = s.census[i].UpTo == at.Tx
}

// countedLocked counts a segment that is in the replica, and ends at tx of the current timeline.
func (s *Shipper) countedLocked(tx uint64, snapshots int) {
	s.landedSince += 1 - snapshots
	if n := len(s.census); s.isCounted && n > 0 && s.census[n-1].Timeline == s.timeline {
		c := &s.census[n-1]
		c.UpTo, c.Log, c.Snapshots = tx, c.Log+1-snapshots, c.Snapshots+snapshots
	}
}

func (s *Shipper) censusNow() []census {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.census)
}

// look is one pass over the names of a replica, in one or several requests. It belongs to the goroutine that makes the request,
// and to drain in between.
type look struct {
	at    replica.Pos // that the replica was at when the pass began
	id    segment.ID  // of the replica
	want  []census
	found map[uint32]*census // up to what want counts
	ahead int                // log segments of the current timeline that are up to at, and that want doesn't count
	after string             // last name seen
	names int

	verify bool  // the replica was gone: read whose it is that is there
	isOver bool  // every name was seen
	gone   error // why the replica isn't there; nil: it is
	failed error
}

// mayLook takes what a look has found, and begins the next one when it is due.
func (s *Shipper) mayLook(ctx context.Context) error {
	select {
	case l := <-s.looked:
		s.looking = false
		return s.afterLook(ctx, l)
	default:
	}
	if s.lookDue.IsZero() && s.fresh.ID == s.ID() {
		s.lookDue, s.lookedAt = time.Now().Add(lookIdle), s.Durable() // it was made a moment ago
	}
	s.hurryLook()
	if s.looking || s.cfg.NoLook || s.unbegun || s.isClosing() || time.Now().Before(s.lookDue) {
		return nil
	}
	l := s.pass
	if s.mu.Lock(); l == nil || l.at.Timeline != s.timeline {
		l = &look{at: replica.Pos{Timeline: s.timeline, Tx: s.durable}, id: s.id, want: slices.Clone(s.census), found: map[uint32]*census{}}
		s.landedSince = 0
	}
	l.verify = s.goneErr != nil
	s.mu.Unlock()
	s.pass, s.looking = l, true
	s.lookers.Go(func() {
		l.run(ctx, s.store)
		s.looked <- l
	})
	return nil
}

// run makes the request.
func (l *look) run(ctx context.Context, st store.Store) {
	l.gone, l.failed = nil, nil
	if l.verify {
		if l.gone, l.failed = isReplica(ctx, st, l.id); l.gone != nil || l.failed != nil {
			return
		}
	}
	n := 0
	for o, err := range st.List(ctx, "", l.after) {
		if err != nil {
			l.failed = err
			return
		}
		l.after = o.Name
		l.names++
		l.count(o.Name)
		if n++; n == lookNames {
			return
		}
	}
	l.isOver = true
	if l.after < segment.ReplicaName { // it sorts behind all others
		l.gone, l.failed = isReplica(ctx, st, l.id)
		if _, err := st.Stat(ctx, segment.ReplicaName); err == nil {
			l.failed = fmt.Errorf("the store doesn't list %s, which is there", segment.ReplicaName)
		}
	}
}

// isReplica says whether the replica that a store has is the one with an id: gone is why not, err that nobody knows.
func isReplica(ctx context.Context, st store.Store, id segment.ID) (gone, err error) {
	rep, err := replica.ReadReplica(ctx, st)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return err, nil
	case err == nil && rep.ID != id:
		return fmt.Errorf("%w, %v", ErrOtherDatabase, rep.ID), nil
	case replica.IsDamage(err):
		return nil, nil
	}
	return nil, err
}

func (l *look) count(name string) {
	n, err := segment.ParseName(name)
	if err != nil || n.Kind != segment.Log && n.Kind != segment.Snapshot {
		return
	}
	upTo := uint64(0)
	i := slices.IndexFunc(l.want, func(c census) bool { return c.Timeline == n.Timeline })
	if i >= 0 {
		upTo = l.want[i].UpTo
	} else if n.Timeline != l.at.Timeline {
		upTo = math.MaxUint64
	}
	c := l.found[n.Timeline]
	if c == nil {
		c = &census{Timeline: n.Timeline, UpTo: upTo}
		l.found[n.Timeline] = c
	}
	switch {
	case n.Kind == segment.Snapshot && (n.Last <= upTo || n.Last <= l.at.Tx && n.Timeline == l.at.Timeline):
		c.Snapshots++
	case n.Kind == segment.Log && n.First <= upTo:
		c.Log++
	case n.Kind == segment.Log && n.Timeline == l.at.Timeline && n.First <= l.at.Tx:
		l.ahead++
	}
}

// missing says what the replica had and has no more; "": nothing.
func (l *look) missing() (text string) {
	for _, w := range l.want {
		f := l.found[w.Timeline]
		if f == nil {
			f = &census{}
		}
		if n := w.Log - f.Log; n > 0 {
			text += fmt.Sprintf(", %d of %d objects below %s", n, w.Log, segment.LogPrefix(w.Timeline))
		}
		if n := w.Snapshots - f.Snapshots; n > 0 {
			text += fmt.Sprintf(", %d of %d objects below %s", n, w.Snapshots, segment.SnapshotPrefix(w.Timeline))
		}
	}
	if text != "" {
		text = text[2:]
	}
	return text
}

// afterLook acts on what a look has found. The error is damage, which means to leave the timeline.
func (s *Shipper) afterLook(ctx context.Context, l *look) error {
	s.lookDue = time.Now().Add(lookIdle)
	s.lookedAt = s.Durable()
	switch {
	case l.failed != nil:
		if ctx.Err() == nil {
			s.log.Warn("looking whether the replica has all its objects", "err", l.failed)
		}
		return nil
	case l.gone != nil:
		s.pass, s.lookDue = nil, time.Now().Add(s.cfg.RetryWait)
		s.noteError(s.gone(l.gone))
		return nil
	}
	if l.verify {
		s.setGone(nil)
	}
	if !l.isOver {
		return nil
	}
	s.pass = nil
	if l.at.Timeline != s.lookedAt.Timeline {
		return nil
	}
	text := l.missing()
	if text == "" {
		s.holed = ""
		s.recount(l)
		return nil
	}
	gone, err := isReplica(ctx, s.store, l.id)
	if gone != nil {
		s.noteError(s.gone(gone))
	}
	if gone != nil || err != nil {
		return nil // the next look finds the same
	}
	_, err = replica.SoundTableAt(ctx, s.store, l.at, nil, replica.Pos{})
	if err != nil && !replica.IsDamage(err) {
		s.log.Warn("looking whether the replica can be restored", "err", err)
		return nil // the next look finds the same
	}
	s.recount(l)
	text += " were deleted from outside: no expiry rule and nobody else may delete what lies below the URL of a replica"
	if err == nil {
		s.notice(text + ". The newest point can be restored all the same, older ones that need them can't")
		return nil
	}
	s.holed = text
	return err
}

// recount makes what a look has counted the census.
func (s *Shipper) recount(l *look) {
	s.mu.Lock()
	defer s.mu.Unlock()
	counted := slices.Clone(l.want)
	for i, w := range counted {
		if f := l.found[w.Timeline]; f != nil {
			counted[i].Log, counted[i].Snapshots = min(w.Log, f.Log), max(w.Snapshots, f.Snapshots)
		}
	}
	if n := len(s.census); n > 0 && n == len(counted) && s.census[n-1].Timeline == l.at.Timeline {
		was := l.want[n-1]
		f := l.found[l.at.Timeline]
		if f == nil {
			f = &census{}
		}
		if !s.isCounted {
			s.census[n-1].Log, s.census[n-1].Snapshots = f.Log+l.ahead+s.landedSince, f.Snapshots
			s.census[n-1].UpTo, s.isCounted = s.durable, true
		} else {
			s.census[n-1].Log -= max(0, was.Log-f.Log)
			s.census[n-1].Snapshots -= max(0, was.Snapshots-f.Snapshots)
		}
		copy(s.census[:n-1], counted[:n-1])
	}
}

// notice makes text the notice, and logs it.
func (s *Shipper) notice(text string) {
	s.mu.Lock()
	s.noticeLocked(text)
	s.mu.Unlock()
	s.log.Error("the replica lacks objects that it had", "what", text)
}

// untilLook is how long it is until the next look; negative: there is none.
func (s *Shipper) untilLook() time.Duration {
	if s.cfg.NoLook || s.looking || s.unbegun || s.isClosing() {
		return -1
	}
	s.hurryLook()
	return max(0, time.Until(s.lookDue))
}

// hurryLook makes the next look earlier when something was shipped since the last one.
func (s *Shipper) hurryLook() {
	if at := s.lookedAt; !at.IsZero() && s.Durable() != at && time.Until(s.lookDue) > lookShipping {
		s.lookDue = time.Now().Add(lookShipping)
	}
}

// awaitThere waits until a replica that is gone is there again. Of the uploader.
func (s *Shipper) awaitThere(ctx context.Context) error {
	for s.isGone() {
		gone, err := isReplica(ctx, s.store, s.ID())
		switch {
		case gone != nil:
			err = s.gone(gone)
		case err == nil:
			s.setGone(nil)
			return nil
		}
		s.noteError(err)
		if err := s.pause(ctx, s.cfg.RetryWait); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shipper) isGone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.goneErr != nil
}

// ID is the id of the replica; zero before it is known.
func (s *Shipper) ID() segment.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}
