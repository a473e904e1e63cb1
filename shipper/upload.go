package shipper

import (
	"context"
	"errors"
	"fmt"

	"seawal/internal/killpoint"
	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// # The fence
//
// A segment is created only if nothing has its name, and its name is its first transaction. That keeps two
// writers from ever writing side by side on a timeline, however alike they are (a clone of a running machine has our state
// folder, our writer id and our memory) and wherever they cut their segments:
//
// The log of a timeline is a chain: each segment begins right behind the end of the one in front, the first
// one right behind the start of the timeline. A writer holds a position in the chain: the start, or the end of a
// segment that it found when it attached, or that it created, or that it found in place of its own, equal to the
// byte or in its transactions. From position p it creates the segment named p+1, and nothing else, and no other one before that is
// there (upload: one after the other; after one that did not land, none).
//
//   - When it succeeds, no segment p+1 was there. But each segment of a chain except the last is followed by the one that
//     begins behind it. So the one that ends in p was the last (or the chain was empty, and p its start), and the
//     chain is longer by one. Its writer's database was at p what the chain says, and nobody else can succeed from p any more.
//   - When the name is taken, by what we were about to write, that is our own lost acknowledgement, or a clone of
//     ours that shipped the same transactions, from the same memory: it has done our work. When it is taken by the
//     same transactions, or the first few of them, in a segment that was cut in another way, that is what an earlier process of ours sent, or such
//     a clone again (overtaken). p moves to the segment's end, which is in the chain.
//   - When it is taken by a close, somebody took the timeline over: the chain has ended in p, and we are fenced (takeover.go).
//   - When it is taken by anything else, another writer was here, and we are fenced, having written nothing.
//
// A takeover goes through the same name. Who opens the next timeline creates p+1 first, as a close, so that either we have shipped p+1
// by then, and it moves its p; or our next create meets the close. Nothing is confirmed on a timeline that was taken over.
//
// So where two writers part, the first segments of theirs that differ begin behind the same p and have one name: whatever
// they hold, one of them is created. A writer at 8 while another one has written 5 to 9 can't be: it would have to have
// created, or found equal, one that ends with 7, and the chain has none. Whoever attaches by a list that
// is out of date has an old p, and collides.
//
// It rests on Create being exclusive, and on segments staying: p+1 has to be taken as long as somebody may be at p. What it
// doesn't cover is the start of a timeline that begins with a snapshot, that of a new replica for one: clones made before it is
// complete may each ship one, under numbers of their own. (For takeovers lookForClose covers it.)

// lookEvery is after how many segments the uploader looks for a newer timeline: after the first one, and then at one
// request for 64, which is 2 % more. It is a second line: an earlier version, or a taker that can't read where our timeline ends,
// doesn't close it.
const lookEvery = 64

// upload is the uploader goroutine: one segment after the other, in order. It
// ends when uploads is closed. After the first fatal error, or once ctx has
// ended, it only takes what comes.
func (s *Shipper) upload(ctx context.Context) {
	sinceLook := lookEvery
	var broken error // a segment that did not land: what follows it would lie behind a gap
	for b := range s.uploads {
		err := broken
		if err == nil {
			err = s.failed()
		}
		if err == nil {
			err = s.uploadBatch(ctx, b)
		}
		broken = err
		if sinceLook++; err == nil && sinceLook > lookEvery {
			switch err = s.lookForTakeover(ctx); {
			case err == nil:
				sinceLook = 0
			case !errors.Is(err, ErrFenced) && ctx.Err() == nil:
				s.noteError(err) // looks again after the next segment
				err = nil
			}
		}
		s.landed(b, err)
		if err != nil && fatal(err) {
			s.fail(err)
		}
		s.poke()
		select {
		case s.uploaded <- struct{}{}:
		default:
		}
	}
}

// landed is the end of a batch: durable when err is nil.
func (s *Shipper) landed(b *batch, err error) {
	if err == nil && b.save {
		s.commitState(b)
		killpoint.Hit("shipper/state-committed")
	}
	if err == nil {
		s.awaitNoted()
		s.noteConfirmed(replica.Pos{Timeline: s.timeline, Tx: b.last}, b.info.After)
		s.noteSuccess()
		s.releaseBatch(b)
	} else {
		s.freeBatch(b) // and stays in pending: it is what was not shipped
	}
	s.mu.Lock()
	s.flying--
	if err == nil {
		s.durable, s.goneErr = b.last, nil
		s.countedLocked(b.last, 0)
		s.stat.segments++
		s.stat.segBytes += uint64(b.info.Size)
		s.broadcastLocked()
		killpoint.Hit("shipper/durable-moved")
	}
	s.mu.Unlock()
	if err == nil {
		s.forget(b.last)
	}
	s.Tell()
}

// forget says that the replica has a transaction: a difference begins behind it.
func (s *Shipper) forget(tx uint64) {
	if ticket := int64(tx - s.base); ticket > 0 {
		s.src.Forget(uint64(ticket))
	}
}

// uploadBatch creates the object of a batch. It returns when that is done, when
// another writer's object has the name (ErrFenced), or when ctx ends.
func (s *Shipper) uploadBatch(ctx context.Context, b *batch) error {
	for {
		if err := s.awaitThere(ctx); err != nil {
			return err
		}
		name, done := segment.LogName(s.timeline, b.first), true
		s.noteSent(sent{replica.Pos{Timeline: s.timeline, Tx: b.last}, b.info.Checksum})
		killpoint.Hit("shipper/segment-before")
		err := s.store.Create(ctx, name, b.out.body)
		killpoint.Hit("shipper/segment-stored")
		if errors.Is(err, store.ErrExist) {
			done, err = s.taken(ctx, name, b)
			killpoint.Hit("shipper/segment-read-back")
		}
		if err == nil && !done {
			continue
		}
		if err == nil || errors.Is(err, ErrFenced) || ctx.Err() != nil {
			return err
		}
		s.noteError(err)
		if err := s.pause(ctx, s.cfg.RetryWait); err != nil {
			return err
		}
	}
}

// taken decides about a batch whose name was taken: done when it is what we were about to write, or as good as that. Otherwise
// b is shorter now, or the error is ErrFenced.
func (s *Shipper) taken(ctx context.Context, name string, b *batch) (done bool, err error) {
	err = s.ours(ctx, name, b.info)
	var f *foreignError
	if !errors.As(err, &f) || f.got != f.own {
		return err == nil, err
	}
	o, err := s.store.Stat(ctx, name)
	if err == nil {
		done, err = s.overtaken(ctx, o, b)
	}
	if err != nil && !errors.Is(err, ErrFenced) {
		err = fmt.Errorf("read back %s: %w", name, err)
	}
	return done, err
}

// ours reads back an object whose name was taken: nil when it is what we were about
// to write, else ErrFenced. Our writer id in it isn't enough: a clone of ours has it too.
func (s *Shipper) ours(ctx context.Context, name string, want segment.Info) error {
	o, err := s.store.Stat(ctx, name)
	if err != nil {
		return fmt.Errorf("read back %s: %w", name, err)
	}
	_, got, err := replica.Inspect(ctx, s.store, o)
	var closed *replica.ClosedError
	if errors.As(err, &closed) {
		if closed.Writer == s.writer {
			err = fmt.Errorf("%w: a clone of this machine, or an earlier process of it; open the database again to go on", err)
		}
		return fmt.Errorf("%w: %w", ErrFenced, err)
	}
	if err != nil {
		return fmt.Errorf("read back %s: %w", name, err)
	}
	if got.Writer != want.Writer || got.Checksum != want.Checksum {
		return &foreignError{object: name, got: got.Writer, own: want.Writer}
	}
	return nil
}

// foreignError says that an object isn't the one we were to write. It is ErrFenced.
type foreignError struct {
	object   string
	got, own segment.ID // writers
}

func (e *foreignError) Error() string {
	if e.got == e.own {
		return fmt.Sprintf("%v: %s has other transactions than were to be shipped from here, under the id of this writer: a clone of this machine ships too; "+
			"end one of the two, and open the database again to go on", ErrFenced, e.object)
	}
	return fmt.Sprintf("%v: %s was written by %v, this is %v", ErrFenced, e.object, e.got, e.own)
}

func (e *foreignError) Unwrap() error { return ErrFenced }

// lookForTakeover finds a writer that opened the next timeline.
func (s *Shipper) lookForTakeover(ctx context.Context) error {
	next := segment.TimelineName(s.timeline + 1)
	switch _, err := s.store.Stat(ctx, next); {
	case err == nil:
		return fmt.Errorf("%w: %s exists", ErrFenced, next)
	case !errors.Is(err, store.ErrNotExist):
		return fmt.Errorf("look for a newer timeline: %w", err)
	}
	return nil
}
