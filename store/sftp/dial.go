package sftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"seawal/store"
)

// dialing is a connection that is being made, for all that wait for it.
type dialing struct {
	done chan struct{}
	err  error // before done is closed
}

var errClosed = errors.New("the store is closed")

// session returns the connection, which the caller gives back with release. It makes one when there is none.
func (s *files) session(ctx context.Context) (*session, error) {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return nil, store.Permanent(errClosed)
		}
		if c := s.current; c != nil && !c.isEnded() {
			c.users++
			s.mu.Unlock()
			return c, nil
		}
		d := s.dialing
		if d == nil {
			d = &dialing{done: make(chan struct{})}
			s.dialing = d
			s.wg.Go(func() { s.connect(d) })
		}
		s.mu.Unlock()
		select {
		case <-d.done:
			if d.err != nil {
				return nil, d.err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// run starts a goroutine that Close waits for. It returns false when the store is closed.
func (s *files) run(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(f)
	return true
}

// release gives a connection back.
func (s *files) release(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.users--; c.users == 0 {
		c.since = time.Now()
	}
}

// retire ends a connection that nobody has used for a while.
func (s *files) retire(c *session) bool {
	s.mu.Lock()
	idle := c.users == 0 && time.Since(c.since) >= s.idle
	if idle && s.current == c {
		s.current = nil
	}
	s.mu.Unlock()
	if idle {
		c.fail(errors.New("the connection was idle"))
	}
	return idle
}

// connect makes the connection that d is for.
func (s *files) connect(d *dialing) {
	ctx, cancel := context.WithTimeoutCause(s.life, s.patience, fmt.Errorf("%w while the connection was made", errSilent))
	defer cancel()
	c, err := s.dial(ctx)
	if ended := context.Cause(ctx); err != nil && ended != nil {
		err = fmt.Errorf("connect to %s: %w", s.addr, ended)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialing, d.err = nil, err
	close(d.done)
	if err != nil {
		return
	}
	s.current, c.since = c, time.Now()
	s.wg.Go(func() { s.watch(c) })
	s.wg.Go(func() {
		err := c.sftp.Wait()
		c.fail(fmt.Errorf("the connection broke: %w", err))
	})
	if s.closed {
		c.fail(errClosed)
	}
}

// watch asks from time to time whether the server is there, and gives back what isn't used.
func (s *files) watch(c *session) {
	tick := time.NewTicker(s.keepalive)
	defer tick.Stop()
	for {
		select {
		case <-c.ended:
			return
		case <-tick.C:
		}
		if s.retire(c) {
			return
		}
		err := tell(s.life, c, s.patience, func() error {
			_, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil)
			return err
		})
		if err != nil {
			c.fail(err)
		}
	}
}

// dial makes a connection. An error after the end of ctx may say anything.
func (s *files) dial(ctx context.Context) (_ *session, err error) {
	keys, err := findKeys(ctx, s.identity)
	if err != nil {
		return nil, err
	}
	defer keys.close()
	hosts, err := readKnownHosts(s.addr, s.knownHosts)
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	through, channels, requests, err := ssh.NewClientConn(conn, s.addr, &ssh.ClientConfig{
		User: s.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(keys.signers...)},
		HostKeyCallback: hosts.check, HostKeyAlgorithms: hosts.algorithms,
	})
	if err != nil {
		return nil, s.explainHandshake(err, keys, hosts)
	}
	c := &session{ssh: ssh.NewClient(through, channels, requests), run: s.run, ended: make(chan struct{})}
	_, out, in, err := c.channel()
	if err != nil {
		return nil, err
	}
	if c.sftp, err = sftp.NewClientPipe(out, in, sftp.UseConcurrentWrites(true)); err != nil {
		return nil, fmt.Errorf("begin SFTP: %w", err)
	}
	return c, nil
}
