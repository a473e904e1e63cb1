package vfs_test

import (
	"fmt"
	"strings"
	"testing"
)

// The application checkpoints at once, before the store has said where the replica is. What another process had left in the log is in the
// file then, too, so that nobody can tell any more what the file was before: all of it is shipped, as one transaction, and
// Status says which ones have no points.
func TestAppCheckpointsBeforeAttaching(t *testing.T) {
	for _, mode := range []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"} {
		t.Run(mode, func(t *testing.T) {
			b, down := downPlace(t, impatient)
			db := b.open("_checkpoint=app")
			b.write(db, 1, 2, 10)
			b.note(db)
			b.finish(db)
			b.put(plainLog(t, b.path, "INSERT INTO t(b) VALUES(1)", "INSERT INTO t(b) VALUES(2)", "INSERT INTO t(b) VALUES(3)"))
			down.On()
			db = b.open("_checkpoint=app")
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range []string{"PRAGMA busy_timeout=0", "PRAGMA wal_checkpoint(" + mode + ")", "PRAGMA busy_timeout=60000"} {
				if _, err := conn.ExecContext(t.Context(), q); err != nil {
					t.Errorf("%s: %v", q, err)
				}
			}
			conn.Close()
			b.write(db, 2, 1, 5)
			down.Off()
			b.flush(db)
			b.note(db)
			b.write(db, 3, 1, 5)
			b.note(db)
			st := b.finish(db)
			for _, s := range b.arrived().Squashed {
				if want := fmt.Sprintf("transactions %d to %d have no points of their own", s.First, s.Last); !strings.Contains(st.Notice, want) {
					t.Errorf("notice %q, want %q", st.Notice, want)
				}
			}
			if n := b.lost(); n > 0 {
				t.Errorf("%d points lost", n)
			}
		})
	}
}
