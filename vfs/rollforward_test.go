package vfs_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"seawal/internal/machine"
	"seawal/restore"
	"seawal/vfs"
)

// boots counts the starts of machines, none of which is like another.
var boots atomic.Int64

// reboot starts the machine again, as far as the database is concerned: what its files are now is what the power has left.
func (p place) reboot() {
	p.t.Helper()
	probe := filepath.Join(p.t.TempDir(), "clock")
	began, err := changeTime(probe, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	// The clock of the file system ticks every few milliseconds: what is written from now on has to show.
	now, err := changeTime(probe, began)
	if err != nil {
		p.t.Fatal(err)
	}
	machine.Pretend(p.path, machine.Boot{ID: fmt.Sprint("boot ", boots.Add(1)), Time: now})
}

// changeTime writes a file until its change time is after a moment, and returns it.
func changeTime(name string, after int64) (int64, error) {
	for {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			return 0, err
		}
		if err := os.Chmod(name, 0o600); err != nil {
			return 0, err
		}
		fi, err := os.Stat(name)
		if err != nil {
			return 0, err
		}
		if now := changed(fi); now > after {
			return now, nil
		}
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return b
}

// disk is a database's files at a moment.
type disk struct{ db, wal, state []byte }

func (p place) disk() disk {
	return disk{readFile(p.t, p.path), readFile(p.t, p.path+"-wal"), readFile(p.t, p.path+"-seawal/state.json")}
}

// alone is the name of a file with all that the database had.
func (d disk) alone(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "alone.db")
	for suffix, b := range map[string][]byte{"": d.db, "-wal": d.wal} {
		if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	plain(t, path, "PRAGMA wal_checkpoint(TRUNCATE)")
	return path
}

// put makes the files what they were.
func (p place) put(d disk) {
	p.t.Helper()
	for _, suffix := range []string{"-shm", "-journal", "-wal"} {
		if err := os.RemoveAll(p.path + suffix); err != nil {
			p.t.Fatal(err)
		}
	}
	if err := os.WriteFile(p.path, d.db, 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(p.path+"-seawal/state.json", d.state, 0o600); err != nil {
		p.t.Fatal(err)
	}
	if d.wal != nil {
		if err := os.WriteFile(p.path+"-wal", d.wal, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

// aged is a database with ten transactions in its replica, and its files after each of them.
func aged(t *testing.T, journal string) (p place, disks []disk) {
	p = newPlace(t)
	db := p.open("_checkpoint=app&_journal_mode=" + journal)
	defer db.Close()
	db.SetMaxOpenConns(1)
	mustExec(t, db, "PRAGMA journal_mode="+journal)
	mustExec(t, db, "PRAGMA wal_autocheckpoint=0")
	mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)")
	flush(t, db)
	mustExec(t, db, "PRAGMA wal_checkpoint(TRUNCATE)") // the file is at the replica's first point
	for i := range 10 {
		mustExec(t, db, "INSERT INTO t(b) VALUES(?)", strings.Repeat(fmt.Sprint(i), 3000*(i%3+1)))
		if i == 5 {
			mustExec(t, db, "DELETE FROM t WHERE a<3")
		}
		flush(t, db)
		disks = append(disks, p.disk())
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return p, disks
}

// openAgain opens the database, and wants it to be where the replica is.
func (p place) openAgain(journal string, rolled bool) {
	t := p.t
	t.Helper()
	want := readFile(t, p.restore(restore.Target{}))
	db := p.open("_journal_mode=" + journal)
	defer db.Close()
	if got := one(t, db, "SELECT count(*) FROM t"); got != "8" {
		t.Errorf("%s rows, want 8", got)
	}
	flush(t, db)
	st, err := vfs.Status(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if st.Durable.Timeline != 1 {
		t.Errorf("shipping goes on at %v, want timeline 1: %+v", st.Durable, st)
	}
	if got := strings.Contains(st.Notice, "rolled forward"); got != rolled {
		t.Errorf("the notice is %q", st.Notice)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(readFile(t, p.path), want) {
		t.Error("the file is not what the replica has")
	}
	db = p.open("_journal_mode=" + journal)
	defer db.Close()
	mustExec(t, db, "INSERT INTO t(b) VALUES('and on')")
	flush(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	p.same(p.path, p.restore(restore.Target{}))
}

func TestPowerLossIsRolledForward(t *testing.T) {
	p, disks := aged(t, "WAL")
	last := disks[len(disks)-1]
	frame := 4096 + 24
	var lengths []int
	for at := 32; at < len(last.wal); at += frame {
		lengths = append(lengths, at, at+10, at+frame/2)
	}
	lengths = append(lengths, 0, 5, len(last.wal)-1)
	for _, n := range lengths {
		t.Run(fmt.Sprintf("log cut to %d bytes", n), func(t *testing.T) {
			q := place{t, p.path, p.replica}
			replica := strings.TrimPrefix(p.replica, "file://")
			q.replica = "file://" + filepath.Join(t.TempDir(), "replica")
			if err := os.CopyFS(strings.TrimPrefix(q.replica, "file://"), os.DirFS(replica)); err != nil {
				t.Fatal(err)
			}
			others, err := filepath.Glob(p.path + "-seawal/*/state.json") // of the replicas before, which are copies of this one
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range others {
				if err := os.RemoveAll(filepath.Dir(name)); err != nil {
					t.Fatal(err)
				}
			}
			q.put(disk{last.db, last.wal[:n], last.state})
			q.reboot()
			q.openAgain("WAL", true)
		})
	}
	t.Run("nothing lost", func(t *testing.T) {
		p.t = t
		p.put(last)
		p.reboot()
		p.openAgain("WAL", false)
	})
}

func TestStaleDiskIsRolledForward(t *testing.T) {
	for _, journal := range []string{"DELETE", "TRUNCATE", "PERSIST", "WAL"} {
		t.Run(journal, func(t *testing.T) {
			p, disks := aged(t, journal)
			p.t = t
			p.put(disks[4])
			p.reboot()
			p.openAgain(journal, true)
		})
	}
}

// A database that was written after it came back has diverged: nothing is overwritten, and both lines can be read.
func TestBehindAndWrittenIsANewTimeline(t *testing.T) {
	p, disks := aged(t, "WAL")
	p.put(disks[4])
	plain(t, p.path, "INSERT INTO t(b) VALUES('on another line')")
	p.reboot()
	db := p.open("")
	defer db.Close()
	flush(t, db)
	st, err := vfs.Status(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	if st.Durable.Timeline != 2 || !strings.Contains(st.Notice, "timeline 2") {
		t.Errorf("shipping goes on at %v, notice %q", st.Durable, st.Notice)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	p.same(p.path, p.restore(restore.Target{}))
}
