package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"seawal/vfs"
)

// The parts that a child process plays.
const (
	roleVictim = "victim" // writes until it kills itself
	roleHeir   = "heir"   // starts again and goes on
)

const (
	writers      = 4
	victimLife   = 4 * time.Second
	momentAt     = 2 * time.Second // when the victim takes its note
	reportEvery  = 500 * time.Millisecond
	heirRows     = 500
	writersPause = 2 * time.Millisecond // an application thinks between two commits
)

// moment is a note of what the application saw at a position.
type moment struct {
	Pos  vfs.Pos   `json:"position"`
	Rows int64     `json:"rows"`
	Time time.Time `json:"time"`
}

func readMoment(p places) (moment, error) {
	var m moment
	b, err := os.ReadFile(p.moment())
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(b, &m)
}

func open(p places) (*sql.DB, error) {
	db, err := sql.Open(vfs.DriverName, p.dsn())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(writers + 1)
	_, err = db.Exec("CREATE TABLE IF NOT EXISTS notes(id INTEGER PRIMARY KEY, author TEXT, body TEXT, at TEXT)")
	return db, err
}

func addNote(ctx context.Context, db *sql.DB, author int, r *rand.Rand) error {
	body := make([]byte, 20+r.IntN(200))
	for i := range body {
		body[i] = 'a' + byte(r.IntN(26))
	}
	_, err := db.ExecContext(ctx, "INSERT INTO notes(author, body, at) VALUES(?, ?, ?)",
		fmt.Sprintf("writer %d", author), string(body), time.Now().Format(time.RFC3339Nano))
	return err
}

// writeUntilKilled is an application that has no time to say goodbye.
func writeUntilKilled(ctx context.Context, p places) error {
	db, err := open(p)
	if err != nil {
		return err
	}
	var gate sync.RWMutex // the note is taken while nobody writes
	var commits atomic.Int64
	errs := make(chan error, writers)
	for w := range writers {
		go func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for {
				gate.RLock()
				err := addNote(ctx, db, w, r)
				gate.RUnlock()
				if err != nil {
					errs <- err
					return
				}
				commits.Add(1)
				time.Sleep(writersPause)
			}
		}()
	}
	report := time.NewTicker(reportEvery)
	defer report.Stop()
	note, death := time.After(momentAt), time.After(victimLife)
	for {
		select {
		case err := <-errs:
			return err
		case <-report.C:
			st, err := vfs.Status(ctx, db)
			if err != nil {
				return err
			}
			fmt.Printf("   %5d commits; replica at %v, %d transactions (%v) behind\n", commits.Load(), st.Durable, st.LagTransactions, st.Lag.Round(time.Millisecond))
		case <-note:
			gate.Lock()
			err := takeNote(ctx, db, p)
			gate.Unlock()
			if err != nil {
				return err
			}
		case <-death:
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
}

// takeNote records what the application sees and the position that it has.
func takeNote(ctx context.Context, db *sql.DB, p places) error {
	m := moment{Time: time.Now()}
	var err error
	if m.Pos, err = vfs.Position(ctx, db); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM notes").Scan(&m.Rows); err != nil {
		return err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	fmt.Printf("   the application makes a note: position %v, %d rows\n", m.Pos, m.Rows)
	return os.WriteFile(p.moment(), b, 0o644)
}

// goOn is the application after its crash: it writes some more, waits until
// that is safe, and closes.
func goOn(ctx context.Context, p places) (err error) {
	db, err := open(p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var before int64
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM notes").Scan(&before); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(9, 9))
	for range heirRows {
		if err := addNote(ctx, db, writers, r); err != nil {
			return err
		}
	}
	pos, err := vfs.Position(ctx, db)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := vfs.Wait(ctx, db, pos); err != nil {
		return err
	}
	st, err := vfs.Status(ctx, db)
	if err != nil {
		return err
	}
	fmt.Printf("   %d rows were there, %d more written; position %v is in the replica (waited %v)\n", before, heirRows, pos, time.Since(start).Round(time.Millisecond))
	fmt.Printf("   snapshots uploaded after the crash: %d; transactions shipped: %d\n", st.Snapshots, st.Transactions)
	return nil
}
