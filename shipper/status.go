package shipper

import (
	"errors"
	"fmt"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
)

// Mode says what a Shipper is doing.
type Mode string

const (
	// ModeAttaching: it compares the database with the replica, or waits until the store answers.
	ModeAttaching Mode = "attaching"
	// ModeStandby: another process ships this database, with what is committed here. This one takes over when that ends.
	ModeStandby Mode = "standby"
	// ModeEmpty: there is no replica yet, and no page in the database.
	ModeEmpty Mode = "empty"
	// ModeSnapshot: it ships the whole database.
	ModeSnapshot Mode = "snapshot"
	// ModeShipping: it follows the commits.
	ModeShipping Mode = "shipping"
	// ModeBehind: the database lost what its replica has. The next open gets it back; when it is written before
	// that, it goes on on a timeline of its own.
	ModeBehind Mode = "behind"
	// ModeStopped: it ships no more, because of Status.Err.
	ModeStopped Mode = "stopped"
)

// Status is what a Shipper knows of itself.
type Status struct {
	Attached bool // the replica has answered, and the position in it is known
	Mode     Mode
	Fenced   bool // Err is ErrFenced

	Replica  segment.ID  // zero before it is known
	Captured replica.Pos // of the last commit; zero until Attached
	Durable  replica.Pos // that the replica has; zero until Attached

	LagTx    uint64        // commits that are not durable
	LagBytes int64         // encoded bytes that are not durable
	Lag      time.Duration // age of the oldest commit known not to be durable

	Err     error     // last error; nil once something went well after it, unless shipping has stopped
	ErrTime time.Time // of Err, or of the last error that is over
	Health  Health    // all of this in a word and a sentence

	Segments      uint64 // log segments shipped
	SegmentBytes  uint64 // their size
	Snapshots     uint64 // shipped
	SnapshotBytes uint64 // their size
	Resyncs       uint64 // times that a difference was shipped in place of single transactions
	ResyncReason  string // of the last one
	ResyncPages   uint64 // pages read for them: those that may have been written since the replica's point

	Storm string // why one difference follows the other, for as long as they do; "": they don't

	Notice     string    // the last thing out of the ordinary that was found, and what was done about it; "": nothing
	NoticeTime time.Time // when

	ending error // why it ends once what is captured is shipped, which an outage puts off

	Damaged string // what is wrong with the database file: pages that no transaction wrote; "": nothing is known to be
}

// statusRecord is the part of Status that isn't computed. Guarded by Shipper.mu.
type statusRecord struct {
	mode      Mode
	err       error
	errTime   time.Time
	segments  uint64
	segBytes  uint64
	snapshots uint64
	snapBytes uint64
	resyncs   uint64
	reason    string
	diffPages uint64
	storm     string
	notice    string
	noticed   time.Time
	damaged   string
	waiting   int64 // time of a commit seen before anything could be taken, unix nanoseconds; 0: none
}

// sample remembers when the oldest of the commits was made that wait for the replica
// to answer: of those that anybody looked at, and each error looks.
func (r *statusRecord) sample(mapped bool, committed int64) {
	if mapped {
		r.waiting = 0
	} else if r.waiting == 0 {
		r.waiting = committed
	}
}

// pendingBatch is a batch as Status sees it.
type pendingBatch struct {
	batch *batch
	bytes int64
	since int64 // time of its first commit, unix nanoseconds
}

func (r *statusRecord) fail(err error) { r.err, r.errTime = err, time.Now() }

// Status never waits for the store.
func (s *Shipper) Status() Status {
	ticket, committed := s.src.Last()
	told := s.told()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.stat
	st := Status{
		Attached: s.mapped, Mode: r.mode, Fenced: errors.Is(s.failure, ErrFenced), Replica: s.id,
		Err: r.err, ErrTime: r.errTime,
		Segments: r.segments, SegmentBytes: r.segBytes, Snapshots: r.snapshots, SnapshotBytes: r.snapBytes,
		Resyncs: r.resyncs, ResyncReason: r.reason, ResyncPages: r.diffPages, Storm: r.storm, LagTx: ticket, Notice: r.notice, NoticeTime: r.noticed, Damaged: r.damaged,
	}
	if s.failure != nil {
		st.Err = s.failure
	}
	if s.mapped {
		st.Captured = s.posLocked(ticket)
		st.Durable = replica.Pos{Timeline: s.timeline, Tx: s.durable}
		st.LagTx = uint64(max(0, int64(s.base+ticket-s.durable)))
	}
	if s.standby && told != nil {
		st.Captured = replica.Pos{Timeline: told.timeline, Tx: told.captured}
		st.Durable = replica.Pos{Timeline: told.timeline, Tx: told.durable}
		st.LagTx = uint64(max(0, int64(told.captured-told.durable)))
	}
	r.sample(s.mapped || s.standby, committed)
	oldest := committed
	if r.waiting != 0 {
		oldest = r.waiting
	}
	for _, p := range s.pending {
		st.LagBytes += p.bytes
		oldest = min(oldest, p.since)
	}
	if st.LagTx > 0 && oldest > 0 {
		st.Lag = max(0, time.Since(time.Unix(0, oldest)))
	}
	st.ending = s.ending
	st.Health = health(&st)
	return st
}

// noteFailure is store.RetryPolicy.OnError.
func (s *Shipper) noteFailure(f store.Failure) { s.noteError(f.Err) }

// noteError shows an error in Status; it is logged when it is the first of a row.
func (s *Shipper) noteError(err error) {
	if errors.Is(err, store.ErrGone) && !errors.Is(err, ErrReplicaGone) {
		err = s.gone(err)
	}
	if errors.Is(err, ErrReplicaGone) {
		s.setGone(err)
	}
	_, committed := s.src.Last()
	s.mu.Lock()
	s.stat.sample(s.mapped, committed)
	first := s.stat.err == nil
	s.stat.fail(err)
	s.mu.Unlock()
	if first {
		s.log.Warn("shipping is held up, trying again", "err", err)
	}
}

// noteSuccess ends a row of errors.
func (s *Shipper) noteSuccess() {
	s.mu.Lock()
	over := s.stat.err != nil && s.failure == nil
	if over {
		s.stat.err = nil
	}
	s.mu.Unlock()
	if over {
		s.log.Info("shipping goes on")
	}
}

func (s *Shipper) setMode(m Mode) {
	s.mu.Lock()
	s.stat.mode = m
	s.mu.Unlock()
}

// noteResync counts a difference that is shipped as transaction number, in place of span single ones.
func (s *Shipper) noteResync(reason string, number, span uint64) {
	if s.holed != "" {
		reason, s.holed = reason+": "+s.holed, ""
	}
	text := fmt.Sprintf("shipped the difference to the replica as one transaction, %d: %s", number, reason)
	if span > 1 {
		text += fmt.Sprintf("; transactions %d to %d have no points of their own", number-span+1, number-1)
	}
	s.mu.Lock()
	s.stat.resyncs++
	s.stat.reason = reason
	s.noticeLocked(text)
	s.mu.Unlock()
	s.log.Warn("shipping the difference to the replica as one transaction", "reason", reason)
}

// noteChanged adds to the notice of a difference which pages it is of.
func (s *Shipper) noteChanged(text string) {
	if text == "" {
		return
	}
	s.mu.Lock()
	s.noticeLocked(s.stat.notice + "; " + text)
	s.mu.Unlock()
}

// noteClock tells of a clock that was set back.
func (s *Shipper) noteClock(back time.Duration) {
	until := time.Unix(0, s.latest).UTC().Format(time.RFC3339)
	s.mu.Lock()
	s.noticeLocked(fmt.Sprintf("the clock was set back by %v: until it is past %s commits follow each other by a nanosecond in the replica", back.Round(time.Second), until))
	s.mu.Unlock()
	s.log.Warn("the clock was set back: until it has caught up, commits follow each other by a nanosecond", "back", back, "time", until)
}

// noticeTimeline says that a new timeline was opened.
func (s *Shipper) noticeTimeline(timeline uint32, parent replica.Pos, reason string) {
	if s.holed != "" {
		reason += ": " + s.holed
	}
	s.mu.Lock()
	s.noticeLocked(fmt.Sprintf("opened timeline %d at %v, nothing was overwritten: %s", timeline, parent, reason))
	s.mu.Unlock()
	s.log.Warn("opened a new timeline", "timeline", timeline, "parent", parent, "reason", reason)
}

// noticeDocument tells of a document of the replica that is damaged or gone.
func (s *Shipper) noticeDocument(damage error, done string) {
	text := fmt.Sprintf("%v: %s", damage, done)
	s.mu.Lock()
	said := s.stat.notice == text
	if !said {
		s.noticeLocked(text)
	}
	s.mu.Unlock()
	if said {
		return
	}
	s.log.Error("a document of the replica is damaged", "err", damage, "done", done)
}

// Notice tells of something out of the ordinary that was found beside the database.
func (s *Shipper) Notice(text string) {
	s.mu.Lock()
	s.noticeLocked(text)
	s.mu.Unlock()
	s.log.Warn("the database's files aren't what they were", "notice", text)
}

func (s *Shipper) noticeLocked(text string) { s.stat.notice, s.stat.noticed = text, time.Now() }
