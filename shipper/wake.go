package shipper

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// A stand-by that wants something of the process that ships writes eight random bytes into the wake file: at the place of
// what it wants. The other one hears of the write from the kernel, and sees by what has changed what is wanted. Two writes that it hears of
// together are one wish; two stand-bys that write at once need no lock, since each leaves a number that was not there before.
//
// It is a plain file, as everything in the state directory is: whoever walks the directory and reads what is in it, such as a backup
// inside the application, must neither wait for a pipe nor fail on a socket.

// wish says what a stand-by wants.
type wish int

const (
	wishTell wish = iota // say how far you are
	wishShip             // and ship that at once
	wishes
)

const wishSize = 8 // bytes of each in the wake file

// hearing is the goroutine of the process that ships which hears wishes.
type hearing struct {
	file   *os.File
	heard  chan struct{} // capacity 1: the file was written
	ending chan struct{}
	done   chan struct{}
	seen   [wishes * wishSize]byte
}

// hearWakes begins to listen. Without that, stand-bys ride the cadence.
func (s *Shipper) hearWakes() {
	h, err := newHearing(s.statePath(wakeFile))
	if err != nil {
		s.log.Warn("listening to stand-bys", "err", err)
		return
	}
	s.hearing = h
	go func() {
		defer close(h.done)
		for {
			select {
			case <-h.heard:
			case <-h.ending:
				return
			}
			if tell, ship := h.look(); tell || ship {
				s.woken(ship)
			}
		}
	}()
}

func newHearing(path string) (*hearing, error) {
	if err := removeSpecial(path); err != nil {
		return nil, err
	}
	f, err := openStateFile(path, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	h := &hearing{file: f, heard: make(chan struct{}, 1), ending: make(chan struct{}), done: make(chan struct{})}
	if err := listeners.add(path, h.heard); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	h.look() // what was wished before is over
	return h, nil
}

// look says what is wanted since it looked last.
func (h *hearing) look() (tell, ship bool) {
	var now [wishes * wishSize]byte
	_, _ = h.file.ReadAt(now[:], 0) // a file that is shorter has had fewer wishes
	is := func(w wish) bool {
		i := int(w) * wishSize
		return !bytes.Equal(now[i:i+wishSize], h.seen[i:i+wishSize])
	}
	tell, ship = is(wishTell), is(wishShip)
	h.seen = now
	return tell, ship
}

func (s *Shipper) stopHearing() {
	h := s.hearing
	if h == nil {
		return
	}
	listeners.remove(s.statePath(wakeFile))
	close(h.ending)
	<-h.done
	h.file.Close() // it has nothing that has to last
	s.hearing = nil
}

// sendWake asks the process that ships for something. That nobody listens is no error: it is about to begin, or gone.
func (s *Shipper) sendWake(w wish) {
	f, err := os.OpenFile(s.statePath(wakeFile), os.O_WRONLY|noFollow|nonBlocking, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return
	}
	var b [wishSize]byte
	_, _ = rand.Read(b[:])                           // it never fails
	_, _ = f.WriteAt(b[:], int64(w)*int64(wishSize)) // else the wish rides the cadence
}

// removeSpecial removes what is at path unless it is a plain file: earlier versions had a pipe there.
func removeSpecial(path string) error {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && fi.Mode().IsRegular():
		return nil
	case err != nil:
		return err
	}
	return os.Remove(path)
}

// listeners tells goroutines of writes to files. All of a process share one watcher, since the kernel has only some
// hundred for a user; it is there as long as somebody listens.
var listeners listenerSet

type listenerSet struct {
	mu      sync.Mutex // for all
	watcher *fsnotify.Watcher
	ended   chan struct{} // closed when the goroutine of watcher has ended
	byPath  map[string]chan<- struct{}
}

// add begins to send on heard when the file at path was written. heard has room for one; a path has one listener.
func (l *listenerSet) add(path string, heard chan<- struct{}) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watcher == nil {
		w, err := fsnotify.NewWatcher()
		if err != nil {
			return err
		}
		l.watcher, l.ended, l.byPath = w, make(chan struct{}), map[string]chan<- struct{}{}
		go l.run(w, l.ended)
	}
	l.byPath[path] = heard
	if err := l.watcher.Add(path); err != nil {
		l.removeLocked(path)
		return err
	}
	return nil
}

func (l *listenerSet) remove(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.watcher.Remove(path) // a file that is gone isn't watched any more
	l.removeLocked(path)
}

func (l *listenerSet) removeLocked(path string) {
	delete(l.byPath, path)
	if len(l.byPath) > 0 {
		return
	}
	w, ended := l.watcher, l.ended
	l.watcher = nil
	l.mu.Unlock() // run takes it
	_ = w.Close()
	<-ended
	l.mu.Lock()
}

// run passes on what the kernel says, until the watcher is closed.
func (l *listenerSet) run(w *fsnotify.Watcher, ended chan struct{}) {
	defer close(ended)
	for {
		select {
		case e, ok := <-w.Events:
			if !ok {
				return
			}
			if !e.Has(fsnotify.Write) {
				continue
			}
			l.mu.Lock()
			heard := l.byPath[e.Name]
			l.mu.Unlock()
			poke(heard)
		case _, ok := <-w.Errors:
			if !ok {
				return
			}
			// The kernel's queue was full: nobody knows who was meant.
			l.mu.Lock()
			for _, heard := range l.byPath {
				poke(heard)
			}
			l.mu.Unlock()
		}
	}
}

// poke sends without waiting: one signal that is not taken yet stands for all. It does nothing where nobody listens.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
