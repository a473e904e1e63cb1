package vfs_test

import (
	"testing"
	"time"

	"seawal/internal/vfstest"
)

// looked is longer than an idle database goes without a look at its wal-index.
const looked = 1500 * time.Millisecond

// A connection that has just become EXCLUSIVE begins a new log, and is looked at before the first frame is written: that log is ours, and
// each of its transactions a point.
func TestExclusiveLogIsLookedAtWhileItBegins(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		rule  vfstest.Rule
		steps []string // before the connection is EXCLUSIVE
	}{
		{name: "before the header", rule: vfstest.Rule{Op: vfstest.Write, At: &vfstest.Call{Offset: 0, Amount: 32}}},
		{name: "before the header is synced", rule: vfstest.Rule{Op: vfstest.Sync}},
		{name: "before the first frame", rule: vfstest.Rule{Op: vfstest.Write, At: &vfstest.Call{Offset: 32, Amount: 24}}},
		{name: "before its page", rule: vfstest.Rule{Op: vfstest.Write, At: &vfstest.Call{Offset: 56, Amount: 1024}}},
		{
			name: "a log that begins again", rule: vfstest.Rule{Op: vfstest.Write, At: &vfstest.Call{Offset: 0, Amount: 32}},
			steps: []string{"INSERT INTO t(b) VALUES('before')", "PRAGMA wal_checkpoint(PASSIVE)"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr, err := vfstest.Register("beneath-"+t.Name(), "", vfstest.Options{})
			if err != nil {
				t.Fatal(err)
			}
			p := newPlace(t)
			create(t, p.path, 1024)
			s := p.begin("_journal_mode=WAL&vfs=" + tr.Name())
			s.exec(tt.steps...)
			s.flush()
			s.exec("PRAGMA locking_mode=EXCLUSIVE")
			rule := tt.rule
			rule.Kind, rule.Apply, rule.Hold = vfstest.WAL, vfstest.Pass, true
			hold := tr.Fail(rule)
			done := make(chan error, 1)
			go func() {
				_, err := s.conn.ExecContext(s.ctx, "INSERT INTO t(b) VALUES('first')")
				done <- err
			}()
			hold.Reached()
			time.Sleep(looked) // a look finds nothing, so there is nothing to wait for
			hold.Release()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			hold.End()
			s.note()
			s.steps("INSERT INTO t(b) VALUES('second')")
			s.flush()
			if st := mustStatus(t, s.db); st.Resyncs > 0 || st.ForeignWrite > 0 {
				t.Errorf("%d differences (%s), %d writes of others", st.Resyncs, st.ResyncReason, st.ForeignWrite)
			}
			s.exec("PRAGMA locking_mode=NORMAL")
			s.end()
		})
	}
}
