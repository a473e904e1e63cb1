package shipper

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"seawal/internal/machine"
	"seawal/internal/replica"
	"seawal/internal/wal"
	"seawal/store/faultstore"
	"seawal/store/storetest"
)

// # The model of several hosts
//
// A site is some machines that have one database, or had it, and one bucket with its replica. Each
// machine has a disk: the database, its WAL, the state directory, and what was copied away of them.
// Machines are cloned, lose power, are given older copies, lose sight of the bucket, and ship at
// the same time; a history is a list of such steps. What has to hold, whatever the steps are:
//
//	confirmed    what an application was told to be durable is in the history that a restore
//	             without a position leads to, or the application was told afterwards that
//	             something happened
//	live         a database that is rolled forward ends at a state that its own state directory
//	             has seen, and nobody has put another one in its place on purpose
//	overwritten  an object of the bucket stays what it was created as
type site struct {
	tb
	dir       string
	weak      weakness
	bucket    *bucket
	hosts     []*host
	confirmed map[replica.Pos]digest // to anybody, since the bucket was emptied
	isOver    bool                   // nothing more can be said of the bucket
	did       map[string]int         // what happened, for the test that the steps reach everything
}

// host is a machine.
type host struct {
	*world
	f      *site
	name   string
	link   *link
	faults *faultstore.Store // around link
	boots  int
	isUp   bool // its process runs
	// The bucket was emptied under its process, which can't know before it looks.
	isBlind bool

	mu     sync.Mutex
	points []point // commits that the WAL holds; guarded by mu, like synced
	synced int     // how many of them a loss of power can't take

	isChosen bool            // somebody has put a copy of the database there, and no process has attached since
	own      map[digest]bool // states of the database that the state directory has seen
	heard    int             // times that the application was told something new
	last     string          // that it was told
	proofs   []proof         // what it was told to be durable
	copies   []copied

	// The machine that this one is a clone of, if somebody had put an older file there just before,
	// and how many proofs that one had; nil: nobody had.
	chosenOn   *host
	proofsThen int
}

// point is a commit in a WAL.
type point struct {
	place wal.Place
	pages image
}

// proof says that something is durable, as an application was told.
type proof struct {
	at    replica.Pos
	state digest
	heard int // of the host, then
}

// copied is a copy of a machine's files.
type copied struct {
	pages    image
	stateDir string
	own      map[digest]bool
}

func newSite(t tb, dir string, weak weakness) *site {
	return &site{
		tb: t, dir: dir, weak: weak, bucket: newBucket(),
		confirmed: map[replica.Pos]digest{}, did: map[string]int{},
	}
}

// add is a new machine with an empty disk.
func (f *site) add() *host {
	h := &host{f: f, name: string(rune('a' + len(f.hosts))), own: map[digest]bool{}}
	dir := filepath.Join(f.dir, h.name)
	f.must(os.Mkdir(dir, 0o700))
	h.world = newWorld(f.tb, dir)
	h.rnd = rand.New(rand.NewPCG(uint64(len(f.hosts)), 7))
	h.link = &link{Store: f.bucket, below: storetest.NewMemory()}
	h.store = h.link
	h.faults = h.faulty()
	h.store = f.bucket
	h.cfg.weakness = f.weak
	f.hosts = append(f.hosts, h)
	return h
}

func (f *site) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (h *host) stateDir() string { return h.m.path + StateSuffix }

// reboot is the start of the machine: nothing on its disk was changed after it.
func (h *host) reboot() {
	h.boots++
	last := int64(0)
	for _, path := range []string{h.m.path, h.m.path + "-wal"} {
		if st := statFile(path); st != nil {
			last = max(last, st.Ctime)
		}
	}
	probe := filepath.Join(filepath.Dir(h.m.path), "tick")
	for {
		h.f.must(os.WriteFile(probe, nil, 0o600))
		if st := statFile(probe); st.Ctime > last {
			machine.Pretend(h.m.path, machine.Boot{ID: fmt.Sprint(h.m.path, h.boots), Time: st.Ctime})
			return
		}
		h.f.must(os.Remove(probe))
	}
}

// change is a transaction. SQLite's header is in page 1, of which the page size is looked at.
func (h *host) change(n int) tx {
	t := h.tx(n)
	if len(h.m.state()) == 0 {
		t.changes = append(t.changes, change{1, make([]byte, testPage)})
	}
	for _, c := range t.changes {
		if c.page == 1 {
			binary.BigEndian.PutUint16(c.data[16:], testPage)
		}
	}
	return t
}

// write commits, through its process or through another one while that is down.
func (h *host) write(n int) {
	if t := h.change(n); h.isUp {
		h.src.commit(CommitFrames, t)
	} else {
		h.offline(t)
	}
	h.m.mu.Lock()
	place := h.m.placeLocked()
	h.m.mu.Unlock()
	state := h.m.state()
	h.own[digestOf(state)] = true
	h.mu.Lock()
	h.points = append(h.points, point{place, state})
	h.mu.Unlock()
}

// tidy is a checkpoint, after which the WAL is started again or removed, if nobody reads it.
func (h *host) tidy(remove bool) {
	h.m.checkpoint(remove)
	h.m.mu.Lock()
	isEmpty := h.m.frames == 0
	h.m.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.synced = len(h.points); isEmpty {
		h.points, h.synced = nil, 0
	}
}

// losePower takes the newest commits that weren't synced, as many as there are up to n.
func (h *host) losePower(n int) {
	if h.isChosen {
		return // nothing tells the copy from what a loss of power has left
	}
	h.die()
	h.mu.Lock()
	keep := max(h.synced, len(h.points)-n)
	if keep < len(h.points) {
		h.f.did["commits lost with the power"]++
		h.m.mu.Lock()
		left := point{h.m.head.Start(), h.m.file}
		h.m.mu.Unlock()
		if keep > 0 {
			left = h.points[keep-1]
		}
		h.m.cutLog(left.place, left.pages)
		h.points = h.points[:keep]
	}
	h.mu.Unlock()
	h.reboot()
}

// die ends the process as a kill does.
func (h *host) die() {
	if h.isUp {
		_ = h.kill() // what isn't shipped is no concern of a process that is killed
		h.hear()
		h.isUp = false
	}
}

// end ends the process in order.
func (h *host) end() {
	if !h.isUp {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = h.sh.Close(ctx) // what isn't shipped is shipped by the next one
	h.hear()
	h.isUp = false
}

// begin opens the database, as package vfs does.
func (h *host) begin() {
	if h.isUp {
		return
	}
	if _, _, known := Known(h.stateDir()); !known {
		h.link.isOut.Store(false) // a first replica on a wrong disk is a replica
	}
	h.link.hasSeen.Store(false)
	h.isBlind = false
	cfg := h.cfg
	if cfg.Judgement = Judge(h.m.path, h.stateDir(), nil); cfg.Judgement.Loss == LossOfPower {
		h.f.did["judged to be a loss of power"]++
		if done := h.rollForward(cfg.Judgement); done != nil {
			cfg.Found = fmt.Sprintf("rolled forward from %v to %v", done.From, done.To)
		}
	}
	h.src, h.states = newFakeSource(h.m), map[uint64]image{}
	cfg.Source, cfg.Open = hostSource{h.src, h}, h.open
	sh, err := New(cfg)
	h.f.must(err)
	h.sh, h.isUp = sh, true
	h.own[digestOf(h.m.state())] = true
	sh.Start()
	time.Sleep(time.Second)
	h.hear()
}

// hear takes in what the application is told. A store that doesn't answer tells nothing of what was
// confirmed.
func (h *host) hear(errs ...error) {
	st := h.sh.Status()
	text := ""
	if st.Notice != "" {
		text = st.NoticeTime.String() + st.Notice
	}
	for _, err := range append(errs, st.Err) {
		if err != nil && (fatal(err) || errors.Is(err, ErrReplicaGone) || errors.Is(err, ErrBehind)) {
			text += err.Error()
		}
	}
	if st.Attached && st.Err == nil {
		h.isChosen = false
	}
	if text != "" && text != h.last {
		h.heard++
		h.last = text
	}
}

// flush asks whether everything is durable.
func (h *host) flush() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	err := h.sh.Flush(ctx)
	h.hear(err)
	at := h.sh.Durable()
	if err != nil || at.Tx == 0 {
		return err
	}
	h.f.did["confirmed"]++
	if at.Timeline > 1 {
		h.f.did["confirmed on a later timeline"]++
	}
	state := digestOf(h.m.state())
	if was, ok := h.f.confirmed[at]; ok && was != state {
		h.f.Fatalf("%s was told that %v is durable, and somebody else was told so of another state", h.name, at)
	}
	h.f.confirmed[at] = state
	h.proofs = append(h.proofs, proof{at, state, h.heard})
	if !h.isBlind {
		if is := h.f.history(); is[at] != state {
			h.f.Fatalf("%s was told that %v is durable, and a restore doesn't lead there", h.name, at)
		}
	}
	return nil
}

// history is what a restore without a position goes through.
func (f *site) history() map[replica.Pos]digest {
	f.Helper()
	ctx := context.Background()
	all, err := replica.Timelines(ctx, f.bucket)
	f.must(err)
	is := map[replica.Pos]digest{}
	if len(all) == 0 {
		return is
	}
	end := replica.Pos{Timeline: all[len(all)-1].Timeline, Tx: 1<<63 - 1}
	_, err = f.hosts[0].replayEach(ctx, end, func(at replica.Pos, pages image) { is[at] = digestOf(pages) })
	f.must(err)
	// Where a timeline goes on from its parent, the point has a name on both.
	for i := len(all) - 1; i >= 0; i-- {
		if t := all[i]; t.Parent != 0 {
			if d, ok := is[replica.PointOf(all, replica.Pos{Timeline: t.Timeline, Tx: t.ParentTx})]; ok {
				is[replica.Pos{Timeline: t.Timeline, Tx: t.ParentTx}] = d
			}
		}
	}
	return is
}

// restored is a new machine with what a restore without a position gives; nil when there is nothing
// to restore.
func (f *site) restored() *host {
	ctx := context.Background()
	all, err := replica.Timelines(ctx, f.bucket)
	f.must(err)
	if len(all) == 0 {
		return nil
	}
	r, err := f.hosts[0].replayTo(ctx, replica.Pos{Timeline: all[len(all)-1].Timeline, Tx: 1<<63 - 1})
	f.must(err)
	if len(r.pages) == 0 {
		return nil
	}
	h := f.add()
	h.m.set(r.pages)
	h.own[digestOf(r.pages)] = true
	h.reboot()
	return h
}

// clone is a second machine with all that is on the disk of this one, the names of its files (the
// inodes) too. It was running, perhaps.
func (h *host) clone() *host {
	c := h.f.add()
	w := h.twinWorld(filepath.Join(h.f.dir, c.name))
	c.m, c.isChosen, c.own = w.m, h.isChosen, maps.Clone(h.own)
	h.mu.Lock()
	c.points, c.synced = slices.Clone(h.points), h.synced
	h.mu.Unlock()
	c.sameFiles(h)
	if h.isChosen {
		c.chosenOn, c.proofsThen = h, len(h.proofs)
	}
	c.reboot()
	return c
}

// sameFiles makes the state directory, which is a copy of that of another machine, say of the files
// here what it said of those there.
func (h *host) sameFiles(as *host) {
	st, err := readState(h.stateDir())
	h.f.must(err)
	if st == nil {
		return
	}
	is := func(a *fileID, suffix string) bool {
		b := identify(as.m.path + suffix)
		return a != nil && b != nil && *a == *b
	}
	if is(st.File, "") {
		st.File = identify(h.m.path)
	}
	if is(st.Log, "-wal") {
		st.Log = identify(h.m.path + "-wal")
	}
	if was := statFile(as.m.path); st.Clean != nil && was != nil && *st.Clean == *was {
		st.Clean = statFile(h.m.path)
	}
	raw, err := json.Marshal(st)
	h.f.must(err)
	h.f.must(os.WriteFile(filepath.Join(h.stateDir(), stateFile), raw, 0o600))
}

// copyAway keeps a copy of the files.
func (h *host) copyAway() {
	dir, err := os.MkdirTemp(h.f.dir, "")
	h.f.must(err)
	c := copied{pages: h.m.state(), stateDir: filepath.Join(dir, "state"), own: maps.Clone(h.own)}
	if _, err := os.Stat(h.stateDir()); err == nil {
		h.f.must(os.CopyFS(c.stateDir, os.DirFS(h.stateDir())))
	} else {
		h.f.must(os.Mkdir(c.stateDir, 0o700))
	}
	h.copies = append(h.copies, c)
}

// putBack puts a copy of the database, the state directory, or both in the place of what is there,
// in the same file or as another one.
func (h *host) putBack(file, folder, inPlace bool, which int) {
	if len(h.copies) == 0 || h.isUp {
		return
	}
	c := h.copies[which%len(h.copies)]
	if file {
		if !inPlace {
			h.f.must(os.WriteFile(h.m.path+".new", nil, 0o600))
			h.f.must(os.Rename(h.m.path+".new", h.m.path))
		}
		h.m.set(c.pages)
		h.points, h.synced, h.isChosen = nil, 0, true
	}
	if folder {
		h.loseFolder()
		h.f.must(os.CopyFS(h.stateDir(), os.DirFS(c.stateDir)))
		h.own = maps.Clone(c.own)
	}
	h.f.did[strings.TrimSpace(fmt.Sprintf("put back: file %v, state directory %v", file, folder))]++
}
