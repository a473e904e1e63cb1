package vfs_test

import (
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"testing"

	sqlite3 "github.com/mattn/go-sqlite3"

	"seawal/internal/vfstest"
	"seawal/vfs"
)

// A result of the second phase that is neither FULL nor an IOERR becomes the statement's and undoes nothing, and until SQLite lets go of its
// lock it reads nothing: neither after that result nor after OK. remote.c lets go before that.
func TestFactsResultOfTheSecondPhase(t *testing.T) {
	for _, mode := range []struct {
		params string
		fault  vfstest.Rule
		next   string // the call that follows the one with the result
	}{
		{"&_journal_mode=WAL", vfstest.Rule{Op: vfstest.Control, Control: vfstest.FcntlCommitPhaseTwo}, "-READ"},
		{"&_journal_mode=DELETE", vfstest.Rule{Op: vfstest.Unlock, At: &vfstest.Call{Flags: vfstest.LevelShared}}, "db.unlock(NONE)"},
	} {
		for _, what := range []struct{ name, query string }{
			{"insert", insertRow},
			{"commit", "COMMIT"},
			{"schema", "CREATE TABLE u(x)"},
			{"schema again", "DROP TABLE u"},
			{"virtual table", "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1)"},
			{"vacuum", "VACUUM"},
			{"reset", "INSERT INTO t(b) VALUES(1), (2) RETURNING a"},
		} {
			for _, code := range []vfstest.Code{vfstest.OK, vfs.CodeNotDurable} {
				t.Run(mode.params[1:]+"/"+what.name+"/"+code.String(), func(t *testing.T) {
					f := newFacts(t)
					c := f.open(mode.params)
					c.fill(20)
					if what.name == "schema again" {
						c.exec("CREATE TABLE u(x)")
					}
					if what.name == "commit" {
						c.exec("BEGIN; " + insertRow)
					}
					rule := mode.fault
					rule.Code, rule.Apply = code, vfstest.All
					fault := f.Fail(rule)
					var got error
					log := f.trace(func() { got = firstStep(c, what.query) })
					if fault.End() == 0 {
						t.Fatalf("no call to give a result:\n%v", log)
					}
					var e sqlite3.Error
					if code == vfstest.OK && got != nil || code != vfstest.OK && (!errors.As(got, &e) || vfstest.Code(e.ExtendedCode) != code) {
						t.Errorf("the statement returned %v", got)
					}
					at := log.Index(func(e *vfstest.Event) bool { return e.Injected })
					if words := log[at+1:].Words(); len(words) == 0 || !strings.HasPrefix(words[0], mode.next) {
						t.Errorf("SQLite doesn't let go at once:\n%v", log[at:])
					}
					c.expect("PRAGMA integrity_check", "ok")
					c.exec("BEGIN IMMEDIATE; " + insertRow + "; COMMIT")
				})
			}
		}
	}
}

// firstStep runs a statement, and resets it after its first row.
func firstStep(c *factsConn, query string) error {
	rows, err := c.Query(query, nil)
	if err != nil {
		return err
	}
	err = rows.Next(make([]driver.Value, len(rows.Columns())))
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, rows.Close())
}
