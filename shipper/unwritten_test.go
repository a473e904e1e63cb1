package shipper

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/reliability"
	"seawal/internal/replica"
	"seawal/internal/segment"
)

// setPage puts a page into the file as no transaction would.
func (m *model) setPage(page int, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pages, m.file = m.pages.clone(), m.file.clone()
	m.pages[page-1], m.file[page-1] = data, data
	m.touchLocked()
}

// closedCleanly is a world of 40 pages whose file is the whole of it, in a rollback journal mode or in WAL mode.
func closedCleanly(t *testing.T, rollback bool) *world {
	t.Helper()
	w := newWorld(t, t.TempDir())
	w.m.rollback = rollback
	w.settle = func() error { w.m.checkpoint(true); return nil }
	w.offline(w.txOn(40, 100))
	w.start()
	w.position()
	for range 3 {
		w.commit(6)
	}
	w.flush()
	w.stop()
	return w
}

// A page that changed while the database was closed, and that no transaction wrote, is not shipped: what is committed afterwards is, also
// as a difference, and a start later it is still known. It ends with the user's word that the file is right.
func TestUnwrittenPagesAreNotShipped(t *testing.T) {
	if statFile(t.TempDir()) == nil {
		t.Skip("no clean close on this system")
	}
	for name, c := range map[string]struct {
		rollback bool
		early    bool // a commit comes before the replica answers
	}{
		"in WAL mode":                            {},
		"in WAL mode, with a commit":             {early: true},
		"in a rollback journal mode":             {rollback: true},
		"in a rollback journal mode, one commit": {rollback: true, early: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := closedCleanly(t, c.rollback)
				good := w.m.state()[9]
				bad := bytes.Clone(good)
				bad[100] ^= 1
				w.m.setPage(10, bad)
				before := w.objects()
				w.cfg.Judgement.Unwritten = "nobody was there"
				w.start()
				if c.early {
					w.src.commit(CommitFrames, tx{changes: []change{{20, bytes.Repeat([]byte{7}, testPage)}}, pageCount: uint32(len(w.m.state()))})
				}
				w.position()
				time.Sleep(time.Minute) // a pass
				synctest.Wait()
				st := w.sh.Status()
				if !strings.Contains(st.Damaged, "wrote page 10 as it is") || !strings.Contains(st.Damaged, "_adopt="+st.Replica.String()) || !strings.Contains(st.Damaged, "restore --force") ||
					st.Health != (Health{WordDamaged, st.Damaged}) || st.Notice == "" || st.Resyncs != 0 {
					t.Errorf("status %+v", st)
				}
				if !c.early && !strings.Contains(st.Damaged, "nobody was there") {
					t.Errorf("nothing shows that no transaction wrote it: %s", st.Damaged)
				}
				if !c.early && w.objects() != before {
					t.Error("something was shipped of it")
				}
				// A difference has what was committed, and not the damage.
				w.src.lose(tx{changes: []change{{5, bytes.Repeat([]byte{8}, testPage)}}, pageCount: uint32(len(w.m.state()))})
				w.commit(1)
				w.flush()
				shipped := w.newest()
				if !bytes.Equal(shipped[9], good) || !bytes.Equal(shipped[4], w.m.state()[4]) || w.sh.Status().Resyncs != 1 {
					t.Errorf("page 10 of the replica: as committed: %v; page 5 as the difference has it: %v; status %+v",
						bytes.Equal(shipped[9], good), bytes.Equal(shipped[4], w.m.state()[4]), w.sh.Status())
				}
				w.stop()

				w.cfg.Judgement = Judgement{}
				w.start()
				w.position()
				if st := w.sh.Status(); !strings.Contains(st.Damaged, " 10") {
					t.Errorf("the next start knows nothing of it: %+v", st)
				}
				id := w.sh.Status().Replica
				w.stop()
				w.cfg.Adopt = id
				w.start()
				w.position()
				w.flush()
				if st := w.sh.Status(); st.Damaged != "" || st.Resyncs != 1 || !strings.Contains(st.ResyncReason, "_adopt") {
					t.Errorf("accepted: %+v", st)
				}
				if shipped := w.newest(); !shipped.equal(w.m.state()) {
					t.Error("the replica isn't what was accepted")
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if st := w.sh.Status(); st.Damaged != "" {
					t.Errorf("an hour later: %s", st.Damaged)
				}
				w.cfg.Adopt = segment.ID{}
				w.stop()
				reliability.Record(t, reliability.Fault{Group: reliability.Outside, Name: "pages change while the database is closed, and no transaction wrote that",
					How: "a bit flips in the file after a clean close, in WAL mode and in a rollback journal mode, with a commit before the replica answers and without"}, 1, 0)
			})
		})
	}
}

// newest is what the replica has at its end.
func (w *world) newest() image {
	w.t.Helper()
	all, err := replica.Timelines(w.t.(*testing.T).Context(), w.store)
	if err != nil {
		w.t.Fatal(err)
	}
	clear(w.want) // the source has the damage in it
	r, err := w.replayTo(w.t.(*testing.T).Context(), replica.Pos{Timeline: all[len(all)-1].Timeline, Tx: 1<<63 - 1})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.pages
}

// What SQLite can't do without a trace: only then a file that has changed was written by no transaction.
func TestUnwritten(t *testing.T) {
	if statFile(t.TempDir()) == nil {
		t.Skip("no proof by stat on this system")
	}
	header := func(format byte) []byte {
		b := append([]byte(firstPage), make([]byte, testPage-len(firstPage))...)
		b[headerFormat], b[headerFormat+1] = format, format
		return b
	}
	rewrite := func(path string, off int64) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			_, err = f.WriteAt([]byte{1}, off)
			err = firstOf(err, f.Close())
		}
		return err
	}
	for name, c := range map[string]struct {
		format byte
		change func(path string) error
		proven bool
	}{
		"WAL mode, the header": {2, func(path string) error { return rewrite(path, 27) }, false},
		"WAL mode, a byte":     {2, func(path string) error { return rewrite(path, 600) }, true},
		"WAL mode, another file was there": {2, func(path string) error {
			return firstOf(rewrite(path, 600), os.WriteFile(path+".txt", nil, 0o600), os.Remove(path+".txt"))
		}, false},
		"WAL mode, a log is there": {2, func(path string) error { return firstOf(rewrite(path, 600), os.WriteFile(path+"-wal", nil, 0o600)) }, false},
		"WAL mode, nothing":        {2, func(string) error { return nil }, false},
		"WAL mode, another file in its place": {2, func(path string) error {
			return firstOf(os.Rename(path, path+".old"), os.WriteFile(path, header(2), 0o600))
		}, false},
		"rollback, another file was there": {1, func(path string) error { return firstOf(rewrite(path, 600), os.WriteFile(path+".txt", nil, 0o600)) }, true},
		"rollback, the counter moved":      {1, func(path string) error { return firstOf(rewrite(path, 27), os.WriteFile(path+".txt", nil, 0o600)) }, false},
		"rollback, a hot journal": {1, func(path string) error {
			return firstOf(rewrite(path, 600), os.WriteFile(path+"-journal", []byte("x"), 0o600))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, folder := filepath.Join(dir, "app.db"), filepath.Join(dir, "app.db-seawal")
			page := append(header(c.format), make([]byte, testPage)...)
			if err := firstOf(os.WriteFile(path, page, 0o600), os.Mkdir(folder, 0o700)); err != nil {
				t.Fatal(err)
			}
			st := &state{Format: stateFormat, Replica: segment.NewID(), Writer: segment.NewID(), Clean: statSettled(path, folder, statFile), Header: hex.EncodeToString(page[:headerBytes])}
			if err := writeState(folder, st); err != nil {
				t.Fatal(err)
			}
			NoteClosed(path, folder)
			if err := c.change(path); err != nil {
				t.Fatal(err)
			}
			if got := Unwritten(path, folder, openOSFile); (got != "") != c.proven {
				t.Errorf("shown by %q; to be shown: %v", got, c.proven)
			}
		})
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
