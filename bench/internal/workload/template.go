package workload

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3" // templates are made with the driver "sqlite3"
)

// Template is a database that a measurement begins with a copy of.
type Template struct {
	rows int // of the table item
}

// A row of item takes about 208 bytes with its share of the page.
var (
	empty  = Template{0}
	small  = Template{10_000}  // 2 MiB: in every cache
	medium = Template{150_000} // 30 MiB: twice the default ring
	large  = Template{850_000} // 170 MiB: ten times the ring
)

// quickRows bounds templates in a quick run, at twice the default ring.
const quickRows = 150_000

const schema = `
CREATE TABLE item(id INTEGER PRIMARY KEY, stock INTEGER NOT NULL, price INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE event(id INTEGER PRIMARY KEY, item INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE account(id INTEGER PRIMARY KEY, name TEXT NOT NULL, seen INTEGER NOT NULL, orders INTEGER NOT NULL);
CREATE TABLE purchase(id INTEGER PRIMARY KEY, account INTEGER NOT NULL, item INTEGER NOT NULL, at INTEGER NOT NULL, note TEXT NOT NULL);
CREATE INDEX purchase_account ON purchase(account, at);
`

// accounts of the web application: a fifteenth of the items.
func (t Template) accounts() int { return t.rows/15 + 1 }

// path of the template in a folder.
func (t Template) path(dir string, pageSize int) string {
	return filepath.Join(dir, fmt.Sprintf("template-%d-%d.db", t.rows, pageSize))
}

// makeTemplate makes the template of s in dir if it is not there yet, and returns its path.
func makeTemplate(ctx context.Context, dir string, s Spec) (string, error) {
	path := s.template.path(dir, s.pageBytes())
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	db, err := sql.Open("sqlite3", "file:"+tmp+"?_synchronous=OFF")
	if err != nil {
		return "", err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA page_size=%d", s.pageBytes())); err != nil {
		return "", fmt.Errorf("making %s: %w", tmp, err)
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return "", fmt.Errorf("making %s: %w", tmp, err)
	}
	if err := fill(ctx, db, s.template); err != nil {
		return "", fmt.Errorf("filling %s: %w", tmp, err)
	}
	if _, err := db.ExecContext(ctx, "PRAGMA journal_mode=WAL"); err != nil {
		return "", fmt.Errorf("making %s: %w", tmp, err)
	}
	if err := db.Close(); err != nil {
		return "", err
	}
	return path, os.Rename(tmp, path)
}

// fill writes the rows that the workloads find.
func fill(ctx context.Context, db *sql.DB, t Template) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	text := newText(rand.NewPCG(1, uint64(t.rows)))
	item, err := tx.PrepareContext(ctx, "INSERT INTO item VALUES(?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer item.Close()
	for id := range t.rows {
		if _, err := item.ExecContext(ctx, id, 1000, 100+id%900, text.next(180)); err != nil {
			return err
		}
	}
	account, err := tx.PrepareContext(ctx, "INSERT INTO account VALUES(?, ?, 0, 0)")
	if err != nil {
		return err
	}
	defer account.Close()
	for id := range t.accounts() {
		if _, err := account.ExecContext(ctx, id, text.next(24)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// copyFile copies a template and syncs the copy, so that writing it back does not fall into the measurement.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(fmt.Errorf("copying %s: %w", from, err), out.Close())
	}
	return errors.Join(out.Sync(), out.Close())
}
