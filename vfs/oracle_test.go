package vfs_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"seawal/internal/reliability"
	"seawal/restore"
	"seawal/store"
	"seawal/store/faultstore"
	"seawal/vfs"
)

// The acknowledgement oracle. An application commits with durability=remote, in every way, against a store with bad days. What it was told is
// compared with a restore from the replica alone, as the replica is at that moment: nothing that comes later counts.
//
//	told nil            the row is in the restore
//	told ErrNotDurable  the row is in the database
//	told ErrUntold      the row is in neither
//	told anything else  nothing is claimed

// oracleHistories is how many histories a run of the test has.
const oracleHistories = 200

// oracleRow is a row that was to be committed, and what the application was told.
type oracleRow struct {
	id   int
	way  string
	err  error
	told string // nil, not durable, untold, other
}

// oracle is one history.
type oracle struct {
	*badPlace
	r       *rand.Rand
	db      *sql.DB
	conns   []*sql.Conn
	release bool // the mode can tell of a RELEASE
	told    []oracleRow
	next    int
}

// oracleWay commits the row id.
type oracleWay struct {
	name   string
	commit func(ctx context.Context, c *sql.Conn, id int) error
}

// oracleSQL is a way of statements, of which the last one commits. %d is the row.
func oracleSQL(queries ...string) oracleWay {
	return oracleWay{strings.Join(queries, "; "), func(ctx context.Context, c *sql.Conn, id int) error {
		for i, q := range queries {
			if strings.Contains(q, "%d") {
				q = fmt.Sprintf(q, id)
			}
			if _, err := c.ExecContext(ctx, q); err != nil {
				if i < len(queries)-1 || !vfs.IsNotDurable(err) {
					_, _ = c.ExecContext(context.Background(), "ROLLBACK")
				}
				return err
			}
		}
		return nil
	}}
}

func oracleWays(release bool) []oracleWay {
	const insert = "INSERT INTO t(a) VALUES(%d)"
	ways := []oracleWay{
		oracleSQL(insert),
		oracleSQL("BEGIN", insert, "COMMIT"),
		oracleSQL("BEGIN IMMEDIATE", insert, "UPDATE t SET b=randomblob(3000) WHERE a=%d", "END"),
		oracleSQL("BEGIN; INSERT INTO t(a) VALUES(%d); COMMIT"),
		{"arguments", func(ctx context.Context, c *sql.Conn, id int) error {
			_, err := c.ExecContext(ctx, "INSERT INTO t(a, b) VALUES(?, randomblob(20000))", id)
			return err
		}},
		{"prepared", func(ctx context.Context, c *sql.Conn, id int) error {
			st, err := c.PrepareContext(ctx, "INSERT INTO t(a) VALUES(?)")
			if err != nil {
				return err
			}
			defer st.Close()
			_, err = st.ExecContext(ctx, id)
			return err
		}},
		{"Commit", func(ctx context.Context, c *sql.Conn, id int) error {
			// With ctx, database/sql would roll back in a goroutine of its own, perhaps when the connection is in the
			// next transaction already.
			tx, err := c.BeginTx(context.Background(), nil)
			if err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO t(a) VALUES(?)", id); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			return tx.Commit()
		}},
		{"QueryRow", func(ctx context.Context, c *sql.Conn, id int) error {
			return c.QueryRowContext(ctx, "INSERT INTO t(a) VALUES(?) RETURNING a", id).Scan(&id)
		}},
		{"Query", func(ctx context.Context, c *sql.Conn, id int) error {
			rows, err := c.QueryContext(ctx, "INSERT INTO t(a) VALUES(?) RETURNING a", id)
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return errors.Join(rows.Err(), rows.Close())
		}},
		{"Query, closed", func(ctx context.Context, c *sql.Conn, id int) error {
			rows, err := c.QueryContext(ctx, "INSERT INTO t(a) VALUES(?) RETURNING a", id)
			if err != nil {
				return err
			}
			return rows.Close()
		}},
	}
	if release {
		ways = append(ways, oracleSQL("SAVEPOINT s", insert, "RELEASE s"))
	}
	return ways
}

// weather sets what the store is like from now on.
func (o *oracle) weather() {
	fail := faultstore.When(faultstore.Always(), faultstore.Fail(errReset))
	some := func(e faultstore.Effect) []faultstore.Rule {
		p := faultstore.Randomly(0.3, o.r.Uint64())
		return []faultstore.Rule{faultstore.When(faultstore.And(faultstore.OnOp(store.OpCreate), p), e)}
	}
	switch o.r.IntN(9) {
	case 0, 1, 2:
		o.faults.SetRules()
	case 3, 4:
		o.faults.SetRules(fail)
	case 5:
		o.faults.SetRules(some(faultstore.Fail(errReset))...)
	case 6:
		o.faults.SetRules(some(faultstore.LostAck(errReset))...)
	case 7:
		o.faults.SetRules(faultstore.When(faultstore.OnOp(store.OpCreate), faultstore.Slow(hangs)))
	case 8:
		o.faults.SetRules(faultstore.When(faultstore.Always(), faultstore.Fail(store.ErrNotExist)))
	}
}

// step has each connection commit a row, at the same time.
func (o *oracle) step() {
	ways := oracleWays(o.release)
	var all sync.WaitGroup
	rows := make([]oracleRow, len(o.conns))
	for i, c := range o.conns {
		o.next++
		w := ways[o.r.IntN(len(ways))]
		rows[i] = oracleRow{id: o.next, way: w.name}
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		switch o.r.IntN(3) {
		case 0:
			ctx, cancel = context.WithTimeout(ctx, time.Duration(1+o.r.IntN(20))*time.Millisecond)
			rows[i].way += " and a context that ends"
		case 1:
			ctx, cancel = context.WithCancel(ctx)
			rows[i].way += " and a context"
		}
		all.Go(func() {
			defer cancel()
			rows[i].err = w.commit(ctx, c, rows[i].id)
		})
	}
	all.Wait()
	for i := range rows {
		switch err := rows[i].err; {
		case err == nil:
			rows[i].told = "nil"
		case vfs.IsNotDurable(err):
			rows[i].told = "not durable"
		case errors.Is(err, vfs.ErrUntold):
			rows[i].told = "untold"
		default:
			rows[i].told = "other"
		}
	}
	o.told = append(o.told, rows...)
}

// rowsOf is what a database file has.
func (o *oracle) rowsOf(path string) []int {
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=10000")
	if err != nil {
		o.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query("SELECT a FROM t")
	if err != nil {
		o.t.Fatal(err)
	}
	defer rows.Close()
	var ids []int
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			o.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if err := rows.Err(); err != nil {
		o.t.Fatal(err)
	}
	return ids
}

// restored are the rows of the default restore, from the replica as it is now.
func (o *oracle) restored() []int {
	out := o.path + ".restored"
	_, err := restore.Run(o.t.Context(), o.behind, restore.Options{Output: out, Check: restore.CheckNone})
	if errors.Is(err, restore.ErrNoPoint) || errors.Is(err, restore.ErrNoReplica) {
		return nil // nothing has arrived
	}
	if err != nil {
		o.t.Fatal(err)
	}
	defer os.Remove(out)
	return o.rowsOf(out)
}

// judge compares what was told, and returns the contradictions.
func (o *oracle) judge(restored []int) (wrong []string) {
	for _, row := range o.told {
		if row.told == "nil" && !slices.Contains(restored, row.id) {
			wrong = append(wrong, fmt.Sprintf("row %d (%s) was confirmed, and a restore hasn't got it", row.id, row.way))
		}
	}
	return wrong
}

// judgeLocal does so with the database, which is closed.
func (o *oracle) judgeLocal() (wrong []string) {
	local := o.rowsOf(o.path)
	for _, row := range o.told {
		is := slices.Contains(local, row.id)
		if (row.told == "not durable" || row.told == "nil") && !is {
			wrong = append(wrong, fmt.Sprintf("row %d (%s) is %s, and isn't in the database", row.id, row.way, row.told))
		}
		if row.told == "untold" && is {
			wrong = append(wrong, fmt.Sprintf("row %d (%s) was refused (%v), and is in the database", row.id, row.way, row.err))
		}
	}
	return wrong
}

// takeOver has another host's copy of the database take the replica over, if that is still a copy when it comes there.
func (o *oracle) takeOver() {
	o.faults.SetRules()
	_ = vfs.Flush(o.t.Context(), o.db)
	path := o.path + ".copy"
	if _, err := restore.Run(o.t.Context(), o.behind, restore.Options{Output: path}); err != nil {
		o.t.Error(err)
		return
	}
	db, err := sql.Open(o.driver, "file:"+path+"?_replica="+o.good().replica)
	if err != nil {
		o.t.Error(err)
		return
	}
	if _, err := db.Exec("INSERT INTO t(b) VALUES('the other one')"); err != nil {
		o.t.Error(err)
	}
	_, _ = vfs.Flush(o.t.Context(), db), db.Close()
}

// runOracle runs one history.
func runOracle(t *testing.T, seed uint64) (o *oracle, wrong []string) {
	r := rand.New(rand.NewPCG(seed, 5))
	o = &oracle{badPlace: newBadPlace(t), r: r}
	o.driver = hasty
	o.stuck.patience = 10 * time.Millisecond
	mode := remoteModes[r.IntN(len(remoteModes))]
	o.release = !strings.Contains(mode.params, "shared") && mode.name != "off"
	create(t, o.path, 512<<r.IntN(4))
	o.db = o.openIn(fmt.Sprintf("%s&_durability=remote&_durability_timeout=%dms", mode.params, 5+r.IntN(30)))
	o.db.SetMaxOpenConns(4)
	conns := 1
	if !strings.Contains(mode.name, "exclusive") && !strings.Contains(mode.name, "shared") && !mode.rollback {
		conns = 1 + r.IntN(3)
	}
	for range conns {
		o.conns = append(o.conns, connOf(t, o.db))
	}
	if r.IntN(4) > 0 {
		_ = vfs.Flush(t.Context(), o.db)
	}
	for range 1 + r.IntN(6) {
		o.weather()
		for range 1 + r.IntN(2) {
			o.step()
		}
	}
	if r.IntN(5) == 0 && o.restored() != nil {
		// Another host has taken over: what this one still confirms has to be on the timeline that is restored.
		o.takeOver()
		for range 3 {
			o.step()
		}
	}
	// From here on nothing arrives.
	o.faults.SetRules(faultstore.When(faultstore.Always(), faultstore.Fail(errReset)))
	wrong = o.judge(o.restored())
	if r.IntN(2) == 0 {
		o.calm()
	}
	for _, c := range o.conns {
		c.Close()
	}
	_ = o.db.Close() // a bad day, or another writer
	wrong = append(wrong, o.judgeLocal()...)
	if len(wrong) > 0 {
		wrong = append([]string{fmt.Sprintf("seed %d, %s", seed, mode.name)}, wrong...)
	}
	return o, wrong
}

// Whatever the application was told about its commits is so.
func TestAcknowledgementOracle(t *testing.T) {
	first := vfs.FirstSeed(t)
	var mu sync.Mutex
	told := map[string]int{}
	var all sync.WaitGroup
	next := make(chan uint64, oracleHistories) // with room for all: a history that fails takes its goroutine with it
	for i := range uint64(oracleHistories) {
		next <- first + i
	}
	close(next)
	for range 6 { // they wait for the store most of the time
		all.Go(func() {
			for seed := range next {
				o, wrong := runOracle(t, seed)
				mu.Lock()
				for _, row := range o.told {
					told[row.told]++
				}
				mu.Unlock()
				if len(wrong) > 0 {
					t.Error(strings.Join(wrong, "\n\t"))
				}
			}
		})
	}
	all.Wait()
	t.Log(told)
	if told["nil"] == 0 || told["not durable"] == 0 {
		t.Errorf("the application was told %v: the test has lost what it is about", told)
	}
	reliability.Record(t, reliability.Fault{
		Group: reliability.Durable, Name: "Commits with durability=remote at random, compared with a restore at that moment",
		How: "200 histories: every way to commit, contexts and limits, against stores that fail, hang, lose answers, vanish, or are taken over", AtLeast: 200,
	}, told["not durable"], 0)
}
