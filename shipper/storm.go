package shipper

import (
	"fmt"
	"time"
)

// A difference stands for commits that the log had to let go of. Where the writers are faster than the store for long, or than the
// database can be read, one follows the other: before all of what was captured has landed, the log has
// outgrown its bound again. The replica then has a point each time, and none between. That is a state which somebody has to know of: only
// fewer writes, a faster store or disk, or more room for the log end it.
type storm struct {
	row   int       // differences since the store last had all but the open batch
	ended time.Time // when the last one was encoded
}

// stormAfter is how many differences in a row are no chance any more.
const stormAfter = 3

// noteDifference takes in a difference: how long it took to read so many pages, and of how many transactions it is.
func (s *Shipper) noteDifference(took time.Duration, pages, span uint64) {
	m := &s.storm
	last, now := m.ended, time.Now()
	m.row, m.ended = m.row+1, now
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stat.diffPages += pages
	if m.row < stormAfter {
		return
	}
	between := max(now.Sub(last), time.Millisecond)
	s.stat.storm = fmt.Sprintf("the database is written faster than it can be shipped, and this doesn't end while it is: %d differences followed each other, "+
		"since the log had reached MaxWAL each time before all of it was shipped. It took %v to read the %d MiB in question, the %d transactions "+
		"of the last one came at %.0f a second, and the replica has one point every %v. Write less, use a faster store or disk, or raise MaxWAL",
		m.row, took.Round(time.Millisecond), int64(pages)*int64(s.pageSize)>>20, span, float64(span)/between.Seconds(), between.Round(time.Millisecond))
	s.noticeLocked(s.stat.storm)
}

// caughtUpWithWriters says that all of what was captured is encoded. The storm is over if the store has taken it, too.
func (s *Shipper) caughtUpWithWriters() {
	if s.storm.row == 0 || !s.landedAll() {
		return
	}
	s.storm.row = 0
	s.mu.Lock()
	s.stat.storm = ""
	s.mu.Unlock()
}
