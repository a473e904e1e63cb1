package shipper

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"seawal/internal/killpoint"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/store"
)

// attachUntilDone attaches, again and again until the store answers and the
// database can be read. Meanwhile nothing is taken from the source: its ring and
// then the log hold what the application commits.
func (s *Shipper) attachUntilDone(ctx context.Context) error {
	s.awaitBefore(ctx)
	for {
		if err := s.isEnding(); err != nil {
			return err
		}
		err := s.attach(ctx)
		if err == nil || fatal(err) || ctx.Err() != nil || errors.Is(err, errNothingToDo) {
			return err
		}
		s.dropBatch()
		if errors.Is(err, ErrLocked) {
			if err := s.standBy(ctx); err != nil {
				return err
			}
			continue
		}
		s.noteError(err)
		if errors.Is(err, ErrBehind) {
			if err := s.waitBehind(ctx, err); err != nil {
				return err
			}
			continue
		}
		if s.nothingToDo() {
			return errNothingToDo
		}
		if err := s.pause(ctx, s.cfg.RetryWait); err != nil {
			return err
		}
	}
}

// attach compares the database with the replica and brings the two together, as
// the table in package documentation says. It can be called again after an error.
func (s *Shipper) attach(ctx context.Context) error {
	if err := s.openFolder(); err != nil {
		return err
	}
	if s.store == nil {
		st, err := s.cfg.Open(ctx, s.noteFailure)
		if err != nil {
			return fmt.Errorf("open the store of the replica: %w", err)
		}
		s.store = st
	}
	rep, err := replica.ReadReplica(ctx, s.store)
	switch {
	case errors.Is(err, store.ErrNotExist) && s.isConfirmed():
		return s.gone(err)
	case errors.Is(err, store.ErrNotExist):
		if rep, err = s.createReplica(ctx); err != nil {
			return err
		}
	case replica.IsDamage(err):
		return fmt.Errorf("%w; there is no segment that tells what it said: remove it, and the database gets a new replica, or use another URL", err)
	case err != nil:
		return err
	}
	if err := s.identify(rep); err != nil {
		return err
	}
	s.noteSuccess() // not before: what answers may be another database's replica
	s.setGone(nil)
	if err := s.suspect(ctx, rep); err != nil {
		return err
	}
	p, err := s.pinPatiently(ctx)
	if err != nil {
		return err
	}
	defer s.closePinned(p)
	if p.PageCount() == 0 {
		if err := s.mayBegin(ctx, rep); err != nil && !(errors.Is(err, ErrOtherDatabase) && s.isRecreated(rep)) {
			return err
		}
		s.closePinned(p) // a source has one pinned state at a time
		if _, err := s.firstPage(ctx); err != nil {
			return err
		}
		if p, err = s.pinPatiently(ctx); err != nil {
			return err
		}
		defer s.closePinned(p)
	}
	s.surely = p.Ticket()
	return s.meet(ctx, rep, p)
}

// proveStore sees whether the store creates a name only once, which all of the fence rests on: once in the life of a replica, before
// anything is shipped to it.
func (s *Shipper) proveStore(ctx context.Context) error {
	err := error(nil)
	switch {
	case s.rep.Overwrites:
		err = ErrOverwrites
	case len(s.all) == 0 && s.rep.Damage == nil:
		err = replica.ProveCreate(ctx, s.store, s.rep)
	}
	if errors.Is(err, ErrOverwrites) {
		return fmt.Errorf("%w; two writers would overwrite each other there, so nothing is shipped: use a store that honours it, or create=versions in the URL of a bucket that keeps versions, and remove replica.json here", err)
	}
	return err
}

// firstPage waits until the database has a page, and returns its page size.
func (s *Shipper) firstPage(ctx context.Context) (size int, err error) {
	for {
		p, err := s.pinPatiently(ctx)
		if err != nil {
			return 0, err
		}
		size, pages := p.PageSize(), p.PageCount()
		s.closePinned(p)
		if pages > 0 {
			s.setMode(ModeAttaching)
			return size, nil
		}
		s.setMode(ModeEmpty)
		s.publish(replica.Pos{Timeline: 1}, 0)
		if s.nothingToDo() {
			return 0, errNothingToDo
		}
		if !s.src.Idle() {
			// Captured, and the database has still no page.
			if err := s.pause(ctx, s.cfg.Tick); err != nil {
				return 0, err
			}
			continue
		}
		select {
		case <-s.src.Wake():
		case <-s.kick:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (s *Shipper) setTable(t *pagesum.Table) { s.table, s.grown = t, t.Len() }

// publish says where the replica stands. The first time it makes the mapping of tickets to transactions
// known, once and for all: transaction = base + ticket. On another timeline the numbers go on.
// No segment is under way.
func (s *Shipper) publish(durable replica.Pos, base uint64) {
	defer s.Tell()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.mapped {
		s.mapped, s.base, s.mappedOn = true, base, durable.Timeline
	}
	s.timeline, s.durable, s.goneErr = durable.Timeline, durable.Tx, nil
	s.countLocked(durable, s.opening.Timeline == durable.Timeline)
	s.broadcastLocked()
}

func (s *Shipper) isMapped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mapped
}

// meet finds where the replica stands, and brings database and replica together.
func (s *Shipper) meet(ctx context.Context, rep replica.Replica, p *pinned) error {
	s.mu.Lock()
	s.id = rep.ID
	s.mu.Unlock()
	all, err := replica.Timelines(ctx, s.store)
	if err != nil {
		return err
	}
	s.rep, s.all, s.hasher = rep, all, pagesum.NewHasher(rep.Key)
	if err := s.proveStore(ctx); err != nil {
		return err
	}
	var newest replica.Timeline // zero: there is none yet
	if len(all) > 0 {
		newest = all[len(all)-1]
	}
	if st := s.state; st != nil && newest.Timeline > max(1, st.Position.Timeline) && newest.Writer != s.writer {
		return fmt.Errorf("%w: it opened timeline %d (%s), this database was shipped on %d; run restore to follow it, or remove %s to go on from here on a timeline of its own",
			ErrFenced, newest.Timeline, newest.Reason, st.Position.Timeline, s.cfg.StateDir)
	}
	if s.state != nil { // else it may be another database's, and the next start mends it
		if err := s.mendDocuments(ctx); err != nil {
			return err
		}
	}
	s.newest = newest.Timeline
	if newest.PageSize = rep.PageSize; newest.Timeline != 0 {
		newest.PageSize = replica.PageSizeAt(rep, all, replica.Pos{Timeline: newest.Timeline, Tx: math.MaxUint64})
	}
	o, err := s.findOrigin(ctx, rep, all)
	if replica.IsDamage(err) && !s.isMapped() {
		o, err = s.heal(ctx, newest, err)
	}
	if err != nil {
		return err
	}
	switch {
	case s.isMapped() && newest.Timeline != 0 && newest.Writer != s.writer:
		return fmt.Errorf("%w: timeline %d was opened while this writer attached", ErrFenced, newest.Timeline)
	case s.isMapped() && !o.pos.IsZero() && o.writer != s.writer:
		return fmt.Errorf("%w: %v was shipped while this writer attached", ErrFenced, o.pos)
	case s.isMapped() && !o.closed.IsZero():
		return fmt.Errorf("%w: timeline %d was taken over while this writer attached (writer %v)", ErrFenced, newest.Timeline, o.closed)
	case o.pos.IsZero():
		return s.startRoot(ctx, newest, o.takeover, p)
	case s.isMapped():
		// An earlier attempt got this far, and its acknowledgement was lost.
		s.setPageSize(newest.PageSize)
		s.publish(o.pos, 0)
		s.closePinned(p) // a source has one pinned state at a time
		return s.resync(ctx, errors.New("the first snapshot had to be tried again"))
	case s.lost != nil && p.Ticket() > s.lost.ticket:
		return s.carryOut(ctx, newest, s.goOnBehind(), p)
	}
	err = s.meetAt(ctx, newest, o, p)
	if !replica.IsDamage(err) || s.isMapped() {
		return err
	}
	if o, err = s.heal(ctx, newest, err); err != nil {
		return err
	}
	if o.pos.IsZero() {
		return s.startRoot(ctx, newest, o.takeover, p)
	}
	return s.meetAt(ctx, newest, o, p)
}

// meetAt brings the database and a point of the replica, its end, together.
func (s *Shipper) meetAt(ctx context.Context, newest replica.Timeline, o origin, p *pinned) error {
	if p.PageSize() != o.pageSize {
		return s.meetResized(ctx, newest, o, p)
	}
	if newest.PageSize != o.pageSize && o.takeover == "" {
		o.takeover = fmt.Sprintf("timeline %d was opened for pages of %d bytes, and the database has pages of %d", newest.Timeline, newest.PageSize, o.pageSize)
	}
	s.setPageSize(o.pageSize)
	table, err := s.tableOf(ctx, o)
	if err != nil {
		return err
	}
	if table.Total() != o.after {
		// The state folder says otherwise than the replica, which is right.
		if table, err = replica.SoundTableAt(ctx, s.store, o.pos, nil, replica.Pos{}); err != nil {
			return err
		}
	}
	plan, err := s.compare(ctx, o, table, p)
	if err != nil {
		return err
	}
	if err := s.isTemplate(ctx, plan.at); err != nil {
		return errors.Join(err, plan.close())
	}
	if plan.reason != "" {
		if own, ok, err := s.ownEnd(ctx, o); ok || err != nil {
			if err != nil {
				return err
			}
			return s.meetAt(ctx, newest, own, p)
		}
	}
	if plan.log != nil {
		defer plan.log.close()
	}
	if plan.at == o.pos {
		s.latest = max(s.latest, o.time)
	}
	return s.carryOut(ctx, newest, plan, p)
}

// startRoot ships the whole database: the replica has nothing of it yet, or, for the reason damage, nothing that can be
// read. newest has its page size.
func (s *Shipper) startRoot(ctx context.Context, newest replica.Timeline, damage string, p *pinned) error {
	if err := s.mayBeginRoot(ctx, newest, damage); err != nil {
		return err
	}
	if newest.Timeline == 0 || newest.Writer != s.writer || newest.PageSize != p.PageSize() || damage != "" {
		reason := "first snapshot"
		if damage != "" {
			reason = damage
		}
		var err error
		if newest, err = s.openTimeline(ctx, replica.Timeline{Timeline: newest.Timeline + 1, PageSize: p.PageSize(), Reason: reason}); err != nil {
			return err
		}
		if damage != "" {
			s.noticeTimeline(newest.Timeline, replica.Pos{}, damage)
		}
	}
	if damage == "" {
		s.noticeNew()
	}
	s.setPageSize(p.PageSize())
	s.publish(replica.Pos{Timeline: newest.Timeline}, 1)
	killpoint.Hit("shipper/snapshot-before")
	number := s.base + p.Ticket()
	if err := s.shipSnapshot(ctx, p, number); err != nil {
		return err
	}
	s.caughtUp(p)
	s.planScrub(false)
	return nil
}

// openTimeline creates a timeline of ours. It takes over: a writer of the timeline before is fenced. Called again after an
// error, with the same timeline, it succeeds if the acknowledgement was lost.
func (s *Shipper) openTimeline(ctx context.Context, t replica.Timeline) (replica.Timeline, error) {
	t.Writer = s.writer
	if o := s.opening; o.Timeline != t.Timeline || o.Parent != t.Parent || o.ParentTx != t.ParentTx || o.PageSize != t.PageSize || o.Reason != t.Reason {
		s.opening = t
		s.opening.Created = time.Now()
	}
	closed, err := s.closeTimeline(ctx, s.opening, closeTries)
	if err != nil {
		return t, err
	}
	killpoint.Hit("shipper/timeline-before")
	err = replica.CreateTimeline(ctx, s.store, s.opening)
	killpoint.Hit("shipper/timeline-created")
	if errors.Is(err, store.ErrExist) {
		return t, s.openedByOthers(ctx, t.Timeline, err)
	}
	if err != nil {
		return t, err
	}
	s.newest = t.Timeline
	if !closed {
		_, err = s.closeTimeline(ctx, s.opening, 2*lookEvery)
	}
	return s.opening, err
}

// openedByOthers is the error of a timeline that is there already. A process of ours that was killed may have opened it, and
// its request arrived late: attaching once more finds it.
func (s *Shipper) openedByOthers(ctx context.Context, timeline uint32, exist error) error {
	if t, err := replica.ReadTimeline(ctx, s.store, timeline); err == nil && t.Writer == s.writer && !s.isMapped() {
		return fmt.Errorf("timeline %d was opened by an earlier process: %w", timeline, exist)
	}
	return fmt.Errorf("%w: timeline %d was opened just now: %w", ErrFenced, timeline, exist)
}

// noteSynced remembers a point that a loss of power can't take from the database any more: p is at it or beyond, and is synced now.
func (s *Shipper) noteSynced(at replica.Pos, p *pinned) {
	s.synced = replica.Pos{}
	y, ok := p.ReadTx.(Syncer)
	if !ok {
		return
	}
	if err := y.Sync(); err != nil {
		s.log.Warn("syncing the log", "err", err) // then any point counts as one that could come back
		return
	}
	s.synced = at
}

// carryOut does what compare decided.
func (s *Shipper) carryOut(ctx context.Context, newest replica.Timeline, plan *plan, p *pinned) error {
	at := plan.at
	if plan.takeover != "" {
		t, err := s.openTimeline(ctx, replica.Timeline{
			Timeline: newest.Timeline + 1, Parent: at.Timeline, ParentTx: at.Tx, PageSize: s.pageSize, Reason: plan.takeover,
		})
		if err != nil {
			return err
		}
		at.Timeline = t.Timeline
	}
	killpoint.Hit("shipper/attach-decided")
	s.setTable(plan.table)
	s.planScrub(plan.unread || len(s.damage) > 0)
	s.place = plan.place
	s.noteSynced(at, p)
	s.state = &state{Format: stateFormat, Replica: s.id, Writer: s.writer, Position: at, Time: s.latest, After: plan.table.Total().String(), Place: plan.place, Pages: s.pages, Census: s.censusNow(), Damage: s.damageNow()}
	if err := s.saveState(s.state); err != nil {
		return err
	}
	killpoint.Hit("shipper/attach-state-saved")
	base := at.Tx + plan.offline
	if s.isMapped() {
		base = s.base
	}
	// It is said before anybody is told that all is durable there.
	if plan.reason != "" {
		s.noteResync(plan.reason, base+p.Ticket(), plan.offline+p.Ticket())
	}
	if plan.takeover != "" {
		s.noticeTimeline(at.Timeline, plan.at, plan.takeover)
	}
	s.noteChanged(plan.changed)
	switch {
	case len(plan.damage) > 0:
		s.noteDamage(plan.damage, at)
	case len(s.damage) > 0:
		s.tellDamage(at)
	}
	s.publish(at, base)
	if plan.captured {
		s.encoded = -plan.offline
		s.src.Release(s.encoded)
		return nil
	}
	if err := s.catchUp(ctx, plan, p); err != nil {
		if fatal(err) || ctx.Err() != nil {
			return err
		}
		s.closePinned(p) // a source has one pinned state at a time
		return s.resync(ctx, err)
	}
	s.caughtUp(p)
	return nil
}

func (s *Shipper) catchUp(ctx context.Context, plan *plan, p *pinned) error {
	t := transaction{number: s.base + p.Ticket(), span: plan.offline + p.Ticket(), time: s.timeOf(p)}
	switch {
	case plan.log != nil:
		t.number, t.span = plan.at.Tx+1, 1
		return s.shipRange(plan.log, t, func() error { return s.closeFull(ctx) })
	case t.span == 0:
		return nil
	}
	return s.shipDiff(ctx, p, t, nil)
}

// caughtUp says that all of p is encoded.
func (s *Shipper) caughtUp(p *pinned) {
	killpoint.Hit("shipper/caught-up")
	s.encoded = p.Ticket()
	s.src.Release(s.encoded)
	s.mu.Lock()
	if s.batch == nil {
		s.closed = max(s.closed, s.encoded)
	}
	s.mu.Unlock()
}
