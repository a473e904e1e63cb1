package shipper

import (
	"fmt"
	"os"
	"path/filepath"
)

// # The state directory of a file that is gone
//
// Who removes or moves a database takes its state directory along. A file that a Shipper made there afterwards would make the removal of the
// directory fail, or would be the state of another database that is at the path by then. So nothing is made in the directory once the
// file is gone. A state that came too late, into a directory that is being removed at the same time, is removed again.

// errFileGone is the error for what isn't written to the state directory any more.
func (s *Shipper) errFileGone() error {
	if s.file == nil { // a VFS keeps it elsewhere, or the system doesn't name files
		return nil
	}
	if now := identify(s.cfg.DBPath); now == nil || *now != *s.file {
		return fmt.Errorf("%w: %s isn't the file any more that was opened, and its state directory is left alone", ErrReplaced, s.cfg.DBPath)
	}
	return nil
}

// dropLateState removes what was just written to a state directory that somebody removes.
func (s *Shipper) dropLateState() {
	if s.lock == nil || !s.lock.isUnlinked() {
		return
	}
	for _, name := range []string{stateFile, pagesFile} {
		for _, suffix := range []string{"", newSuffix} {
			_ = os.Remove(filepath.Join(s.cfg.StateDir, name+suffix)) // it may be gone already
		}
	}
	_ = os.Remove(s.cfg.StateDir) // likewise; what is not empty stays
}
