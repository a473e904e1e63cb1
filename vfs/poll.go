//go:build cgo

package vfs

import (
	"sync"
	"time"
)

// A database is polled at its ship interval, within these bounds.
const (
	minPoll = 100 * time.Millisecond
	maxPoll = time.Second
)

// poll looks for commits of other processes while the application writes nothing: a commit of ours finds
// them by itself. In WAL mode it reads the mapped wal-index and makes no system call while nothing changes; in the rollback
// journal modes it reads the change counter, with one. Once a second it looks whether the file is still there.
type poll struct {
	run    *run
	source *source // of the first replica
	every  time.Duration

	due time.Time // guarded by poller

	mu      sync.Mutex    // for the rest
	ended   bool          //
	look    chan struct{} // closed when the last look is over
	fileDue time.Time     // when the file is looked at next
}

// poller polls every database of the process: one goroutine and one timer for all, which ends with the last one.
var poller struct {
	sync.Mutex
	polls map[*poll]struct{}
	wake  chan struct{} // nil while it does not run; closed to end it
	every time.Duration // of the quickest
}

// newPoll begins to poll. The tap has to outlive end.
func newPoll(r *run, interval time.Duration) *poll {
	p := &poll{run: r, source: r.replicas[0].source, every: min(max(interval, minPoll), maxPoll), look: make(chan struct{})}
	close(p.look)
	poller.Lock()
	defer poller.Unlock()
	if poller.polls == nil {
		poller.polls = make(map[*poll]struct{})
	}
	poller.polls[p] = struct{}{}
	restartPollerLocked()
	return p
}

// end polls once more and returns when nothing of this poll runs any more.
func (p *poll) end() {
	p.once()
	poller.Lock()
	delete(poller.polls, p)
	restartPollerLocked()
	poller.Unlock()
	p.mu.Lock()
	p.ended = true
	look := p.look
	p.mu.Unlock()
	<-look
}

// restartPollerLocked fits the poller to what there is to poll.
func restartPollerLocked() {
	every := maxPoll
	for p := range poller.polls {
		every = min(every, p.every)
	}
	if len(poller.polls) > 0 && poller.wake != nil && every == poller.every {
		return
	}
	if poller.wake != nil {
		close(poller.wake)
		poller.wake = nil
	}
	if len(poller.polls) > 0 {
		poller.every, poller.wake = every, make(chan struct{})
		go runPoller(every, poller.wake)
	}
}

func runPoller(every time.Duration, end <-chan struct{}) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var due []*poll
	for {
		select {
		case now := <-tick.C:
			due = sweep(now, due[:0])
		case <-end:
			return
		}
	}
}

// sweep polls what is due. Its memory is that of due.
func sweep(now time.Time, due []*poll) []*poll {
	poller.Lock()
	for p := range poller.polls {
		if !now.Before(p.due) {
			p.due = now.Add(p.every - p.every/10) // the ticker is not exact
			due = append(due, p)
		}
	}
	poller.Unlock()
	for _, p := range due {
		p.once()
		p.checkFile(now)
	}
	return due
}

// checkFile looks, once a second, whether the file is what was opened.
func (p *poll) checkFile(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended && !now.Before(p.fileDue) {
		p.fileDue = now.Add(maxPoll - maxPoll/10)
		if p.run.endIfReplaced() == nil { // Status has it
			p.run.checkCompanions(now)
		}
	}
}

// once looks at one database. What needs SQLite, and may take its time, is left to a goroutine, so that
// one database doesn't hold up the others.
func (p *poll) once() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return
	}
	select {
	case <-p.look:
	default:
		return
	}
	if look := p.beginLocked(); look != nil {
		go look()
	}
}

// now captures what other processes have committed before the call, as far as it can be read without waiting for a lock.
func (p *poll) now() {
	for {
		p.mu.Lock()
		ended, last := p.ended, p.look
		select {
		case <-last:
			var look func()
			if !ended {
				look = p.beginLocked()
			}
			p.mu.Unlock()
			if look != nil {
				look()
			}
			return
		default: // a look that began before the call may have missed what was committed since
			p.mu.Unlock()
			<-last
		}
	}
}

// beginLocked publishes what the mapped wal-index tells. Where that isn't enough it returns what has to be called to
// look with SQLite; until that is over, no other look begins. The caller holds mu, and no look runs.
func (p *poll) beginLocked() (look func()) {
	found := p.source.tap.poll()
	for _, l := range p.run.replicas {
		l.shipper.Tell()
	}
	if found == pollDone || found == pollCounter && !p.source.counterMoved() {
		return nil
	}
	over := make(chan struct{})
	p.look = over
	return func() {
		defer close(over)
		p.source.look()
	}
}
