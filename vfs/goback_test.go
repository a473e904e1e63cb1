package vfs_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"seawal/internal/machine"
	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// wentWrong is a place whose last transaction deletes everything by mistake. then is a copy of the database before it.
func wentWrong(t *testing.T, killed bool) (b *badPlace, good uint64, then string) {
	b, db := opened(t, impatient, "_checkpoint=app")
	at := b.points[0]
	mustExec(t, db, "DELETE FROM t")
	b.flush(db)
	then = filepath.Join(filepath.Dir(b.path), "then.db")
	if _, err := restore.Run(t.Context(), b.behind, restore.Options{Output: then, Target: restore.AtTx(at.pos.Tx)}); err != nil {
		t.Fatal(err)
	}
	if killed {
		copied := b.kill(db)
		if err := os.Rename(then, filepath.Join(filepath.Dir(copied.path), "then.db")); err != nil {
			t.Fatal(err)
		}
		then = filepath.Join(filepath.Dir(copied.path), "then.db")
		return copied, at.rows, then
	}
	b.finish(db)
	return b, at.rows, then
}

// kill makes the place what a process that is killed now would leave: in another folder, since this process goes on.
func (b *badPlace) kill(db interface{ Close() error }) *badPlace {
	b.t.Helper()
	c := b.killed()
	b.gone(db.Close())
	return c
}

// killBadly is kill while the store has its bad days.
func (b *badPlace) killBadly(db *sql.DB) *badPlace {
	b.t.Helper()
	c := b.killed()
	b.closeBadly(db)
	b.gone(nil)
	return c
}

// killed copies the place as it is.
func (b *badPlace) killed() *badPlace {
	b.t.Helper()
	c := &badPlace{place: b.place, faults: b.faults, behind: b.behind, stuck: b.stuck, driver: b.driver, points: b.points}
	c.path = filepath.Join(b.t.TempDir(), "app.db")
	for _, suffix := range []string{"", "-wal"} {
		if err := os.WriteFile(c.path+suffix, readFile(b.t, b.path+suffix), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := copyFolder(c.path+"-seawal", b.path+"-seawal"); err != nil {
		b.t.Fatal(err)
	}
	h := &powerHistory{t: b.t, place: c.place}
	h.sameFile()
	return c
}

// gone removes the place, which was closed with err.
func (b *badPlace) gone(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	// The place of before is gone: a database that is still there would be taken for the one that the replica is of.
	for _, suffix := range []string{"", "-wal", "-shm", "-seawal"} {
		if err := os.RemoveAll(b.path + suffix); err != nil {
			b.t.Fatal(err)
		}
	}
}

// Somebody puts an older file back while the application is stopped, by whatever means: that is what the database is from then on, at
// once, after another start of the machine, and at every open, whether the application reads or writes.
func TestGoingBackOnPurpose(t *testing.T) {
	byHand := map[string]func(t *testing.T, b *badPlace, then string){
		"mv": func(t *testing.T, b *badPlace, then string) {
			if err := os.Rename(then, b.path); err != nil {
				t.Fatal(err)
			}
		},
		"cp": func(t *testing.T, b *badPlace, then string) {
			if err := os.WriteFile(b.path, readFile(t, then), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"rsync": func(t *testing.T, b *badPlace, then string) { // a temporary file beside it, the times of the copy, a rename
			fi, err := os.Stat(then)
			if err != nil {
				t.Fatal(err)
			}
			tmp := filepath.Join(filepath.Dir(b.path), ".app.db.x1")
			if err := os.WriteFile(tmp, readFile(t, then), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(tmp, fi.ModTime(), fi.ModTime()); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(tmp, b.path); err != nil {
				t.Fatal(err)
			}
		},
		"restore --force": func(t *testing.T, b *badPlace, _ string) {
			if _, err := restore.Run(t.Context(), b.behind, restore.Options{Output: b.path, Target: restore.AtTx(b.points[0].pos.Tx), Force: true}); err != nil {
				t.Fatal(err)
			}
		},
	}
	boots := map[string]func(b *badPlace){
		"same boot":    func(*badPlace) {},
		"another boot": func(b *badPlace) { b.reboot() },
		"no boot id":   func(b *badPlace) { machine.Pretend(b.path, machine.Boot{}) },
	}
	for how, put := range byHand {
		for when, boot := range boots {
			for _, killed := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, killed and written first: %v", how, when, killed), func(t *testing.T) {
					t.Parallel()
					b, good, then := wentWrong(t, killed)
					put(t, b, then)
					for _, suffix := range []string{"-wal", "-shm"} {
						if err := os.RemoveAll(b.path + suffix); err != nil {
							t.Fatal(err)
						}
					}
					boot(b)
					b.staysBack(good, killed)
					reliability.Record(t, reliability.Fault{Group: reliability.Live, Name: "an older file is put back on purpose",
						How: "mv, cp, rsync or restore --force, after a close or a kill, on this boot of the machine, another one, or an unknown one; read first or written first; opened twice"}, 1, 0)
				})
			}
		}
	}
}

// staysBack opens the database twice, and wants it to have the rows of what was put back, on a timeline of its own.
func (b *badPlace) staysBack(good uint64, writes bool) {
	t := b.t
	t.Helper()
	for open := range 2 {
		db := b.open("")
		if rows, err := fingerprint(t.Context(), db); err != nil || rows != good {
			t.Fatalf("open %d: %v, the database isn't what was put back", open, err)
		}
		if writes {
			mustExec(t, db, "INSERT INTO t(b) VALUES('and on')")
		}
		b.flush(db)
		st := b.status(db)
		if st.Durable.Timeline != 2 || open == 0 && !strings.Contains(st.Notice, "timeline 2") {
			t.Errorf("open %d: %+v", open, st)
		}
		var err error
		if good, err = fingerprint(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		b.finish(db)
	}
	if got := fingerprintFile(t, b.good().restore(restore.Newest())); got != good {
		t.Error("the replica has other rows than the database")
	}
}

// A clone of the machine ships under our writer's id while this one is down. Whatever becomes of the machine, none of it gets into
// its database.
func TestCloneIsNotRolledIn(t *testing.T) {
	for _, how := range []string{"closed", "closed, another boot", "power lost", "killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			b, db := opened(t, impatient, "_checkpoint=app")
			mustExec(t, db, "INSERT INTO t(b) VALUES('production')")
			b.flush(db)
			cut := readFile(t, b.path+"-wal")
			mustExec(t, db, "INSERT INTO t(b) VALUES('confirmed')")
			b.flush(db)
			p := b
			if how == "power lost" || how == "killed" {
				p = b.kill(db)
			} else {
				b.finish(db)
			}
			c := p.another(true)
			if err := os.WriteFile(c.path+"-wal", readFile(t, p.path+"-wal"), 0o600); err != nil {
				t.Fatal(err)
			}
			staging := c.open("")
			mustExec(t, staging, "INSERT INTO t(b) VALUES('of staging')")
			mustExec(t, staging, "DELETE FROM t WHERE b='production'")
			_ = vfs.Flush(t.Context(), staging) // it may be told that it is a clone
			_ = staging.Close()
			switch how {
			case "power lost":
				if err := os.WriteFile(p.path+"-wal", cut, 0o600); err != nil {
					t.Fatal(err)
				}
				fallthrough
			case "closed, another boot":
				p.reboot()
			}
			db = p.open("")
			defer db.Close() // it may be fenced
			for what, want := range map[string]string{"production": "1", "confirmed": "1", "of staging": "0"} {
				if got := one(t, db, "SELECT count(*) FROM t WHERE b='"+what+"'"); got != want {
					t.Errorf("%s rows %q, want %s", got, what, want)
				}
			}
			_ = vfs.Flush(t.Context(), db)
			if got := one(t, db, "SELECT count(*) FROM t WHERE b='of staging'"); got != "0" {
				t.Error("staging's rows came later")
			}
			reliability.Record(t, reliability.Fault{Group: reliability.Live, Name: "a clone of the machine ships while it is down",
				How: "with the state directory and the writer's id of the database, which was closed, killed, or lost its power; its rows are looked for in the live database"}, 1, 0)
		})
	}
}

// lostPower is a place whose machine lost its power with one confirmed transaction, of which the file has nothing.
func lostPower(t *testing.T, driver, params string) *badPlace {
	t.Helper()
	b, db := opened(t, driver, "_checkpoint=app&"+params)
	mustExec(t, db, "CREATE TABLE large AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<200) SELECT randomblob(4000) AS c FROM n")
	b.finish(db)
	db = b.open("_checkpoint=app&" + params)
	mustExec(t, db, "INSERT INTO t(b) VALUES('before')")
	b.flush(db)
	cut := readFile(t, b.path+"-wal")
	mustExec(t, db, "INSERT INTO t(b) VALUES('lost')")
	b.flush(db)
	p := b.kill(db)
	if err := os.WriteFile(p.path+"-wal", cut, 0o600); err != nil {
		t.Fatal(err)
	}
	p.reboot()
	return p
}

// isBack wants the transaction that was lost, and the database on its old timeline, the same as its replica.
func (b *badPlace) isBack(db *sql.DB) {
	t := b.t
	t.Helper()
	if got := one(t, db, "SELECT count(*) FROM t WHERE b='lost'"); got != "1" {
		t.Errorf("%s rows of the transaction that was confirmed", got)
	}
	mustExec(t, db, "INSERT INTO t(b) VALUES('and on')")
	if st := b.finish(db); st.Durable.Timeline != 1 || !strings.Contains(st.Notice, "rolled forward") {
		t.Errorf("status %+v", st)
	}
	if !bytes.Equal(readFile(t, b.path), readFile(t, b.good().restore(restore.Newest()))) {
		t.Error("the file is not what the replica has")
	}
}

// What is rolled forward is fetched and written page by page: a database of which little differs isn't read through the store.
func TestRollForwardFetchesWhatDiffers(t *testing.T) {
	t.Parallel()
	b := lostPower(t, impatient, "")
	before := len(b.faults.Calls())
	db := b.open("")
	one(t, db, "SELECT 1")
	read := 0
	for _, c := range b.faults.Calls()[before:] {
		if c.Op == store.OpRead && strings.Contains(c.Name, "/log/") {
			read++
		}
		if c.Op == store.OpRead && strings.Contains(c.Name, "/snapshot/") {
			t.Errorf("%s was read", c.Name)
		}
	}
	if read == 0 || read > 16 {
		t.Errorf("segments were read %d times", read)
	}
	b.isBack(db)
}

// One failure of the store is no reason to go on without what was confirmed.
func TestRollForwardTriesAgain(t *testing.T) {
	for _, op := range []store.Op{store.OpRead, store.OpList, store.OpStat} {
		t.Run(op.String(), func(t *testing.T) {
			t.Parallel()
			b := lostPower(t, impatient, "")
			b.faults.SetRules(faultstore.When(faultstore.And(faultstore.OnOp(op), faultstore.Between(0, 2)), faultstore.Fail(errReset)))
			b.isBack(b.open(""))
			reliability.Record(t, reliability.Fault{Group: reliability.Live, Name: "the store fails while a database is rolled forward",
				How: "the first requests of a kind fail after a loss of power; the confirmed transaction is looked for in the live database"}, 1, 0)
		})
	}
}

// The context of who asks first ends the wait, not the work: the next one finds the database rolled forward.
func TestRollForwardOutlivesWhoAsked(t *testing.T) {
	t.Parallel()
	b := lostPower(t, impatient, "")
	b.faults.SetRules(faultstore.When(faultstore.OnOp(store.OpRead), faultstore.Slow(hangs)))
	db := b.open("")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("ping: %v", err)
	}
	if st := b.status(db); st.Mode != "opening" {
		t.Errorf("status %+v", st)
	}
	b.calm()
	b.isBack(db)
}

// With _behind=refuse, which _durability=remote means, a database is not opened while nobody knows what it lacks; and _behind=fork is the way out.
func TestBehindRefuses(t *testing.T) {
	for _, params := range []string{"_behind=refuse", "_durability=remote"} {
		t.Run(params, func(t *testing.T) {
			t.Parallel()
			b := lostPower(t, stalling, "")
			b.faults.SetRules(faultstore.When(faultstore.Always(), faultstore.Fail(errReset)))
			db := b.open(params)
			for range 2 {
				err := db.Ping()
				if !errors.Is(err, vfs.ErrBehind) || !strings.Contains(err.Error(), "_behind=fork") || !strings.Contains(err.Error(), errReset.Error()) {
					t.Errorf("ping: %v", err)
				}
			}
			b.calm()
			b.isBack(db)
		})
	}
	t.Run("fork", func(t *testing.T) {
		t.Parallel()
		b := lostPower(t, impatient, "")
		db := b.open("_behind=fork&_durability=remote")
		if got := one(t, db, "SELECT count(*) FROM t WHERE b='lost'"); got != "0" {
			t.Errorf("%s rows of the transaction that was not to be got back", got)
		}
		b.flush(db)
		if st := b.finish(db); st.Durable.Timeline != 2 || !strings.Contains(st.Notice, "_behind=fork") {
			t.Errorf("status %+v", st)
		}
	})
	t.Run("changed since the machine came up", func(t *testing.T) {
		t.Parallel()
		b := lostPower(t, impatient, "")
		plain(t, b.path, "PRAGMA wal_checkpoint(TRUNCATE)") // somebody looks
		db := b.open("_behind=refuse")
		if err := db.Ping(); !errors.Is(err, vfs.ErrBehind) || !strings.Contains(err.Error(), "was changed at") {
			t.Errorf("ping: %v", err)
		}
		db = b.open("_behind=roll")
		if got := one(t, db, "SELECT count(*) FROM t WHERE b='lost'"); got != "0" {
			t.Errorf("%s rows: nothing proves that it lost them", got)
		}
		b.flush(db)
		if st := b.finish(db); st.Durable.Timeline != 2 || !strings.Contains(st.Notice, "was changed at") {
			t.Errorf("status %+v", st)
		}
	})
}

// While a database is restored before it is opened, everybody's context counts, and nobody waits for the store who doesn't have to.
func TestOpeningHeedsContexts(t *testing.T) {
	t.Parallel()
	b, db := opened(t, impatient, "")
	b.finish(db)
	b.remove()
	b.faults.SetRules(faultstore.When(faultstore.NameMatch("*/snapshot/*"), faultstore.Slow(hangs)))
	db = b.open("_restore=if-missing")
	for what, ask := range map[string]func(context.Context) error{
		"ping":     db.PingContext,
		"position": func(ctx context.Context) error { _, err := vfs.Position(ctx, db); return err },
		"flush":    func(ctx context.Context) error { return vfs.Flush(ctx, db) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := ask(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
		cancel()
	}
	if st := b.status(db); st.Mode != "opening" || st.Database == "" {
		t.Errorf("status %+v", st)
	}
	if err := db.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	b.calm()
	db = b.open("_restore=if-missing")
	if rows, err := fingerprint(t.Context(), db); err != nil || rows != b.points[0].rows {
		t.Errorf("%v, other rows than before", err)
	}
	b.finish(db)
}

// One failure of the store is no reason not to open a database that is to be restored.
func TestRestoreIfMissingTriesAgain(t *testing.T) {
	t.Parallel()
	b, db := opened(t, impatient, "")
	b.finish(db)
	b.remove()
	b.faults.SetRules(faultstore.When(faultstore.And(faultstore.OnOp(store.OpRead), faultstore.Between(3, 5)), faultstore.Fail(errReset)))
	db = b.open("_restore=if-missing")
	if rows, err := fingerprint(t.Context(), db); err != nil || rows != b.points[0].rows {
		t.Errorf("%v, other rows than before", err)
	}
	b.finish(db)
}
