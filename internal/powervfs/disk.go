package powervfs

import (
	"bytes"
	"math/rand/v2"
	"slices"
)

// sector is what a disk writes whole or not at all, bytes. SQLite trusts that the sectors beside what it
// writes are left alone (powersafe overwrite), and nothing beyond.
const sector = 512

// operation is a line of the VFS's notes.
type operation struct {
	kind int
	name string
	arg  int64
	data []byte
}

// disk is what is known of the files of a database.
//
// A sync of a file makes its content durable, and the name that it has. The first sync of a new log or journal
// syncs the folder too, as SQLite's unix VFS does, and so may a removal; then all names are durable. Until then the
// making and removing of files may be undone, for each name from some moment on.
type disk map[string]*entry

// entry is what a name stands for.
type entry struct {
	durable *inode   // nil: no file
	later   []*inode // after each making (or removal: nil) that is not durable
}

func (e *entry) now() *inode {
	if n := len(e.later); n > 0 {
		return e.later[n-1]
	}
	return e.durable
}

func (e *entry) settle() { e.durable, e.later = e.now(), nil }

// inode is a file.
type inode struct {
	durable    []byte
	pending    []operation // writes and truncations that are not durable, oldest first
	syncFolder bool        // with the next sync
}

func (d disk) do(op operation) {
	if op.kind == opFolder {
		d.settle()
		return
	}
	e := d[op.name]
	if op.kind == opSync && (e == nil || e.now() == nil) {
		return // somebody else's file, or one that is gone
	}
	if e == nil {
		e = &entry{}
		d[op.name] = e
	}
	switch f := e.now(); op.kind {
	case opOpen:
		if f == nil {
			// Made by somebody else, who has synced it.
			e.durable, e.later = &inode{durable: op.data}, nil
		}
	case opCreate:
		e.later = append(e.later, &inode{syncFolder: op.arg != 0})
	case opWrite, opTruncate:
		f.pending = append(f.pending, op)
	case opSync:
		for _, p := range f.pending {
			f.durable = p.apply(f.durable, nil)
		}
		f.pending = nil
		e.settle()
		if f.syncFolder {
			f.syncFolder = false
			d.settle()
		}
	case opDelete:
		e.later = append(e.later, nil)
		if op.arg != 0 {
			d.settle()
		}
	}
}

func (d disk) settle() {
	for _, e := range d {
		e.settle()
	}
}

// apply is content after a write or truncation, of which only the sectors that keep wants arrive; nil: all.
func (op operation) apply(content []byte, keep func() bool) []byte {
	if op.kind == opTruncate {
		if int64(len(content)) > op.arg {
			return content[:op.arg:op.arg]
		}
		return append(content, make([]byte, op.arg-int64(len(content)))...)
	}
	for from, end := op.arg, op.arg+int64(len(op.data)); from < end; {
		to := min((from/sector+1)*sector, end)
		if keep == nil || keep() {
			if grow := to - int64(len(content)); grow > 0 {
				content = append(content, make([]byte, grow)...)
			}
			copy(content[from:to], op.data[from-op.arg:])
		}
		from = to
	}
	return content
}

// survivors is what is there when the power is back.
func (d disk) survivors(r *rand.Rand) map[string][]byte {
	names := make([]string, 0, len(d))
	for name := range d {
		names = append(names, name)
	}
	slices.Sort(names) // for r
	files := map[string][]byte{}
	for _, name := range names {
		e := d[name]
		f := e.durable
		if n := r.IntN(len(e.later) + 1); n > 0 {
			f = e.later[n-1]
		}
		if f != nil {
			files[name] = f.survivor(r)
		}
	}
	return files
}

// survivor is the content that f may have.
func (f *inode) survivor(r *rand.Rand) []byte {
	content := bytes.Clone(f.durable)
	pending := f.pending
	odds, torn := 2, false
	switch r.IntN(6) {
	case 0: // the disk had got to all of it
		odds = 1
	case 1: // to nothing
		pending = nil
	case 2: // in order, up to some moment
		odds, pending = 1, pending[:r.IntN(len(pending)+1)]
	case 3: // some writes, in any order
	case 4: // some sectors of each
		torn = true
	case 5: // nearly all
		odds, torn = 8, true
	}
	lost := func() bool { return odds > 1 && (r.IntN(odds) == 0) }
	for _, op := range pending {
		switch {
		case torn:
			if op.kind != opTruncate || !lost() {
				content = op.apply(content, func() bool { return !lost() })
			}
		case !lost():
			content = op.apply(content, nil)
		}
	}
	return content
}
