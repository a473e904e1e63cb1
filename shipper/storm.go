package shipper

import (
	"fmt"
	"time"
)

// A difference costs a read of the whole database. Where more is written meanwhile than the log may hold, the next difference follows at once, and
// so on for as long as the application writes like that: the replica then has a point each time that the database was read, and none between.
// That is a state which somebody has to know of. storm tells it from differences that follow each other by chance.
type storm struct {
	ended time.Time // when the last difference was encoded; zero: there was none
	row   int       // differences in a row, each of them begun sooner after the one before than that had taken to read
	took  time.Duration
}

const (
	// stormAfter is how many differences in a row are no chance any more.
	stormAfter = 3
	// stormLeast is the shortest read that counts: a small database may well be read again and again.
	stormLeast = 250 * time.Millisecond
)

// add takes in a difference, and says whether it is one of a row without an end.
func (m *storm) add(began, ended time.Time) bool {
	if m.ended.IsZero() || began.Sub(m.ended) > m.took || ended.Sub(began) < stormLeast {
		m.row = 0
	}
	m.row++
	m.ended, m.took = ended, ended.Sub(began)
	return m.row >= stormAfter
}

// noteDifference tells of differences that don't end. size is that of the database, in bytes, and span the transactions in the last one.
func (s *Shipper) noteDifference(began time.Time, size int64, span uint64) {
	last := s.storm.ended
	now := time.Now()
	if !s.storm.add(began, now) {
		return
	}
	took, between := now.Sub(began), now.Sub(last)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noticeLocked(fmt.Sprintf("one difference follows the other, %d so far, and this doesn't end while the database is written as fast as now: it takes %v to read its %d MiB (%.0f MiB/s), "+
		"and the %d transactions since the last one (%.0f a second) are more than the log may hold; the replica has one point every %v. "+
		"Raise MaxWAL above what is written in %v, write less, or use a faster disk",
		s.storm.row, took.Round(time.Millisecond), size>>20, float64(size)/(1<<20)/took.Seconds(),
		span, float64(span)/between.Seconds(), between.Round(time.Millisecond), took.Round(time.Second)+time.Second))
}
