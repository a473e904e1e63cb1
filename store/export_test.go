package store

import "time"

// FolderOptions is what tests change of the file store.
type FolderOptions struct {
	Link   func(oldpath, newpath string) error
	Rename func(oldpath, newpath string) error // one that doesn't overwrite
	Window int
	Now    func() time.Time
}

// OpenFolderWith opens the file store with some of its parts replaced.
func OpenFolderWith(root string, o FolderOptions) Store {
	s := newFileStore(root)
	if o.Link != nil {
		s.link = o.Link
	}
	if o.Rename != nil {
		s.rename = o.Rename
	}
	if o.Window != 0 {
		s.window = o.Window
	}
	if o.Now != nil {
		s.now = o.Now
	}
	return s
}

// HiddenFolder is where the file store keeps temporary files.
const HiddenFolder = hiddenFolder
