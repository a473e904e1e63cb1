package vfs

import (
	"time"

	"seawal/store"
)

// SkewClock sets the clock that commits are timed by.
var SkewClock = skewClock

// RandomStatement is one step of a random workload, for the tests from outside.
var RandomStatement = randomStatement

// SmallSegments is c with segments of so many bytes: little is encoded ahead of the store then.
func SmallSegments(c Config, bytes int64) Config {
	c.batchBytes = bytes
	return c
}

// Impatient is c with short waits after failures: a test that makes hundreds of them has not the time to
// wait seconds for each.
func Impatient(c Config) Config {
	c.retry = store.RetryPolicy{First: time.Millisecond, Max: 20 * time.Millisecond}
	c.retryWait = 20 * time.Millisecond
	return c
}

// CheckCompanions looks at the files beside each database of the process, and at the locks on them, as often as it takes to be sure.
func CheckCompanions() {
	poller.Lock()
	var polls []*poll
	for p := range poller.polls {
		polls = append(polls, p)
	}
	poller.Unlock()
	for range 2 {
		procLocks.Lock()
		procLocks.read = time.Time{}
		procLocks.Unlock()
		for _, p := range polls {
			p.mu.Lock()
			p.run.companions.filesDue, p.run.companions.locksDue = time.Time{}, time.Time{}
			p.run.checkCompanions(time.Now())
			p.mu.Unlock()
		}
	}
}

// Stalling is c that gives up soon on a store that is silent while a database is being opened.
func Stalling(c Config, after time.Duration) Config {
	c.stall = after
	return c
}

// PollAll polls every database of the process now, and waits for what that leads to.
func PollAll() {
	poller.Lock()
	var polls []*poll
	for p := range poller.polls {
		polls = append(polls, p)
	}
	poller.Unlock()
	for _, p := range polls {
		p.once()
		p.mu.Lock()
		look := p.look
		p.mu.Unlock()
		<-look
	}
}

// NotDurable is an ErrNotDurable with a reason.
func NotDurable(reason error) error { return &notDurable{reason: reason} }

// FirstSeed is where tests that draw what they do begin.
var FirstSeed = firstSeed
