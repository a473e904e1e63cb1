package shipper

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"seawal/internal/reliability"
)

// crashed is a world of 40 pages, of which the log has page 1 alone, whose process was killed.
func crashed(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, t.TempDir())
	w.offline(w.txOn(40, 100))
	w.start()
	w.position()
	for range 3 {
		w.commit(6)
		w.flush()
	}
	synctest.Wait()
	w.m.checkpoint(false)
	w.src.commit(CommitFrames, tx{changes: []change{{1, bytes.Repeat([]byte{7}, testPage)}}, pageCount: uint32(len(w.m.state()))})
	w.flush()
	_ = w.kill() // nothing is left to ship
	return w
}

// What stands in the database file and no transaction wrote is found, and named with the way out; nothing of it is shipped.
func TestScrubFindsWhatNoTransactionWrote(t *testing.T) {
	found, lost := 0, 0
	for name, harm := range map[string]func(m *model){
		"an older copy of the file": func(m *model) {
			for page := 9; page < 30; page++ {
				m.file[page] = bytes.Repeat([]byte{byte(page)}, m.pageSize)
			}
		},
		"a flipped bit": func(m *model) {
			m.file[9] = bytes.Clone(m.file[9])
			m.file[9][100] ^= 1
		},
		"a page of zeros": func(m *model) { m.file[9] = make([]byte, m.pageSize) },
		"a file cut off":  func(m *model) { m.file = m.file[:9] },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := crashed(t)
				before := w.objects()
				w.m.mu.Lock()
				w.m.file = w.m.file.clone()
				harm(w.m)
				w.m.mu.Unlock()
				w.start()
				w.position()
				time.Sleep(time.Minute)
				synctest.Wait()
				st := w.sh.Status()
				if !strings.Contains(st.Damaged, " 10") || !strings.Contains(st.Damaged, "restore --force") || !strings.Contains(st.Damaged, st.Durable.String()) || st.Notice != st.Damaged || st.Health != (Health{WordDamaged, st.Damaged}) {
					t.Errorf("status %+v", st)
				}
				found++
				if w.objects() != before {
					lost++
					t.Error("something was shipped of it")
				}
				w.stop()
			})
		})
	}
	reliability.Record(t, reliability.Fault{Group: reliability.Outside, Name: "pages of the database file are not what was committed",
		How: "after a crash the file is an older copy, cut off, or has a page of zeros or a flipped bit, and the WAL proves the rest"}, found, lost)
}

// Nothing is found in a database that is written, checkpointed and killed as ever.
func TestScrubFindsNothingElse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := crashed(t)
		for range 6 {
			w.start()
			w.position()
			for range 20 {
				w.commit(1 + w.rnd.IntN(8))
				switch w.rnd.IntN(6) {
				case 0:
					w.m.backfill()
				case 1:
					w.flush()
					w.m.checkpoint(false)
				}
				time.Sleep(time.Duration(w.rnd.IntN(2000)) * time.Millisecond)
			}
			w.flush()
			time.Sleep(scrubEvery + time.Hour)
			synctest.Wait()
			if st := w.sh.Status(); st.Damaged != "" {
				t.Fatal(st.Damaged)
			}
			_ = w.kill() // nothing is left to ship
		}
		w.start()
		w.position()
		w.stop()
		w.verify()
	})
}
