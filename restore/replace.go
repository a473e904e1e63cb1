package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"seawal/internal/fsops"
	"seawal/internal/killpoint"
)

// replacement is a restored file on its way to the place of a database. The restore took its time, so whether somebody has the
// database open is found out here again, and nobody can begin to use it from then on:
//
//	claim     the old database is locked as SQLite locks it exclusively, and so is the new one
//	checkpoint  what its log holds is brought into the old database, which is whole without it then
//	aside     log, journal, index and state of the old database get hidden names, and the folder is synced
//	keep      the old database gets a hidden name too
//	rename    the new database takes the place
//	look      who has opened the old one in between, and stands at the lock? Then all of it goes back
//	remove    what was hidden, once the new name is on stable storage
//
// A log or journal of the old database never meets the new one, not even after a crash in the middle: that leaves the old
// database without its log, which it doesn't need any more, or the new one. A journal of a transaction that was cut off by a crash can't be
// brought in: after one just then it lies under its hidden name, from where it can be moved back.
type replacement struct {
	*output
	tmp   string
	old   *claim
	fresh *claim
	kept  string      // hidden name of the old database; "" while it has none
	aside [][2]string // from, to
}

// publishOver is publish for an output that may be replaced.
func (o *output) publishOver(tmp string) (err error) {
	r := &replacement{output: o, tmp: tmp}
	if r.old, err = claimDatabase(o.path); err != nil {
		return err
	}
	defer r.old.release()
	if r.fresh, err = claimDatabase(tmp); err != nil {
		return err
	}
	defer r.fresh.release()
	killpoint.Hit("restore/claimed")
	if r.old.db != nil && r.old.writable {
		if err := checkpointInto(r.old.db, o.path+"-wal"); err != nil {
			return fmt.Errorf("bring the log of the replaced database into it: %w", err)
		}
		killpoint.Hit("restore/checkpointed")
	}
	if err := r.swap(); err != nil {
		return errors.Join(err, r.back())
	}
	// From here on the new file is there, and nothing is put back.
	killpoint.Hit("restore/in-place")
	if err := syncFolder(filepath.Dir(o.path)); err != nil {
		return err
	}
	killpoint.Hit("restore/in-place-synced")
	return r.remove()
}

// swap puts the new database in the place of the old one. When it fails, back undoes what it has done.
func (r *replacement) swap() error {
	suffixes, err := besides(r.path)
	if err != nil {
		return err
	}
	for _, suffix := range suffixes {
		from, to := r.path+suffix, r.hidden("replaced"+strings.ReplaceAll(suffix, "/", "-"))
		if err := fsops.Rename(from, to); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("move %s aside: %w", from, err)
		}
		r.aside = append(r.aside, [2]string{from, to})
		killpoint.Hit("restore/moved-aside")
	}
	if len(r.aside) > 0 {
		if err := syncFolder(filepath.Dir(r.path)); err != nil {
			return err
		}
	}
	killpoint.Hit("restore/aside-synced")
	if r.old.db != nil {
		if kept := r.hidden("replaced"); fsops.Link(r.path, kept) == nil {
			r.kept = kept // else a file system without hard links: there is no way back, and nobody is looked for
			killpoint.Hit("restore/kept")
		}
	}
	if err := fsops.Rename(r.tmp, r.path); err != nil {
		return fmt.Errorf("put restored file in place: %w", err)
	}
	killpoint.Hit("restore/renamed")
	if r.kept == "" {
		return nil
	}
	if err := r.old.check(); err != nil {
		return errors.Join(err, r.putBack())
	}
	return nil
}

// putBack gives the old database its place again, from the new one, which is the temporary file again.
func (r *replacement) putBack() error {
	if err := fsops.Link(r.path, r.tmp); err != nil {
		return fmt.Errorf("keep the restored file: %w", err)
	}
	if err := fsops.Rename(r.kept, r.path); err != nil {
		return fmt.Errorf("put the database back: %w", err)
	}
	r.kept = ""
	return nil
}

// back gives all that was moved aside its name again.
func (r *replacement) back() (err error) {
	for _, m := range r.aside {
		err = errors.Join(err, fsops.Rename(m[1], m[0]))
	}
	if r.kept != "" {
		err = errors.Join(err, fsops.Remove(r.kept))
	}
	return err
}

// remove removes what belonged to the old database.
func (r *replacement) remove() error {
	names := make([]string, 0, len(r.aside)+1)
	for _, m := range r.aside {
		names = append(names, m[1])
	}
	if r.kept != "" {
		names = append(names, r.kept)
	}
	for _, name := range names {
		if err := fsops.Remove(name); err != nil {
			return fmt.Errorf("remove what belonged to the replaced database: %w", err)
		}
	}
	return nil
}
