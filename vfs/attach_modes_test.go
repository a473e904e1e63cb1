package vfs_test

import (
	"database/sql"
	"os"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/vfs"
)

// Databases attached to each other are replicated each on its own: a plain file not at all, a replicated one
// from whatever connection writes to it, also one transaction over two files.
func TestModeAttach(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE", "TRUNCATE"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			a, b := newPlace(t), newPlace(t)
			create(t, a.path, 1024)
			create(t, b.path, 4096)
			plain(t, b.path, "CREATE TABLE other(x)")
			params := "_journal_mode=" + mode
			sa, sb := a.begin(params), b.begin(params)
			sa.flush()
			sb.flush()
			sa.exec("ATTACH '"+a.path+".plain' AS c", "CREATE TABLE c.t(a INTEGER PRIMARY KEY, b)")
			sa.exec("ATTACH 'file:" + b.path + "?vfs=seawal' AS b")
			for range 3 {
				sa.steps(
					"BEGIN; INSERT INTO main.t(b) VALUES(randomblob(3000)); INSERT INTO b.t(b) VALUES(randomblob(5000)); INSERT INTO c.t(b) VALUES(1); COMMIT",
					"INSERT INTO b.other VALUES(randomblob(900))",
					"BEGIN; INSERT INTO main.t(b) VALUES('no'); INSERT INTO b.t(b) VALUES('no'); ROLLBACK",
					"INSERT INTO c.t(b) VALUES(2)",
				)
				sb.steps("INSERT INTO t(b) VALUES(randomblob(100))")
			}
			sa.exec("DETACH b")
			sb.steps("INSERT INTO t(b) VALUES(randomblob(100))")
			sa.end()
			sb.end()
		})
	}
}

// The Backup API, from a plain database into a replicated one and from there into a plain one.
func TestModeBackup(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			create(t, p.path, 4096)
			src, out := p.path+".src", p.path+".out"
			create(t, src, 4096) // another page size: see TestModePageSize
			plain(t, src, "PRAGMA journal_mode="+mode)
			plain(t, src, life...)
			s := p.begin("_journal_mode=" + mode)
			s.flush()
			s.steps(life...)
			backup(t, s.conn, src, true)
			s.note()
			s.steps("INSERT INTO t(b) VALUES(randomblob(300))")
			backup(t, s.conn, out, false)
			s.end()
			if fingerprintFile(t, out) != s.points[len(s.points)-1].rows {
				t.Error("the copy has other rows")
			}
		})
	}
}

// backup copies between a connection and a plain file, a few pages at a time.
func backup(t *testing.T, c *sql.Conn, file string, in bool) {
	t.Helper()
	other, err := new(sqlite3.SQLiteDriver).Open("file:" + file)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	err = c.Raw(func(raw any) error {
		src, dest := raw.(*sqlite3.SQLiteConn), other.(*sqlite3.SQLiteConn)
		if in {
			src, dest = dest, src
		}
		b, err := dest.Backup("main", src, "main")
		if err != nil {
			return err
		}
		for done := false; !done; {
			if done, err = b.Step(7); err != nil {
				b.Close()
				return err
			}
		}
		return b.Finish()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A database without a page has nothing to replicate, until it has; one that is only read is replicated all the same.
func TestModeEmptyAndReadOnly(t *testing.T) {
	p := newPlace(t)
	if err := os.WriteFile(p.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := p.begin("")
	s.text("SELECT count(*) FROM sqlite_schema")
	waitStatus(t, s.db, func(st vfs.Stat) bool { return st.Mode == "empty" })
	s.exec("PRAGMA page_size=2048")
	s.exec(life[1])
	s.flush()
	s.steps(life[2:]...)
	s.end()

	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run("mode=ro/"+mode, func(t *testing.T) {
			p := newPlace(t)
			create(t, p.path, 1024)
			plain(t, p.path, "PRAGMA journal_mode="+mode)
			plain(t, p.path, life...)
			before, err := os.ReadFile(p.path)
			if err != nil {
				t.Fatal(err)
			}
			s := p.begin("mode=ro")
			s.flush()
			s.note()
			s.end()
			after, err := os.ReadFile(p.path)
			if err != nil || string(before) != string(after) {
				t.Errorf("the database was written: %v", err)
			}
			// One that writes comes later, while the first is still open.
			s = p.begin("mode=ro")
			w := p.begin("mode=rw&_journal_mode=" + mode)
			w.steps(life[1:5]...)
			w.end2(s)
		})
	}
}

// end2 closes another session of the same database first.
func (s *session) end2(first *session) {
	s.t.Helper()
	if err := first.conn.Close(); err != nil {
		s.t.Fatal(err)
	}
	if err := first.db.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.end()
}
