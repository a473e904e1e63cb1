package shipper

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"seawal/internal/fsops"
	"seawal/internal/pagesum"
	"seawal/internal/replica"
	"seawal/internal/segment"
)

// imageFile is a database file that nobody has open.
type imageFile struct{ pages image }

func (f *imageFile) Size() (int64, error) { return int64(len(f.pages)) * testPage, nil }
func (f *imageFile) Close() error         { return nil }

// ReadAt reads a page; what is shorter is the header, where the page size stands: pages of a model are no SQLite's.
func (f *imageFile) ReadAt(p []byte, off int64) (int, error) {
	if len(p) < testPage {
		binary.BigEndian.PutUint16(p[16:], testPage)
		return len(p), nil
	}
	return copy(p, f.pages[off/testPage]), nil
}

// play does with a journal what SQLite does: its pages are written, the file is cut, and the journal is removed.
func (f *imageFile) play(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	be := binary.BigEndian
	f.pages = f.pages.clone()
	for rec := range be.Uint32(b[8:]) {
		r := b[journalSector+int(rec)*(4+testPage+4):]
		page := int(be.Uint32(r))
		for len(f.pages) < page {
			f.pages = append(f.pages, make([]byte, testPage))
		}
		f.pages[page-1] = r[4 : 4+testPage]
	}
	f.pages = f.pages[:be.Uint32(b[16:])]
	return os.Remove(path)
}

// robbed is a database of one replica, whose newest point is 1/6, that lost power and is at an earlier one.
type robbed struct {
	*world
	file *imageFile
	cfg  RollForwardConfig
}

// robbedTo is a database that a loss of power has left at a transaction. The process before ended in order, so that the state has
// the newest position, and the page checksums of it.
func robbedTo(t *testing.T, tx uint64) *robbed {
	t.Helper()
	w := newWorld(t, t.TempDir())
	w.m.rollback = true
	w.offline(w.txOn(30, 60))
	w.start()
	w.position()
	for range 5 {
		w.commit(2)
		w.flush()
	}
	w.stop()
	r := &robbed{world: w, file: &imageFile{w.m.state()}}
	if tx < 6 {
		r.file.pages = w.want[replica.Pos{Timeline: 1, Tx: tx}]
	}
	r.cfg = RollForwardConfig{
		Store: w.store, DBPath: w.m.path, StateDir: w.sh.cfg.StateDir, Judgement: Judgement{Loss: LossOfPower}, Logger: slog.New(slog.DiscardHandler),
		Open:      func(string) (DBFile, error) { return r.file, nil },
		Exclusive: func() (func() error, error) { return func() error { return nil }, nil },
		Recover:   func() error { return r.file.play(w.m.path + "-journal") },
		Restore:   func(context.Context, replica.Pos, string) error { return errReset },
	}
	return r
}

// change changes what the state directory knows.
func (r *robbed) change(t *testing.T, f func(st *state)) {
	t.Helper()
	st, err := readState(r.cfg.StateDir)
	mustDo(t, err)
	f(st)
	mustDo(t, writeState(r.cfg.StateDir, st))
}

// TestRollForward: the file is what was confirmed, and what SQLite made of the journal is looked at before anybody is told so.
func TestRollForward(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for tx := uint64(2); tx < 6; tx++ {
			r := robbedTo(t, tx)
			done, err := RollForward(t.Context(), r.cfg)
			if err != nil || done == nil || done.From.Tx != tx || done.To.Tx != 6 || !r.file.pages.equal(r.m.state()) {
				t.Errorf("from 1/%d: %+v, %v", tx, done, err)
			}
		}
		for name, harm := range map[string]func(r *robbed){
			"SQLite left a page": func(r *robbed) {
				was := r.file.pages
				r.cfg.Recover = func() error {
					err := r.file.play(r.m.path + "-journal")
					r.file.pages = append(was.clone(), r.file.pages[len(was):]...)
					return err
				}
			},
			"SQLite left the file too long": func(r *robbed) {
				r.cfg.Recover = func() error {
					err := r.file.play(r.m.path + "-journal")
					r.file.pages = append(r.file.pages, make([]byte, testPage))
					return err
				}
			},
		} {
			r := robbedTo(t, 4)
			harm(r)
			if done, err := RollForward(t.Context(), r.cfg); err == nil || done != nil || !strings.Contains(err.Error(), "restore it") {
				t.Errorf("%s: %+v, %v", name, done, err)
			}
		}
	})
}

// TestRollForwardJournalOfAnotherPoint: a page that isn't that of the point is written nowhere, and no journal stays that has it.
func TestRollForwardJournalOfAnotherPoint(t *testing.T) {
	cfg := RollForwardConfig{DBPath: filepath.Join(t.TempDir(), "app.db"), Progress: func() {}}
	h := pagesum.NewHasher(0)
	w := &written{hasher: h, pages: map[uint32]pagesum.Sum{7: h.Of(7, make([]byte, testPage))}, count: 7}
	err := cfg.writeJournal(testPage, w, []uint32{7}, func(_ uint32, p []byte) error {
		p[3] = 1
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "page 7") {
		t.Errorf("writing it: %v", err)
	}
	if _, err := os.Stat(cfg.DBPath + "-journal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the journal is still there: %v", err)
	}
}

// TestLocate: where a database that may have been robbed is, and that one which wasn't stays as it is.
func TestLocate(t *testing.T) {
	for _, test := range []struct {
		name    string
		at      uint64 // transaction
		change  func(t *testing.T, r *robbed)
		forward bool
		err     string
	}{
		{name: "at the end", at: 6},
		{name: "behind", at: 4, forward: true},
		{name: "behind, and found there before", at: 4, forward: true, change: func(_ *testing.T, r *robbed) {
			r.cfg.Judgement.found = &found{At: replica.Pos{Timeline: 1, Tx: 4}, Sum: pagesum.Sum(1).String()}
		}},
		{name: "found somewhere else before: somebody has put it there", at: 4, change: func(_ *testing.T, r *robbed) {
			r.cfg.Judgement.found = &found{At: replica.Pos{Timeline: 1, Tx: 3}, Sum: pagesum.Sum(1).String()}
		}},
		{name: "where it was synced", at: 4, forward: true, change: func(t *testing.T, r *robbed) {
			r.change(t, func(st *state) { st.Synced = replica.Pos{Timeline: 1, Tx: 4} })
		}},
		{name: "before what was synced", at: 4, change: func(t *testing.T, r *robbed) {
			r.change(t, func(st *state) { st.Synced = replica.Pos{Timeline: 1, Tx: 5} })
		}},
		{name: "before what was synced, and its page checksums are lost", at: 4, change: func(t *testing.T, r *robbed) {
			r.change(t, func(st *state) { st.Synced = replica.Pos{Timeline: 1, Tx: 5} })
			mustDo(t, os.Remove(tablePath(r.cfg.StateDir)))
		}},
		{name: "a page that no transaction wrote is another one", at: 4, err: "no transaction since", change: func(t *testing.T, r *robbed) {
			first, pages := r.want[replica.Pos{Timeline: 1, Tx: 2}], r.file.pages.clone()
			for n := len(pages) - 1; n > 0; n-- {
				if string(r.m.state()[n]) == string(first[n]) {
					pages[n] = make([]byte, testPage)
					r.file.pages = pages
					return
				}
			}
			t.Fatal("every page was written")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := robbedTo(t, test.at)
				if test.change != nil {
					test.change(t, r)
				}
				was := r.file.pages
				done, err := RollForward(t.Context(), r.cfg)
				if (done != nil) != test.forward || (err != nil) != (test.err != "") || err != nil && !strings.Contains(err.Error(), test.err) {
					t.Errorf("%+v, %v", done, err)
				}
				if !test.forward && !r.file.pages.equal(was) {
					t.Error("the file was changed")
				}
			})
		})
	}
}

// TestConfirmedEnd: what is known to be from here is what was confirmed to the state directory, and a segment that was about to be
// sent if the replica has just that. A clone of the machine ships under the same id, and what it ships stays out.
func TestConfirmedEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := robbedTo(t, 6)
		st, err := readState(r.cfg.StateDir)
		mustDo(t, err)
		rep := st.Replica
		infos := map[uint64]segment.Info{} // of the segments, by the transaction that they end with
		for o, err := range r.store.List(t.Context(), segment.LogPrefix(1), "") {
			mustDo(t, err)
			_, info, err := replica.Inspect(t.Context(), r.store, o)
			mustDo(t, err)
			infos[info.Last] = info
		}
		sent4 := sent{replica.Pos{Timeline: 1, Tx: 4}, infos[4].Checksum}
		for _, test := range []struct {
			name      string
			sent      []sent
			confirmed uint64     // transaction; 0: none
			replica   segment.ID // that it was confirmed by
			want      uint64
		}{
			{name: "the state alone", want: 3},
			{name: "a segment that was about to be sent, and is there", sent: []sent{sent4}, want: 4},
			{name: "two of them", sent: []sent{sent4, {replica.Pos{Timeline: 1, Tx: 5}, infos[5].Checksum}}, want: 5},
			{name: "another one is there", sent: []sent{{sent4.pos, sent4.checksum + 1}}, want: 3},
			{name: "confirmed since", confirmed: 5, replica: rep, want: 5},
			{name: "confirmed by another replica", confirmed: 5, replica: segment.NewID(), want: 3},
		} {
			dir := t.TempDir()
			now := *st
			now.Position, now.After = replica.Pos{Timeline: 1, Tx: 3}, infos[3].After.String()
			mustDo(t, writeState(dir, &now))
			s := &Shipper{id: test.replica}
			s.cfg.StateDir = dir
			mustDo(t, s.beginTelling())
			for _, x := range test.sent {
				s.noteSent(x)
			}
			if test.confirmed > 0 {
				s.noteConfirmed(replica.Pos{Timeline: 1, Tx: test.confirmed}, infos[test.confirmed].After)
			}
			s.endTelling()
			cfg := r.cfg
			cfg.StateDir = dir
			end, err := cfg.confirmedEnd(t.Context())
			mustDo(t, err)
			if end.pos.Tx != test.want || end.after != infos[test.want].After {
				t.Errorf("%s: %v, %v, want transaction %d", test.name, end.pos, end.after, test.want)
			}
		}
	})
}

// TestConfirmedIsNoted: what the replica has is written down before anybody is told, what was about to be sent is on the disk by then, and
// the two records take turns: a loss of power in the middle of one leaves the other.
func TestConfirmedIsNoted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := attached(t)
		dir := w.sh.cfg.StateDir
		w.commit(2)
		w.flush()
		w.commit(2)
		w.flush()
		last := w.sh.Durable()
		all := readConfirmations(dir)
		if newest := readConfirmed(dir, w.sh.ID()); newest.pos != last || newest.after != w.m.state().total(w.sh.hasher) {
			t.Errorf("%+v is noted, and the replica is at %v", newest, last)
		}
		if a, b := all[0].pos.Tx, all[1].pos.Tx; max(a, b) != last.Tx || min(a, b) != last.Tx-1 {
			t.Errorf("the records are of %d and %d, and the replica is at %v", a, b, last)
		}
		synced := make(chan struct{})
		stop := fsops.Watch(dir, func(e fsops.Event) {
			if e.Op == fsops.OpSync && filepath.Base(e.Path) == positionFile {
				<-synced
			}
		})
		defer stop()
		w.commit(2)
		flushed := make(chan error, 1)
		go func() { flushed <- w.sh.Flush(t.Context()) }()
		synctest.Wait()
		if _, err := w.store.Stat(t.Context(), segment.LogName(1, last.Tx+1)); err != nil {
			t.Errorf("the segment isn't under way: %v", err)
		}
		if at := w.sh.Durable(); at != last {
			t.Errorf("%v is called durable, and that its segment is ours isn't on the disk", at)
		}
		close(synced)
		if err := <-flushed; err != nil {
			t.Error(err)
		}
		w.note()
		w.stop()
		w.verify()
	})
}
