package vfs

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/replica"
	"seawal/restore"
	"seawal/shipper"
	"seawal/store"
)

// rollForward brings a database that lost its newest transactions, as in a loss of power, to where its replica is, and
// says what it did. A store that does not answer, or a file that others have open, is
// no reason not to open the database: the shipper says then that it is behind.
func rollForward(ctx context.Context, path, url string, replicas int, t target) string {
	stateDir := stateFolder(path, url, replicas)
	others := otherStateFolders(path, stateDir)
	if t.query.Get("mode") == "ro" || t.query.Get("immutable") != "" || !shipper.MayBeBehind(stateDir, others) {
		return ""
	}
	log := t.cfg.logger().With("database", path, "replica", store.Redact(url))
	s, err := store.Open(ctx, url)
	if err != nil {
		log.Warn("the replica can't be asked whether the database is behind", "error", err)
		return ""
	}
	defer s.Close()
	done, err := shipper.RollForward(ctx, shipper.RollForwardConfig{
		Store: s, DBPath: path, StateDir: stateDir, OtherDirs: others, Logger: log, Patience: lookTimeout,
		Open:      func(path string) (shipper.DBFile, error) { return openPlainFile(path, t.cfg.VFS) },
		Exclusive: func() (func() error, error) { return lockExclusive(path, t.cfg.VFS) },
		Recover:   func() error { return recoverFile(path, t.cfg.VFS) },
		Restore: func(ctx context.Context, pos replica.Pos, out string) error {
			_, err := restore.Run(ctx, s, restore.Options{Output: out, Timeline: pos.Timeline, Target: restore.AtTx(pos.Tx)})
			return err
		},
	})
	switch {
	case err != nil:
		log.Warn("looking whether the database is behind its replica", "error", err)
		return ""
	case done == nil:
		return ""
	}
	found := fmt.Sprintf("the database had lost the transactions from %v to %v, and was rolled forward from the replica", done.From, done.To)
	log.Warn(found)
	return found
}

// lockExclusive locks a database against everybody, and empties its log into it.
func lockExclusive(path, vfsName string) (release func() error, err error) {
	conn, err := openPlain(path, vfsName)
	if err != nil {
		return nil, err
	}
	for _, statement := range []string{"PRAGMA locking_mode=EXCLUSIVE", "BEGIN EXCLUSIVE; ROLLBACK", "PRAGMA wal_checkpoint(TRUNCATE)"} {
		if _, err := conn.Exec(statement, []driver.Value{}); err != nil {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), conn.Close())
		}
	}
	return conn.Close, nil
}

// recoverFile has SQLite play a hot journal back.
func recoverFile(path, vfsName string) error {
	conn, err := openPlain(path, vfsName)
	if err != nil {
		return err
	}
	_, err = conn.Exec("SELECT 1 FROM sqlite_schema LIMIT 1", []driver.Value{})
	if err != nil {
		err = fmt.Errorf("recovering %s: %w", path, err)
	}
	return errors.Join(err, conn.Close())
}

// openPlain opens a connection that nobody captures.
func openPlain(path, vfsName string) (*sqlite3.SQLiteConn, error) {
	params := map[string]string{"mode": "rw", "_busy_timeout": "1000"}
	if vfsName != "" {
		params["vfs"] = vfsName
	}
	return openFile(path, params)
}
