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

// fenceEvery is after how many segments the uploader looks for another writer
// whose segments don't collide with ours by name: after the first one, and then
// two requests for 64, which is 3 % more.
const fenceEvery = 64

// upload is the uploader goroutine: one segment after the other, in order. It
// ends when uploads is closed. After the first fatal error, or once ctx has
// ended, it only takes what comes.
func (s *Shipper) upload(ctx context.Context) {
	sinceCheck := fenceEvery
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
		if sinceCheck++; err == nil && sinceCheck > fenceEvery {
			switch err = s.lookForOthers(ctx, b); {
			case err == nil:
				sinceCheck = 0
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
		s.noteSuccess()
		s.releaseBatch(b)
	} else {
		s.freeBatch(b) // and stays in pending: it is what was not shipped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flying--
	if err != nil {
		return
	}
	s.durable = b.last
	s.stat.segments++
	s.stat.segBytes += uint64(b.info.Size)
	s.broadcastLocked()
	killpoint.Hit("shipper/durable-moved")
}

// uploadBatch creates the object of a batch. It returns when that is done, when
// another writer's object has the name (ErrFenced), or when ctx ends.
func (s *Shipper) uploadBatch(ctx context.Context, b *batch) error {
	name := segment.LogName(s.timeline, b.first, b.last)
	for {
		killpoint.Hit("shipper/segment-before")
		err := s.store.Create(ctx, name, b.out.body)
		killpoint.Hit("shipper/segment-stored")
		if errors.Is(err, store.ErrExist) {
			err = s.ours(ctx, name, b.info)
			killpoint.Hit("shipper/segment-read-back")
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

// ours reads back an object whose name was taken: nil when it is what we were about
// to write, so that an acknowledgement was lost, else ErrFenced.
func (s *Shipper) ours(ctx context.Context, name string, want segment.Info) error {
	o, err := s.store.Stat(ctx, name)
	if err != nil {
		return fmt.Errorf("read back %s: %w", name, err)
	}
	_, got, err := replica.Inspect(ctx, s.store, o)
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
	return fmt.Sprintf("%v: %s was written by %v, this is %v", ErrFenced, e.object, e.got, e.own)
}

func (e *foreignError) Unwrap() error { return ErrFenced }

// lookForOthers finds a writer that opened the next timeline, and one that writes
// the same timeline in other pieces, just after we shipped b.
func (s *Shipper) lookForOthers(ctx context.Context, b *batch) error {
	next := segment.TimelineName(s.timeline + 1)
	switch _, err := s.store.Stat(ctx, next); {
	case err == nil:
		return fmt.Errorf("%w: %s exists", ErrFenced, next)
	case !errors.Is(err, store.ErrNotExist):
		return fmt.Errorf("look for a newer timeline: %w", err)
	}
	own := segment.LogName(s.timeline, b.first, b.last)
	// Names that begin with our first transaction are greater than it alone.
	start := segment.LogPrefix(s.timeline) + fmt.Sprintf("%016x", b.first)
	for o, err := range s.store.List(ctx, segment.LogPrefix(s.timeline), start) {
		if err != nil {
			return fmt.Errorf("look for another writer: %w", err)
		}
		if _, err := segment.ParseName(o.Name); err == nil && o.Name != own {
			return fmt.Errorf("%w: %s is not from here", ErrFenced, o.Name)
		}
	}
	return nil
}
