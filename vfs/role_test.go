package vfs

import (
	"path/filepath"
	"testing"

	"github.com/mattn/go-sqlite3"
)

// The role of a connection of our own takes a key that no SQL of the application can know: whoever may ATTACH could else put another file in the place of
// the reader's, and close it while that is used.
func TestRoleNeedsTheKey(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	app := c.open("_journal_mode=WAL")
	defer app.Close()
	exec(t, app, "CREATE TABLE t(a)")
	tx, err := c.src.BeginRead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "&seawal_key=", "&seawal_key=guess"} {
		conn, err := (&sqlite3.SQLiteDriver{}).Open("file:" + filepath.Join(t.TempDir(), "other.db"))
		if err != nil {
			t.Fatal(err)
		}
		other := conn.(*sqlite3.SQLiteConn)
		exec(t, other, "ATTACH '"+fileURI(c.path)+"?vfs="+c.vfs+"&seawal_role=reader&seawal_reader=0"+key+"' AS x")
		exec(t, other, "SELECT * FROM x.t")
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		if err := tx.ReadFile(1, make([]byte, tx.PageSize())); err != nil {
			t.Fatalf("with %q the reader has lost its file: %v", key, err)
		}
	}
	if err := tx.Close(); err != nil {
		t.Error(err)
	}
}
