package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ErrGone says that what a store held is not there any more: the disk isn't mounted, or another one is, or the folder was emptied. Nothing is
// created there and nothing is said to be absent, since both would be about another place. It goes away when what was
// there is there again.
var ErrGone = errors.New("what was there is gone")

// anchor is an object that was seen below the root, by which the store knows the place again. A mount point looks like a folder that has
// nothing yet: without the anchor, a Create would begin anew on the disk below, and call that stored.
type anchor struct {
	root os.FileInfo // of the folder where it was seen
	name string      // "": nothing was seen yet
	size int64
	sum  [sha256.Size]byte // of its first anchorBytes
}

// anchorBytes is more than a document of a replica has: replica.json is what is read or created first.
const anchorBytes = 64 << 10

// settle makes name the anchor, if there is none; or again what it is now: who has just read it knows what is there.
func (s *fileStore) settle(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.anchor.name != "" && s.anchor.name != name {
		return
	}
	root, err := os.Stat(s.root)
	if err != nil {
		return
	}
	if size, sum, err := fingerprint(s.path(name)); err == nil {
		if s.anchor.root != nil && !os.SameFile(root, s.anchor.root) {
			clear(s.synced)
		}
		s.anchor = anchor{root, name, size, sum}
	}
}

// weigh gives the anchor up when it is name, which the caller has deleted.
func (s *fileStore) weigh(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.anchor.name == name {
		s.anchor = anchor{}
	}
}

func fingerprint(path string) (size int64, sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, sum, err
	}
	defer f.Close() // read only
	fi, err := f.Stat()
	if err != nil {
		return 0, sum, err
	}
	b, err := io.ReadAll(io.LimitReader(f, anchorBytes))
	return fi.Size(), sha256.Sum256(b), err
}

// isThere says, by nil, that the root is the folder where the anchor is, or that there is no anchor. In a folder that stays the same only the
// anchor itself can tell that it was emptied: then it is asked for if look says so.
func (s *fileStore) isThere(look bool) error {
	s.mu.Lock()
	a := s.anchor
	s.mu.Unlock()
	if a.name == "" {
		return nil
	}
	root, err := os.Stat(s.root)
	if err == nil && os.SameFile(root, a.root) && !look {
		return nil
	}
	if err == nil {
		var size int64
		var sum [sha256.Size]byte
		if size, sum, err = fingerprint(s.path(a.name)); err == nil && (size != a.size || sum != a.sum) {
			return fmt.Errorf("%w: %s is another object than before, so another disk is mounted at %s", ErrGone, a.name, s.root)
		}
	}
	if s.absent(err) == ErrNotExist {
		return fmt.Errorf("%w: %s was there and is not any more: mount or put back what was in %s", ErrGone, a.name, s.root)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !os.SameFile(root, a.root) {
		s.anchor.root = root // mounted again, or copied back: nothing of it is known to be on disk
		clear(s.synced)
	}
	return nil
}

// gone is ErrGone in place of an answer that would be about another place, else err.
func (s *fileStore) gone(err error) error {
	if err == nil || !isAnswer(err) {
		return err
	}
	if lost := s.isThere(false); lost != nil {
		return lost
	}
	return err
}

// enter makes the hidden folder. That it is missing where objects were seen before means that somebody removed it, or that the disk was
// unmounted, or the replica emptied: to go on in what is there now would leave a replica with a hole in it.
func (s *fileStore) enter(hidden string) error {
	_, err := os.Stat(hidden)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.isThere(err != nil); err != nil {
		return err
	}
	if err != nil {
		s.mu.Lock()
		delete(s.synced, hidden)
		s.mu.Unlock()
	}
	return s.makeFolder(hidden)
}
