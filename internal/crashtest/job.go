package crashtest

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"seawal/vfs"
)

// orders is what a process is told, as JSON in the environment.
type orders struct {
	Jobs    []job    // a database each
	Restore *rebuild // in place of jobs
}

// job is one database of an incarnation.
type job struct {
	Dir  string // of the database and its replica
	Seed uint64

	PageSize   int
	AutoVacuum int    // as PRAGMA auto_vacuum numbers it
	Journal    string // as PRAGMA journal_mode names it
	Exclusive  bool   // one connection, which keeps the lock once the first snapshot is shipped

	IntervalMS      int
	Synchronous     string
	Remote          bool   // durability=remote
	IfMissing       bool   // _restore=if-missing
	Adopt           string // _adopt: the id of the replica, where nothing else tells that it is the database's; "": something does
	AppCheckpoints  bool   // _checkpoint=app
	LeaveLog        bool   // no PRAGMA wal_checkpoint
	AutoCheckpoint  int    // PRAGMA wal_autocheckpoint of an application that checkpoints, frames
	RingBytes       int64  // 0: the default, as of the next two
	MaxWAL          int64
	CheckpointBytes int64
	CacheSize       int
	MmapSize        int64
	Store           weather

	AskFirst bool // ask for the position before anything is written
	Steps    int  // of each writer, between opening and closing the database
	Sessions int  // times that the database is opened and closed; 0: until killed
}

// weather is what the store is like while an incarnation lives.
type weather struct {
	Seed    uint64
	Faults  float64 // of calls that fail, are cut short, are slow, or succeed without saying so; 0: none
	OffMS   int     // outages of up to so long, again and again; 0: none
	Offline bool    // it never answers

	LostSnapshot bool // the first snapshot is stored, and the store says that it isn't
}

func (w weather) isBad() bool { return w.Faults > 0 || w.OffMS > 0 || w.Offline || w.LostSnapshot }

// mayShipDifferences says that single transactions may be given up for a reason other than that the log is gone.
func (j job) mayShipDifferences() bool {
	return j.MaxWAL != 0 || j.Journal != "WAL" || j.Exclusive || j.Store.isBad()
}

// nature is what a database keeps for all its life.
type nature struct {
	pageSize   int
	autoVacuum int
	journals   []string // one of them in each incarnation
	exclusive  bool     // in some of its incarnations
	bad        bool     // the store is, in some of them
}

var rollbackModes = []string{"DELETE", "TRUNCATE", "PERSIST"}

func randomNature(r *rand.Rand) nature {
	n := nature{
		pageSize:   512 << r.IntN(8),
		autoVacuum: []int{0, 0, 1, 2}[r.IntN(4)],
		journals:   []string{"WAL"},
		exclusive:  r.IntN(6) == 0,
	}
	switch r.IntN(8) {
	case 0:
		n.journals = rollbackModes
	case 1:
		n.journals = append(n.journals, rollbackModes...)
	}
	return n
}

// randomJob draws what changes from one incarnation to the next.
func randomJob(r *rand.Rand, dir string, n nature) job {
	j := job{
		Dir: dir, Seed: r.Uint64(), PageSize: n.pageSize, AutoVacuum: n.autoVacuum,
		Journal:        n.journals[r.IntN(len(n.journals))],
		Exclusive:      n.exclusive && r.IntN(2) == 0,
		IntervalMS:     1 + r.IntN(50),
		Synchronous:    []string{"OFF", "NORMAL", "NORMAL", "FULL"}[r.IntN(4)],
		AppCheckpoints: r.IntN(3) == 0,
		CacheSize:      []int{8, 8, 50, 2000}[r.IntN(4)],
		MmapSize:       []int64{0, 1 << 20, 1 << 30}[r.IntN(3)],
		AskFirst:       r.IntN(3) == 0,
		Steps:          20 + r.IntN(400),
	}
	j.Remote = r.IntN(8) == 0 && !j.Exclusive
	if j.AppCheckpoints {
		j.AutoCheckpoint = []int{0, 20, 1000}[r.IntN(3)]
	}
	if r.IntN(2) == 0 {
		j.RingBytes = 1 << 20
		j.CheckpointBytes = int64(1+r.IntN(8)) << 20
		if r.IntN(4) == 0 {
			j.MaxWAL = int64(1+r.IntN(8)) << 20
		}
	}
	if n.bad {
		j.Store = randomWeather(r)
		if j.Store.Offline {
			j.Remote, j.AskFirst = false, false // they would wait for ever
		}
	}
	return j
}

func randomWeather(r *rand.Rand) weather {
	w := weather{Seed: r.Uint64()}
	switch r.IntN(5) {
	case 0, 1:
		w.Faults = 0.3 * r.Float64()
	case 2:
		w.OffMS = 10 + r.IntN(300)
	case 3:
		w.Offline = true
	}
	return w
}

// rebuild is what a process is told that restores a replica.
type rebuild struct {
	Dir    string // of the database whose replica it is
	Output string
	Force  bool // the output may be replaced
}

func databasePath(dir string) string { return filepath.Join(dir, "app.db") }
func statePath(dir string) string    { return databasePath(dir) + "-seawal" }
func replicaURL(dir string) string {
	return "file://" + filepath.ToSlash(filepath.Join(dir, "replica"))
}

// logPath is where the standard error of the history's n-th process goes.
func logPath(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("log-%d.txt", n)) }

// kind says what an event tells.
type kind string

const (
	opening   kind = "opening"
	closing   kind = "closing"
	closed    kind = "closed"
	tick      kind = "tick"      // in the middle of something: a good moment to be killed
	seen      kind = "seen"      // the database as found: T and Chain of its last transaction
	committed kind = "committed" // T and Chain
	noted     kind = "noted"     // at Pos the last transaction is T with Chain, exactly
	confirmed kind = "confirmed" // Pos is durable, and with it every transaction up to T
	refused   kind = "refused"   // shipping has stopped: Text
	broken    kind = "broken"    // the workload found something wrong: Text
)

// event is one line that an incarnation writes.
type event struct {
	DB    int       `json:"d,omitempty"` // index of the job
	Kind  kind      `json:"k"`
	T     int64     `json:"t,omitempty"`
	Chain int64     `json:"c,omitempty"`
	Pos   vfs.Pos   `json:"p,omitzero"`
	Text  string    `json:"x,omitempty"`
	Stat  *vfs.Stat `json:"s,omitempty"` // with confirmed and refused
}
