package vfs

import (
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/shipper"
)

// writeAtRandom changes the database in way n, from 0 to 15.
func writeAtRandom(t *testing.T, app *sqlite3.SQLiteConn, r *rand.Rand, n int) {
	t.Helper()
	switch {
	case n < 10:
		exec(t, app, "INSERT INTO t(b) VALUES(randomblob(?))", int64(r.IntN(20000)))
	case n == 10:
		exec(t, app, "INSERT INTO t(b) VALUES(randomblob(?))", int64(r.IntN(400000)))
	case n == 11:
		exec(t, app, "BEGIN; INSERT INTO t(b) VALUES(randomblob(?)); UPDATE t SET b=randomblob(900) WHERE a%7=0; ROLLBACK", int64(r.IntN(200000)))
	case n == 12:
		exec(t, app, "BEGIN; INSERT INTO t(b) VALUES(randomblob(?)); SAVEPOINT s; DELETE FROM t WHERE a%3=0; ROLLBACK TO s; UPDATE t SET b=randomblob(100) WHERE a%9=1; COMMIT", int64(r.IntN(100000)))
	case n == 13:
		exec(t, app, "DELETE FROM t WHERE a%2=0")
	case n == 14:
		exec(t, app, "PRAGMA wal_checkpoint(RESTART)")
	case n == 15 && r.IntN(10) == 0:
		exec(t, app, "PRAGMA journal_mode=DELETE; INSERT INTO t(b) VALUES(randomblob(3000)); UPDATE t SET b=randomblob(1000) WHERE a%5=0; PRAGMA journal_mode=WAL")
	}
}

// What the consumer has in hand stays as it is until it is released, whatever is written, rolled back, or spilled meanwhile.
func TestRingKeepsWhatIsInHand(t *testing.T) {
	for _, pageSize := range []string{"512", "4096", "65536"} {
		t.Run(pageSize, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
			app := c.open("_journal_mode=WAL&_synchronous=OFF")
			exec(t, app, "PRAGMA journal_mode=DELETE; PRAGMA page_size="+pageSize+"; VACUUM; PRAGMA journal_mode=WAL; PRAGMA cache_size=10")
			exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
			type held struct {
				shipper.Commit
				sum uint32
			}
			sum := func(c shipper.Commit) uint32 {
				return crc32.Update(crc32.ChecksumIEEE(c.Frames[0]), crc32.IEEETable, c.Frames[1])
			}
			var inHand []held
			begun := map[*byte]int{}
			for range 1500 {
				switch n := r.IntN(32); {
				case n < 16:
					writeAtRandom(t, app, r, n)
				case n < 24:
					for range r.IntN(8) {
						commit, ok := c.src.Next()
						if !ok {
							break
						}
						if len(commit.Frames[0]) > 0 {
							begun[&commit.Frames[0][0]]++
						}
						inHand = append(inHand, held{commit, sum(commit)})
					}
				default:
					n := len(inHand)
					if r.IntN(3) == 0 && n > 0 {
						n = r.IntN(n)
					}
					for i := range inHand[:n] {
						if h := &inHand[i]; sum(h.Commit) != h.sum {
							t.Fatalf("commit %d of %+v changed while it was in hand", h.Ticket, h.To)
						}
					}
					if n > 0 {
						c.src.Release(inHand[n-1].Ticket)
					}
					inHand = append(inHand[:0], inHand[n:]...)
				}
				if st := c.tap.stats(); st.ringBytes > 1<<20 {
					t.Fatalf("%d bytes in the ring", st.ringBytes)
				}
			}
			most := 0
			for _, n := range begun {
				most = max(most, n)
			}
			if most < 20 {
				t.Errorf("the ring began again %d times", most)
			}
			if err := app.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
