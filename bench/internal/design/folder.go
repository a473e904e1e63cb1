package design

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
)

// Stored is objects and their size.
type Stored struct {
	Bytes   int64
	Objects int64
}

// StoredIn adds up the objects below a folder, which may be absent. It looks from outside, so that
// no design counts its own bytes. Hidden files are uploads under way.
func StoredIn(dir string) (Stored, error) {
	var s Stored
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the folder, or an object deleted meanwhile
		}
		if err != nil {
			return err
		}
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		s.Bytes += info.Size()
		s.Objects++
		return nil
	})
	return s, err
}
