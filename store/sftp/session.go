package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// errSilent is how a connection ends whose server has not answered for too long.
var errSilent = errors.New("the server has gone silent")

// session is one connection with one SFTP channel. When it breaks, all that is under way on it fails, and it is not
// used again.
type session struct {
	ssh  *ssh.Client
	sftp *sftp.Client

	heard atomic.Int64      // when the server last sent something of SFTP, in nanoseconds of Unix
	run   func(func()) bool // starts a goroutine that the store's Close waits for; false: the store is closed

	once  sync.Once
	ended chan struct{} // closed when it is broken
	cause error         // why; before ended is closed

	users int        // calls and readers that hold it; under files.mu
	since time.Time  // when users became 0; under files.mu
	spare *dirStream // for the next folder to be listed; under files.mu
}

// fail ends the session.
func (c *session) fail(cause error) {
	c.once.Do(func() {
		c.cause = cause
		close(c.ended)
		c.ssh.Close() // that it is closed already is fine
	})
}

func (c *session) isEnded() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// explain is the error of a step, or the reason for which its connection was ended.
func (c *session) explain(err error) error {
	if err != nil && c.isEnded() && errors.Is(c.cause, errSilent) {
		return errSilent
	}
	return err
}

// channel opens an SFTP channel of its own on the connection. What comes from it counts as heard.
func (c *session) channel() (*ssh.Session, io.Reader, io.WriteCloser, error) {
	s, err := c.ssh.NewSession()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("open a channel: %w", err)
	}
	in, err := s.StdinPipe()
	if err != nil {
		return nil, nil, nil, errors.Join(err, s.Close())
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, nil, nil, errors.Join(err, s.Close())
	}
	said, err := s.StderrPipe()
	if err != nil {
		return nil, nil, nil, errors.Join(err, s.Close())
	}
	c.run(func() { io.Copy(io.Discard, said) }) // so that it doesn't fill the window
	if err := s.RequestSubsystem("sftp"); err != nil {
		return nil, nil, nil, errors.Join(&subsystemError{err}, s.Close())
	}
	return s, &listener{out, c}, in, nil
}

// subsystemError says that the server has no SFTP to offer.
type subsystemError struct{ err error }

func (e *subsystemError) Error() string { return "ask for SFTP: " + e.err.Error() }
func (e *subsystemError) Unwrap() error { return e.err }

type listener struct {
	r io.Reader
	c *session
}

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if n > 0 {
		l.c.heard.Store(time.Now().UnixNano())
	}
	return n, err
}

// step is something that the server was asked for. The SDK knows no contexts, so each step has a goroutine, which a caller
// that has no more time leaves behind; it ends when its answer comes, or with the connection.
type step[T any] struct {
	c     *session
	began time.Time
	done  chan answer[T]
	gone  chan struct{} // closed when nobody waits any more
}

type answer[T any] struct {
	value T
	err   error
}

// start begins a step. undo, if there is one, takes back a success that nobody waited for.
func start[T any](c *session, do func() (T, error), undo func(T)) *step[T] {
	s := &step[T]{c, time.Now(), make(chan answer[T]), make(chan struct{})}
	running := c.run(func() {
		v, err := do()
		select {
		case s.done <- answer[T]{v, err}:
		case <-s.gone:
			if err == nil && undo != nil {
				undo(v)
			}
		case <-c.ended: // nothing can be undone
		}
	})
	if !running {
		s.done = make(chan answer[T], 1)
		s.done <- answer[T]{err: errClosed}
	}
	return s
}

// wait returns what came of the step. When ctx ends first, or the server is silent for longer than patience, what comes
// of it is unknown; in the second case the connection is given up. It is called once.
func (s *step[T]) wait(ctx context.Context, patience time.Duration) (v T, err error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case a := <-s.done:
			return a.value, s.c.explain(a.err)
		case <-ctx.Done():
			close(s.gone)
			return v, ctx.Err()
		case <-s.c.ended:
			return v, s.c.cause
		case <-timer.C:
			silent := min(time.Since(s.began), time.Since(time.Unix(0, s.c.heard.Load())))
			if silent < patience {
				timer.Reset(patience - silent)
				continue
			}
			close(s.gone)
			s.c.fail(errSilent)
			return v, errSilent
		}
	}
}

// drop is for a step that is not waited for.
func (s *step[T]) drop() { close(s.gone) }

// ask makes a step and waits for its value.
func ask[T any](ctx context.Context, c *session, patience time.Duration, do func() (T, error)) (T, error) {
	if err := ctx.Err(); err != nil {
		var none T
		return none, err
	}
	return start(c, do, nil).wait(ctx, patience)
}

// tell makes a step that has no value.
func tell(ctx context.Context, c *session, patience time.Duration, do func() error) error {
	_, err := ask(ctx, c, patience, func() (struct{}, error) { return struct{}{}, do() })
	return err
}
