package proxy

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// HTTP is a proxy for requests, behind one for connections.
type HTTP struct {
	*TCP
	target string
	out    http.Handler

	mu     sync.Mutex
	faults []*injected // tried in order; under mu
	seen   []Request   // under mu
}

// Request is one that came in, whatever became of it.
type Request struct {
	Method string
	URL    *url.URL // path and query
	Header http.Header
	Length int64 // of the body, -1 when it wasn't announced
}

// Match says which requests a fault is for.
type Match func(*http.Request) bool

// Any matches all requests.
func Any(*http.Request) bool { return true }

// Method matches the requests with one of the methods.
func Method(methods ...string) Match {
	return func(r *http.Request) bool {
		for _, m := range methods {
			if r.Method == m {
				return true
			}
		}
		return false
	}
}

// Query matches the requests of a method whose query has the text.
func Query(method, text string) Match {
	return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.RawQuery, text) }
}

// Fault is what becomes of a request; next is the server.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

type injected struct {
	match Match
	left  int // < 0: without end
	fault Fault
}

// NewHTTP returns a proxy in front of target, host:port, that lets everything
// pass. It ends with the test.
//
// The server sees the Host that the client sent, so that signatures hold. What
// the server says of itself in a Location becomes the proxy's address, so that
// uploads go on through it.
func NewHTTP(t testing.TB, target string) *HTTP {
	t.Helper()
	p := &HTTP{target: target}
	p.out = &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = "http", target, pr.In.Host
		},
		Transport:      &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16},
		ModifyResponse: p.relocate,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		FlushInterval:  -1,
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	srv := newServer(t, p)
	p.TCP = NewTCP(t, srv)
	return p
}

// Inject makes the next times requests that match suffer the fault, all of them
// when times is negative. Of several faults that match, the one injected first
// counts until it is used up.
func (p *HTTP) Inject(match Match, times int, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, &injected{match, times, f})
}

// Clear takes all injected faults back.
func (p *HTTP) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
}

// Requests returns what came in since the last call, in the order of arrival.
func (p *HTTP) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	return seen
}

func (p *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f := p.take(r); f != nil {
		f(w, r, p.out)
		return
	}
	p.out.ServeHTTP(w, r)
}

func (p *HTTP) take(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := *r.URL
	p.seen = append(p.seen, Request{r.Method, &u, r.Header.Clone(), r.ContentLength})
	for _, f := range p.faults {
		if f.left != 0 && f.match(r) {
			f.left--
			return f.fault
		}
	}
	return nil
}

func (p *HTTP) relocate(resp *http.Response) error {
	u, err := url.Parse(resp.Header.Get("Location"))
	if err == nil && u.Host == p.target {
		u.Host = p.Addr()
		resp.Header.Set("Location", u.String())
	}
	return nil
}

// Answer keeps the request from the server and answers in its place. retryAfter
// is the header of that name; empty: none.
func Answer(status int, retryAfter string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body) // of a client that stops sending we need no more
		answer(w, status, retryAfter)
	}
}

func answer(w http.ResponseWriter, status int, retryAfter string) {
	if retryAfter != "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(status)
}

// LoseAck lets the server do what it is asked for, and then answers with status
// instead, or with 0 cuts the connection without an answer.
func LoseAck(status int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&discard{header: http.Header{}}, r)
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		answer(w, status, "")
	}
}

// discard is a ResponseWriter that nobody reads.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// CutRequest lets n bytes of the request's body reach the server and cuts both
// connections.
func CutRequest(n int64) Fault {
	return func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Body = body{io.MultiReader(io.LimitReader(r.Body, n), broken{}), r.Body}
		next.ServeHTTP(&discard{header: http.Header{}}, r)
		panic(http.ErrAbortHandler)
	}
}

// CutResponse lets n bytes of the response's body reach the client and cuts the
// connection.
func CutResponse(n int64) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(&cutter{ResponseWriter: w, left: n}, r)
		panic(http.ErrAbortHandler)
	}
}

type cutter struct {
	http.ResponseWriter
	left int64
}

func (c *cutter) Write(b []byte) (int, error) {
	if int64(len(b)) > c.left {
		b = b[:c.left]
	}
	n, err := c.ResponseWriter.Write(b)
	c.left -= int64(n)
	if c.left == 0 {
		http.NewResponseController(c.ResponseWriter).Flush() // as far as it got; the cut follows
		return n, errCut
	}
	return n, err
}

// Damage flips the bits of one byte of the request's body, off bytes behind its
// start, or the last one when it is shorter.
func Damage(off int) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if len(b) > 0 {
			b[min(off, len(b)-1)] ^= 0xff
		}
		r.Body = body{bytes.NewReader(b), r.Body}
		next.ServeHTTP(w, r)
	}
}

// Hang never answers, and lets nothing reach the server; it ends when the client
// gives up.
func Hang() Fault {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body) // so that the end of the connection is noticed
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// Delay lets the request pass d later.
func Delay(d time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		select {
		case <-time.After(d):
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
}

var errCut = errors.New("proxy: cut")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errCut }

type body struct {
	io.Reader
	io.Closer
}

// newServer serves h until the test ends and returns its address.
func newServer(t testing.TB, h http.Handler) string {
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	l := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().String()
}
