package shipper

import (
	"fmt"

	"seawal/internal/replica"
	"seawal/internal/segment"
)

// A URL that has no replica begins one. That is what somebody wants who gives a database a new place, and not what somebody wants who has
// misspelled the old one: then the old replica gets nothing any more, and nobody would see it before the restore. The state directories
// of former URLs tell the two apart from a first start; so it is said, and nothing is refused.

// Former is a URL that a database was replicated to before, and is not any more.
type Former struct {
	Dir string // its state directory
	URL string // for people, without secrets; "": not known
}

// noticeNew tells that a replica is begun for a database that has had another one.
func (s *Shipper) noticeNew() {
	var newest Former
	var id segment.ID
	var last replica.Pos
	for _, f := range s.cfg.Former {
		if known, at, ok := Known(f.Dir); ok && known != s.rep.ID && at.Compare(last) > 0 {
			newest, id, last = f, known, at
		}
	}
	if last.IsZero() {
		return
	}
	url := newest.URL
	if url == "" {
		url = "the URL of " + newest.Dir
	}
	s.mu.Lock()
	s.noticeLocked(fmt.Sprintf("a new replica, %v, was begun: there was none at this URL. Up to now %s was shipped to replica %v at %s, which has everything up to %v and "+
		"gets nothing more. If that isn't what you want, the URL is misspelled or another store answers: put the old one back, and it goes on where it was",
		s.rep.ID, s.cfg.DBPath, id, url, last))
	s.mu.Unlock()
	s.log.Warn("a new replica was begun, for a database that has had another one", "id", s.rep.ID, "before", url, "its id", id, "its last position", last)
}
