package shipper

import (
	"fmt"
	"maps"
	"slices"

	"seawal/internal/pagesum"
	"seawal/internal/replica"
)

// Pages that no transaction wrote as they are stay out of the replica, which has them as they were committed: a difference passes
// over them as long as they are what they were found as. A transaction that writes one of them is shipped as ever.
//
// They are remembered in the state, so that the next process knows them before it has looked. Two things end it: the file is
// restored, or a person says that it is right as it is (Config.Adopt), and the difference is shipped.

const (
	damageKept  = 1 << 18 // pages that are remembered at most: some 10 MiB, of a database that is lost without its replica
	damageSaved = 256     // of them in the state
)

// damagedPage is a page in the state.
type damagedPage struct {
	Page uint32 `json:"page"`
	Sum  string `json:"sum"` // of its image as it was found, hex
}

// noteDamage remembers pages that no transaction wrote, and tells of them, once s.damageShown says what shows that.
// The replica has what was committed up to at.
func (s *Shipper) noteDamage(pages []seenPage, at replica.Pos) {
	if s.damage == nil {
		s.damage = map[uint32]pagesum.Sum{}
	}
	if s.scrub.wrong == nil {
		s.scrub.wrong = map[uint32]pagesum.Sum{}
	}
	for _, p := range pages {
		if len(s.damage) < damageKept {
			s.damage[p.page] = p.sum
		}
		if len(s.scrub.wrong) < damageKept {
			s.scrub.wrong[p.page] = p.sum
		}
	}
	s.tellDamage(at)
}

// setDamage says that the damage is what a whole pass has found.
func (s *Shipper) setDamage(found map[uint32]pagesum.Sum) {
	if len(s.damage) == 0 && len(found) == 0 {
		return
	}
	if s.damage = found; len(found) > 0 {
		s.tellDamage(s.encodedPos())
		return
	}
	s.damageShown = ""
	s.mu.Lock()
	s.stat.damaged, s.damaged = "", nil
	s.mu.Unlock()
}

// tellDamage says what is known to be damaged.
func (s *Shipper) tellDamage(at replica.Pos) {
	pages := slices.Sorted(maps.Keys(s.damage))
	saved := make([]damagedPage, 0, min(len(pages), damageSaved))
	for _, page := range pages[:cap(saved)] {
		saved = append(saved, damagedPage{page, s.damage[page].String()})
	}
	s.mu.Lock()
	text := fmt.Sprintf("the database file is damaged: no transaction wrote %s as it is%s. It may be an older copy of the file beside the newer WAL, a failing disk, "+
		"or a program that wrote past SQLite. The replica has what was committed, at %v, and nothing of the difference was shipped: "+
		"stop the application and run restore --force to have it back, or, if the file is right as it is, open it once with _adopt=%v",
		pageList(pages, len(pages)), s.damageShown, at, s.id)
	s.stat.damaged, s.damaged = text, saved
	s.noticeLocked(text)
	s.mu.Unlock()
	s.log.Error("the database file is damaged", "pages", len(pages), "first", pages[0])
}

// encodedPos is the position of what is encoded.
func (s *Shipper) encodedPos() replica.Pos {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.posLocked(s.encoded)
}

// isDamaged says whether a page is known to be damaged, and is what it was found as.
func (s *Shipper) isDamaged(page uint32, image []byte) bool {
	sum, ok := s.damage[page]
	return ok && s.hasher.Of(page, image) == sum
}

// damageNow is the damage for the state.
func (s *Shipper) damageNow() []damagedPage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damaged
}

// rememberDamage takes the damage over that the process before has found, unless the file is another one since.
func (s *Shipper) rememberDamage() {
	s.damage = nil
	if s.state == nil || s.cfg.Judgement.Replaced {
		return
	}
	for _, p := range s.state.Damage {
		sum, err := pagesum.ParseSum(p.Sum)
		if err != nil {
			continue // then a pass has to find it
		}
		if s.damage == nil {
			s.damage = map[uint32]pagesum.Sum{}
		}
		s.damage[p.Page] = sum
	}
}
