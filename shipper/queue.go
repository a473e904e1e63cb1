package shipper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"seawal/internal/killpoint"
	"seawal/internal/replica"
)

const (
	// quietTicks is after how many looks without a commit the drain goroutine
	// sleeps until it is woken. Being woken costs the writer more than being looked at.
	quietTicks = 20

	// takeAtOnce is how many commits are taken before the cadence is looked at.
	takeAtOnce = 512
)

// drain takes the commits in order, encodes them and closes batches, until the
// Shipper is closed and all is shipped. Any error it returns ends shipping.
func (s *Shipper) drain(ctx context.Context) error {
	s.setMode(ModeShipping)
	timer := time.NewTimer(s.cfg.Tick)
	defer timer.Stop()
	looks, endLooks := context.WithCancel(ctx)
	defer func() { endLooks(); s.lookers.Wait() }()
	quiet := 0
	for {
		if err := s.failed(); err != nil {
			return err
		}
		if err := s.isEnding(); err != nil {
			return s.shipLast(ctx, err)
		}
		closing := s.isClosing() // before what is taken: the last commit comes before Close
		n, err := s.take(ctx)
		if err == nil && s.due() {
			s.nextDue = time.Now().Add(s.cfg.Interval)
			err = s.closeBatch(ctx)
		}
		if err == nil {
			err = s.mayLook(looks)
		}
		switch {
		case errors.Is(err, ErrReplaced):
			return s.shipLast(ctx, err)
		case err != nil && (ctx.Err() != nil || fatal(err)):
			return err
		case err != nil:
			if err := s.resync(ctx, err); err != nil {
				return err
			}
			continue
		case n == takeAtOnce:
			if !closing {
				s.scrubSome(ctx)
			}
			continue
		case n > 0:
			quiet = 0
		case closing && s.batch == nil && s.landedAll():
			return nil
		default:
			quiet++
		}
		if !closing {
			s.scrubSome(ctx)
		}
		if err := s.wait(ctx, timer, quiet); err != nil {
			return err
		}
	}
}

// shipLast ships what was captured while the file was there, and returns why no more can be. (A commit that can't be, since
// it has to be read from the file, fails before anything of it is in the batch.)
func (s *Shipper) shipLast(ctx context.Context, cause error) error {
	s.noteError(cause)
	last, _ := s.src.Last()
	var err error
	for n := 1; n > 0 && err == nil && s.encoded < last; {
		if n, err = s.take(ctx); err == nil && s.full() {
			err = s.closeBatch(ctx)
		}
	}
	if err != nil && !errors.Is(err, ErrReplaced) {
		return errors.Join(cause, err)
	}
	if s.batch != nil && s.batch.last != 0 {
		if err := s.closeBatch(ctx); err != nil {
			return errors.Join(cause, err)
		}
	}
	if err := s.waitLanded(ctx); err != nil {
		return err
	}
	return cause
}

// take encodes commits until there are none, the batch is full or it is time to
// look at the cadence. It returns how many it took.
func (s *Shipper) take(ctx context.Context) (n int, err error) {
	for n < takeAtOnce && !s.full() {
		c, ok := s.src.Next()
		if !ok {
			s.caughtUpWithWriters()
			break
		}
		n++
		s.inHand = c.Ticket
		if err := s.commit(ctx, &c); err != nil {
			return n, err
		}
	}
	return n, nil
}

// due says that the open batch closes now. Whatever the reason, a batch that
// nobody could take stays open and collects.
func (s *Shipper) due() bool {
	if s.batch == nil || s.batch.last == 0 || len(s.uploads) > 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setPendingLocked(s.batch, s.batch.enc.Size())
	switch {
	case s.full():
		return true
	case s.closing:
		return true
	case s.urgent > s.closed:
		return s.flying == 0 // group commit
	}
	return !time.Now().Before(s.nextDue)
}

// untilDue is how long it is until the open batch closes by the cadence; negative: it is another event that closes it, such as the end of
// the upload that a batch somebody waits for is held back for. Asking again at once would only burn a processor, for as long as an outage lasts.
func (s *Shipper) untilDue() time.Duration {
	if s.batch == nil || s.batch.last == 0 || len(s.uploads) > 0 {
		return -1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.urgent > s.closed && s.flying > 0 {
		return -1
	}
	return max(0, time.Until(s.nextDue))
}

func (s *Shipper) landedAll() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flying == 0
}

// wait sleeps until there may be something to do: without a timer when all is
// shipped and nothing was committed for a while.
func (s *Shipper) wait(ctx context.Context, timer *time.Timer, quiet int) error {
	sleep := s.cfg.Tick
	switch {
	case s.full():
		sleep = -1 // no room: the uploader will say when
	case s.isClosing() && s.batch == nil && !s.landedAll():
		sleep = -1 // likewise
	case quiet > quietTicks:
		if !s.src.Idle() {
			return nil
		}
		if sleep = s.untilDue(); sleep < 0 {
			sleep = s.untilLook()
			if scrub := s.untilScrub(); s.batch == nil && scrub >= 0 && (sleep < 0 || scrub < sleep) {
				sleep = scrub
			}
		}
	}
	var tick <-chan time.Time
	if sleep >= 0 {
		timer.Reset(sleep)
		tick = timer.C
	}
	select {
	case <-tick:
	case <-s.src.Wake():
	case <-s.kick:
	case <-s.uploaded:
	case l := <-s.looked:
		s.looked <- l // mayLook takes it
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// commit encodes one captured commit and releases it.
func (s *Shipper) commit(ctx context.Context, c *Commit) error {
	if c.Ticket <= s.encoded {
		s.src.Release(c.Ticket) // it is in a difference that was shipped
		return nil
	}
	t := transaction{
		number: s.base + c.Ticket, span: c.Ticket - s.encoded,
		time: c.Time, pageCount: c.PageCount, place: c.To,
	}
	var err error
	switch {
	case t.span > c.Count:
		err = s.gapOf(ctx, "captured commits were lost", true)
	case c.Kind != CommitGap && (c.PageSize != s.pageSize || c.resizes()):
		err = s.gap(ctx, "pages of another size were written") // and of the old one again since, or the gap ends the timeline
	case c.Kind == CommitFrames:
		err = s.encodeFrames(c, t)
	case c.Kind == CommitRange:
		err = s.rangeCommit(ctx, c, t)
	default:
		err = s.gap(ctx, "the log was restarted before it was read")
	}
	if err != nil {
		return err
	}
	killpoint.Hit("shipper/commit-encoded")
	s.encoded = max(s.encoded, c.Ticket)
	s.judgeSight()
	s.src.Release(s.encoded)
	killpoint.Hit("shipper/commit-released")
	return nil
}

// rangeCommit reads commits back from the log: one by one when the log shows as
// many as were counted, else as one transaction.
func (s *Shipper) rangeCommit(ctx context.Context, c *Commit, t transaction) error {
	killpoint.Hit("shipper/range-before")
	r, err := s.rangePatiently(ctx, c)
	if errors.Is(err, errMoved) {
		return s.gap(ctx, err.Error())
	}
	if err != nil {
		return err
	}
	defer r.close()
	if c.Count > t.span && uint64(len(r.commits)) == c.Count {
		if err := r.skip(int(c.Count - t.span)); err != nil {
			return s.gap(ctx, err.Error())
		}
	}
	if uint64(len(r.commits)) == t.span {
		t.number, t.span = t.number-t.span+1, 1
	} else {
		r.merge()
	}
	return s.shipRange(r, t, func() error { return s.closeFull(ctx) })
}

// rangePatiently opens the range of a commit, again and again while the log can't be read (no descriptor is left, for
// one): until the range is released, it stays.
func (s *Shipper) rangePatiently(ctx context.Context, c *Commit) (*logRange, error) {
	for {
		r, err := openRange(s.src, c.From, c.To.Frame)
		if err == nil || errors.Is(err, errMoved) || ctx.Err() != nil {
			return r, err
		}
		s.noteError(err)
		if err := s.pause(ctx, s.cfg.RetryWait); err != nil {
			return nil, err
		}
	}
}

// closeFull closes the open batch when it is full.
func (s *Shipper) closeFull(ctx context.Context) error {
	if !s.full() {
		return nil
	}
	s.nextDue = time.Now().Add(s.cfg.Interval)
	return s.closeBatch(ctx)
}

// gap ships the difference between the table and the newest state in place of
// commits that are known only by their outcome. The commit in hand is in that: it is released before anything is
// waited for, since a source with several replicas has to keep what one of them has in hand, and all that comes behind it.
func (s *Shipper) gap(ctx context.Context, reason string) error { return s.gapOf(ctx, reason, false) }

// gapOf is gap; lost says that commits are missing of which the source knows nothing.
func (s *Shipper) gapOf(ctx context.Context, reason string, lost bool) error {
	s.src.Release(s.inHand)
	p, err := s.pinPatiently(ctx)
	if err != nil {
		return err
	}
	defer s.closePinned(p)
	if p.PageSize() != s.pageSize {
		s.closePinned(p) // not while there are uploads to wait for
		return s.turn(ctx)
	}
	if p.Ticket() <= s.encoded {
		return fmt.Errorf("difference: the database is at commit %d, commit %d is encoded", p.Ticket(), s.encoded)
	}
	t := transaction{number: s.base + p.Ticket(), span: p.Ticket() - s.encoded, time: s.timeOf(p)}
	s.noteResync(reason, t.number, t.span)
	may := s.written(s.encoded)
	if lost {
		may = nil // there is more that nobody saw, perhaps
	}
	if err := s.shipDiff(ctx, p, t, may); err != nil {
		return err
	}
	killpoint.Hit("shipper/gap-encoded")
	s.encoded = p.Ticket()
	return nil
}

// timeOf is the commit time of a pinned state, unix nanoseconds: of its last commit if that was
// captured, else when the Shipper started, so that nothing captured later is earlier.
func (s *Shipper) timeOf(p *pinned) int64 {
	if p.Ticket() == 0 {
		return s.began
	}
	return p.Time()
}

// resync starts over after an error that broke the open batch, whose commits are
// released already, or are here (see gap): from what the replica has, with the difference. It returns
// an error only when shipping has to end.
func (s *Shipper) resync(ctx context.Context, cause error) error {
	s.src.Release(s.inHand)
	again := !s.resynced.IsZero() && time.Since(s.resynced) < s.cfg.RetryWait
	for {
		s.noteError(cause)
		s.dropBatch()
		if again {
			// What broke the batch broke the one of the last time too, at its end.
			again = false
			if err := s.pause(ctx, s.cfg.RetryWait); err != nil {
				return err
			}
		}
		if err := s.waitLanded(ctx); err != nil {
			return err
		}
		err := s.resyncOnce(ctx, cause)
		s.resynced = time.Now()
		if err == nil || ctx.Err() != nil || fatal(err) {
			return err
		}
		cause = err
		if err := s.pause(ctx, s.cfg.RetryWait); err != nil {
			return err
		}
	}
}

// waitLanded waits until no segment is under way.
func (s *Shipper) waitLanded(ctx context.Context) error {
	for !s.landedAll() {
		if err := s.failed(); err != nil {
			return err
		}
		select {
		case <-s.uploaded:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.failed()
}

func (s *Shipper) resyncOnce(ctx context.Context, cause error) error {
	durable := s.Durable()
	isKnown := false // the table is that of durable
	if !s.unbegun {
		table, err := replica.SoundTableAt(ctx, s.store, durable, nil, replica.Pos{})
		if replica.IsDamage(err) {
			table, err = s.healLive(ctx, err)
			durable = s.Durable()
		}
		if err != nil {
			return err
		}
		if table != nil {
			isKnown = true
			s.setTable(table)
			s.encoded = durable.Tx - s.base
		}
	}
	p, err := s.pin(ctx)
	if err != nil {
		return err
	}
	defer s.closePinned(p)
	if s.unbegun || p.PageSize() != s.pageSize {
		return s.beginResized(ctx, p)
	}
	number := s.base + p.Ticket()
	s.noteResync(cause.Error(), number, number-durable.Tx)
	if number == durable.Tx {
		return nil
	}
	t := transaction{number: number, span: number - durable.Tx, time: s.timeOf(p)}
	var may *PageSet
	if isKnown {
		may = s.written(durable.Tx - s.base)
	}
	if err := s.shipDiff(ctx, p, t, may); err != nil {
		return err
	}
	killpoint.Hit("shipper/resync-encoded")
	s.encoded = p.Ticket()
	s.src.Release(s.encoded)
	return nil
}
