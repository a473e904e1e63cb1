package vfs_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"seawal/restore"
	"seawal/vfs"
)

// tool is a way for another process to run SQL on a database.
type tool struct {
	name   string
	run    func(p place, sql string) error
	isSlow bool // to start: what SQLite never refuses is done by one process
}

const pythonScript = `
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)
for s in sys.stdin.read().split(";"):
    c.execute(s).fetchall()
`

// tools are those that this machine has.
func tools(t *testing.T) []tool {
	all := []tool{{"go", func(p place, sql string) error {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), strangerPath+"="+p.path+"?_busy_timeout=10000", strangerSQL+"="+sql, "GORACE=atexit_sleep_ms=0")
		return cmd.Run()
	}, false}}
	for name, args := range map[string]func(path string) []string{
		"sqlite3": func(path string) []string { return []string{"-bail", "-cmd", ".timeout 10000", path} },
		"python3": func(path string) []string { return []string{"-c", pythonScript, path} },
	} {
		bin, err := exec.LookPath(name)
		if err == nil && name == "python3" {
			err = exec.Command(bin, "-c", "import sqlite3").Run()
		}
		if err != nil {
			t.Logf("not tried with %s: %v", name, err)
			continue
		}
		all = append(all, tool{name, func(p place, sql string) error {
			cmd := exec.Command(bin, args(p.path)...)
			cmd.Stdin = strings.NewReader(sql)
			return cmd.Run()
		}, name == "python3"})
	}
	return all
}

// strangerSteps are what a stranger may do; mayFail where SQLite may refuse it, since others have the database open.
var strangerSteps = []struct {
	sql     string
	mayFail bool
}{
	{"INSERT INTO t(b) VALUES('stranger')", false},
	{"BEGIN; UPDATE t SET b='never'; ROLLBACK", false},
	{"UPDATE t SET b=zeroblob(3000) WHERE a%3=0; PRAGMA wal_checkpoint(PASSIVE)", false},
	{"INSERT INTO t(b) VALUES(randomblob(30000)); PRAGMA wal_checkpoint(FULL)", false},
	{"INSERT INTO t(b) VALUES(1); PRAGMA wal_checkpoint(RESTART); INSERT INTO t(b) VALUES(2)", false},
	{"PRAGMA wal_checkpoint(TRUNCATE)", false},
	{"INSERT INTO t(b) VALUES(3); PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(b) VALUES(4)", false},
	{"DELETE FROM t WHERE a%2=0", false},
	{"VACUUM", true},
	{"PRAGMA journal_mode=DELETE; INSERT INTO t(b) VALUES(5)", true},
	{"PRAGMA journal_mode=WAL; INSERT INTO t(b) VALUES(6)", true},
	{"CREATE TABLE IF NOT EXISTS u(a); DROP TABLE u; DELETE FROM t", false},
}

func (tool tool) doEverything(p place) {
	var together []string
	for _, step := range strangerSteps {
		if tool.isSlow {
			if !step.mayFail {
				together = append(together, step.sql)
			}
			continue
		}
		if err := tool.run(p, step.sql); err != nil && !step.mayFail {
			p.t.Errorf("%s: %v", step.sql, err)
		}
	}
	if len(together) > 0 {
		if err := tool.run(p, strings.Join(together, ";")); err != nil {
			p.t.Errorf("%s: %v", tool.name, err)
		}
	}
}

const fillRows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<60) INSERT INTO t(b) SELECT randomblob(500) FROM n"

// Strangers do all that there is to do: while we run and write nothing, while we write all the time, and while we don't run.
func TestStrangersDoEverything(t *testing.T) {
	for _, tool := range tools(t) {
		for name, between := range map[string]func(p place, do func()){
			"idle":    strangerWhileIdle,
			"writing": strangerWhileWriting,
			"closed":  func(_ place, do func()) { do() },
		} {
			t.Run(tool.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				create(t, p.path, 4096)
				db := p.open("_ship_interval=1ms")
				mustExec(t, db, fillRows)
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				between(p, func() { tool.doEverything(p) })
				// As it is then, and once more after a commit of ours.
				for _, sql := range []string{"SELECT 1", "INSERT INTO t(b) VALUES('ours')"} {
					db := p.open("_ship_interval=1ms")
					mustExec(t, db, sql)
					if _, err := vfs.Position(t.Context(), db); err != nil {
						t.Fatal(err)
					}
					if err := db.Close(); err != nil {
						t.Fatal(err)
					}
					p.same(p.path, p.restore(restore.Newest()))
				}
				if n := p.timelines(); n != 1 {
					t.Errorf("%d timelines", n)
				}
			})
		}
	}
}

// strangerWhileIdle has do done while the database is open; each poll ships what was done, and nothing of ours comes to help.
func strangerWhileIdle(p place, do func()) {
	db := p.open("_ship_interval=1ms")
	defer db.Close()
	one(p.t, db, "SELECT count(*) FROM t")
	flush(p.t, db)
	do()
	waitForeign(p.t, db, 0)
	vfs.PollAll()
	flush(p.t, db)
	want, err := fingerprint(p.t.Context(), db)
	if err != nil {
		p.t.Fatal(err)
	}
	if got := fingerprintFile(p.t, p.restore(restore.Newest())); got != want {
		p.t.Error("the replica has other rows")
	}
	if st, err := vfs.Status(p.t.Context(), db); err != nil || st.Notice == "" {
		p.t.Errorf("nothing was noticed of logs that were started again: %+v, %v", st, err)
	}
}

func strangerWhileWriting(p place, do func()) {
	db := p.open("_ship_interval=1ms")
	defer db.Close()
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := db.Exec("INSERT INTO t(b) VALUES(randomblob(200))"); err != nil {
				p.t.Errorf("our own commit: %v", err)
				return
			}
		}
	}()
	do()
	close(done)
	<-stopped
	if n := foreignWrites(p.t, db); n == 0 {
		p.t.Error("no commit of another process was found")
	}
}

// A stranger does it all while the store is down, and so do we.
func TestStrangersWhileTheStoreIsDown(t *testing.T) {
	b, down := downPlace(t, impatient)
	db := b.open("")
	mustExec(t, db, fillRows)
	flush(t, db)
	down.On()
	goTool := tools(t)[0]
	goTool.doEverything(b.place)
	mustExec(t, db, fillRows)
	goTool.doEverything(b.place)
	down.Off()
	waitForeign(t, db, 0)
	vfs.PollAll()
	b.finish(db)
	b.arrived()
}
