package shipper

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"seawal/internal/fsops"
	"seawal/internal/replica"
)

// One process ships a database; every other one that has it open with seawal is a stand-by. It captures what it commits and
// lets go of it, since the first one finds it in the log; it holds the log back as if it had yet to attach, so that no
// restart of its own takes from the first one, or from itself, what nobody has read. When the lock of the state folder
// gets free (the kernel frees it when a process dies), it attaches like any start: the state folder, and with it the writer id,
// are shared, and the log shows what the replica lacks, transaction by transaction.
//
// What the one knows and the others ask for is in a file of the state folder: how far it has captured, in terms that every
// process can compare (Mark), which transaction that is, and which one is durable. Numbers of transactions that are
// not durable are good for one life of the process that ships, an epoch: the next one may count otherwise. So a
// stand-by that waits for one when the epoch ends waits for everything instead.
//
// A stand-by that wants something shipped at once writes to a file that the other one hears of: wake.go.

const (
	positionFile = "position" // in the state folder; the next process goes by it, too
	wakeFile     = "wake"     // likewise: what stand-bys want
	standbyFile  = "standby"  // likewise: every stand-by has a shared lock on it

	// standbyTurn is how often a stand-by tries to take the lock.
	standbyTurn = 500 * time.Millisecond

	// standbyLook is how often one that waits reads the position file.
	standbyLook = 5 * time.Millisecond
)

// Mark is a state of the database in terms that every process which has it open shares.
type Mark struct {
	Rollback bool      // a rollback journal mode: Counter counts; else the log's place
	Salt     [2]uint32 // generation of the log
	Frame    uint32    // last one committed
	Counter  uint32    // change counter of the file
}

// covers says that m is o or later; false also when the two can't be compared, since the log or the mode is another.
func (m Mark) covers(o Mark) bool {
	if m.Rollback || o.Rollback {
		return m.Rollback == o.Rollback && int32(m.Counter-o.Counter) >= 0
	}
	return m.Salt == o.Salt && m.Frame >= o.Frame
}

// Sharer is a Source of a database that several processes may have open. One that isn't is shipped by the process
// that has the lock, and others only wait for it.
type Sharer interface {
	// PassOn lets go of every captured commit: another process ships it. The log stays held back; how far, depends on read: the
	// other one has made durable what had been committed here by the last call. full says that writers wait for that.
	PassOn(read bool) (full bool)

	// TakeOn says that this process ships now: the log is held back until it has attached.
	TakeOn()

	// Mark looks for commits of other processes, and returns the newest captured state with its ticket.
	Mark() (Mark, uint64)
}

// errStandby says that this process doesn't ship; errTurn that what was asked of the one that does is void: it has changed.
var (
	errStandby = errors.New("another process ships the database")
	errTurn    = errors.New("the process that ships the database has changed")
)

// position is what the process that ships tells the others.
type position struct {
	epoch    uint64 // of its life
	timeline uint32
	mark     Mark   // captured
	captured uint64 // transaction of mark
	durable  uint64 // transaction
}

// positionSize is the size of the record at its start:
//
//	offset  size
//	     0     8   magic
//	     8     8   epoch
//	    16     8   captured
//	    24     8   durable
//	    32     4   timeline
//	    36     4   1 in a rollback journal mode
//	    40     8   salts
//	    48     4   frame
//	    52     4   change counter
//	    56     4   CRC-32 of all before
//
// All numbers are little-endian. What sent.go writes comes after it. It is overwritten in place, and read by others meanwhile: a checksum tells.
const (
	positionSize  = 60
	positionMagic = "seawal p"
)

func (p *position) encode() []byte {
	b := append(make([]byte, 0, positionSize), positionMagic...)
	le := binary.LittleEndian
	for _, v := range []uint64{p.epoch, p.captured, p.durable} {
		b = le.AppendUint64(b, v)
	}
	rollback := uint32(0)
	if p.mark.Rollback {
		rollback = 1
	}
	for _, v := range []uint32{p.timeline, rollback, p.mark.Salt[0], p.mark.Salt[1], p.mark.Frame, p.mark.Counter} {
		b = le.AppendUint32(b, v)
	}
	return le.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func decodePosition(b []byte) (p position, ok bool) {
	le := binary.LittleEndian
	if len(b) < positionSize || string(b[:8]) != positionMagic || le.Uint32(b[56:]) != crc32.ChecksumIEEE(b[:56]) {
		return p, false
	}
	p = position{epoch: le.Uint64(b[8:]), captured: le.Uint64(b[16:]), durable: le.Uint64(b[24:]), timeline: le.Uint32(b[32:])}
	p.mark = Mark{Rollback: le.Uint32(b[36:]) != 0, Salt: [2]uint32{le.Uint32(b[40:]), le.Uint32(b[44:])}, Frame: le.Uint32(b[48:]), Counter: le.Uint32(b[52:])}
	return p, true
}

func (s *Shipper) statePath(name string) string { return filepath.Join(s.cfg.StateDir, name) }

// readPosition is what the process that ships has told last.
func (s *Shipper) readPosition() (position, bool) { return readPosition(s.cfg.StateDir) }

func readPosition(dir string) (position, bool) {
	b, err := os.ReadFile(filepath.Join(dir, positionFile))
	if err != nil {
		return position{}, false
	}
	return decodePosition(b)
}

// telling is what Tell keeps. Tell's own mutex comes before Shipper.mu.
type telling struct {
	epoch uint64
	file  *os.File
	last  position
	sent  int // place of the next record of noteSent

	lastSent  sent          // by this process
	synced    chan struct{} // closed when what noteSent wrote last is on the disk, and all before; nil: nothing was written
	confirmed int           // place of the next record of noteConfirmed, modulo 2
}

// Tell writes down, for stand-bys and for the next process, how far this one is, if that has changed. It does nothing unless this process ships.
func (s *Shipper) Tell() {
	s.tellMu.Lock()
	defer s.tellMu.Unlock()
	if s.telling == nil {
		return
	}
	var mark Mark
	ticket, _ := s.src.Last()
	if s.sharer != nil {
		mark, ticket = s.sharer.Mark()
	}
	s.mu.Lock()
	p := position{epoch: s.telling.epoch, timeline: s.timeline, mark: mark, captured: s.base + ticket, durable: s.durable}
	told := !s.mapped || s.failure != nil || p == s.telling.last
	s.mu.Unlock()
	if told {
		return
	}
	if _, err := s.telling.file.WriteAt(p.encode(), 0); err != nil {
		s.log.Warn("telling other processes how far shipping is", "err", err)
		return
	}
	s.telling.last = p
}

// beginTelling begins the epoch of this process, which has the lock.
func (s *Shipper) beginTelling() error {
	f, err := openStateFile(s.statePath(positionFile), os.O_CREATE|os.O_WRONLY)
	if err != nil {
		return fmt.Errorf("open the position file: %w", err)
	}
	if err := syncDir(s.cfg.StateDir); err != nil {
		return errors.Join(err, f.Close())
	}
	s.tellMu.Lock()
	s.telling = &telling{epoch: rand.Uint64(), file: f, sent: nextSent(s.cfg.StateDir), confirmed: nextConfirmed(s.cfg.StateDir)}
	s.tellMu.Unlock()
	if s.sharer != nil {
		s.hearWakes()
	}
	return nil
}

func (s *Shipper) endTelling() {
	s.tellMu.Lock()
	t := s.telling
	s.telling = nil
	s.tellMu.Unlock()
	if t != nil {
		s.stopHearing()
		if t.synced != nil {
			<-t.synced
		}
		if err := errors.Join(fsops.Sync(t.file), t.file.Close()); err != nil {
			s.log.Warn("closing the position file", "err", err)
		}
	}
}

// woken is a stand-by's wish that has arrived.
func (s *Shipper) woken(ship bool) {
	s.Tell() // which captures what the stand-by has committed
	if !ship {
		return
	}
	ticket, _ := s.src.Last()
	s.mu.Lock()
	s.urgent = max(s.urgent, ticket)
	s.mu.Unlock()
	s.poke()
}

// standBy waits until this process has the lock of the state folder. Closed, it waits until the other one has shipped what
// was committed here.
func (s *Shipper) standBy(ctx context.Context) error {
	s.setStandby(true)
	defer s.setStandby(false)
	var shown *lock
	defer func() {
		if shown != nil {
			shown.release()
		}
	}()
	var h handover
	var closing bool
	for {
		if err := s.isEnding(); err != nil {
			return err
		}
		if shown == nil {
			shown, _ = showStandby(s.statePath(standbyFile)) // again next time: whoever tries whether there are any is in the way for a moment
		}
		if !closing && s.isClosing() {
			closing, h = true, handover{} // the last commit comes before Close
		}
		done := s.passOn(&h, closing)
		if closing && done {
			return errNothingToDo
		}
		if err := s.pauseOrKick(ctx, standbyTurn); err != nil {
			return err
		}
		if err := s.openFolder(); !errors.Is(err, ErrLocked) {
			if s.sharer != nil {
				s.sharer.TakeOn()
			}
			return nil // attaching says what else is wrong
		}
	}
}

// handover follows what the process that ships says of what is committed here.
type handover struct {
	told position // what it had captured when that was all; zero: it has yet to say so
}

// passOn lets go of what is captured here, and says whether the process that ships has all of it in the replica, or there was nothing.
func (s *Shipper) passOn(h *handover, closing bool) (done bool) {
	if s.sharer == nil {
		s.letGo()
		ticket, _ := s.src.Last()
		return ticket == 0
	}
	done = s.isHandedOver(h)
	full := s.sharer.PassOn(done)
	if ticket, _ := s.src.Last(); closing && (done || ticket == 0) {
		s.mu.Lock()
		s.handed = true
		s.mu.Unlock()
		return true
	}
	if full || closing {
		s.sendWake(wishShip)
	}
	return done
}

// isHandedOver says whether everything that was captured here when h was begun, or when it last said yes, is durable.
func (s *Shipper) isHandedOver(h *handover) bool {
	p, ok := s.readPosition()
	if !ok {
		return false
	}
	before := h.told
	if before.epoch == p.epoch && p.durable < before.captured {
		return false // others go on committing, and what is captured by now will be later still
	}
	h.told = position{}
	if mark, _ := s.sharer.Mark(); p.mark.covers(mark) {
		h.told = p
		return before.epoch == p.epoch || p.durable >= p.captured
	}
	return before.epoch == p.epoch
}

func (s *Shipper) setStandby(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.standby == on {
		return
	}
	s.standby = on
	s.stat.err = nil
	s.stat.mode = ModeAttaching
	if on {
		s.stat.mode = ModeStandby
		s.log.Info("another process ships this database: standing by")
	} else {
		s.endEpochLocked()
		s.log.Info("this process ships the database now")
	}
	s.broadcastLocked()
}

// given is what a stand-by has told its application. Numbers of an epoch that is over mean nothing.
type given struct {
	epoch uint64
	last  replica.Pos // of this epoch
	stale replica.Pos // of all earlier ones
}

func (s *Shipper) endEpochLocked() {
	if s.given.last.Compare(s.given.stale) > 0 {
		s.given.stale = s.given.last
	}
	s.given.epoch, s.given.last = 0, replica.Pos{}
}

func (s *Shipper) isStale(pos replica.Pos) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.given.stale.IsZero() && pos.Compare(s.given.stale) <= 0
}

// told is what the process that ships has told; nil when this is no stand-by. What was committed here a moment ago it
// may not have seen yet.
func (s *Shipper) told() *position {
	if !s.isStandby() {
		return nil
	}
	p, ok := s.readPosition()
	if !ok {
		return nil
	}
	return &p
}

// ask reads the position file until answer is content with it, or this process ships itself (errTurn).
func (s *Shipper) ask(ctx context.Context, answer func(position) (done bool, err error)) error {
	t := time.NewTicker(standbyLook)
	defer t.Stop()
	for {
		s.mu.Lock()
		standby, ended, failure := s.standby, s.ended, s.failure
		s.mu.Unlock()
		switch {
		case failure != nil:
			return failure
		case ended:
			return ErrClosed
		case !standby:
			return errTurn
		}
		if p, ok := s.readPosition(); ok {
			if done, err := answer(p); done || err != nil {
				return err
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return fmt.Errorf("committed locally, replication unknown: %w", ctx.Err())
		}
	}
}

// askPosition is Position in a stand-by.
func (s *Shipper) askPosition(ctx context.Context, wake wish) (pos replica.Pos, epoch uint64, err error) {
	mark, _ := s.sharer.Mark()
	s.sendWake(wake)
	err = s.ask(ctx, func(p position) (bool, error) {
		if !p.mark.covers(mark) {
			// A log that was started again since has everything that was in this one behind it.
			if now, _ := s.sharer.Mark(); now.Rollback != mark.Rollback || now.Salt != mark.Salt {
				mark = now
			}
			return false, nil
		}
		pos, epoch = replica.Pos{Timeline: p.timeline, Tx: p.captured}, p.epoch
		return true, nil
	})
	if err != nil {
		return pos, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.given.epoch != epoch {
		s.endEpochLocked()
		s.given.epoch = epoch
	}
	if pos.Compare(s.given.last) > 0 {
		s.given.last = pos
	}
	return pos, epoch, nil
}

// askDurable waits until pos is durable, in an epoch; 0 stands for the present one. errTurn: that one is over.
func (s *Shipper) askDurable(ctx context.Context, pos replica.Pos, epoch uint64) error {
	told := epoch != 0 // then its timelines share their numbers, and a new one proves nothing of what came before
	return s.ask(ctx, func(p position) (bool, error) {
		if epoch == 0 {
			epoch = p.epoch
		}
		if p.epoch != epoch {
			s.mu.Lock()
			if s.given.epoch == epoch {
				s.endEpochLocked()
			}
			s.mu.Unlock()
			return false, errTurn
		}
		if told {
			return pos.Tx <= p.durable, nil
		}
		return pos.Compare(replica.Pos{Timeline: p.timeline, Tx: p.durable}) <= 0, nil
	})
}

// askAll waits, in a stand-by, until everything that is committed now is durable. errTurn: this process ships itself.
func (s *Shipper) askAll(ctx context.Context, now bool) error {
	wake := wishTell
	if now {
		wake = wishShip
	}
	for {
		pos, epoch, err := s.askPosition(ctx, wake)
		if err == nil {
			err = s.askDurable(ctx, pos, epoch)
		}
		if !errors.Is(err, errTurn) || !s.isStandby() {
			return err
		}
	}
}

// epochOf is the epoch that a position was told in; 0 when it wasn't told here.
func (s *Shipper) epochOf(pos replica.Pos) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pos.Compare(s.given.last) <= 0 {
		return s.given.epoch
	}
	return 0
}

func (s *Shipper) isStandby() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.standby
}

// pauseOrKick is pause that ends early when somebody pokes.
func (s *Shipper) pauseOrKick(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.kick:
	case <-ctx.Done():
		return fmt.Errorf("stand by: %w", ctx.Err())
	}
	return nil
}
