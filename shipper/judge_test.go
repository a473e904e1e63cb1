package shipper

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"seawal/internal/machine"
	"seawal/internal/replica"
	"seawal/internal/segment"
)

// judged is a database with the state that a process has left of it.
type judged struct {
	path string
	dir  string
	st   state
	boot machine.Boot // the last start of the machine
}

// save writes the state down.
func (j *judged) save(t *testing.T) {
	t.Helper()
	machine.Pretend(j.path, j.boot)
	mustDo(t, writeState(j.dir, &j.st))
}

// tell writes the position file, as of a frame of the log.
func (j *judged) tell(t *testing.T, frame uint32) {
	t.Helper()
	p := position{timeline: 1, durable: 9, mark: Mark{Salt: [2]uint32{1, 2}, Frame: frame}}
	mustDo(t, os.WriteFile(filepath.Join(j.dir, positionFile), p.encode(), 0o600))
}

// lostPower is a database whose process was ended by a loss of power: the machine was started after the last write of the file.
func lostPower(t *testing.T) *judged {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	j := &judged{path: path, dir: path + StateSuffix}
	mustDo(t, os.WriteFile(path, []byte("SQLite"), 0o600))
	mustDo(t, os.Mkdir(j.dir, 0o700))
	j.boot = machine.Boot{ID: "after", Time: time.Now().Add(time.Hour).UnixNano()}
	j.st = state{
		Format: stateFormat, Replica: segment.NewID(), Writer: segment.NewID(), Position: replica.Pos{Timeline: 1, Tx: 7},
		Boot: "before", File: identify(path),
	}
	return j
}

// TestJudge: a loss of power is what is left when nothing else can have brought the file to what it is. Each of the cases is a single
// reason against it, and where one of them isn't asked for, a file that was put back on purpose is brought forward again.
func TestJudge(t *testing.T) {
	tests := []struct {
		name     string
		change   func(t *testing.T, j *judged)
		loss     Loss
		reason   string
		replaced bool
	}{
		{name: "a loss of power", loss: LossOfPower, reason: "started again while it was open"},
		{name: "the disk has another number since", change: func(_ *testing.T, j *judged) { j.st.File.Dev++ }, loss: LossOfPower},
		{name: "its log is there", loss: LossOfPower, change: func(t *testing.T, j *judged) {
			j.tell(t, 3)
			mustDo(t, os.WriteFile(j.path+"-wal", []byte("frames"), 0o600))
		}},
		{name: "it had no log", loss: LossOfPower, change: func(t *testing.T, j *judged) { j.tell(t, 0) }},
		{name: "its log was removed", loss: LossPossible, reason: "log was removed", change: func(t *testing.T, j *judged) { j.tell(t, 3) }},
		{name: "only a process died", loss: LossNone, reason: "up since", change: func(_ *testing.T, j *judged) { j.boot.ID = j.st.Boot }},
		{name: "closed cleanly", loss: LossNone, reason: "cleanly", change: func(_ *testing.T, j *judged) { j.st.Clean = statFile(j.path) }},
		{name: "closed in an outage", loss: LossNone, reason: "cleanly", change: func(_ *testing.T, j *judged) { j.st.Left = &leftLog{} }},
		{name: "another file", loss: LossNone, reason: "another file", replaced: true, change: func(_ *testing.T, j *judged) { j.st.File.Inode++ }},
		{name: "another file system, on this boot", loss: LossNone, reason: "another file", replaced: true, change: func(_ *testing.T, j *judged) {
			j.boot.ID = j.st.Boot
			j.st.File.Dev++
		}},
		{name: "the file was written since", loss: LossPossible, reason: "app.db was changed", change: func(_ *testing.T, j *judged) {
			j.boot.Time = statFile(j.path).Ctime
		}},
		{name: "the log was written since", loss: LossPossible, reason: "app.db-wal was changed", change: func(t *testing.T, j *judged) {
			mustDo(t, os.WriteFile(j.path+"-wal", []byte("frames"), 0o600))
			for statFile(j.path+"-wal").Ctime <= statFile(j.path).Ctime { // until the clock of the file system has ticked
				mustDo(t, os.WriteFile(j.path+"-wal", []byte("frames"), 0o600))
			}
			j.boot.Time = statFile(j.path + "-wal").Ctime
		}},
		{name: "the system doesn't say when it was started", loss: LossNone, reason: "doesn't say when", change: func(_ *testing.T, j *judged) { j.boot = machine.Boot{} }},
		{name: "a state of an earlier version", loss: LossPossible, reason: "doesn't say which file", change: func(_ *testing.T, j *judged) { j.st.File = nil }},
		{name: "found behind at an earlier open, and written since", loss: LossOfPower, reason: "was found at 1/4", change: func(_ *testing.T, j *judged) {
			j.st.Behind, j.st.Found = true, &found{At: replica.Pos{Timeline: 1, Tx: 4}}
			j.boot.Time = 1
		}},
		{name: "found behind, and then replaced", loss: LossNone, reason: "another file", replaced: true, change: func(_ *testing.T, j *judged) {
			j.st.Behind, j.st.Found = true, &found{At: replica.Pos{Timeline: 1, Tx: 4}}
			j.st.File.Inode++
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			j := lostPower(t)
			if test.change != nil {
				test.change(t, j)
			}
			j.save(t)
			got := Judge(j.path, j.dir, nil)
			if got.Loss != test.loss || got.Replaced != test.replaced || !strings.Contains(got.Reason, test.reason) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestJudgeByOtherFolders: the state directory of the replica decides; where it knows nothing, that of another replica which came the
// furthest.
func TestJudgeByOtherFolders(t *testing.T) {
	own := lostPower(t)
	own.save(t)
	folder := func(tx uint64, clean bool) string {
		st := own.st
		if st.Position.Tx = tx; clean {
			st.Clean = statFile(own.path)
		}
		dir := t.TempDir()
		mustDo(t, writeState(dir, &st))
		return dir
	}
	older, newer, nothing := folder(5, true), folder(9, false), t.TempDir()
	if j := Judge(own.path, own.dir, []string{older}); j.Loss != LossOfPower {
		t.Errorf("by its own folder: %+v", j)
	}
	if j := Judge(own.path, nothing, []string{older, newer}); j.Loss != LossOfPower {
		t.Errorf("by the newer one of two others: %+v", j)
	}
	if j := Judge(own.path, nothing, []string{newer, older}); j.Loss != LossOfPower {
		t.Errorf("in the other order: %+v", j)
	}
	if j := Judge(own.path, nothing, []string{older}); j.Loss != LossNone {
		t.Errorf("by one that was closed cleanly: %+v", j)
	}
	if j := Judge(own.path, nothing, nil); j.Loss != LossNone || !strings.Contains(j.Reason, "nothing was shipped") {
		t.Errorf("by none: %+v", j)
	}
}
