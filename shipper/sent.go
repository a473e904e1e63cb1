package shipper

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"seawal/internal/replica"
	"seawal/internal/segment"
)

// A process that is killed while a segment is under way leaves a replica that may go further than anybody knows. The next process has
// to know that segment for ours, and not a clone's: so what is about to be sent is written down before, behind the position in the
// position file. There is one under way at a time; some more are kept, also of the processes before: one may arrive after the next process has sent another one.

// sentKept is how many of the last segments are written down.
const sentKept = 8

// sentSize is the size of a record, and sentOffset where the first one is in the position file:
//
//	offset  size
//	     0     8   last transaction
//	     8     8   checksum of the object; 0 of a snapshot, which is made while it is sent
//	    16     4   timeline
//	    20     4   CRC-32 of all before
const (
	sentSize   = 24
	sentOffset = 64
)

// sent is a segment that was about to be sent.
type sent struct {
	pos      replica.Pos // of its end
	checksum uint64      // of the object; 0: a snapshot
}

// noteSent writes down what is about to be sent. That it can't is no error: a process that is killed just then costs a timeline.
func (s *Shipper) noteSent(x sent) {
	s.tellMu.Lock()
	defer s.tellMu.Unlock()
	t := s.telling
	if t == nil || t.lastSent == x {
		return // one that is tried again drives none of the others out
	}
	le := binary.LittleEndian
	b := le.AppendUint64(make([]byte, 0, sentSize), x.pos.Tx)
	b = le.AppendUint64(b, x.checksum)
	b = le.AppendUint32(b, x.pos.Timeline)
	b = le.AppendUint32(b, crc32.ChecksumIEEE(b))
	if _, err := t.file.WriteAt(b, sentOffset+int64(t.sent%sentKept)*sentSize); err != nil {
		s.log.Warn("writing down what is about to be sent", "err", err)
		return
	}
	t.sent, t.lastSent = t.sent+1, x
}

// nextSent is the place of the next record behind those of the processes before, which stay as long as there is room: one behind the newest.
func nextSent(dir string) (next int) {
	var newest replica.Pos
	for i, x := range readSlots(dir) {
		if x.pos.Compare(newest) > 0 {
			next, newest = i+1, x.pos
		}
	}
	return next
}

// rememberSent reads in a state folder how far the processes before came: what the replica has is known to be from here up to there.
func (s *Shipper) rememberSent(dir string) {
	if t, ok := readPosition(dir); ok {
		s.remember(replica.Pos{Timeline: t.timeline, Tx: t.durable})
	}
	s.sentBefore = append(s.sentBefore, readSent(dir)...)
}

func (s *Shipper) remember(pos replica.Pos) {
	if pos.Compare(s.prior) > 0 {
		s.prior = pos
	}
}

// rememberOthers reads the folders of other URLs, once: the replica may have been shipped to by way of one of them.
func (s *Shipper) rememberOthers() {
	if s.askedOthers {
		return
	}
	s.askedOthers = true
	for _, dir := range s.cfg.OtherDirs {
		st, err := readState(dir)
		if err != nil || st == nil || st.Replica != s.state.Replica || st.Writer != s.writer {
			continue
		}
		s.elsewhere = true
		s.remember(st.Position)
		s.rememberSent(dir)
	}
}

// readSent is what the processes before were about to send last.
func readSent(dir string) []sent {
	return slices.DeleteFunc(readSlots(dir), func(x sent) bool { return x.pos.IsZero() })
}

// readSlots is readSent with the places of the records; one that can't be read is zero.
func readSlots(dir string) (all []sent) {
	b, err := os.ReadFile(filepath.Join(dir, positionFile))
	if err != nil {
		return nil
	}
	le := binary.LittleEndian
	for at := sentOffset; at+sentSize <= len(b); at += sentSize {
		r := b[at : at+sentSize]
		var x sent
		if le.Uint32(r[20:]) == crc32.ChecksumIEEE(r[:20]) {
			x = sent{replica.Pos{Timeline: le.Uint32(r[16:]), Tx: le.Uint64(r)}, le.Uint64(r[8:])}
		}
		all = append(all, x)
	}
	return all
}

// isSent says whether the segment that ends in o is one that a process before was about to send. Its bytes are, so it doesn't matter who did.
func (s *Shipper) isSent(o origin) bool {
	info := o.info
	for _, x := range s.sentBefore {
		if x.pos == o.pos && x.pos.Tx == info.Last && (x.checksum == info.Checksum || x.checksum == 0 && info.Kind == segment.Snapshot) {
			return true
		}
	}
	return false
}
