package vfs_test

import (
	"database/sql"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"seawal/vfs"
)

// The file that is replicated has to be the one that go-sqlite3 opens, whatever a DSN looks like: %D in it is a folder.
func TestSameFileAsThePlainDriver(t *testing.T) {
	var dsns []string
	for _, name := range []string{
		"plain", "x? y#z%41 ü'", "a%41b", "a#b", "a b", "a%3Fb", "a;b", "a&b=c", "100%", "50%zz", "a%4", "+p", "sub//b", "..hidden", "a%00b", "a\x01b",
	} {
		escaped := (&url.URL{Path: name}).EscapedPath()
		dsns = append(dsns, "%D/"+name+".db", "file:%D/"+escaped+".db?_journal_mode=WAL", "file:%D/"+name+".db?_journal_mode=WAL")
	}
	dsns = append(dsns, "file://%D/a%2541%20b.db", "file://localhost%D/a%2541%20b.db", "?%D", "?x.db", "?x.db?_journal_mode=WAL", "file:x#y.db", "file:%D/x.db#frag", "file:%D/x.db?mode=rwc#frag", "FILE:x.db", "file:rel.db", "rel.db",
		"./sub/../rel.db", "file:%D/q.db?cache=shared&vfs=unix", "file:%D/q.db?vfs=unix-dotfile", "file:%D/q.db?x=%00", "file:%D/q.db?vfs=", "%D/q.db?vfs=",
		"%D/q.db?mode=memory", "file:%D/q.db?mode=memory", "file:%D/q.db?mode=ro", "file:%D/q.db?mode=rw", "", ":memory:", "file::memory:", "file:%3Amemory%3A",
		"file:?x=1", "file://host%D/q.db", "file:%D/a+b.db?_txlock=immediate&x=a+b", "file:%D/m.db?psow=0&modeof=%D/none")
	for i, dsn := range dsns {
		t.Run(strconv.Itoa(i), func(t *testing.T) { // its name becomes that of a folder
			want, wantErr := openedAs(t, "sqlite3", dsn)
			got, err := openedAs(t, "seawal", dsn)
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("%q: error is %v, sqlite3's is %v", dsn, err, wantErr)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q: other files than sqlite3's (-sqlite3 +seawal):\n%s", dsn, diff)
			}
		})
	}
}

// openedAs is which files a folder has after a driver has opened and written what a DSN names.
func openedAs(t *testing.T, driver, dsn string) (files []string, err error) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(filepath.Join(data, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(data)
	t.Setenv(vfs.EnvReplica, "file://"+filepath.Join(dir, "replica"))
	db, err := sql.Open(driver, strings.ReplaceAll(dsn, "%D", data))
	if err != nil {
		return nil, err
	}
	_, err = db.Exec("CREATE TABLE t(a); INSERT INTO t VALUES(1)")
	if e := db.Close(); err == nil {
		err = e
	}
	if e := filepath.WalkDir(data, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case strings.HasSuffix(path, "-seawal"):
			return fs.SkipDir
		case !e.IsDir():
			files = append(files, strings.TrimPrefix(path, data))
		}
		return nil
	}); e != nil {
		t.Fatal(e)
	}
	slices.Sort(files)
	return files, err
}
