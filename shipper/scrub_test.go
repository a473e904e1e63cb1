package shipper

import (
	"bytes"
	"encoding/binary"
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

// While the application writes all the time, and what it writes is never all encoded when a state is pinned, the file is compared all the
// same: damage is found, and nothing that was committed is taken for it.
func TestScrubUnderConstantWriting(t *testing.T) {
	for name, rollback := range map[string]bool{"in WAL mode": false, "in a rollback journal mode": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, t.TempDir())
				w.m.rollback = rollback
				w.offline(w.txOn(40, 100))
				w.start()
				w.position()
				w.commit(6)
				w.flush()
				pages := uint32(len(w.m.state()))
				write := func(n int) {
					t := tx{pageCount: pages}
					for page := range uint32(8) {
						t.changes = append(t.changes, change{20 + page, bytes.Repeat([]byte{byte(n), byte(n >> 8)}, testPage/2)})
					}
					w.src.commit(CommitFrames, t)
				}
				pinned := 0
				w.src.mu.Lock()
				w.src.onPin = func() { pinned++; write(10000 + pinned) }
				w.src.mu.Unlock()
				for round := range 3 {
					w.m.checkpoint(false) // the file has page 10, and no frame of the log
					if round == 1 {
						w.m.setPage(10, make([]byte, testPage))
					}
					w.sh.scrubAtOnce()
					for n := range 200 {
						write(n)
						time.Sleep(20 * time.Millisecond)
						if n == 100 && !rollback {
							w.m.backfill()
						}
					}
					synctest.Wait()
					switch st := w.sh.Status(); {
					case pinned == 0 && (round > 0 || !rollback):
						t.Fatal("no state was pinned")
					case round == 0 && st.Damaged != "":
						t.Fatalf("nothing is damaged: %s", st.Damaged)
					case round > 0 && !strings.Contains(st.Damaged, "wrote page 10 as it is"):
						t.Fatalf("round %d: %q", round, st.Damaged)
					}
				}
				w.src.mu.Lock()
				w.src.onPin = nil
				w.src.mu.Unlock()
				w.stop()
			})
		})
	}
}

// scrubAtOnce begins a pass. The drain goroutine sleeps.
func (s *Shipper) scrubAtOnce() {
	synctest.Wait()
	s.planScrub(true)
	s.poke()
}

// A page on the freelist may be anything: SQLite doesn't bring it back when a transaction is rolled back.
func TestScrubPassesOverFreePages(t *testing.T) {
	for name, rollback := range map[string]bool{"in WAL mode": false, "in a rollback journal mode": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, t.TempDir())
				w.m.rollback = rollback
				w.settle = func() error { w.m.checkpoint(true); return nil }
				first, trunk := make([]byte, testPage), make([]byte, testPage)
				binary.BigEndian.PutUint32(first[headerFreeTrunk:], 3)
				binary.BigEndian.PutUint32(first[headerFreeCount:], 3)
				binary.BigEndian.PutUint32(trunk[trunkCount:], 2)
				binary.BigEndian.PutUint32(trunk[trunkLeaves:], 12)
				binary.BigEndian.PutUint32(trunk[trunkLeaves+4:], 14)
				w.offline(tx{changes: []change{{1, first}, {3, trunk}}, pageCount: 40})
				w.start()
				w.position()
				w.commitTo(20)
				w.flush()
				w.m.checkpoint(true)
				pass := func(want string) {
					t.Helper()
					w.sh.scrubAtOnce()
					time.Sleep(10 * time.Second)
					synctest.Wait()
					if got := w.sh.Status().Damaged; (got == "") != (want == "") || !strings.Contains(got, want) {
						t.Errorf("damaged: %q, want %q", got, want)
					}
				}
				w.m.setPage(12, bytes.Repeat([]byte{1}, testPage))
				w.m.setPage(14, bytes.Repeat([]byte{2}, testPage))
				pass("")
				w.m.setPage(13, bytes.Repeat([]byte{3}, testPage))
				pass("wrote page 13 as it is")
				// Which pages are free is only what was committed.
				binary.BigEndian.PutUint32(trunk[trunkLeaves:], 13)
				w.m.setPage(3, bytes.Clone(trunk))
				pass("wrote pages 3, 12, 13, 14 as it is")
				w.stop()
			})
		})
	}
}

// commitTo commits a change of one page.
func (w *world) commitTo(page uint32) {
	w.src.commit(CommitFrames, tx{changes: []change{{page, bytes.Repeat([]byte{9}, testPage)}}, pageCount: uint32(len(w.m.state()))})
}
