package vfs

import (
	"bytes"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/mattn/go-sqlite3"

	"seawal/internal/vfstest"
	"seawal/internal/wal"
	"seawal/shipper"
)

// capture is a tap with a model of the database that is fed by nothing but what the tap publishes.
type capture struct {
	t    *testing.T
	path string
	vfs  string
	tap  tap
	src  *source
	r, w *os.File

	mu       sync.Mutex
	pageSize int
	pages    map[uint32][]byte
	count    uint32
	ticket   uint64
	gaps     int
	ranges   int
	frames   int
}

func newCapture(t *testing.T, path, lower string, ringBytes int64) *capture {
	t.Helper()
	c := &capture{t: t, path: path, vfs: "seawal-test" + lower, pages: map[uint32][]byte{}}
	if err := registerShim(c.vfs, lower); err != nil {
		t.Fatal(err)
	}
	full, err := fullPathname(c.vfs, path)
	if err != nil {
		t.Fatal(err)
	}
	c.path = full
	if c.r, c.w, err = os.Pipe(); err != nil {
		t.Fatal(err)
	}
	if c.tap, err = newTap(full, ringBytes, DefaultMaxWAL, false, descriptor(c.w), 0); err != nil {
		t.Fatal(err)
	}
	c.src = &source{cursor: newFeed(c.tap, ringBytes, 1).cursors[0], tap: c.tap, path: full, dial: func(int) (*sqlite3.SQLiteConn, error) {
		return dialTest(full, c.vfs, "seawal_role=reader&_busy_timeout=0")
	}}
	t.Cleanup(func() {
		if st := c.tap.stats(); st.late != 0 {
			t.Errorf("%d commits ended with bytes still held back", st.late)
		}
		if err := c.src.close(); err != nil {
			t.Errorf("closing the reader: %v", err)
		}
		if !c.tap.destroy() {
			t.Error("the tap has open files")
		}
		c.r.Close()
		c.w.Close()
	})
	return c
}

func dialTest(path, vfs, params string) (*sqlite3.SQLiteConn, error) {
	conn, err := (&sqlite3.SQLiteDriver{}).Open(fileURI(path) + "?vfs=" + vfs + "&seawal_key=" + ourKey + "&" + params)
	if err != nil {
		return nil, err
	}
	return conn.(*sqlite3.SQLiteConn), nil
}

func (c *capture) open(params string) *sqlite3.SQLiteConn {
	c.t.Helper()
	conn, err := dialTest(c.path, c.vfs, params)
	if err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// drain applies everything published so far to the model.
func (c *capture) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		commit, ok := c.src.Next()
		if !ok {
			return
		}
		c.apply(commit)
		c.src.Release(commit.Ticket)
	}
}

// apply applies a commit to the model.
func (c *capture) apply(commit shipper.Commit) {
	if commit.Ticket != c.ticket+commit.Count {
		c.t.Errorf("ticket %d with %d commits follows ticket %d", commit.Ticket, commit.Count, c.ticket)
	}
	c.ticket = commit.Ticket
	if c.pageSize != commit.PageSize {
		c.pageSize, c.pages = commit.PageSize, map[uint32][]byte{}
	}
	switch commit.Kind {
	case shipper.CommitFrames:
		c.frames++
		for _, piece := range commit.Frames {
			slot := wal.FrameHeaderSize + commit.PageSize
			if len(piece)%slot != 0 {
				c.t.Errorf("a piece of %d bytes with slots of %d", len(piece), slot)
			}
			for ; len(piece) > 0; piece = piece[slot:] {
				h := wal.ParseFrameHeader(piece)
				c.pages[h.Page] = bytes.Clone(piece[wal.FrameHeaderSize:slot])
			}
		}
	case shipper.CommitRange:
		c.ranges++
		c.readRange(commit)
	case shipper.CommitGap:
		c.gaps++
		c.readAll()
		return
	}
	c.count = commit.PageCount
	for n := range c.pages {
		if c.count > 0 && n > c.count {
			delete(c.pages, n)
		}
	}
}

// readRange takes a range's frames from the file, raw.
func (c *capture) readRange(commit shipper.Commit) {
	f, err := c.src.WAL()
	if err != nil {
		c.t.Errorf("opening the log for a range: %v", err)
		return
	}
	defer f.Close()
	slot := int64(wal.FrameHeaderSize + commit.PageSize)
	for i := int64(commit.From.Frame); i < int64(commit.To.Frame); i++ {
		b := make([]byte, slot)
		if _, err := f.ReadAt(b, wal.HeaderSize+i*slot); err != nil {
			c.t.Errorf("reading frame %d of a range: %v", i+1, err)
			return
		}
		h := wal.ParseFrameHeader(b)
		if h.Salt != commit.To.Salt {
			c.t.Errorf("frame %d of a range has the salts %x, want %x", i+1, h.Salt, commit.To.Salt)
		}
		c.pages[h.Page] = b[wal.FrameHeaderSize:]
		if h.Commit != 0 {
			commit.PageCount = h.Commit
		}
	}
}

// readAll takes the whole database as it is pinned: what the shipper does for a gap.
func (c *capture) readAll() {
	tx, err := c.src.BeginRead(c.t.Context())
	if err != nil {
		c.t.Errorf("reading for a gap: %v", err)
		return
	}
	defer tx.Close()
	c.pageSize = tx.PageSize()
	c.count = tx.PageCount()
	c.pages = map[uint32][]byte{}
	for n := uint32(1); n <= c.count; n++ {
		p := make([]byte, c.pageSize)
		if err := tx.ReadFile(n, p); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // the log alone has it
			c.t.Error(err)
		}
		c.pages[n] = p
	}
	if tx.Place().Frame == 0 {
		return
	}
	f, err := c.src.WAL()
	if err != nil {
		c.t.Error(err)
		return
	}
	defer f.Close()
	slot := int64(wal.FrameHeaderSize + c.pageSize)
	for i := int64(0); i < int64(tx.Place().Frame); i++ {
		b := make([]byte, slot)
		if _, err := f.ReadAt(b, wal.HeaderSize+i*slot); err != nil {
			c.t.Error(err)
			return
		}
		if h := wal.ParseFrameHeader(b); h.Page <= c.count {
			c.pages[h.Page] = b[wal.FrameHeaderSize:]
		}
	}
}

// image is the model's first pages as a file.
func (c *capture) image(pages int) []byte {
	var file []byte
	for n := uint32(1); n <= uint32(pages); n++ {
		p := c.pages[n]
		if p == nil {
			p = make([]byte, c.pageSize)
		}
		file = append(file, p...)
	}
	return file
}

// compare checks the model against a checkpointed database file, page by page.
func (c *capture) compare(what string) {
	c.t.Helper()
	file, err := os.ReadFile(c.path)
	if err != nil {
		c.t.Fatal(err)
	}
	model := c.image(len(file) / max(c.pageSize, 1))
	if !bytes.Equal(model, file) {
		diff := 0
		for i := 0; i+c.pageSize <= len(file) && i+c.pageSize <= len(model); i += c.pageSize {
			if !bytes.Equal(model[i:i+c.pageSize], file[i:i+c.pageSize]) {
				if diff++; diff < 5 {
					c.t.Errorf("%s: page %d differs", what, i/c.pageSize+1)
				}
			}
		}
		c.t.Fatalf("%s: model of %d bytes and file of %d bytes differ in %d pages", what, len(model), len(file), diff)
	}
}

func exec(t *testing.T, c *sqlite3.SQLiteConn, sql string, args ...driver.Value) {
	t.Helper()
	if _, err := c.Exec(sql, args); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func TestCaptureOneConnection(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	conn := c.open("_journal_mode=WAL")
	exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	for i := range 200 {
		exec(t, conn, "INSERT INTO t(b) VALUES(zeroblob(?))", int64(i*10))
	}
	exec(t, conn, "BEGIN; DELETE FROM t; ROLLBACK")
	exec(t, conn, "DELETE FROM t WHERE a%3=0")
	c.drain()
	exec(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
	c.compare("after a checkpoint")
	if c.frames == 0 || c.gaps > 0 {
		t.Errorf("%d commits with frames, %d ranges, %d gaps", c.frames, c.ranges, c.gaps)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// randomStatement is one step of a random workload on a connection.
func randomStatement(r *rand.Rand) string {
	switch r.IntN(22) {
	case 0, 1, 2, 3, 4, 5:
		return fmt.Sprintf("INSERT INTO t(b) VALUES(randomblob(%d))", r.IntN(3000))
	case 6, 7, 8:
		return fmt.Sprintf("UPDATE t SET b=randomblob(%d) WHERE a%%%d=0", r.IntN(800), 2+r.IntN(40))
	case 9:
		return fmt.Sprintf("DELETE FROM t WHERE a%%%d=0", 2+r.IntN(20))
	case 10:
		return fmt.Sprintf("BEGIN IMMEDIATE; UPDATE t SET b=randomblob(%d) WHERE a%%3=0; ROLLBACK", r.IntN(3000))
	case 11:
		return fmt.Sprintf("BEGIN IMMEDIATE; INSERT INTO t(b) SELECT randomblob(900) FROM t LIMIT 60; SAVEPOINT s; UPDATE t SET b=randomblob(%d); ROLLBACK TO s; INSERT INTO t(b) VALUES('x'); RELEASE s; COMMIT", r.IntN(2000))
	case 12:
		return "BEGIN IMMEDIATE; UPDATE t SET b=randomblob(1000); UPDATE t SET b=randomblob(700); COMMIT"
	case 13:
		return fmt.Sprintf("CREATE TABLE IF NOT EXISTS u%d(x, y)", r.IntN(5))
	case 14:
		return fmt.Sprintf("DROP TABLE IF EXISTS u%d", r.IntN(5))
	case 15:
		return "CREATE INDEX IF NOT EXISTS i ON t(b)"
	case 16:
		return "DROP INDEX IF EXISTS i"
	case 17:
		return "PRAGMA wal_checkpoint(PASSIVE)"
	case 18:
		return "PRAGMA wal_checkpoint(FULL)"
	case 19:
		return "PRAGMA wal_checkpoint(RESTART)"
	case 20:
		return "PRAGMA wal_checkpoint(TRUNCATE)"
	default:
		return "VACUUM"
	}
}

// expectedFailure says that a statement of a random workload lost against another connection.
func expectedFailure(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked || strings.Contains(e.Error(), "no such"))
}

func runWorkload(c *capture, conn *sqlite3.SQLiteConn, r *rand.Rand, steps int) error {
	for range steps {
		sql := randomStatement(r)
		if _, err := conn.Exec(sql, nil); err != nil {
			if !expectedFailure(err) {
				return fmt.Errorf("%s: %w", sql, err)
			}
			_, _ = conn.Exec("ROLLBACK", nil) // fails when the statement began none
		}
		if r.IntN(4) == 0 {
			c.drain()
		}
	}
	return nil
}

// firstSeed is where tests that draw what they do begin: SEAWAL_SEED, of which make soak thinks, or 1.
func firstSeed(t *testing.T) uint64 {
	t.Helper()
	v := os.Getenv("SEAWAL_SEED")
	if v == "" {
		return 1
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("SEAWAL_SEED: %v", err)
	}
	return n
}

func TestCaptureRandom(t *testing.T) {
	first := firstSeed(t)
	for seed := first; seed < first+24; seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 0))
			pageSize := 512 << r.IntN(8)
			conns := 1 + int(seed%4)
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
			var open []*sqlite3.SQLiteConn
			for i := range conns {
				conn := c.open("_busy_timeout=10000")
				if i == 0 {
					exec(t, conn, fmt.Sprintf("PRAGMA page_size=%d", pageSize))
					exec(t, conn, "PRAGMA journal_mode=WAL")
					exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
				}
				exec(t, conn, fmt.Sprintf("PRAGMA cache_size=%d", 8+r.IntN(40)))
				exec(t, conn, []string{"PRAGMA synchronous=NORMAL", "PRAGMA synchronous=FULL", "PRAGMA synchronous=OFF"}[r.IntN(3)])
				open = append(open, conn)
			}
			var wg sync.WaitGroup
			errs := make([]error, conns)
			for i, conn := range open {
				cr := rand.New(rand.NewPCG(seed, uint64(i)+1))
				wg.Go(func() { errs[i] = runWorkload(c, conn, cr, 60) })
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				t.Fatal(err)
			}
			c.drain()
			exec(t, open[0], "PRAGMA wal_checkpoint(TRUNCATE)")
			c.compare("at the end")
			exec(t, open[0], "PRAGMA integrity_check")
			t.Logf("page size %d, %d connections: %d commits with frames, %d ranges, %d gaps; %+v", pageSize, conns, c.frames, c.ranges, c.gaps, c.tap.stats())
			if c.gaps > 0 {
				t.Errorf("%d gaps without another process", c.gaps)
			}
			for _, conn := range open {
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestCaptureJournalModes(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"} {
		t.Run(mode, func(t *testing.T) {
			c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
			conn := c.open("_journal_mode=" + mode)
			exec(t, conn, "PRAGMA cache_size=10")
			exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
			for range 30 {
				exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(3000))")
			}
			exec(t, conn, "BEGIN; UPDATE t SET b=randomblob(3000); COMMIT")
			if mode != "OFF" {
				exec(t, conn, "BEGIN; UPDATE t SET b=randomblob(3000); ROLLBACK")
			}
			exec(t, conn, "DELETE FROM t WHERE a>10")
			exec(t, conn, "VACUUM")
			c.drain()
			c.compare("after VACUUM")
			exec(t, conn, "PRAGMA journal_mode=WAL")
			exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(3000))")
			exec(t, conn, "PRAGMA journal_mode="+mode)
			exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(3000))")
			c.drain()
			c.compare("after WAL and back")
			if c.gaps > 0 {
				t.Errorf("%d gaps", c.gaps)
			}
			if err := conn.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestRingFullLeavesCommitsInTheLogAndHoldsItBack(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	conn := c.open("_journal_mode=WAL")
	exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	for range 600 {
		exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(4000))")
	}
	exec(t, conn, "PRAGMA wal_checkpoint(PASSIVE)")
	exec(t, conn, "INSERT INTO t(b) VALUES('would start the log again')")
	st := c.tap.stats()
	if st.ranges == 0 || st.heldBack == 0 {
		t.Fatalf("want ranges, and a restart of the log refused: %+v", st)
	}
	c.drain()
	if c.ranges == 0 || c.gaps != 0 {
		t.Errorf("%d ranges, %d gaps", c.ranges, c.gaps)
	}
	exec(t, conn, "PRAGMA wal_checkpoint(TRUNCATE)")
	c.compare("after the backlog was read")
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// As long as the consumer keeps up, the same memory is used again and again.
func TestRingBeginsAgainWhenAllIsReleased(t *testing.T) {
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), "", 1<<20)
	conn := c.open("_journal_mode=WAL")
	exec(t, conn, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	var first *byte
	for i := range 1000 { // several times the ring
		c.drain()
		exec(t, conn, "INSERT INTO t(b) VALUES(randomblob(4000))")
		commit, ok := c.src.Next()
		if !ok || commit.Kind != shipper.CommitFrames || len(commit.Frames[1]) > 0 {
			t.Fatalf("commit %d: %v, %+v", i, ok, commit)
		}
		if at := &commit.Frames[0][0]; first == nil {
			first = at
		} else if at != first {
			t.Fatalf("commit %d is elsewhere in the ring", i)
		}
		c.src.Release(commit.Ticket)
		c.ticket = commit.Ticket
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// The checkpointer can have the database synced between its passes. What fails then, fails there: the system tells once.
func TestCheckpointerSyncsTheDatabase(t *testing.T) {
	tr := traced(t)
	c := newCapture(t, filepath.Join(t.TempDir(), "a.db"), tr.Name(), 1<<20)
	app := c.open("_journal_mode=WAL")
	exec(t, app, "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
	ours := c.open("_busy_timeout=0&seawal_role=checkpoint")
	fault := tr.Fail(vfstest.Rule{Op: vfstest.Sync, Kind: vfstest.Main, Sticky: true, Code: vfstest.IOErrFsync})
	_, err := ours.Exec("PRAGMA seawal_sync", nil)
	var e sqlite3.Error
	if !errors.As(err, &e) || e.ExtendedCode != sqlite3.ErrIoErrFsync {
		t.Errorf("a sync that fails says %v", err)
	}
	if n := fault.End(); n != 1 {
		t.Errorf("the database was synced %d times", n)
	}
	exec(t, ours, "PRAGMA seawal_sync")
	for _, conn := range []*sqlite3.SQLiteConn{ours, app} {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
