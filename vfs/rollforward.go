//go:build cgo

package vfs

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/replica"
	"seawal/restore"
	"seawal/shipper"
	"seawal/store"
)

// mended is what was found out about a database before it was opened, for the shipper of one of its replicas.
type mended struct {
	text      string // for Stat.Notice; "": nothing was changed
	judgement shipper.Judgement
	logKept   bool // the WAL was brought into the file, and kept, by the process before
}

// rollForward brings a database that a loss of power has robbed of its newest transactions to where its replica had them confirmed, as
// far as Config.Behind lets it. With BehindRefuse it is an error when that failed, or when nobody knows whether it is needed; else a
// store that does not answer, or a file that others have open, is no reason not to open the database: the shipper says then
// that it is behind.
func rollForward(ctx context.Context, path, url string, dirs stateFolders, j shipper.Judgement, t target) (m mended, err error) {
	m.judgement = j
	if t.query.Get("mode") == "ro" || t.query.Get("immutable") != "" {
		return m, nil
	}
	refuse := t.cfg.Behind == BehindRefuse
	switch loss := m.judgement.Loss; {
	case t.cfg.Behind == BehindFork:
		m.judgement.Loss = shipper.LossNone
		if loss != shipper.LossNone {
			m.judgement.Reason = "_behind=fork: what is missing is not to be got back"
		}
		return m, nil
	case loss == shipper.LossNone, loss == shipper.LossPossible && !refuse:
		return m, nil
	}
	log := t.cfg.logger().With("database", path, "replica", store.Redact(url))
	done, err := lookBehind(ctx, path, url, dirs, j, t, log)
	switch {
	case err != nil && refuse:
		return m, refused(path, url, err)
	case err != nil:
		log.Warn("looking whether the database is behind its replica", "error", err)
	case done != nil:
		m.text = fmt.Sprintf("the database had lost the transactions from %v to %v, and was rolled forward from the replica", done.From, done.To)
		log.Warn(m.text)
	}
	return m, nil
}

// stateFolders are those of a database, as one of its replicas sees them.
type stateFolders struct {
	own    string
	others []string
}

// rollForwardAll does so with all replicas, one after the other, which leads to the end of the one that is the furthest. How the file came to be what
// it is, is asked before the first one changes it.
func rollForwardAll(ctx context.Context, path string, urls []string, t target) (map[string]mended, error) {
	var all []string
	for _, url := range urls {
		all = append(all, stateFolder(path, url, len(urls)))
	}
	restored, kept, err := restoreLog(path, t)
	if err != nil {
		return nil, err
	}
	moved, err := moveStrayLog(path, all, t)
	if err != nil {
		return nil, err
	}
	dirs, judgements := make([]stateFolders, len(urls)), make([]shipper.Judgement, len(urls))
	for i, url := range urls {
		own := stateFolder(path, url, len(urls))
		dirs[i] = stateFolders{own, otherStateFolders(path, own)}
		judgements[i] = shipper.Judge(path, own, dirs[i].others)
		judgements[i].Unwritten = shipper.Unwritten(path, own, func(path string) (shipper.DBFile, error) { return openPlainFile(path, t.cfg.VFS) })
	}
	found := map[string]mended{}
	for i, url := range urls {
		if moved != "" {
			judgements[i].Loss, judgements[i].Replaced, judgements[i].Reason = shipper.LossNone, true, moved
		}
		m, err := rollForward(ctx, path, url, dirs[i], judgements[i], t)
		if err != nil {
			return nil, err
		}
		m.text, m.logKept = cmp.Or(m.text, moved, kept), restored
		found[url] = m
	}
	return found, nil
}

// refused is the error of a database that is not opened.
func refused(path, url string, err error) error {
	var behind *shipper.BehindError
	if !errors.As(err, &behind) {
		err = fmt.Errorf("%w: the machine was started again while %s was open, so that it may lack transactions that were confirmed, and looking for them in %s failed: %w",
			ErrBehind, path, store.Redact(url), err)
	}
	return fmt.Errorf("%w; it is not opened (_behind=refuse): open it once the store answers, or restore it with `restore --force %s %s`, "+
		"or open it with _behind=fork to go on without them on a new timeline", err, store.Redact(url), path)
}

// lookBehind asks the replica, and gets back from it what is missing.
func lookBehind(ctx context.Context, path, url string, dirs stateFolders, j shipper.Judgement, t target, log *slog.Logger) (*shipper.RolledForward, error) {
	p := newPatience(ctx, t.cfg.stall)
	defer p.end()
	s, err := openPatiently(p, url, t.cfg, func(f store.Failure) {
		t.failed(f)
		log.Warn("asking the replica whether the database is behind", "op", f.Op, "object", f.Name, "error", f.Err, "again_in", f.Wait)
	})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	done, err := shipper.RollForward(p, shipper.RollForwardConfig{
		Store: s, DBPath: path, StateDir: dirs.own, OtherDirs: dirs.others, Judgement: j, Logger: log, Progress: p.progress,
		Open:      func(path string) (shipper.DBFile, error) { return openPlainFile(path, t.cfg.VFS) },
		Exclusive: func() (func() error, error) { return lockExclusive(path, t.cfg.VFS) },
		Recover:   func() error { return recoverFile(path, t.cfg.VFS) },
		Restore: func(ctx context.Context, pos replica.Pos, out string) error {
			_, err := restore.Run(ctx, s, restore.Options{Output: out, Timeline: pos.Timeline, Target: restore.AtTx(pos.Tx)})
			return err
		},
	})
	return done, p.explain(err)
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
