// Command demo shows the main job on a local folder: an application writes
// through the driver "seawal" with four connections, is killed in the middle,
// and the database is rebuilt from the replica alone.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"seawal/restore"
	"seawal/store"
)

func main() {
	dir := flag.String("dir", "", "folder for the database and its replica (default: a new temporary one)")
	role := flag.String("role", "", "internal: part of the demo that a child process plays")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch *role {
	case "":
		err = demo(ctx, *dir)
	case roleVictim:
		err = writeUntilKilled(ctx, places{*dir})
	case roleHeir:
		err = goOn(ctx, places{*dir})
	default:
		err = fmt.Errorf("unknown role %q", *role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// places are the files of the demo.
type places struct{ dir string }

func (p places) database() string { return filepath.Join(p.dir, "app.db") }
func (p places) replica() string {
	return "file://" + filepath.ToSlash(filepath.Join(p.dir, "replica"))
}
func (p places) moment() string { return filepath.Join(p.dir, "moment.json") }
func (p places) restored(name string) string {
	return filepath.Join(p.dir, "restored-"+name+".db")
}

func (p places) dsn() string {
	return "file:" + p.database() + "?_journal_mode=WAL&_synchronous=NORMAL&_busy_timeout=10000&_ship_interval=500ms&_replica=" + p.replica()
}

func demo(ctx context.Context, dir string) error {
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "seawal-demo-"); err != nil {
			return err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	p := places{dir}
	if _, err := os.Stat(p.database()); err == nil {
		return fmt.Errorf("%s exists already; name an empty folder with -dir", p.database())
	}
	steps := []struct {
		title string
		do    func(context.Context, places) error
	}{
		{"An application writes with four connections, and is killed (SIGKILL) in the middle.", runVictim},
		{"What does the replica hold by itself? It is restored beside the database.", restoreAfterKill},
		{"The application starts again. It finds its place in the log and ships the rest.", runHeir},
		{"The replica is restored again and compared with the database.", compareAtEnd},
		{"Back in time: the database as of the transaction that the application made a note of.", rewind},
	}
	start := time.Now()
	for i, s := range steps {
		fmt.Printf("\n%d. %s\n", i+1, s.title)
		if err := s.do(ctx, p); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	fmt.Printf("\nAll of it took %v. The files are in %s:\n", time.Since(start).Round(time.Millisecond), dir)
	fmt.Printf("   %-28s the database, which the sqlite3 shell opens\n", "app.db")
	fmt.Printf("   %-28s the replica: log segments, a snapshot, and who wrote them\n", "replica/")
	fmt.Printf("   %-28s what was restored right after the kill, at the end, and back in time\n", "restored-*.db")
	fmt.Printf("Try: go run ./cmd/restore --list %s\n", p.replica())
	return nil
}

// child runs this program again in a role.
func child(ctx context.Context, p places, role string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, exe, "-role", role, "-dir", p.dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func runVictim(ctx context.Context, p places) error {
	err := child(ctx, p, roleVictim)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("the application should have been killed, and ended with: %v", err)
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		return fmt.Errorf("the application should have been killed, and ended with: %w", err)
	}
	fmt.Println("   killed; nothing was closed, nothing was flushed")
	return nil
}

func runHeir(ctx context.Context, p places) error { return child(ctx, p, roleHeir) }

// restoreTo rebuilds the database at a target and checks it with SQLite.
func restoreTo(ctx context.Context, p places, output string, target restore.Target) (restore.Result, int64, error) {
	s, err := store.Open(ctx, p.replica())
	if err != nil {
		return restore.Result{}, 0, err
	}
	defer s.Close()
	r, err := restore.Run(ctx, s, restore.Options{Output: output, Target: target})
	if err != nil {
		return r, 0, err
	}
	rows, err := check(ctx, output)
	return r, rows, err
}

// check opens a file with the plain driver, runs integrity_check and counts the rows.
func check(ctx context.Context, path string) (rows int64, err error) {
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil {
		return 0, err
	}
	if verdict != "ok" {
		return 0, fmt.Errorf("integrity_check of %s: %s", path, verdict)
	}
	err = db.QueryRowContext(ctx, "SELECT count(*) FROM notes").Scan(&rows)
	return rows, err
}

func restoreAfterKill(ctx context.Context, p places) error {
	r, rows, err := restoreTo(ctx, p, p.restored("after-kill"), restore.Newest())
	if err != nil {
		return err
	}
	fmt.Printf("   restored transaction %v: %d rows, integrity_check ok\n", r.Point.Pos, rows)
	fmt.Println("   (what was committed in the last half second lives only in the database's own log, so far)")
	return nil
}

func compareAtEnd(ctx context.Context, p places) error {
	r, rows, err := restoreTo(ctx, p, p.restored("at-end"), restore.Newest())
	if err != nil {
		return err
	}
	// The last connection checkpointed and removed the log, so that the file is all there is.
	if err := exec.CommandContext(ctx, "cmp", p.database(), p.restored("at-end")).Run(); err != nil {
		return fmt.Errorf("cmp %s %s: %w", p.database(), p.restored("at-end"), err)
	}
	fmt.Printf("   restored transaction %v: %d rows, %d bytes in %v, integrity_check ok\n", r.Point.Pos, rows, r.Bytes, r.Elapsed.Round(time.Millisecond))
	fmt.Println("   cmp app.db restored-at-end.db: identical, byte for byte")
	return nil
}

func rewind(ctx context.Context, p places) error {
	m, err := readMoment(p)
	if err != nil {
		return err
	}
	r, rows, err := restoreTo(ctx, p, p.restored("back-in-time"), restore.AtTx(m.Pos.Tx))
	if err != nil {
		return err
	}
	if rows != m.Rows {
		return fmt.Errorf("transaction %v has %d rows; the application saw %d", m.Pos, rows, m.Rows)
	}
	fmt.Printf("   restored transaction %v of %s: %d rows, as many as the application saw then\n", r.Point.Pos, m.Time.Format(time.TimeOnly), rows)
	return nil
}
