package proxy

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// mode is what happens to the bytes of connections.
type mode int

const (
	pass mode = iota
	refuse
	hang
	slow
)

// TCP is a proxy for connections. Its methods may be called at any time, from
// any goroutine; each replaces what the one before has set.
type TCP struct {
	addr   string
	target string

	mu       sync.Mutex
	changed  *sync.Cond            // mode or closed has changed; on mu
	mode     mode                  // under mu
	rate     int                   // bytes a second each way, when mode is slow; under mu
	closed   bool                  // under mu
	listener net.Listener          // nil while connections are refused; under mu
	conns    map[net.Conn]struct{} // both sides of each connection; under mu
	wg       sync.WaitGroup        // all goroutines
}

// NewTCP returns a proxy in front of target, host:port, that lets everything
// pass. It ends with the test.
func NewTCP(t testing.TB, target string) *TCP {
	t.Helper()
	l := listen(t)
	p := &TCP{addr: l.Addr().String(), target: target, listener: l, conns: map[net.Conn]struct{}{}}
	p.changed = sync.NewCond(&p.mu)
	p.wg.Go(func() { p.accept(l) })
	t.Cleanup(p.close)
	return p
}

// Addr is host:port for clients, the same for the life of the proxy.
func (p *TCP) Addr() string { return p.addr }

// Pass lets everything through again, and what hung goes on.
func (p *TCP) Pass(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = pass
	p.changed.Broadcast()
	if p.listener != nil {
		return
	}
	// Another process may hold the port for a moment, as the near end of a
	// connection of its own.
	var l net.Listener
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if l, err = net.Listen("tcp", p.addr); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	p.listener = l
	p.wg.Go(func() { p.accept(l) })
}

// Refuse cuts all connections and refuses new ones.
func (p *TCP) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mode = refuse
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.cutLocked()
}

// Hang accepts connections and lets no byte pass, on old ones either.
func (p *TCP) Hang() { p.set(hang, 0) }

// Slow lets a connection have bytesPerSecond each way.
func (p *TCP) Slow(bytesPerSecond int) { p.set(slow, bytesPerSecond) }

// Cut resets all connections there are. New ones are treated as before.
func (p *TCP) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutLocked()
}

// set is for the modes in which connections are accepted; a proxy that refuses
// is made to Pass before.
func (p *TCP) set(m mode, rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener == nil {
		panic("proxy: Pass must come between Refuse and another fault")
	}
	p.mode, p.rate = m, rate
	p.changed.Broadcast()
}

func (p *TCP) cutLocked() {
	for c := range p.conns {
		reset(c)
	}
	p.changed.Broadcast()
}

// reset closes c so that the peer sees "connection reset", not an orderly end.
func reset(c net.Conn) {
	if tc, ok := c.(*net.TCPConn); ok {
		tc.SetLinger(0) // fails on a closed connection, which needs no reset
	}
	c.Close()
}

func (p *TCP) close() {
	p.mu.Lock()
	p.closed = true
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.cutLocked()
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *TCP) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				continue // out of descriptors, or a client that left already
			}
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

// track takes note of a connection; false when it must not be used any more.
func (p *TCP) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.listener == nil {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *TCP) untrack(cs ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range cs {
		delete(p.conns, c)
	}
	p.changed.Broadcast()
}

func (p *TCP) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		reset(client)
		return
	}
	defer p.untrack(client, server)
	if !p.track(client) || !p.track(server) {
		reset(client)
		reset(server)
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client) })
	both.Go(func() { p.copy(client, server) })
	both.Wait()
	client.Close()
	server.Close()
}

// copy moves bytes as the mode of the moment says. The end of one direction is
// passed on; an error ends both.
func (p *TCP) copy(to, from net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(p.window(buf))
		if n > 0 {
			p.gate(to, n)
			if _, werr := to.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
		if err != nil {
			if tc, ok := to.(*net.TCPConn); ok && err == io.EOF {
				tc.CloseWrite()
				return
			}
			reset(to)
			reset(from)
			return
		}
	}
}

// window is as much of buf as may pass at once, so that a slow connection is
// evenly slow.
func (p *TCP) window(buf []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == slow {
		return buf[:min(len(buf), max(1, p.rate/20))]
	}
	return buf
}

// gate waits until n bytes may pass to a connection that is still there.
func (p *TCP) gate(to net.Conn, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == slow {
		d := time.Duration(float64(n) / float64(p.rate) * float64(time.Second))
		p.mu.Unlock()
		time.Sleep(d) // the slowness itself, nothing waits for it to have passed
		p.mu.Lock()
	}
	for p.mode == hang && !p.closed {
		if _, there := p.conns[to]; !there {
			return
		}
		p.changed.Wait()
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
