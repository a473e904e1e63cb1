package crashtest

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"

	"seawal/vfs"
)

// job is what an incarnation is told, as JSON in the environment.
type job struct {
	Dir         string
	Seed        uint64
	Incarnation int

	PageSize   int
	AutoVacuum int // as PRAGMA auto_vacuum numbers it

	IntervalMS      int
	Synchronous     string
	Remote          bool  // durability=remote
	AppCheckpoints  bool  // _checkpoint=app
	AutoCheckpoint  int   // PRAGMA wal_autocheckpoint of an application that checkpoints, frames
	RingBytes       int64 // 0: the driver "seawal" as it is
	MaxWAL          int64
	CheckpointBytes int64
	CacheSize       int
	MmapSize        int64

	AskFirst bool // ask for the position before anything is written
	Steps    int  // of each writer, between opening and closing the database
	Sessions int  // times that the database is opened and closed; 0: until killed
}

// log is where the incarnation's standard error goes.
func (j job) log() string { return filepath.Join(j.Dir, fmt.Sprintf("log-%d.txt", j.Incarnation)) }

// randomJob draws what changes from one incarnation to the next.
func randomJob(r *rand.Rand, dir string, pageSize, autoVacuum int) job {
	j := job{
		Dir: dir, Seed: r.Uint64(), PageSize: pageSize, AutoVacuum: autoVacuum,
		IntervalMS:     1 + r.IntN(50),
		Synchronous:    []string{"OFF", "NORMAL", "NORMAL", "FULL"}[r.IntN(4)],
		Remote:         r.IntN(8) == 0,
		AppCheckpoints: r.IntN(3) == 0,
		CacheSize:      []int{8, 8, 50, 2000}[r.IntN(4)],
		MmapSize:       []int64{0, 1 << 20, 1 << 30}[r.IntN(3)],
		AskFirst:       r.IntN(3) == 0,
		Steps:          20 + r.IntN(400),
	}
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
	return j
}

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
	Kind  kind      `json:"k"`
	T     int64     `json:"t,omitempty"`
	Chain int64     `json:"c,omitempty"`
	Pos   vfs.Pos   `json:"p,omitzero"`
	Text  string    `json:"x,omitempty"`
	Stat  *vfs.Stat `json:"s,omitempty"` // with confirmed and refused
}
