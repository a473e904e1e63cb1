package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"seawal/internal/replica"
	"seawal/internal/segment"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// lived is a database with a history: its points, and its files at each of them. It is closed.
type lived struct {
	place
	points []point
	disks  []disk
}

// live makes one, whose file is at the replica's first point while the log holds the rest.
func live(t *testing.T) *lived {
	t.Helper()
	s := newPlace(t).begin("_checkpoint=app&_journal_mode=WAL")
	s.exec("PRAGMA wal_autocheckpoint=0", "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	s.flush()
	s.exec("PRAGMA wal_checkpoint(TRUNCATE)")
	l := &lived{place: s.place}
	for i := range 6 {
		s.exec(fmt.Sprintf("INSERT INTO t(b) VALUES(randomblob(%d))", 3000*(i%3+1)))
		s.flush()
		s.note()
		l.disks = append(l.disks, s.disk())
	}
	l.points = s.points
	s.end()
	return l
}

// back puts the database's files back to what they were at point i.
func (l *lived) back(i int) { l.put(l.disks[i]) }

// goOn opens the database again, with the points of before.
func (l *lived) goOn(params string) *session {
	l.t.Helper()
	s := l.begin("_journal_mode=WAL&" + params)
	s.points = l.points
	return s
}

// finish writes some more, wants it on a timeline, closes, and proves every point of all timelines.
func (s *session) finish(timeline uint32, notice string) {
	s.t.Helper()
	s.exec("INSERT INTO t(b) VALUES('and on')")
	s.flush()
	s.note()
	s.at(timeline, notice)
	s.end()
}

// at wants shipping to be on a timeline, and the status to say why.
func (s *session) at(timeline uint32, notice string) {
	s.t.Helper()
	st, err := vfs.Status(s.ctx, s.db)
	if err != nil {
		s.t.Fatal(err)
	}
	if st.Durable.Timeline != timeline || st.LastError != "" || st.Mode != "shipping" || !strings.Contains(st.Notice, notice) || notice == "" && st.Notice != "" {
		s.t.Errorf("want timeline %d and a notice of %q, status %+v", timeline, notice, st)
	}
}

// awayDriver is for databases whose store may be away while they are opened.
const awayDriver = "seawal-away"

// awayStores are the folders whose store, under the scheme away, does not answer.
var awayStores sync.Map

func init() {
	registerImpatient(awayDriver, vfs.Stalling(vfs.Config{}, 300*time.Millisecond))
	store.Register("away", func(ctx context.Context, u *url.URL) (store.Store, error) {
		s, err := store.Open(ctx, "file://"+u.Path)
		if err != nil {
			return nil, err
		}
		isAway := faultstore.PredicateFunc(func(faultstore.Call) bool { _, is := awayStores.Load(u.Path); return is })
		return faultstore.Wrap(s, faultstore.Options{}, faultstore.When(isAway, faultstore.Fail(errors.New("the store is away")))), nil
	})
}

// away makes the store of the replica fail until the function that it returns is called.
func (p *place) away() (back func()) {
	dir := strings.TrimPrefix(strings.TrimPrefix(p.replica, "file://"), "away://")
	p.replica = "away://" + dir
	awayStores.Store(dir, true)
	return func() { awayStores.Delete(dir) }
}

func (p place) remove() {
	p.t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm", "-journal", "-seawal"} {
		if err := os.RemoveAll(p.path + suffix); err != nil {
			p.t.Fatal(err)
		}
	}
}

// refused opens the database and wants an error, from opening it or from shipping, and a replica that stays as it is.
func (p place) refused(params string, want error, text string) {
	p.t.Helper()
	before := p.objects()
	db := p.open(params)
	defer db.Close() // with the error that the test wants
	_, err := vfs.Position(p.t.Context(), db)
	if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
		p.t.Errorf("position: %v, want %v with %q", err, want, text)
	}
	if after := p.objects(); after != before {
		p.t.Errorf("objects before:\n%s\nafter:\n%s", before, after)
	}
}

func (p place) objects() string {
	p.t.Helper()
	var all []string
	dir := strings.TrimPrefix(p.replica, "file://")
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.Join(all, "\n")
}

// attachRows are what a database and its replica may be to each other.
var attachRows = []struct {
	name string
	test func(t *testing.T)
}{
	{"a new database, no replica", func(t *testing.T) { live(t) }},
	{"a database with content, no replica", func(t *testing.T) {
		p := newPlace(t)
		create(t, p.path, 1024)
		plain(t, p.path, life...)
		s := p.begin("_journal_mode=WAL")
		s.flush()
		s.note()
		s.finish(1, "")
	}},
	{"no database, a replica", func(t *testing.T) {
		l := live(t)
		l.remove()
		l.refused("", vfs.ErrReplicaExists, "_restore=if-missing")
		if _, err := os.Stat(l.path); err == nil {
			t.Error("a file was made")
		}
	}},
	{"no database, a replica, restored", func(t *testing.T) {
		l := live(t)
		want := readFile(t, l.path)
		l.remove()
		s := l.goOn("_restore=if-missing")
		s.flush()
		if string(readFile(t, l.path)) != string(want) {
			t.Error("the file is not what it was")
		}
		s.finish(2, "taken over from another writer, or the state folder was lost")
	}},
	{"at the replica's point", func(t *testing.T) { live(t).goOn("").finish(1, "") }},
	{"ahead, with its log", func(t *testing.T) {
		l := live(t)
		l.back(5)
		ahead := plainLog(t, l.path, "INSERT INTO t(b) VALUES(randomblob(9000))", "DELETE FROM t WHERE a=2")
		l.put(ahead)
		s := l.goOn("")
		s.flush()
		if st, err := vfs.Status(t.Context(), s.db); err != nil || st.Captured.Tx != l.points[5].pos.Tx+2 || st.Resyncs != 0 {
			t.Errorf("%v, status %+v", err, st)
		}
		s.finish(1, "")
	}},
	{"ahead, without its log", func(t *testing.T) {
		l := live(t)
		plain(t, l.path, "INSERT INTO t(b) VALUES(randomblob(9000))", "DELETE FROM t WHERE a=2", "PRAGMA wal_checkpoint(TRUNCATE)")
		l.goOn("").finish(1, "its log is gone")
	}},
	{"behind after a reboot", func(t *testing.T) {
		l := live(t)
		want := readFile(t, l.path)
		l.back(2)
		l.reboot()
		s := l.goOn("")
		s.flush()
		if string(readFile(t, l.path)) != string(want) {
			t.Error("the file is not what it was")
		}
		s.finish(1, "rolled forward")
	}},
	{"brought back without a reboot, only read, opened twice", func(t *testing.T) {
		l := live(t)
		l.back(2)
		want := readFile(t, l.disks[2].alone(t))
		notice := fmt.Sprintf("brought back from %v to %v (the machine is up", l.points[5].pos, l.points[2].pos)
		for _, notice := range []string{notice, ""} {
			s := l.goOn("")
			s.text("SELECT count(*) FROM t")
			waitStatus(t, s.db, func(st vfs.Stat) bool { return st.Mode == "shipping" })
			s.at(2, notice)
			s.end()
			if string(readFile(t, l.path)) != string(want) {
				t.Error("the file is not the one that was put back")
			}
		}
		l.goOn("").finish(2, "")
	}},
	{"brought back without a reboot, written", func(t *testing.T) {
		l := live(t)
		l.back(2)
		s := l.goOn("")
		s.finish(2, fmt.Sprintf("opened timeline 2 at %v", l.points[2].pos))
	}},
	{"behind, the store away at open, written once it is back", func(t *testing.T) {
		l := live(t)
		l.back(2)
		l.reboot()
		back := l.away()
		s := l.goOn("")
		s.text("SELECT count(*) FROM t")
		back()
		waitStatus(t, s.db, func(st vfs.Stat) bool { return st.Mode == "behind" })
		s.finish(2, fmt.Sprintf("opened timeline 2 at %v", l.points[2].pos))
	}},
	{"behind, the store away at open, opened again", func(t *testing.T) {
		l := live(t)
		want := readFile(t, l.path)
		l.back(2)
		l.reboot()
		back := l.away()
		s := l.goOn("")
		s.text("SELECT count(*) FROM t")
		back()
		waitStatus(t, s.db, func(st vfs.Stat) bool { return st.Mode == "behind" })
		if err := errors.Join(s.conn.Close(), s.db.Close()); err != nil {
			t.Error(err)
		}
		s = l.goOn("")
		s.flush()
		if string(readFile(t, l.path)) != string(want) {
			t.Error("the file is not what it was")
		}
		s.finish(1, "rolled forward")
	}},
	{"behind, the store away at open, written before it is back", func(t *testing.T) {
		l := live(t)
		l.back(2)
		l.reboot()
		back := l.away()
		s := l.goOn("")
		s.exec("INSERT INTO t(b) VALUES('nobody knows yet')")
		back()
		s.flush()
		s.note()
		s.finish(2, fmt.Sprintf("opened timeline 2 at %v", l.points[2].pos))
	}},
	{"diverged", func(t *testing.T) {
		l := live(t)
		l.back(3)
		l.put(plainLog(t, l.path, "INSERT INTO t(b) VALUES('on another line')"))
		l.reboot()
		s := l.goOn("")
		s.flush()
		s.note()
		s.finish(2, fmt.Sprintf("opened timeline 2 at %v", l.points[3].pos))
	}},
	{"diverged, and what it has in common is gone from the file", func(t *testing.T) {
		l := live(t)
		l.back(3)
		plain(t, l.path, "INSERT INTO t(b) VALUES('on another line')") // its last connection empties the log
		l.reboot()
		s := l.goOn("")
		s.flush()
		s.note()
		s.finish(2, fmt.Sprintf("opened timeline 2 at %v", l.points[5].pos))
	}},
	{"a damaged object in the way", func(t *testing.T) {
		l := live(t)
		hurt := fmt.Sprintf("00000001/log/%016x", l.points[2].pos.Tx)
		if err := os.Truncate(filepath.Join(strings.TrimPrefix(l.replica, "file://"), hurt), 100); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(l.path + "-seawal/pages"); err != nil {
			t.Fatal(err)
		}
		l.points = l.points[:2] // what lies behind can be restored again when somebody mends the object
		s := l.goOn("")
		s.flush()
		s.note()
		s.finish(2, fmt.Sprintf("the replica is damaged behind %v: read segment %s", l.points[1].pos, hurt))
	}},
	{"another database", func(t *testing.T) {
		l := live(t)
		l.remove()
		create(t, l.path, 4096)
		plain(t, l.path, life...)
		l.refused("", nil, "another database")
	}},
	{"the state folder of another replica", func(t *testing.T) {
		l := live(t)
		l.replica = live(t).replica
		l.refused("", nil, "was shipped to")
	}},
	{"an empty file", func(t *testing.T) {
		l := live(t)
		if err := os.Truncate(l.path, 0); err != nil {
			t.Fatal(err)
		}
		l.refused("", vfs.ErrReplicaExists, "_restore=if-missing")
		s := l.goOn("_restore=if-missing")
		s.flush()
		s.finish(2, "taken over from another writer, or the state folder was lost")
	}},
	{"fenced by a newer timeline", func(t *testing.T) {
		l := live(t)
		st, err := store.Open(t.Context(), l.replica)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		tl := replica.Timeline{Timeline: 2, Parent: 1, ParentTx: l.points[5].pos.Tx, Writer: segment.NewID(), Reason: "test", Created: time.Now()}
		if err := replica.CreateTimeline(context.Background(), st, tl); err != nil {
			t.Fatal(err)
		}
		l.refused("", vfs.ErrFenced, "timeline 2")
	}},
	{"pages of another size", func(t *testing.T) {
		l := live(t)
		plain(t, l.path, "PRAGMA journal_mode=DELETE", "PRAGMA page_size=512", "VACUUM")
		s := l.goOn("")
		s.flush()
		s.note()
		s.finish(2, "page size changed from 4096 to 512")
	}},
}

// Each row of the table of what a database and its replica may be to each other, through the driver.
func TestAttach(t *testing.T) {
	for _, row := range attachRows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			row.test(t)
		})
	}
}

// plainLog makes statements with the plain driver, and returns the files with what it wrote still in the log.
func plainLog(t *testing.T, path string, steps ...string) disk {
	t.Helper()
	hold := place{t: t, path: path}
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	mustExec(t, db, "PRAGMA wal_autocheckpoint=0")
	for _, q := range steps {
		mustExec(t, db, q)
	}
	return hold.disk()
}
