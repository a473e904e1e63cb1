package vfs_test

import (
	"fmt"

	"strings"
	"testing"

	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// A VACUUM, or the backup API, gives the pages another size: replication goes on by itself, on a timeline that begins
// with a snapshot, and each point before and after can be restored.
func TestPageSizeChanges(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL"} {
		for _, sizes := range [][]int{{1024, 4096, 512}, {4096, 1024, 65536}, {65536, 512, 1024}} {
			t.Run(fmt.Sprint(mode, "/", sizes), func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				create(t, p.path, sizes[0])
				plain(t, p.path, "PRAGMA journal_mode="+mode)
				s := p.begin("_journal_mode=" + mode)
				s.flush()
				s.steps(life...)
				for i, size := range sizes[1:] {
					s.flush() // leaving WAL mode deletes the log: spilled transactions that nobody has read there have no points then
					s.exec("PRAGMA journal_mode=DELETE", fmt.Sprint("PRAGMA page_size=", size))
					s.steps("INSERT INTO t(b) VALUES('with the old size')")
					s.exec("VACUUM", "INSERT INTO t(b) VALUES('with the new size')", "PRAGMA journal_mode="+mode)
					s.flush() // the timeline begins at some commit up to here
					s.steps(life...)
					s.flush()
					s.resized(uint32(i+2), size)
				}
				s.end()
			})
		}
	}
	t.Run("backup", func(t *testing.T) {
		p := newPlace(t)
		create(t, p.path, 4096)
		src := p.path + ".src"
		create(t, src, 1024)
		plain(t, src, life...)
		s := p.begin("_journal_mode=DELETE")
		s.steps(life...)
		s.flush()
		backup(t, s.conn, src, true)
		s.flush()
		s.note()
		s.steps("INSERT INTO t(b) VALUES('on top of it')")
		s.flush()
		s.resized(2, 1024)
		s.end()
	})
}

// resized wants the newest timeline to be one with pages of this size, and the status to say so.
func (s *session) resized(timeline uint32, size int) {
	s.t.Helper()
	st, err := vfs.Status(s.ctx, s.db)
	if err != nil {
		s.t.Fatal(err)
	}
	if st.Durable.Timeline != timeline || st.LastError != "" || !strings.Contains(st.Notice, fmt.Sprintf("opened timeline %d", timeline)) || !strings.Contains(st.Notice, fmt.Sprintf("to %d by VACUUM", size)) {
		s.t.Errorf("status %+v", st)
	}
	l := s.list(0)
	if l.PageSize != size || l.Timelines[timeline-1].PageSize != size || len(l.Gaps) != 0 || len(l.Ranges) == 0 {
		s.t.Errorf("listing %+v", l)
	}
}

func (p place) list(timeline uint32) *restore.Listing {
	p.t.Helper()
	st, err := store.Open(p.t.Context(), p.replica)
	if err != nil {
		p.t.Fatal(err)
	}
	defer st.Close()
	l, err := restore.List(p.t.Context(), st, timeline)
	if err != nil {
		p.t.Fatal(err)
	}
	return l
}

// The page size changes while nobody looks, by the plain driver.
func TestPageSizeChangesWhileClosed(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 1024)
	s := p.begin("_journal_mode=DELETE")
	s.steps(life...)
	s.end()
	plain(t, p.path, "PRAGMA journal_mode=DELETE", "PRAGMA page_size=8192", "VACUUM")
	again := p.begin("_journal_mode=DELETE")
	again.points = s.points
	again.flush()
	again.resized(2, 8192)
	again.steps("INSERT INTO t(b) VALUES('again')")
	again.end()
}

// Another process changes the page size while the application has the database open.
func TestPageSizeChangedByAStranger(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 1024)
	plain(t, p.path, "PRAGMA journal_mode=DELETE")
	s := p.begin("_journal_mode=DELETE")
	s.steps(life...)
	s.flush()
	plain(t, p.path, "PRAGMA page_size=2048", "VACUUM")
	s.exec("INSERT INTO t(b) VALUES('after it')")
	s.flush()
	s.note()
	s.resized(2, 2048)
	s.end()
}

// The disk of before the page size changed comes back, after a reboot: it is rolled forward over the change.
func TestStaleDiskIsRolledForwardOverAPageSize(t *testing.T) {
	for _, sizes := range [][2]int{{1024, 4096}, {4096, 1024}} {
		p := newPlace(t)
		create(t, p.path, sizes[0])
		s := p.begin("_journal_mode=DELETE")
		s.steps(life...)
		s.flush()
		old := p.disk()
		s.exec(fmt.Sprint("PRAGMA page_size=", sizes[1]))
		s.exec("VACUUM", "INSERT INTO t(b) VALUES('with the new size')")
		s.end()
		want := readFile(t, p.path)
		p.put(old)
		p.reboot()
		again := p.begin("_journal_mode=DELETE")
		again.flush()
		st, err := vfs.Status(t.Context(), again.db)
		if err != nil || !strings.Contains(st.Notice, "rolled forward") || st.Durable.Timeline != 2 {
			t.Errorf("%v, status %+v", err, st)
		}
		again.end()
		if got := readFile(t, p.path); string(got) != string(want) {
			t.Error("the file is not what it was")
		}
	}
}

// The store is away while the page size changes: everything is shipped once it is back.
func TestPageSizeChangesWhileTheStoreIsAway(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 1024)
	plain(t, p.path, "PRAGMA journal_mode=DELETE")
	p.away()()
	s := p.begin("_journal_mode=DELETE")
	s.flush()
	back := p.away()
	s.exec("INSERT INTO t(b) VALUES('before')", "PRAGMA page_size=4096", "VACUUM", "INSERT INTO t(b) VALUES('after')")
	waitStatus(t, s.db, func(st vfs.Stat) bool { return st.LastError != "" })
	back()
	s.flush()
	s.note()
	s.resized(2, 4096)
	s.end()
}
