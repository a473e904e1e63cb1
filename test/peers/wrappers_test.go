// Package peers runs what others have written on top of database/sql and SQLite on seawal. It is a module of its own, so that
// seawal's has none of it; make peers runs it.
package peers

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/XSAM/otelsql"
	"github.com/jmoiron/sqlx"
	"github.com/ngrok/sqlmw"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// connector opens connections by the driver's Open, as programs do that have one in a struct of theirs.
type connector struct {
	driver driver.Driver
	dsn    string
}

func (c connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c connector) Driver() driver.Driver                        { return c.driver }

// ways are how a pool is opened on seawal through a library.
var ways = map[string]func(dsn string) (*sql.DB, error){
	"database/sql":     func(dsn string) (*sql.DB, error) { return sql.Open("seawal", dsn) },
	"otelsql.Open":     func(dsn string) (*sql.DB, error) { return otelsql.Open("seawal", dsn) },
	"sqlx":             func(dsn string) (*sql.DB, error) { return unwrap(sqlx.Open("seawal", dsn)) },
	"struct":           func(dsn string) (*sql.DB, error) { return sql.OpenDB(connector{&vfs.Driver{}, dsn}), nil },
	"sqlmw":            func(dsn string) (*sql.DB, error) { return sql.Open("seawal-sqlmw", dsn) },
	"otelsql.Wrap":     func(dsn string) (*sql.DB, error) { return sql.Open("seawal-otelsql", dsn) },
	"otelsql of sqlmw": func(dsn string) (*sql.DB, error) { return otelsql.Open("seawal-sqlmw", dsn) },
	"otelsql.OpenDB": func(dsn string) (*sql.DB, error) {
		c, err := (&vfs.Driver{}).OpenConnector(dsn)
		if err != nil {
			return nil, err
		}
		return otelsql.OpenDB(c), nil
	},
	"otelsql.Register": func(dsn string) (*sql.DB, error) {
		name, err := otelsql.Register("seawal")
		if err != nil {
			return nil, err
		}
		return sql.Open(name, dsn)
	},
	"gorm": func(dsn string) (*sql.DB, error) {
		db, err := gorm.Open(sqlite.Dialector{DriverName: "seawal", DSN: dsn}, &gorm.Config{Logger: logger.Discard})
		if err != nil {
			return nil, err
		}
		return db.DB()
	},
}

func unwrap(db *sqlx.DB, err error) (*sql.DB, error) {
	if err != nil {
		return nil, err
	}
	return db.DB, nil
}

func TestMain(m *testing.M) {
	sql.Register("seawal-sqlmw", sqlmw.Driver(&vfs.Driver{}, sqlmw.NullInterceptor{}))
	sql.Register("seawal-otelsql", otelsql.WrapDriver(&vfs.Driver{}))
	os.Exit(m.Run())
}

// Position, Wait, Flush, Status and Close do through each library what they do without it, and the replica has all of it.
func TestWrappers(t *testing.T) {
	for name, open := range ways {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, replica := filepath.Join(dir, "app.db"), "file://"+filepath.Join(dir, "replica")
			db, err := open(fmt.Sprintf("file:%s?_journal_mode=WAL&_ship_interval=1h&_replica=%s", path, replica))
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			write(t, db, "CREATE TABLE t (x); INSERT INTO t VALUES (1)")
			if err := vfs.Flush(ctx, db); err != nil {
				t.Fatalf("flush: %v", err)
			}
			write(t, db, "INSERT INTO t VALUES (2)")
			pos, err := vfs.Position(ctx, db)
			if err != nil || pos.Tx == 0 {
				t.Errorf("position %v, %v", pos, err)
			}
			if err := vfs.Wait(ctx, db, pos); err != nil { // ships at once, whatever the interval
				t.Errorf("wait: %v", err)
			}
			if st, err := vfs.Status(ctx, db); err != nil || st.Durable.Tx < pos.Tx {
				t.Errorf("status %+v, %v; want %v to be durable", st, err, pos)
			}
			write(t, db, "INSERT INTO t VALUES (3)")
			if err := db.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			wantEqual(t, path, replica)
		})
	}
}

func write(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query); err != nil {
		t.Fatal(err)
	}
}

// wantEqual restores a replica, and wants all of the database in it: three rows, and the file byte for byte once its log is in it.
func wantEqual(t *testing.T, path, replica string) {
	t.Helper()
	s, err := store.Open(t.Context(), replica)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	restored := path + ".restored"
	if _, err := restore.Run(t.Context(), s, restore.Options{Output: restored}); err != nil {
		t.Fatal(err)
	}
	plain, err := sql.Open("sqlite3", path)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	write(t, plain, "PRAGMA wal_checkpoint(TRUNCATE)")
	var rows int
	if err := plain.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&rows); err != nil || rows != 3 {
		t.Errorf("%d rows in the source, %v", rows, err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(restored)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes are restored, %d are in the source, or they differ: %v", len(got), len(want), err)
	}
}
