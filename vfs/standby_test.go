package vfs_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"seawal/restore"
	"seawal/store"
	"seawal/vfs"
)

// The test binary is a second seawal process too: with a DSN set it opens that and does what standard input says, line by line.
const peerDSN = "SEAWAL_PEER_DSN"

func init() {
	if dsn := os.Getenv(peerDSN); dsn != "" {
		if err := bePeer(dsn); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

func bePeer(dsn string) error {
	if err := vfs.Register("seawal-peer", vfs.Config{CheckpointBytes: 1 << 20}); err != nil {
		return err
	}
	db, err := sql.Open("seawal-peer", dsn)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		verb, rest, _ := strings.Cut(in.Text(), " ")
		answer, err := peerDo(db, verb, rest)
		if err != nil {
			answer = "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		fmt.Println(answer)
	}
	return db.Close()
}

func peerDo(db *sql.DB, verb, rest string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch verb {
	case "exec":
		_, err := db.ExecContext(ctx, rest)
		return "ok", err
	case "many":
		n, err := strconv.Atoi(rest)
		for ; n > 0 && err == nil; n-- {
			_, err = db.ExecContext(ctx, "INSERT INTO t(b) VALUES(randomblob(1000))")
		}
		return "ok", err
	case "flush":
		return "ok", vfs.Flush(ctx, db)
	case "wait":
		pos, err := vfs.Position(ctx, db)
		if err != nil {
			return "", err
		}
		return pos.String(), vfs.Wait(ctx, db, pos)
	case "status":
		st, err := vfs.Status(ctx, db)
		if err != nil {
			return "", err
		}
		b, err := json.Marshal(st)
		return string(b), err
	}
	return "", fmt.Errorf("no such verb: %s", verb)
}

// peer is another process that has the database open with seawal.
type peer struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (p place) peer(params string) *peer {
	p.t.Helper()
	if !strings.Contains(params, "_journal_mode") {
		params = "_journal_mode=WAL&" + params
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0",
		peerDSN+"=file:"+p.path+"?_busy_timeout=30000&_replica="+p.replica+"&"+params)
	in, err := cmd.StdinPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	q := &peer{t: p.t, cmd: cmd, in: in, out: bufio.NewReader(out)}
	p.t.Cleanup(q.kill)
	return q
}

var errKilled = errors.New("the process is gone")

// ask has the process do something.
func (q *peer) ask(verb string) (string, error) {
	if _, err := io.WriteString(q.in, verb+"\n"); err != nil {
		return "", errKilled
	}
	line, err := q.out.ReadString('\n')
	if err != nil {
		return "", errKilled
	}
	line = strings.TrimSuffix(line, "\n")
	if text, ok := strings.CutPrefix(line, "error: "); ok {
		return "", errors.New(text)
	}
	return line, nil
}

func (q *peer) do(verb string) string {
	q.t.Helper()
	answer, err := q.ask(verb)
	if err != nil {
		q.t.Fatalf("%s: %v", verb, err)
	}
	return answer
}

func (q *peer) status() vfs.Stat {
	q.t.Helper()
	var st vfs.Stat
	if err := json.Unmarshal([]byte(q.do("status")), &st); err != nil {
		q.t.Fatal(err)
	}
	return st
}

func (q *peer) waitMode(mode string) vfs.Stat {
	q.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		st := q.status()
		if st.Mode == mode {
			return st
		}
		if time.Now().After(deadline) {
			q.t.Fatalf("mode stays at %s: %+v", st.Mode, st)
		}
		time.Sleep(5 * time.Millisecond) // polls another process
	}
}

func (q *peer) kill() {
	_ = q.cmd.Process.Kill() // it may be gone
	_ = q.cmd.Wait()         // likewise
}

// close has it close the database and end.
func (q *peer) close() {
	q.t.Helper()
	q.in.Close()
	if err := q.cmd.Wait(); err != nil {
		q.t.Errorf("closing: %v", err)
	}
}

// end has it be killed or closed.
func (q *peer) end(how string) {
	q.t.Helper()
	if how == "killed" {
		q.kill()
	} else {
		q.close()
	}
}

func (p place) timelines() int {
	p.t.Helper()
	s, err := store.Open(p.t.Context(), p.replica)
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.Close()
	n := 0
	for o, err := range s.List(p.t.Context(), "", "") {
		if err != nil {
			p.t.Fatal(err)
		}
		if strings.HasSuffix(o.Name, "/timeline.json") {
			n++
		}
	}
	return n
}

// replicaHas fails unless the replica has these rows of t.b now.
func (p place) replicaHas(rows ...string) {
	p.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+p.restore(restore.Newest()))
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close()
	for _, row := range rows {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM t WHERE b=?", row).Scan(&n); err != nil || n != 1 {
			p.t.Errorf("%q is in the replica %d times, %v", row, n, err)
		}
	}
}

// One process ships; another one stands by: its commits get into the replica, it can wait for them, and it takes
// over when the first one is killed, or closes. The first one stands by when it comes back.
func TestStandby(t *testing.T) {
	for _, wait := range []string{"flush", "wait"} {
		for _, end := range []string{"killed", "closed"} {
			t.Run(wait+"/"+end, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				create(t, p.path, 4096)
				first := p.peer("_ship_interval=20ms")
				first.do("exec INSERT INTO t(b) VALUES('first')")
				first.do(wait)
				second := p.peer("_ship_interval=20ms")
				second.do("exec INSERT INTO t(b) VALUES('second')")
				if st := second.waitMode("standby"); st.LastError != "" {
					t.Errorf("standing by is no error: %s", st.LastError)
				}
				second.do(wait)
				if st := second.status(); st.Durable.Tx < 3 || st.LagTransactions != 0 || st.Lag != 0 {
					t.Errorf("standing by: %+v", st)
				}
				p.replicaHas("first", "second")
				first.do("exec INSERT INTO t(b) VALUES('first again')")
				second.do("exec INSERT INTO t(b) VALUES('second again')")
				first.end(end)
				second.do("exec INSERT INTO t(b) VALUES('on its own')")
				second.do(wait)
				p.replicaHas("first again", "second again", "on its own")
				st := second.waitMode("shipping")
				if st.Snapshots > 0 || st.Resyncs > 0 {
					t.Errorf("it resumed with %d snapshots, %d differences (%s)", st.Snapshots, st.Resyncs, st.ResyncReason)
				}
				back := p.peer("_ship_interval=20ms")
				back.do("exec INSERT INTO t(b) VALUES('back')")
				back.waitMode("standby")
				back.do(wait)
				p.replicaHas("back")
				back.do("exec INSERT INTO t(b) VALUES('last')")
				back.close() // returns when the other one has shipped it
				p.replicaHas("last")
				second.close()
				p.same(p.path, p.restore(restore.Newest()))
				if n := p.timelines(); n != 1 {
					t.Errorf("%d timelines", n)
				}
			})
		}
	}
}

// A stand-by writes all the time, and the process that ships doesn't: the log is started again all the same, at a lucky moment, or, on a
// machine that has none, once the stand-by pauses between its transactions.
func TestStandbyLogIsStartedAgain(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	first := p.peer("_ship_interval=20ms")
	first.do("flush")
	second := p.peer("_ship_interval=20ms")
	second.do("exec INSERT INTO t(b) VALUES('second')")
	second.waitMode("standby")
	for last, written := int64(0), 0; ; written += 500 {
		second.do("many 500")
		second.do("wait") // reading it back may be slower than writing it: then the log is held for that
		fi, err := os.Stat(p.path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		if fi.Size() < last {
			break
		}
		if last = fi.Size(); written > 60000 {
			time.Sleep(50 * time.Millisecond) // the pause
		}
		if written > 120000 {
			t.Fatalf("after %d commits the log has %d bytes", written, last)
		}
	}
	second.do("flush")
	if st := first.status(); st.ForeignWrite == 0 || st.LeftInWAL == 0 {
		t.Errorf("its commits were not read from the log: %+v", st)
	}
	second.close()
	first.close()
	p.same(p.path, p.restore(restore.Newest()))
}

// durability=remote in a stand-by: a commit returns when the replica has it.
func TestStandbyDurability(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	first := p.peer("_ship_interval=1m")
	first.do("flush")
	second := p.peer("_ship_interval=1m&_durability=remote")
	second.do("exec INSERT INTO t(b) VALUES('zero')")
	second.waitMode("standby")
	for i := range 5 {
		row := fmt.Sprint("row ", i)
		second.do("exec INSERT INTO t(b) VALUES('" + row + "')")
		p.replicaHas(row)
	}
	second.close()
	first.close()
	p.same(p.path, p.restore(restore.Newest()))
}

// Three processes write, and are killed and started again at random. Nothing that one of them had confirmed is missing in the
// replica, which is the database in the end, on one timeline.
func TestStandbysAtRandom(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	confirmed := standbysAtRandom(t, 20*time.Second, func(*rand.Rand) (*peer, string) { return p.peer("_ship_interval=20ms"), "" })
	p.replicaHas(confirmed[""]...)
	p.same(p.path, p.restore(restore.Newest()))
	if n := p.timelines(); n != 1 {
		t.Errorf("%d timelines", n)
	}
}

// standbysAtRandom has three processes write, and kills them and starts others. start says of what kind one is. It returns the
// rows that processes of each kind had confirmed.
func standbysAtRandom(t *testing.T, duration time.Duration, start func(*rand.Rand) (q *peer, kind string)) map[string][]string {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	end := time.Now().Add(duration)
	var mu sync.Mutex
	confirmed := map[string][]string{}
	var kills int
	var wg sync.WaitGroup
	last := make([]*peer, 3)
	for i := range last {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			q, kind := start(r)
			for n := 0; time.Now().Before(end); n++ {
				row := fmt.Sprintf("%d/%d", i, n)
				_, err := q.ask("exec INSERT INTO t(b) VALUES('" + row + "'); UPDATE t SET b=b WHERE a%7=" + fmt.Sprint(n%7))
				if err == nil && r.IntN(8) == 0 {
					// In the middle of it, perhaps, the one that ships is killed by its own goroutine.
					if _, err = q.ask([]string{"flush", "wait"}[r.IntN(2)]); err == nil {
						mu.Lock()
						confirmed[kind] = append(confirmed[kind], row)
						mu.Unlock()
					}
				}
				if err != nil {
					t.Errorf("%s: %v", row, err)
					return
				}
				if r.IntN(40) == 0 {
					_, _ = io.WriteString(q.in, "exec INSERT INTO t(b) VALUES(randomblob(30000))\n") // killed in the middle of it
					q.kill()
					mu.Lock()
					kills++
					mu.Unlock()
					q, kind = start(r)
				}
			}
			last[i] = q
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, q := range last {
		q.close()
	}
	for kind, rows := range confirmed {
		t.Logf("%d confirmed %s", len(rows), kind)
	}
	t.Logf("%d kills", kills)
	return confirmed
}
