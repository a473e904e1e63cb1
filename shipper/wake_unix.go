//go:build unix

package shipper

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// hearing reads the pipe that stand-bys write to. It is opened for writing too, so that it never ends.
type hearing struct {
	pipe *os.File
	done chan struct{}
}

// hearWakes begins to read the pipe. Without one, stand-bys ride the cadence.
func (s *Shipper) hearWakes() {
	path := s.statePath(wakeFile)
	if err := syscall.Mkfifo(path, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		s.log.Warn("making the pipe for stand-bys", "err", err)
		return
	}
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		s.log.Warn("opening the pipe for stand-bys", "err", err)
		return
	}
	h := &hearing{pipe: f, done: make(chan struct{})}
	s.hearing = h
	go func() {
		defer close(h.done)
		var b [64]byte
		for {
			n, err := h.pipe.Read(b[:])
			if err != nil {
				return
			}
			s.woken(bytes.IndexByte(b[:n], wakeShip) >= 0)
		}
	}()
}

func (s *Shipper) stopHearing() {
	if s.hearing == nil {
		return
	}
	s.hearing.pipe.Close() // only read
	<-s.hearing.done
	s.hearing = nil
}

// sendWake asks the process that ships to do so at once. That nobody listens is no error: it is about to begin, or gone.
func (s *Shipper) sendWake(b byte) {
	f, err := os.OpenFile(s.statePath(wakeFile), os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return
	}
	_, _ = f.Write([]byte{b}) // a full pipe has enough of them
	f.Close()
}
