package shipper

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"seawal/internal/fsops"
	"seawal/internal/pagesum"
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
	before, done := t.synced, make(chan struct{})
	t.synced = done
	go func() {
		defer close(done)
		if before != nil {
			<-before // who waits for the last one has waited for all
		}
		// Reads and writes of the file go on meanwhile. A file that was closed has been synced.
		if err := fsops.Sync(t.file); err != nil && !errors.Is(err, os.ErrClosed) {
			s.log.Warn("syncing what is about to be sent", "err", err)
		}
	}()
}

// awaitNoted returns when what noteSent wrote survives a loss of power. Nobody is told before that a segment is durable: the
// next process must know it for ours, or it would not bring back what the database has lost.
func (s *Shipper) awaitNoted() {
	s.tellMu.Lock()
	var synced chan struct{}
	if s.telling != nil {
		synced = s.telling.synced
	}
	s.tellMu.Unlock()
	if synced != nil {
		<-synced
	}
}

// confirmed is a position that the replica has, as this state folder was told, with what the database was then.
type confirmed struct {
	pos     replica.Pos
	after   pagesum.Sum
	replica segment.ID
}

// confirmedSize is the size of a record, and confirmedOffset where the first of two is in the position file, which take turns:
//
//	offset  size
//	     0     8   transaction
//	     8     8   checksum of the database after it
//	    16     4   timeline
//	    20    16   id of the replica
//	    36     4   CRC-32 of all before
const (
	confirmedSize   = 40
	confirmedOffset = sentOffset + sentKept*sentSize
)

// noteConfirmed writes down that the replica has everything up to a position. It is on the disk at the latest with the next record of
// noteSent; until then the one of that segment says as much to who reads the segment.
func (s *Shipper) noteConfirmed(pos replica.Pos, after pagesum.Sum) {
	s.mu.Lock()
	id := s.id
	s.mu.Unlock()
	s.tellMu.Lock()
	defer s.tellMu.Unlock()
	t := s.telling
	if t == nil {
		return
	}
	le := binary.LittleEndian
	b := le.AppendUint64(make([]byte, 0, confirmedSize), pos.Tx)
	b = le.AppendUint64(b, uint64(after))
	b = le.AppendUint32(b, pos.Timeline)
	b = append(b, id[:]...)
	b = le.AppendUint32(b, crc32.ChecksumIEEE(b))
	if _, err := t.file.WriteAt(b, confirmedOffset+int64(t.confirmed%2)*confirmedSize); err != nil {
		s.log.Warn("writing down what is durable", "err", err)
		return
	}
	t.confirmed++
}

// nextConfirmed is the place of the next record of noteConfirmed: not that of the newest.
func nextConfirmed(dir string) (next int) {
	var newest replica.Pos
	for i, x := range readConfirmations(dir) {
		if x.pos.Compare(newest) > 0 {
			next, newest = i+1, x.pos
		}
	}
	return next
}

// readConfirmed returns the newest position of a replica that was confirmed to a state folder; the zero value when none was.
func readConfirmed(dir string, id segment.ID) (newest confirmed) {
	for _, x := range readConfirmations(dir) {
		if x.replica == id && x.pos.Compare(newest.pos) > 0 {
			newest = x
		}
	}
	return newest
}

// readConfirmations reads the records by their places; one that can't be read is zero.
func readConfirmations(dir string) (all [2]confirmed) {
	b, err := os.ReadFile(filepath.Join(dir, positionFile))
	if err != nil {
		return all
	}
	le := binary.LittleEndian
	for i := range all {
		at := confirmedOffset + i*confirmedSize
		if at+confirmedSize > len(b) {
			break
		}
		r := b[at : at+confirmedSize]
		if le.Uint32(r[36:]) == crc32.ChecksumIEEE(r[:36]) {
			all[i] = confirmed{pos: replica.Pos{Timeline: le.Uint32(r[16:]), Tx: le.Uint64(r)}, after: pagesum.Sum(le.Uint64(r[8:])), replica: segment.ID(r[20:36])}
		}
	}
	return all
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
	b = b[:min(len(b), confirmedOffset)]
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
func (s *Shipper) isSent(o origin) bool { return wasSent(s.sentBefore, o) }

func wasSent(all []sent, o origin) bool {
	info := o.info
	for _, x := range all {
		if x.pos == o.pos && x.pos.Tx == info.Last && (x.checksum == info.Checksum || x.checksum == 0 && info.Kind == segment.Snapshot) {
			return true
		}
	}
	return false
}
