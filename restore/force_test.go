//go:build unix

package restore

import (
	"bufio"
	"bytes"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	_ "github.com/mattn/go-sqlite3"

	"seawal/internal/reliability"
)

// TestApplication is no test but an application: it opens a database and executes a statement for each line of its input.
func TestApplication(t *testing.T) {
	path := os.Getenv("RESTORE_TEST_APPLICATION")
	if path == "" {
		t.Skip("part of the tests of --force")
	}
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=0")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if in.Text() == "kill" {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		_, err := db.Exec(in.Text())
		fmt.Println("done:", err)
	}
	db.Close()
}

// application is another process that has a database open.
type application struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

func startApplication(t *testing.T, path string) *application {
	t.Helper()
	a := &application{t: t, cmd: exec.Command(os.Args[0], "-test.run=^TestApplication$")}
	a.cmd.Env = append(os.Environ(), "RESTORE_TEST_APPLICATION="+path, reliability.Env+"=")
	stdout, err := a.cmd.StdoutPipe()
	if err == nil {
		a.stdin, err = a.cmd.StdinPipe()
	}
	if err == nil {
		err = a.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	a.out = bufio.NewReader(stdout)
	t.Cleanup(a.stop)
	return a
}

// exec executes statements, one after the other. All of them have to succeed.
func (a *application) exec(statements ...string) {
	a.t.Helper()
	for _, s := range statements {
		fmt.Fprintln(a.stdin, s)
		line, err := a.out.ReadString('\n')
		if err != nil || line != "done: <nil>\n" {
			a.t.Fatalf("the application's %q: %q, %v", s, line, err)
		}
	}
}

// kill ends it as kill -9 does, so that its log stays.
func (a *application) kill() {
	fmt.Fprintln(a.stdin, "kill")
	a.stop()
}

func (a *application) stop() {
	a.stdin.Close()
	a.cmd.Wait() // ends as a test does; its result is of no interest
}

// rows are those that SQLite finds in a database.
func rows(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var all, check string
	if err := db.QueryRow("SELECT group_concat(a) FROM t").Scan(&all); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		t.Fatalf("integrity: %s, %v", check, err)
	}
	return all
}

// oldDatabase is one with a row, whose last connection closed.
func oldDatabase(t *testing.T, mode string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	a := startApplication(t, path)
	a.exec("PRAGMA journal_mode="+mode, "CREATE TABLE t(a)", "INSERT INTO t VALUES('old')")
	a.stop()
	return path
}

// TestForceAndAnApplication: an application that has the database open, at any time and in any journal mode, keeps it, and
// all that it commits.
func TestForceAndAnApplication(t *testing.T) {
	injected, lost := 0, 0
	for _, mode := range []string{"WAL", "DELETE", "TRUNCATE", "PERSIST"} {
		for _, when := range []string{"before", "during", "during, in this process"} {
			t.Run(mode+"/"+when, func(t *testing.T) {
				m := small(t)
				path := oldDatabase(t, mode)
				var app *application
				var db *sql.DB
				begin := func(_, _ int64) {
					switch {
					case app != nil || db != nil:
					case strings.HasSuffix(when, "in this process"):
						var err error
						if db, err = sql.Open("sqlite3", "file:"+path); err == nil {
							_, err = db.Exec("INSERT INTO t VALUES('new')")
						}
						if err != nil {
							t.Error(err)
						}
					default:
						app = startApplication(t, path)
						app.exec("PRAGMA journal_mode="+mode, "INSERT INTO t VALUES('new')")
					}
				}
				progress := begin
				if when == "before" {
					begin(0, 0)
					progress = func(_, _ int64) { t.Error("it is found out only when something was restored") }
				}
				_, err := Run(t.Context(), m.store, Options{Output: path, Force: true, Progress: progress})
				if !errors.Is(err, ErrInUse) {
					t.Errorf("restore over a database that is in use: %v, want ErrInUse", err)
				}
				if db != nil {
					if _, err := db.Exec("INSERT INTO t VALUES('another')"); err != nil {
						t.Error(err)
					}
					db.Close()
				} else {
					app.exec("INSERT INTO t VALUES('another')")
					app.stop()
				}
				injected++
				if got := rows(t, path); got != "old,new,another" {
					lost++
					t.Errorf("the application's database has the rows %s", got)
				}
				entries, err := os.ReadDir(filepath.Dir(path))
				for _, e := range entries {
					if strings.HasPrefix(e.Name(), ".") {
						t.Errorf("%s is left", e.Name())
					}
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	reliability.Record(t, reliability.Fault{
		Group: reliability.Live, Name: "restore --force over a database that an application opens meanwhile",
		How: "another process, or this one, opens the database before or in the middle of the restore, commits, is idle, and commits again, in WAL, DELETE, TRUNCATE and PERSIST mode",
	}, injected, lost)
}

// TestOpenedWhileItIsReplaced: who opens the old database between the last look and the rename stands at its lock, and finds it in its
// place when he gets on.
func TestOpenedWhileItIsReplaced(t *testing.T) {
	path := oldDatabase(t, "DELETE")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out, _, err := openOutput(path, false, true)
	if err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(filepath.Dir(path), "new")
	if err := os.WriteFile(tmp, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	old, err1 := claimDatabase(path)
	fresh, err2 := claimDatabase(tmp)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	r := &replacement{output: out, tmp: tmp, old: old, fresh: fresh}
	late, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	err = r.swap()
	if !errors.Is(err, ErrInUse) {
		t.Errorf("%v, want ErrInUse", err)
	}
	if err := r.back(); err != nil {
		t.Error(err)
	}
	old.release()
	fresh.release()
	checkFiles(t, filepath.Dir(path), map[string]string{"app.db": string(before), "new": "new"})
	now, err1 := os.Stat(path)
	was, err2 := late.Stat()
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(now, was) {
		t.Errorf("the file at the path is not the one that was opened, %v", err)
	}
}

// TestForceWhileProcessesAreStarted: a process that is forked, and hasn't become another program yet, has all files of this one open. It uses
// none of them.
func TestForceWhileProcessesAreStarted(t *testing.T) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					exec.Command("/bin/true").Run() // that it was started is all
				}
			}
		})
	}
	m := small(t)
	path := filepath.Join(memoryDir(t), "app.db")
	for range 10 {
		if _, err := Run(t.Context(), m.store, Options{Output: path, Force: true}); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

// TestLocksOfAClaim: SQLite can neither read nor write what is claimed, in this process or another.
func TestLocksOfAClaim(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		path := oldDatabase(t, mode)
		c, err := claimDatabase(path)
		if err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=0")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"SELECT * FROM t", "INSERT INTO t VALUES(1)"} {
			if _, err := db.Exec(s); err == nil || !strings.Contains(err.Error(), "locked") {
				t.Errorf("%s of a claimed database in %s mode: %v", s, mode, err)
			}
		}
		db.Close()
		other, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.check(); !errors.Is(err, ErrInUse) {
			t.Errorf("somebody has opened it: %v", err)
		}
		other.Close()
		if err := c.check(); err != nil {
			t.Error(err)
		}
		c.release()
		if got := rows(t, path); got != "old" {
			t.Error(got)
		}
	}
}

// TestLogOfTheReplacedDatabase: before the log of an application that died is moved aside, the database is whole without it.
func TestLogOfTheReplacedDatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	a := startApplication(t, path)
	a.exec("PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", "CREATE TABLE t(a)", "INSERT INTO t VALUES('old')", "PRAGMA wal_checkpoint",
		"CREATE TABLE u AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n<300) SELECT randomblob(200) FROM c",
		"DROP TABLE u", "VACUUM", "INSERT INTO t VALUES('new')")
	a.kill()
	c, err := claimDatabase(path)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(path + "-wal")
	if err != nil || len(log) < 50_000 {
		t.Fatalf("log of %d bytes, %v", len(log), err)
	}
	// Half of a frame more, which is none.
	if err := os.WriteFile(path+"-wal", append(log, log[len(log)-4120:len(log)-100]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := checkpointInto(c.db, path+"-wal"); err != nil {
		t.Fatal(err)
	}
	c.release()
	copied := filepath.Join(t.TempDir(), "copy.db")
	content, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(copied, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := rows(t, copied); got != "old,new" {
		t.Errorf("without its log the database has the rows %s", got)
	}
	if got := rows(t, path); got != "old,new" {
		t.Errorf("with its log the database has the rows %s", got)
	}
	// What is no log of this database changes nothing.
	for name, log := range map[string][]byte{"empty": nil, "garbage": bytes.Repeat([]byte("log "), 100), "of another page size": bytes.Replace(log, []byte{0, 0, 0x10, 0}, []byte{0, 0, 0x20, 0}, 1)} {
		c, err := claimDatabase(copied)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied+"-wal", log, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := checkpointInto(c.db, copied+"-wal"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		c.release()
		if now, err := os.ReadFile(copied); err != nil || !bytes.Equal(now, content) {
			t.Errorf("a log that is %s has changed the database, %v", name, err)
		}
	}
}

// TestForceThatFailsInTheMiddle: until the restored file has the place, the old database is whole without its log, which a crash may take
// from it; and what was moved aside has its name again when the restore gives up.
func TestForceThatFailsInTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "app.db")
	a := startApplication(t, path)
	a.exec("PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", "CREATE TABLE t(a)", "INSERT INTO t VALUES('old')", "PRAGMA wal_checkpoint",
		"INSERT INTO t VALUES('in the log')")
	a.kill()
	out, _, err := openOutput(path, false, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.publish(filepath.Join(filepath.Dir(path), "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a restored file that isn't there takes the place: %v", err)
	}
	if _, err := os.Stat(path + "-wal"); err != nil {
		t.Errorf("the log: %v", err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(t.TempDir(), "alone.db")
	if err := os.WriteFile(alone, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{alone, path} {
		if got := rows(t, path); got != "old,in the log" {
			t.Errorf("%s has the rows %s", filepath.Base(path), got)
		}
	}
}

// TestRestoredFileIsPrivate: nobody else may read the temporary file or the restored one, whatever the umask lets.
func TestRestoredFileIsPrivate(t *testing.T) {
	old := syscall.Umask(0o022)
	defer syscall.Umask(old)
	m := small(t)
	path := filepath.Join(t.TempDir(), "app.db")
	look := func(_, _ int64) {
		entries, _ := os.ReadDir(filepath.Dir(path))
		for _, e := range entries {
			if fi, err := e.Info(); err == nil && fi.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", e.Name(), fi.Mode())
			}
		}
	}
	if _, err := Run(t.Context(), m.store, Options{Output: path, Progress: look}); err != nil {
		t.Fatal(err)
	}
	look(0, 0)
}
