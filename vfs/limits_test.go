package vfs_test

import (
	"fmt"
	"testing"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// A database that was brought back to the middle of a segment attaches with as few requests at once as are allowed.
func TestAttachWithFewRequestsAtATime(t *testing.T) {
	for _, n := range []int{1, 2} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p := newPlace(t)
			db := p.open("_ship_interval=1h")
			mustExec(t, db, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
			flush(t, db)
			var mid vfs.Pos
			for i := range 50 {
				mustExec(t, db, "INSERT INTO t(b) VALUES(randomblob(300))")
				if i == 25 {
					var err error
					if mid, err = vfs.Position(t.Context(), db); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := db.Close(); err != nil { // one segment
				t.Fatal(err)
			}
			s, err := store.Open(t.Context(), p.replica)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := restore.Run(t.Context(), s, restore.Options{Output: p.path, Force: true, Target: restore.AtTx(mid.Tx)}); err != nil {
				t.Fatal(err)
			}
			if err := vfs.SetLimits(store.Limits{Concurrent: n}); err != nil {
				t.Fatal(err)
			}
			defer vfs.SetLimits(store.Limits{})
			db = p.open("")
			mustExec(t, db, "INSERT INTO t(b) VALUES('on')")
			flush(t, db)
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			reliability.Record(t, reliability.Fault{
				Group: reliability.Store,
				Name:  "one request at a time",
				How:   "SetLimits allows one request, or two, while a database attaches that was brought back to the middle of a segment, and while large segments are restored",
			}, 1, 0)
		})
	}
}
