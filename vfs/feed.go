//go:build cgo

package vfs

import (
	"bytes"
	"math"
	"sync"

	"seawal/internal/wal"
	"seawal/shipper"
)

// feed gives the captured commits of a database to the shippers of its replicas, each at its own pace. What the tap
// has in memory is released once every replica is done with it. A replica that falls behind, because its
// store is down or slow, doesn't hold up the others: to make room, what it has yet to ship is turned from frames
// in memory into a range of the log, which it reads back later, or into a copy as far as the log has been written over
// meanwhile. With one replica that never happens: then the tap itself leaves commits in the log when the ring is full.
type feed struct {
	tap       tap
	ringBytes int64 // size of the ring

	mu      sync.Mutex // for the rest, and for all of cursor but wake
	queue   []entry    // taken from the tap and not released to it, oldest first
	first   uint64     // number of queue[0]; entries are counted from 0
	bytes   int64      // of the ring that queue holds
	cursors []*cursor
	state   attachState // of the cursors, as the tap was told
	unread  bool        // likewise

	looked func() // for tests: called when the log was looked at, before anything is done about it
}

// entry is a commit, or several in a row.
type entry struct {
	shipper.Commit
	began int64 // time of the first of them, unix nanoseconds
}

// role is what the shipper of a cursor is at.
type role int

const (
	roleAttaching role = iota // it has taken nothing yet
	roleShipping
	rolePassing // another process ships
)

// cursor is a feed as the shipper of one replica sees it: the part of shipper.Source that hands over commits.
type cursor struct {
	feed *feed
	wake chan struct{}

	role   role
	unread bool    // rolePassing: the other process has yet to ship what was committed here
	left   []entry // what it fell behind with: ranges of one generation of the log, gaps, and copies; older than the entry next
	next   uint64  // entry that Next returns next
	done   uint64  // entries before it are released; those up to next are being shipped
	landed uint64  // ticket up to which its replica has everything, as far as that was told
	held   uint64  // ticket of the last range or copy in left or being shipped, for which the log is held back; 0: none
}

const (
	// crowdedEntries is how many commits may wait for the slowest replica while another one asks for more: half of
	// what the tap hands out before it wants something back (QUEUE_MAX/2 in tap.h).
	crowdedEntries = 1024

	// leftMost bounds what is remembered of a replica that is behind: as many entries as the tap has room for (QUEUE_MAX in tap.h).
	leftMost = 4096
)

func newFeed(t tap, ringBytes int64, replicas int) *feed {
	t.release(math.MaxUint64) // what an earlier run took and did not release: attaching finds what the replica lacks
	f := &feed{tap: t, ringBytes: ringBytes, state: attaching}
	for range replicas {
		f.cursors = append(f.cursors, &cursor{feed: f, wake: make(chan struct{}, 1)})
	}
	return f
}

// poke wakes every shipper that sleeps.
func (f *feed) poke() {
	for _, c := range f.cursors {
		poke(c.wake)
	}
}

// close gives back what cursors hold of the log. No shipper uses them any more.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.cursors {
		c.holdLocked(0)
	}
}

// setLocked changes what the shipper of a cursor is at, and tells the tap what that makes of all of them.
func (c *cursor) setLocked(r role, unread bool) {
	f := c.feed
	c.role, c.unread = r, unread
	of := map[role]int{}
	unread = false
	for _, c := range f.cursors {
		of[c.role]++
		unread = unread || c.unread
	}
	state := somePassing
	switch len(f.cursors) {
	case of[roleShipping]:
		state = allAttached
	case of[rolePassing]:
		state = allPassing
	default:
		if of[roleAttaching] > 0 {
			state = attaching
		}
	}
	if state != f.state || unread != f.unread {
		f.state, f.unread = state, unread
		f.tap.attach(state, unread)
	}
}

func (f *feed) endLocked() uint64 { return f.first + uint64(len(f.queue)) }

// fillLocked takes more commits from the tap, for a cursor that has had all of queue.
func (f *feed) fillLocked() bool {
	if f.bytes > f.ringBytes/2 || len(f.queue) > crowdedEntries {
		for _, c := range f.cursors {
			c.fallBehindLocked()
		}
		f.trimLocked()
	}
	more := f.tap.next()
	for i := range more {
		e := entry{more[i].commit(), more[i].began()}
		f.bytes += ringSize(&e)
		f.queue = append(f.queue, e)
	}
	return len(more) > 0
}

// trimLocked releases to the tap what no cursor needs any more. The tap's mutex is the writer's: it is taken for many
// entries at once, or for the last ones.
func (f *feed) trimLocked() {
	low := f.endLocked()
	for _, c := range f.cursors {
		low = min(low, c.done)
	}
	n := int(low - f.first)
	if n == 0 || n < commitBatch && n < len(f.queue) {
		return
	}
	for i := range f.queue[:n] {
		f.bytes -= ringSize(&f.queue[i])
	}
	ticket := f.queue[n-1].Ticket
	f.first = low
	f.queue = append(f.queue[:0], f.queue[n:]...)
	f.tap.release(ticket)
}

func ringSize(e *entry) int64 { return int64(len(e.Frames[0]) + len(e.Frames[1])) }

// Next is shipper.Source's.
func (c *cursor) Next() (shipper.Commit, bool) {
	f := c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.role != roleShipping {
		// A shipper takes commits once it has brought the database and its replica together.
		c.setLocked(roleShipping, false)
	}
	if len(c.left) > 0 {
		out := c.left[0]
		c.dropLeftLocked()
		return out.Commit, true
	}
	if c.next == f.endLocked() && !f.fillLocked() {
		return shipper.Commit{}, false
	}
	out := f.queue[c.next-f.first]
	c.next++
	return out.Commit, true
}

// PassOn is shipper.Sharer's.
func (c *cursor) PassOn(read bool) (full bool) {
	f := c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	c.setLocked(rolePassing, !read)
	// Where there is a shipper that takes commits, it does so at its own pace.
	for more := true; more; more = f.state == allPassing && f.fillLocked() {
		c.skipLocked()
		f.trimLocked()
	}
	return f.tap.stats().logFull
}

// TakeOn is shipper.Sharer's.
func (c *cursor) TakeOn() {
	c.feed.mu.Lock()
	defer c.feed.mu.Unlock()
	c.setLocked(roleAttaching, false)
}

// skipLocked lets go of all that was taken from the tap.
func (c *cursor) skipLocked() {
	c.left, c.next = nil, c.feed.endLocked()
	c.done = c.next
	c.holdLocked(0)
}

// dropLeftLocked lets go of the oldest entry of left, and of the memory of a copy.
func (c *cursor) dropLeftLocked() {
	c.left[0] = entry{}
	c.left = c.left[1:]
}

// Release is shipper.Source's.
func (c *cursor) Release(ticket uint64) {
	f := c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(c.left) > 0 && c.left[0].Ticket <= ticket {
		c.dropLeftLocked() // a difference that was shipped has it
	}
	for c.done < c.next && f.queue[c.done-f.first].Ticket <= ticket {
		c.done++
	}
	if c.held != 0 && c.held <= ticket {
		c.holdLocked(0)
	}
	f.trimLocked()
}

// Written is shipper.Source's.
func (c *cursor) Written(since uint64) *shipper.PageSet { return c.feed.tap.written(since) }

// Forget is shipper.Source's. What one replica still lacks is remembered for all: a difference for another one reads more than it has to
// then, and a database has one set. One that hasn't begun to ship doesn't count: it is compared with the database first.
func (c *cursor) Forget(ticket uint64) {
	f := c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	c.landed = ticket
	for _, o := range f.cursors {
		if o.role == roleShipping {
			ticket = min(ticket, o.landed)
		}
	}
	f.tap.forget(ticket)
}

// Idle is shipper.Source's.
func (c *cursor) Idle() bool {
	f := c.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(c.left) == 0 && c.next == f.endLocked() && f.tap.idle()
}

// Wake is shipper.Source's.
func (c *cursor) Wake() <-chan struct{} { return c.wake }

// fallBehindLocked turns what the cursor has yet to ship into ranges, gaps and copies, so that it holds none of the ring. It does
// nothing for one that is at the end of the queue, or that has frames in hand right now.
func (c *cursor) fallBehindLocked() {
	f := c.feed
	if c.role == rolePassing {
		c.skipLocked()
		return
	}
	if c.next == f.endLocked() && c.done == c.next {
		return
	}
	inHand := f.queue[c.done-f.first : c.next-f.first]
	for i := range inHand {
		if inHand[i].Kind == shipper.CommitFrames {
			return
		}
	}
	held := c.held
	for i := range inHand {
		if inHand[i].Kind == shipper.CommitRange {
			held = inHand[i].Ticket
		}
	}
	c.holdLocked(f.queue[len(f.queue)-1].Ticket) // before the log is looked at
	log, _ := f.tap.mark()
	if f.looked != nil {
		f.looked()
	}
	for _, e := range f.queue[c.next-f.first:] {
		switch {
		case e.Kind == shipper.CommitFrames && e.To.Salt != log.Salt && c.keep(e), c.leave(e):
			held = e.Ticket
		}
	}
	c.holdLocked(held)
	c.done = f.endLocked()
	c.next = c.done
}

// keep copies the frames of a commit whose part of the log has been written over, and says whether it did: at most as much as the
// ring has, which is what a replica can have lost of the log when it falls behind. From then on the log is held back, so that there are
// no more of those, but for what other processes do.
func (c *cursor) keep(e entry) bool {
	size := ringSize(&e)
	for i := range c.left {
		size += ringSize(&c.left[i])
	}
	if e.To.Salt == [2]uint32{} || size > c.feed.ringBytes || len(c.left) >= leftMost {
		return false
	}
	for i := range e.Frames {
		e.Frames[i] = bytes.Clone(e.Frames[i])
	}
	c.left = append(c.left, e)
	return true
}

// leave adds a commit to what the cursor is behind with, and says whether the log has it.
func (c *cursor) leave(e entry) (inLog bool) {
	if e.Kind == shipper.CommitFrames {
		e.Frames = [2][]byte{}
		e.Kind = shipper.CommitRange
		if e.From.Salt == [2]uint32{} {
			e.Kind = shipper.CommitGap // of a rollback journal mode
		}
	}
	if c.isOverwritten(&e) {
		c.forget()
	}
	if c.continues(&e) {
		last := &c.left[len(c.left)-1]
		e.From, e.began = last.From, last.began
		e.Count += last.Count
		*last = e
		return e.Kind == shipper.CommitRange
	}
	if len(c.left) >= leftMost {
		c.forget()
	}
	c.left = append(c.left, e)
	return e.Kind == shipper.CommitRange
}

// isOverwritten says that e is in a later generation of the log than what the cursor is behind with.
func (c *cursor) isOverwritten(e *entry) bool {
	for i := len(c.left) - 1; i >= 0 && e.Kind == shipper.CommitRange; i-- {
		if c.left[i].Kind == shipper.CommitRange {
			return c.left[i].From.Salt != e.From.Salt
		}
	}
	return false
}

// forget makes one gap of all that the cursor is behind with: the log has it no more, or it is too much to be remembered.
func (c *cursor) forget() {
	gap := c.left[len(c.left)-1]
	gap.Kind, gap.From, gap.To, gap.began = shipper.CommitGap, wal.Place{}, wal.Place{}, c.left[0].began
	gap.Frames = [2][]byte{}
	for _, e := range c.left[:len(c.left)-1] {
		gap.Count += e.Count
	}
	c.left = append(c.left[:0], gap)
}

// continues says whether e is to be remembered together with the last thing that the cursor is behind with: where the tap would, too
// (enqueueLocked in capture.c). A range's commits all get the time of its last one.
func (c *cursor) continues(e *entry) bool {
	if len(c.left) == 0 {
		return false
	}
	last := &c.left[len(c.left)-1]
	switch {
	case last.Kind != e.Kind:
		return false
	case e.Kind == shipper.CommitGap:
		return true
	case last.To.Salt != e.From.Salt || last.To.Frame != e.From.Frame:
		return false
	}
	age := e.Time - c.left[0].Time
	return e.Time-last.began <= mergeSpan+age/mergePart || len(c.left) >= leftMost
}

// holdLocked has the log held back until the commit with this ticket is released; 0 ends it.
func (c *cursor) holdLocked(ticket uint64) {
	if (c.held == 0) != (ticket == 0) {
		c.feed.tap.hold(ticket != 0)
	}
	c.held = ticket
}
