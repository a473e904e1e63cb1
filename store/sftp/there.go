package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"seawal/store"
)

// The server tells nothing of the disk that a folder is on. So the first object that is seen, of a replica that is replica.json, stands for
// the place: before a folder is made, it has to be there still. Else the disk was unmounted, or the replica emptied.

func (s *files) firstSeen() store.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

func (s *files) see(o store.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.Name == "" || s.seen.Name == o.Name {
		s.seen = o
	}
}

// unsee gives it up when it is what the caller deletes.
func (s *files) unsee(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.Name == name {
		s.seen = store.Object{}
	}
}

// isThere says, by nil, that the first object is there still, or that there was none.
func (s *files) isThere(ctx context.Context, c *session) error {
	seen := s.firstSeen()
	if seen.Name == "" {
		return nil
	}
	var fi fs.FileInfo
	fi, err := s.stat(ctx, c, seen.Name)
	if err == nil && fi.Size() != seen.Size {
		return fmt.Errorf("%w: %s is another object than before, so another disk is mounted at %s", store.ErrGone, seen.Name, s.root)
	}
	if errors.Is(err, store.ErrNotExist) {
		return fmt.Errorf("%w: %s was there and is gone: mount or put back what was in %s", store.ErrGone, seen.Name, s.root)
	}
	return err
}
