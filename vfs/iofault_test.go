package vfs

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"seawal/internal/reliability"
	"seawal/internal/vfstest"
)

// write fills rows with text that no other write has: n names it.
func write(n int, where string) string {
	return fmt.Sprintf("UPDATE t SET b=printf('%%0*d', 500+%d, a*1000+%d) WHERE %s", n*7%300, n, where)
}

// ioCommits are the transactions of every workload: small ones, ones that spill, savepoints, rollbacks.
var ioCommits = []ioStep{
	{sql: []string{"INSERT INTO t(b) VALUES('one')"}},
	{sql: []string{"BEGIN", write(1, "a<4"), "INSERT INTO t(b) VALUES('two')", "COMMIT"}},
	{sql: []string{"BEGIN IMMEDIATE", write(2, "a<28"), write(3, "a%2=0"), "COMMIT"}}, // spills, and overwrites its own frames
	{sql: []string{"SELECT count(*), sum(length(b)) FROM t"}},
	{sql: []string{"BEGIN", write(4, "a<25"), "ROLLBACK"}, undone: true},
	{sql: []string{"BEGIN", write(5, "a<3"), "SAVEPOINT s", write(6, "a<28"), "ROLLBACK TO s", "INSERT INTO t(b) VALUES('three')", "RELEASE s", "COMMIT"}},
	{sql: []string{"DELETE FROM t WHERE a%7=3"}},
	{sql: []string{"BEGIN", "CREATE TABLE u(x, y)", "CREATE INDEX i ON t(b)", "COMMIT"}},
	{sql: []string{"BEGIN", "SAVEPOINT s", write(7, "a<28"), "ROLLBACK TO s", "COMMIT"}, undone: true},
	{sql: []string{write(8, "a=5")}},
}

func ioSteps(after map[int]string) (steps []ioStep) {
	for i, s := range ioCommits {
		steps = append(steps, s)
		if sql := after[i]; sql != "" {
			steps = append(steps, ioStep{sql: []string{sql}})
		}
	}
	return steps
}

func ioWorkloads() []ioWorkload {
	checkpoints := map[int]string{
		1: "PRAGMA wal_checkpoint(PASSIVE)", 2: "PRAGMA wal_checkpoint(FULL)",
		5: "PRAGMA wal_checkpoint(RESTART)", 6: "PRAGMA wal_checkpoint(TRUNCATE)", 7: "VACUUM",
	}
	w := []ioWorkload{
		{name: "WAL NORMAL", params: "_journal_mode=WAL&_synchronous=NORMAL", steps: ioSteps(checkpoints)},
		{name: "WAL FULL", params: "_journal_mode=WAL&_synchronous=FULL", steps: ioSteps(checkpoints)},
		{name: "WAL FULL padded", params: "_journal_mode=WAL&_synchronous=FULL&psow=0", steps: ioSteps(checkpoints)},
		{name: "WAL EXCLUSIVE", params: "_journal_mode=WAL&_synchronous=FULL&_locking_mode=EXCLUSIVE", steps: ioSteps(checkpoints)},
		{name: "WAL and back", params: "_journal_mode=WAL&_synchronous=NORMAL",
			steps: ioSteps(map[int]string{1: "PRAGMA journal_mode=DELETE", 5: "PRAGMA journal_mode=WAL", 8: "PRAGMA journal_mode=TRUNCATE"})},
	}
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST"} {
		w = append(w, ioWorkload{name: mode, params: "_journal_mode=" + mode + "&_synchronous=FULL", steps: ioSteps(map[int]string{7: "VACUUM"})})
	}
	return append(w, ioWorkload{name: "DELETE EXCLUSIVE", params: "_journal_mode=DELETE&_synchronous=NORMAL&_locking_mode=EXCLUSIVE",
		steps: ioSteps(nil), alone: true})
}

// ioFaults are the faults of a call: codes, and whether half of it happens.
func ioFaults(e *vfstest.Event) (list []ioTarget) {
	add := func(code vfstest.Code, cut bool) { list = append(list, ioTarget{code: code, cut: cut}) }
	if e.Kind == vfstest.Temp || e.Kind == vfstest.Other {
		return nil
	}
	switch e.Op {
	case vfstest.Write:
		add(vfstest.IOErrWrite, false)
		add(vfstest.Full, true)
	case vfstest.Read:
		add(vfstest.IOErrRead, false)
		add(vfstest.IOErrShortRead, true)
	case vfstest.Sync:
		add(vfstest.IOErrFsync, false)
	case vfstest.Truncate:
		add(vfstest.IOErrTruncate, false)
	case vfstest.Size:
		add(vfstest.IOErrFstat, false)
	case vfstest.Lock, vfstest.CheckReservedLock:
		add(vfstest.IOErrLock, false)
	case vfstest.Unlock:
		add(vfstest.IOErrUnlock, false)
	case vfstest.ShmLock:
		add(vfstest.IOErrShmLock, false)
		if e.Flags&vfstest.ShmUnlock == 0 {
			add(vfstest.Busy, false)
		}
	case vfstest.ShmMap:
		add(vfstest.IOErrShmMap, false)
	case vfstest.Open:
		add(vfstest.CantOpen, false)
	case vfstest.Delete:
		add(vfstest.IOErrDelete, false)
	case vfstest.Access:
		add(vfstest.IOErrAccess, false)
	case vfstest.Control:
		if e.Flags == vfstest.FcntlCommitPhaseTwo || e.Flags == vfstest.FcntlSync {
			add(vfstest.IOErr, false)
		}
	}
	return list
}

// ioTargets lists every fault of every call that plain SQLite makes in a workload, once and persistently.
func ioTargets(r *ioRun) (all []ioTarget) {
	type place struct {
		op   vfstest.Op
		kind vfstest.Kind
		at   vfstest.Call
	}
	for pos, events := range r.events {
		seen := map[place]int{}
		for i := range events {
			e := &events[i]
			p := place{e.Op, e.Kind, vfstest.Call{Offset: e.Offset, Amount: e.Amount, Flags: e.Flags}}
			seen[p]++
			for _, g := range ioFaults(e) {
				g.pos, g.op, g.kind, g.at, g.nth = pos, p.op, p.kind, p.at, seen[p]
				all = append(all, g)
				// A read lock that is refused for ever has SQLite wait for ten seconds.
				if isEdge := pos == 0 || pos == len(r.w.steps)+1; !isEdge && g.code != vfstest.Busy {
					g.last = true
					all = append(all, g)
				}
			}
		}
	}
	return all
}

// ioSample picks up to n targets of each sort.
func ioSample(all []ioTarget, n int, r *rand.Rand) (some []ioTarget) {
	type sort struct {
		op   vfstest.Op
		kind vfstest.Kind
		code vfstest.Code
		last bool
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	count := map[sort]int{}
	for _, g := range all {
		s := sort{g.op, g.kind, g.code, g.last}
		if count[s]++; count[s] <= n {
			some = append(some, g)
		}
	}
	slices.SortFunc(some, func(a, b ioTarget) int { return cmp.Compare(a.pos, b.pos) })
	return some
}

// ioEach is how many calls of each sort fail in a workload, in turn. IOFAULT=all has every call fail.
const ioEach = 3

// ioAtLeast is a floor for how many are met in a workload.
const ioAtLeast = 60

// Every call beneath SQLite fails in turn, with and without the shim above it. The application sees the
// same results, and what was published is what is committed.
//
// "The same" is said of a transaction, not of a statement: the shim writes the frames of a transaction later than
// SQLite hands them over, so that a statement that made the cache spill may succeed, and a later one of its
// transaction, at the latest its commit, fails with the same extended code. A transaction that is rolled back may
// have no frame written at all: then it doesn't fail.
func TestFaultOfEveryCall(t *testing.T) {
	for i, w := range ioWorkloads() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			met, lost := faultsOf(t, i, w)
			reliability.Record(t, reliability.Fault{
				Group: reliability.Disk,
				Name:  "a call of SQLite on its files fails",
				How: "each sort of call (write, sync, read, short read, truncate, size, open, delete, access, file lock, shared memory) on database, log and journal fails, " +
					"once or from then on, with an I/O error, a full disk half way through the write, or BUSY; in all journal modes, with spills, savepoints, checkpoints and VACUUM; " +
					"codes and rows are compared with plain SQLite's, and what was captured with the file",
				AtLeast: ioAtLeast,
			}, met, lost)
		})
	}
}

// faultsOf has calls fail beneath one workload, each in a run of its own. It counts the faults that were met, and those
// that made a difference.
func faultsOf(t *testing.T, i int, w ioWorkload) (met, lost int) {
	tr, err := vfstest.Register(fmt.Sprint("iofault-", i), "", vfstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	plain := &ioRunner{w: w, trace: tr, template: ioTemplate(t, w)}
	shim := &ioRunner{w: w, trace: tr, template: plain.template, shimmed: true}
	ref := plain.run(t, nil, true)
	same(t, w, nil, ref.result, shim.run(t, nil, false).result)
	targets := ioTargets(ref)
	n := len(targets)
	if os.Getenv("IOFAULT") != "all" {
		targets = ioSample(targets, ioEach, rand.New(rand.NewPCG(uint64(i), 20)))
	}
	t.Logf("%d faults of %d", len(targets), n)
	for _, g := range targets {
		ok := t.Run(g.String(), func(t *testing.T) {
			a := plain.run(t, &g, false)
			b := shim.run(t, &g, false)
			same(t, w, &g, a.result, b.result)
			if slices.Contains(b.result.fired, true) {
				met++
			}
		})
		if !ok {
			lost++
		}
	}
	return met, lost
}

// same compares what the application saw without and with the shim.
func same(t *testing.T, w ioWorkload, g *ioTarget, plain, shim ioResult) {
	t.Helper()
	for pos := range plain.outcomes {
		if g != nil && plain.fired[pos] && !shim.fired[pos] && mayBeSpared(w, g, pos) {
			continue // the same rows follow
		}
		if plain.outcomes[pos] != shim.outcomes[pos] {
			t.Errorf("position %d: %s without the shim, %s with it", pos, plain.outcomes[pos], shim.outcomes[pos])
		}
		if g != nil && plain.fired[pos] != shim.fired[pos] && g.op != vfstest.Size { // the shim asks for the size itself

			t.Errorf("position %d: the fault was met without the shim: %v, with it: %v", pos, plain.fired[pos], shim.fired[pos])
		}
	}
	for i := range plain.seen {
		if plain.seen[i] != shim.seen[i] {
			t.Errorf("position %d: other rows without and with the shim: %s", i, difference(plain.seen[i], shim.seen[i]))
		}
	}
	if plain.sound != shim.sound || !(g != nil && g.lies()) && shim.sound != "ok|" {
		t.Errorf("integrity_check: %s without the shim, %s with it", plain.sound, shim.sound)
	}
}

// mayBeSpared says that a fault that plain SQLite met need not be met: that of frames which were never written.
func mayBeSpared(w ioWorkload, g *ioTarget, pos int) bool {
	return g.kind == vfstest.WAL && g.op == vfstest.Write && pos >= 1 && pos <= len(w.steps) && w.steps[pos-1].undone
}
