package shipper

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"seawal/internal/pagesum"
	"seawal/internal/wal"
)

// image is a state of a database: page n is at n-1.
type image [][]byte

func (a image) clone() image { return slices.Clone(a) } // pages are never changed in place

func (a image) equal(b image) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func (a image) total(h *pagesum.Hasher) (sum pagesum.Sum) {
	for i, p := range a {
		sum ^= h.Of(uint32(i+1), p)
	}
	return sum
}

// model is a database with a log: what survives a process.
type model struct {
	path     string
	pageSize int
	mu       sync.Mutex
	pages    image  // newest committed state
	file     image  // what the database file has
	log      []byte // never overwritten in place: a restart begins a new slice
	head     wal.Header
	sum      [2]uint32
	frames   uint32
	salt     uint32
	pinned   int
	rollback bool // no log: a rollback journal mode
	written  int
	logFile  bool
	holes    bool // pages that the database grows by may be left out
}

func newModel(dir string, pageSize int) *model {
	return &model{path: filepath.Join(dir, "app.db"), pageSize: pageSize}
}

// change is one frame of a transaction.
type change struct {
	page uint32
	data []byte
}

func (m *model) restartLocked() {
	m.salt++
	b := make([]byte, 0, wal.HeaderSize)
	for _, v := range []uint32{0x377f0682, 3007000, uint32(m.pageSize), m.salt, m.salt, m.salt * 2654435761} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	sum := wal.Header{}.Checksum([2]uint32{}, b)
	b = binary.BigEndian.AppendUint32(b, sum[0])
	b = binary.BigEndian.AppendUint32(b, sum[1])
	h, err := wal.ParseHeader(b)
	if err != nil {
		panic(err)
	}
	m.log, m.head, m.sum, m.frames = b, h, sum, 0
	m.logFileLocked()
}

// apply commits; it returns the frames in WAL layout.
func (m *model) applyLocked(changes []change, pageCount uint32) (frames []byte) {
	if m.log == nil && !m.rollback {
		m.restartLocked()
	}
	m.pages = m.pages.clone()
	for page := len(m.pages) + 1; page <= int(pageCount) && !m.holes; page++ {
		// SQLite writes every page that the database grows by; see fillGrowth for the exception.
		changes = append([]change{{uint32(page), make([]byte, m.pageSize)}}, changes...)
	}
	for len(m.pages) < int(pageCount) {
		m.pages = append(m.pages, make([]byte, m.pageSize))
	}
	for i, c := range changes {
		var f [wal.FrameHeaderSize]byte
		binary.BigEndian.PutUint32(f[0:], c.page)
		if i == len(changes)-1 {
			binary.BigEndian.PutUint32(f[4:], pageCount)
		}
		if !m.rollback {
			m.sum = m.head.Checksum(m.head.Checksum(m.sum, f[:8]), c.data)
			for j, v := range []uint32{m.head.Salt[0], m.head.Salt[1], m.sum[0], m.sum[1]} {
				binary.BigEndian.PutUint32(f[8+4*j:], v)
			}
			m.frames++
		}
		frames = append(append(frames, f[:]...), c.data...)
		for uint32(len(m.pages)) < c.page {
			m.pages = append(m.pages, make([]byte, m.pageSize))
		}
		m.pages[c.page-1] = bytes.Clone(c.data)
	}
	m.pages = m.pages[:pageCount:pageCount]
	if m.rollback {
		m.file = m.pages.clone()
		m.touchLocked()
	} else {
		m.log = append(m.log, frames...)
	}
	return frames
}

func (m *model) placeLocked() wal.Place {
	if m.rollback || m.log == nil {
		return wal.Place{}
	}
	return wal.Place{Salt: m.head.Salt, Frame: m.frames, Cksum: m.sum}
}

// checkpoint copies the log to the file and, unless somebody reads, restarts or drops it.
func (m *model) checkpoint(drop bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.file = m.pages.clone()
	m.touchLocked()
	if m.pinned > 0 || m.log == nil {
		return
	}
	if drop {
		m.log, m.frames = nil, 0
		m.logFileLocked()
		return
	}
	m.restartLocked()
}

// touchLocked changes the stat of the database file, as everything does that writes it.
func (m *model) touchLocked() {
	m.written++
	if err := os.WriteFile(m.path, fmt.Append(nil, m.written), 0o600); err != nil {
		panic(err)
	}
}

// logFileLocked makes the log's file be there, as long as there is a log: nobody reads it.
func (m *model) logFileLocked() {
	if exists := m.log != nil; exists != m.logFile {
		err := os.Remove(m.path + "-wal")
		if exists {
			err = os.WriteFile(m.path+"-wal", []byte("log"), 0o600)
		}
		if err != nil {
			panic(err)
		}
		m.logFile = exists
	}
}

// resizeLocked runs commit after which the pages have another size, unless that is 0: in a rollback journal mode.
func (m *model) resizeLocked(pageSize int, commit func()) {
	if pageSize == 0 {
		commit()
		return
	}
	was := m.rollback
	m.pages, m.file, m.log, m.frames = nil, nil, nil, 0
	m.logFileLocked()
	m.pageSize, m.rollback = pageSize, true
	commit()
	m.rollback = was
}

// cutLog cuts the log behind a place, as a loss of power does. The file has nothing of it.
func (m *model) cutLog(place wal.Place, pages image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	size := wal.FrameHeaderSize + m.pageSize
	m.log = bytes.Clone(m.log[:wal.HeaderSize+int(place.Frame)*size])
	m.frames, m.sum, m.pages = place.Frame, place.Cksum, pages
}

// backfill is a checkpoint that leaves the log as it is.
func (m *model) backfill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.file = m.pages.clone()
	m.touchLocked()
}

// set replaces the state as if nobody had looked: no log is left.
func (m *model) set(pages image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pages, m.file, m.log, m.frames = pages.clone(), pages.clone(), nil, 0
	m.logFileLocked()
	m.touchLocked()
}

func (m *model) state() image {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pages.clone()
}

// fakeSource is the life of one process over a model.
type fakeSource struct {
	m        *model
	wake     chan struct{}
	mu       sync.Mutex // guards what follows; taken before m.mu
	queue    []Commit
	handed   []Commit // by Next, and not released
	ticket   uint64
	time     int64
	skew     time.Duration // of the clock
	released uint64
	armed    bool
	nexts    int                  // calls of Next
	deny     error                // answer of BeginRead
	reading  bool                 // a state is pinned
	onRead   func()               // called once, when the next state is pinned
	onPin    func()               // called each time before one is
	logs     int                  // calls of WAL
	writes   []write              // of all commits
	forgot   uint64               // as Forget was told
	reads    int                  // calls of ReadFile of pinned states
	denyRead error                // answer of the fifth of them, once
	denyLog  func(call int) error // answer of that call of WAL
	// Called once, by a call that is about to say so.
	onEmpty func() // of Next: that there is no commit
	onNone  func() // of Last: that there never was one
}

var _ Source = (*fakeSource)(nil)

func newFakeSource(m *model) *fakeSource { return &fakeSource{m: m, wake: make(chan struct{}, 1)} }

// commit commits and captures as kind says, together with the commits in more.
func (f *fakeSource) commit(kind CommitKind, txs ...tx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.resizeLocked(txs[0].pageSize, func() { f.commitLocked(kind, txs) })
}

func (f *fakeSource) commitLocked(kind CommitKind, txs []tx) {
	if f.m.log == nil && !f.m.rollback {
		f.m.restartLocked()
	}
	c := Commit{Kind: kind, Count: uint64(len(txs)), PageSize: f.m.pageSize, From: f.m.placeLocked()}
	wrote := write{ticket: f.ticket + c.Count, all: txs[0].pageSize != 0, least: uint32(len(f.m.pages))}
	c.From.Cksum = [2]uint32{}
	for _, t := range txs {
		grown := uint32(len(f.m.pages)) + 1
		frames := f.m.applyLocked(t.changes, t.pageCount)
		c.PageCount = t.pageCount
		wrote.note(t, grown)
		if kind == CommitFrames {
			// In two pieces, as when the ring wraps.
			size := wal.FrameHeaderSize + f.m.pageSize
			cut := len(frames) / size / 2 * size
			c.Frames = [2][]byte{frames[:cut], frames[cut:]}
			if cut == 0 {
				c.Frames = [2][]byte{frames, nil}
			}
		}
	}
	c.To = f.m.placeLocked()
	if kind == CommitRange {
		c.To.Cksum = [2]uint32{}
	}
	if kind == CommitGap {
		c.From, c.To = wal.Place{}, wal.Place{}
	}
	f.ticket += c.Count
	f.writes = append(f.writes, wrote)
	f.time = time.Now().Add(f.skew).UnixNano()
	c.Ticket, c.Time = f.ticket, f.time
	f.queue = append(f.queue, c)
	if f.armed {
		f.armed = false
		f.wake <- struct{}{}
	}
}

// mergeRanges makes one range of all that waits, as a full queue does.
func (f *fakeSource) mergeRanges() {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.queue[len(f.queue)-1]
	last.From = f.queue[0].From
	for _, c := range f.queue[:len(f.queue)-1] {
		last.Count += c.Count
	}
	f.queue = []Commit{last}
}

// tx is a transaction to commit.
type tx struct {
	changes   []change
	pageCount uint32
	pageSize  int // of the database from here on, 0: as it was
}

func (f *fakeSource) Next() (Commit, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nexts++
	if len(f.queue) == 0 {
		f.lateLocked(&f.onEmpty)
		return Commit{}, false
	}
	c := f.queue[0]
	f.queue = f.queue[1:]
	f.handed = append(f.handed, c)
	return c, true
}

func (f *fakeSource) Release(ticket uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ticket > f.ticket {
		panic(fmt.Sprintf("Release(%d), only %d were captured", ticket, f.ticket))
	}
	f.released = max(f.released, ticket)
	for len(f.handed) > 0 && f.handed[0].Ticket <= ticket {
		for _, frames := range f.handed[0].Frames {
			for i := range frames {
				frames[i] = 0xa5 // as the next commit would: the memory is the ring's again
			}
		}
		f.handed = f.handed[1:]
	}
}

// lose commits, and captures nothing of it.
func (f *fakeSource) lose(t tx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.commitLocked(CommitFrames, []tx{t})
	f.queue = f.queue[:len(f.queue)-1]
}

// write is which pages a commit wrote.
type write struct {
	ticket uint64
	pages  []uint32
	least  uint32 // smallest size of the database
	all    bool
}

// note adds a transaction, which wrote the pages that it makes the database grow by, from grown on.
func (w *write) note(t tx, grown uint32) {
	w.least = min(w.least, t.pageCount)
	for _, c := range t.changes {
		w.pages = append(w.pages, c.page)
	}
	for ; grown <= t.pageCount; grown++ {
		w.pages = append(w.pages, grown)
	}
}

func (f *fakeSource) Written(since uint64) *PageSet {
	f.mu.Lock()
	defer f.mu.Unlock()
	if since < f.forgot {
		return nil
	}
	set := new(PageSet)
	for _, w := range f.writes {
		if w.ticket <= since {
			continue
		}
		if w.all {
			return nil
		}
		set.AddFrom(w.least + 1)
		for _, page := range w.pages {
			set.Add(page)
		}
	}
	return set
}

func (f *fakeSource) Forget(ticket uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgot = max(f.forgot, ticket)
}

func (f *fakeSource) Last() (uint64, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ticket, at := f.ticket, f.time
	if ticket == 0 {
		f.lateLocked(&f.onNone)
	}
	return ticket, at
}

// lateLocked calls one of the functions that change what the caller is about to say.
func (f *fakeSource) lateLocked(late *func()) {
	if call := *late; call != nil {
		*late = nil
		f.mu.Unlock()
		call()
		f.mu.Lock()
	}
}

func (f *fakeSource) Idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = len(f.queue) == 0
	return f.armed
}

func (f *fakeSource) Wake() <-chan struct{} { return f.wake }

func (f *fakeSource) ReadFile(page uint32, p []byte) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return readPage(f.m.file, page, p)
}

func readPage(file image, page uint32, p []byte) error {
	if int(page) > len(file) {
		return io.ErrUnexpectedEOF
	}
	copy(p, file[page-1])
	return nil
}

func (f *fakeSource) WAL() (WALFile, error) {
	f.mu.Lock()
	f.logs++
	call, deny := f.logs, f.denyLog
	f.mu.Unlock()
	if deny != nil {
		if err := deny(call); err != nil {
			return nil, err
		}
	}
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.m.log == nil {
		return nil, os.ErrNotExist
	}
	return fakeLog{bytes.NewReader(f.m.log)}, nil
}

type fakeLog struct{ *bytes.Reader }

func (fakeLog) Close() error { return nil }

func (f *fakeSource) BeginRead(context.Context) (ReadTx, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if first := f.onPin; first != nil {
		f.mu.Unlock()
		first()
		f.mu.Lock()
	}
	defer func() {
		if then := f.onRead; then != nil && f.reading {
			f.onRead = nil
			f.mu.Unlock()
			then()
			f.mu.Lock()
		}
	}()
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.deny != nil {
		return nil, f.deny
	}
	if f.reading {
		return nil, errors.New("a state of the database is pinned already")
	}
	f.reading = true
	f.m.pinned++
	place := f.m.placeLocked()
	place.Cksum = [2]uint32{}
	r := &fakeRead{
		f: f, m: f.m, place: place, ticket: f.ticket, time: f.time,
		pages: uint32(len(f.m.pages)), pageSize: f.m.pageSize, file: f.m.file.clone(),
	}
	if r.inFile = f.m.frames > 0 && f.m.file.equal(f.m.pages); f.m.frames == 0 {
		r.file = f.m.pages.clone()
	}
	return r, nil
}

type fakeRead struct {
	f        *fakeSource
	m        *model
	place    wal.Place
	ticket   uint64
	time     int64
	pages    uint32
	pageSize int
	file     image
	inFile   bool // as SQLite's READ_LOCK(0): a checkpoint has copied all
	closed   bool
}

func (r *fakeRead) Place() wal.Place { return r.place }
func (r *fakeRead) InFile() bool     { return r.inFile }
func (r *fakeRead) Ticket() uint64   { return r.ticket }
func (r *fakeRead) Time() int64      { return r.time }
func (r *fakeRead) PageSize() int {
	if r.pages == 0 {
		return 0
	}
	return r.pageSize
}
func (r *fakeRead) PageCount() uint32 { return r.pages }
func (r *fakeRead) ReadFile(page uint32, p []byte) error {
	r.f.mu.Lock()
	r.f.reads++
	deny := r.f.denyRead
	if deny != nil && r.f.reads >= 5 {
		r.f.denyRead = nil
	} else {
		deny = nil
	}
	r.f.mu.Unlock()
	if deny != nil {
		return deny
	}
	return readPage(r.file, page, p)
}

func (r *fakeRead) Close() error {
	if r.closed {
		return errors.New("closed twice")
	}
	r.closed = true
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.reading = false
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	r.m.pinned--
	return nil
}
