package vfs_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"seawal/restore"
)

// A stand-by of a database in a rollback journal mode, where no log tells what the one committed that the other has yet to see.
func TestStandbyInARollbackMode(t *testing.T) {
	for _, mode := range []string{"DELETE", "PERSIST"} {
		for _, end := range []string{"killed", "closed"} {
			t.Run(mode+"/"+end, func(t *testing.T) {
				t.Parallel()
				p := newPlace(t)
				create(t, p.path, 4096)
				plain(t, p.path, "PRAGMA journal_mode=DELETE")
				params := "_journal_mode=" + mode + "&_ship_interval=20ms"
				first := p.peer(params)
				first.do("exec INSERT INTO t(b) VALUES('first')")
				first.do("flush")
				second := p.peer(params)
				second.do("exec INSERT INTO t(b) VALUES('second')")
				second.waitMode("standby")
				second.do("wait")
				p.replicaHas("first", "second")
				for _, verb := range []string{"flush", "wait"} {
					// Each one's commits, in turn, while the other one looks.
					first.do("exec INSERT INTO t(b) VALUES('first, " + verb + "')")
					second.do("exec INSERT INTO t(b) VALUES('second, " + verb + "')")
					second.do(verb)
					p.replicaHas("first, "+verb, "second, "+verb)
				}
				if st := second.status(); st.LagTransactions != 0 || st.LastError != "" {
					t.Errorf("standing by: %+v", st)
				}
				remote := p.peer(params + "&_durability=remote")
				remote.do("exec INSERT INTO t(b) VALUES('remote')")
				remote.waitMode("standby")
				remote.do("exec INSERT INTO t(b) VALUES('remote again')")
				p.replicaHas("remote", "remote again")
				remote.close()
				second.do("many 50")
				first.do("exec INSERT INTO t(b) VALUES('first again')")
				second.do("exec INSERT INTO t(b) VALUES('second again')")
				first.end(end)
				second.do("exec INSERT INTO t(b) VALUES('on its own')")
				second.do("flush")
				p.replicaHas("first again", "second again", "on its own")
				if st := second.waitMode("shipping"); st.Snapshots > 0 {
					t.Errorf("it made %d snapshots when it took over", st.Snapshots)
				}
				back := p.peer(params)
				back.do("exec INSERT INTO t(b) VALUES('last')")
				back.waitMode("standby")
				back.close() // returns when the other one has shipped it
				p.replicaHas("last")
				second.close()
				p.same(p.path, p.restore(restore.Newest()))
				if n := p.timelines(); n != 1 && end == "closed" {
					t.Errorf("%d timelines", n)
				}
			})
		}
	}
}

// The same at random.
func TestStandbysInARollbackModeAtRandom(t *testing.T) {
	p := newPlace(t)
	create(t, p.path, 4096)
	plain(t, p.path, "PRAGMA journal_mode=DELETE")
	confirmed := standbysAtRandom(t, 6*time.Second, func(*rand.Rand) (*peer, string) {
		return p.peer("_journal_mode=DELETE&_ship_interval=20ms"), ""
	})
	p.replicaHas(confirmed[""]...)
	p.same(p.path, p.restore(restore.Newest()))
}
