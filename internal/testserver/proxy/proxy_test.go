package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// recorder is a server that remembers the bodies it got whole.
type recorder struct {
	mu     sync.Mutex
	bodies []string
}

func (s *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.bodies = append(s.bodies, string(b))
	s.mu.Unlock()
	w.Header().Set("Location", "http://"+r.Context().Value(http.LocalAddrContextKey).(net.Addr).String()+"/next")
	w.Header().Set("X-Host", r.Host)
	io.WriteString(w, strings.Repeat("a", 100_000))
}

func (s *recorder) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.bodies, "|")
	s.bodies = nil
	return all
}

func setup(t *testing.T) (*HTTP, *recorder, *http.Client) {
	rec := &recorder{}
	srv := httptest.NewServer(rec)
	t.Cleanup(srv.Close)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return NewHTTP(t, strings.TrimPrefix(srv.URL, "http://")), rec, &http.Client{Transport: tr}
}

func post(ctx context.Context, c *http.Client, p *HTTP, body string) (status int, got string, h http.Header, err error) {
	// A body of a type the client knows would be sent again by itself.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.Addr()+"/x?part=1", io.MultiReader(strings.NewReader(body)))
	if err != nil {
		return 0, "", nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header, err
}

func TestPassAndRecord(t *testing.T) {
	p, rec, c := setup(t)
	status, body, h, err := post(t.Context(), c, p, "hello")
	if err != nil || status != 200 || len(body) != 100_000 || rec.got() != "hello" {
		t.Fatalf("status %d, %d bytes, error %v", status, len(body), err)
	}
	if h.Get("Location") != "http://"+p.Addr()+"/next" || h.Get("X-Host") != p.Addr() {
		t.Errorf("headers %v; want the proxy's address in both", h)
	}
	if r := p.Requests(); len(r) != 1 || r[0].Method != "POST" || r[0].URL.RawQuery != "part=1" {
		t.Errorf("recorded %+v", r)
	}
}

func TestRequestFaults(t *testing.T) {
	big := strings.Repeat("b", 300_000)
	for _, tt := range []struct {
		name   string
		fault  Fault
		status int // 0: an error
		server string
	}{
		{"503", Answer(503, "7"), 503, ""},
		{"LostAck503", LoseAck(503), 503, big},
		{"LostAckCut", LoseAck(0), 0, big},
		{"CutRequest", CutRequest(1000), 0, ""},
		{"CutResponse", CutResponse(1000), 200, big},
		{"Damage", Damage(1), 200, "b\x9d" + big[2:]},
		{"Delay", Delay(time.Millisecond), 200, big},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, rec, c := setup(t)
			p.Inject(Method("PUT"), -1, Answer(500, ""))
			p.Inject(Query("POST", "part"), 1, tt.fault)
			status, body, h, err := post(t.Context(), c, p, big)
			if status != tt.status || (err == nil) != (status != 0 && tt.name != "CutResponse") {
				t.Errorf("status %d, error %v; want %d", status, err, tt.status)
			}
			if tt.name == "CutResponse" && len(body) != 1000 || tt.name == "503" && h.Get("Retry-After") != "7" {
				t.Errorf("%d bytes, headers %v", len(body), h)
			}
			if got := rec.got(); got != tt.server {
				t.Errorf("the server got %d bytes; want %d", len(got), len(tt.server))
			}
			if status, _, _, err := post(t.Context(), c, p, "again"); status != 200 || err != nil {
				t.Errorf("after the fault: status %d, error %v", status, err)
			}
		})
	}
}

func TestConnectionFaults(t *testing.T) {
	p, rec, c := setup(t)
	post(t.Context(), c, p, "warm") // leaves an idle connection
	rec.got()

	p.Refuse()
	if _, _, _, err := post(t.Context(), c, p, "x"); err == nil {
		t.Error("refused: no error")
	}
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused: %v", err)
	}
	p.Pass(t)

	p.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	if _, _, _, err := post(ctx, c, p, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hanging: %v", err)
	}
	cancel()
	if got := rec.got(); got != "" {
		t.Errorf("hanging: the server got %q", got)
	}
	result := make(chan error)
	go func() {
		_, _, _, err := post(t.Context(), c, p, "patient")
		result <- err
	}()
	p.Pass(t)
	if err := <-result; err != nil {
		t.Errorf("what hung did not go on: %v", err)
	}

	p.Slow(1 << 20)
	begin := time.Now()
	if _, body, _, err := post(t.Context(), c, p, ""); err != nil || len(body) != 100_000 || time.Since(begin) < 50*time.Millisecond {
		t.Errorf("slow: %d bytes in %v, error %v", len(body), time.Since(begin), err)
	}
	p.Pass(t)

	p.Inject(Any, 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		p.Cut()
		next.ServeHTTP(w, r)
	})
	if _, _, _, err := post(t.Context(), c, p, "cut"); err == nil {
		t.Error("cut: no error")
	}
}

// TestHangingRequest ends with the client's patience.
func TestHangingRequest(t *testing.T) {
	p, rec, c := setup(t)
	p.Inject(Any, 1, Hang())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, _, err := post(ctx, c, p, "x"); !errors.Is(err, context.DeadlineExceeded) || rec.got() != "" {
		t.Errorf("hanging: %v", err)
	}
}

// TestTCP passes bytes and the end of each direction by itself.
func TestTCP(t *testing.T) {
	l := listen(t)
	defer l.Close()
	go func() { // echoes everything once the client has ended
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		c.Write(b)
	}()
	c, err := net.Dial("tcp", NewTCP(t, l.Addr().String()).Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := bytes.Repeat([]byte(strconv.Itoa(12345)), 50_000)
	go func() {
		c.Write(want)
		c.(*net.TCPConn).CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
		t.Errorf("echo: %d bytes, error %v; want %d", len(got), err, len(want))
	}
}
