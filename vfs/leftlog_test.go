package vfs_test

import "testing"

// What a killed process left in the log keeps its points, also when the store is down at the next open, and the log is long enough
// for a checkpoint, or the application closes the database and opens it again. A checkpoint, or the removal of the log by the last
// connection, would leave the outcome alone: nobody could tell the transactions any more.
func TestLeftLogKeepsItsPointsInAnOutage(t *testing.T) {
	for name, closed := range map[string]bool{"a checkpoint is due": false, "it is closed": true} {
		t.Run(name, func(t *testing.T) {
			b, down := downPlace(t, squashing)
			db := b.open("")
			b.write(db, 1, 2, 10)
			b.finish(db)
			var left []string
			for range 20 {
				left = append(left, "INSERT INTO t(b) VALUES(randomblob(9000))")
			}
			b.put(plainLog(t, b.path, left...))
			down.On()
			if closed {
				b.driver = hasty // to close
			}
			db = b.open("")
			for range 90 {
				mustExec(t, db, "INSERT INTO t(b) VALUES(randomblob(9000))")
			}
			b.until(db, "error", hasFailed)
			if n := b.walBytes(); n < smallMaxWAL/2 || n >= smallMaxWAL {
				t.Fatalf("the log has %d bytes: it has to be worth a checkpoint, and smaller than MaxWAL", n)
			}
			if closed {
				b.closeBadly(db)
				b.driver = squashing
				db = b.open("")
				mustExec(t, db, "INSERT INTO t(b) VALUES('opened again')")
			}
			down.Off()
			if st := b.finish(db); st.Resyncs > 0 {
				t.Errorf("a difference was shipped: %+v", st)
			}
			b.everyPoint()
		})
	}
}
