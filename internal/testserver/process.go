package testserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// readyWithin is how long a server may take until it answers: minutes, because
// the machine may be busy with other tests and a server in JavaScript takes
// seconds on an idle one.
const readyWithin = 2 * time.Minute

// Program says how a server is started.
type Program struct {
	Name string // of the binary; also what SEAWAL_REQUIRE calls it

	// Args is the command line behind the name for a server that is to listen on
	// addr, a free port of 127.0.0.1. dir is an empty folder that lives as long as
	// the server.
	Args func(addr, dir string) ([]string, error)
	Env  []string // KEY=value, beside those of the test

	// Ready returns nil when the server at addr answers. It is called until then.
	// nil: a TCP connection is enough.
	Ready func(ctx context.Context, addr string) error
}

// Server is a server that answers.
type Server struct {
	Addr string // host:port

	dir     string // of the data and the log
	log     *os.File
	stdin   io.Closer     // closed: the server is killed
	exited  chan struct{} // closed when it has ended
	waitErr error         // how it ended; written before exited is closed
}

// servers are those of this process that its tests share, one for each program.
var servers = struct {
	mu      sync.Mutex
	byName  map[string]*Server // under mu
	failed  map[string]error   // what didn't start isn't tried by every test; under mu
	managed bool               // Main will stop them; under mu
}{byName: map[string]*Server{}, failed: map[string]error{}}

// Main runs the tests, stops the servers, shows what they logged if a test has
// failed, and ends the process.
func Main(m *testing.M) {
	servers.mu.Lock()
	servers.managed = true
	servers.mu.Unlock()
	code := m.Run()
	servers.mu.Lock()
	defer servers.mu.Unlock()
	for name, s := range servers.byName {
		s.stop()
		if code != 0 {
			fmt.Fprintf(os.Stderr, "--- log of %s (its end):\n%s\n", name, s.Log())
		}
		s.remove()
	}
	os.Exit(code)
}

// Start returns a server of this program: the one that all tests of the process
// share when their TestMain calls Main, else a new one that ends with the test. It
// skips the test, or fails it, when the program is not installed.
func Start(t testing.TB, p Program) *Server {
	t.Helper()
	servers.mu.Lock()
	defer servers.mu.Unlock()
	if !servers.managed {
		return startForTest(t, p)
	}
	if s := servers.byName[p.Name]; s != nil {
		if err := s.err(); err != nil {
			t.Fatalf("%s: %v\n%s", p.Name, err, s.Log())
		}
		return s
	}
	path := Find(t, p.Name)
	if err := servers.failed[p.Name]; err != nil {
		t.Fatal(err)
	}
	s, err := start(p, path)
	if err != nil {
		servers.failed[p.Name] = err
		t.Fatal(err)
	}
	servers.byName[p.Name] = s
	return s
}

func startForTest(t testing.TB, p Program) *Server {
	t.Helper()
	s, err := start(p, Find(t, p.Name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop()
		if t.Failed() {
			t.Logf("log of %s (its end):\n%s", p.Name, s.Log())
		}
		s.remove()
	})
	return s
}

// Find returns the path of a binary, or skips or fails the test.
func Find(t testing.TB, name string) string {
	t.Helper()
	path, err := look(name)
	if err == nil {
		return path
	}
	if required(os.Getenv("SEAWAL_REQUIRE"), name) {
		t.Fatalf("%s is required by SEAWAL_REQUIRE=%s: %v; `make testservers` installs it", name, os.Getenv("SEAWAL_REQUIRE"), err)
	}
	t.Skipf("%s is not installed, so this is NOT tested; `make testservers` installs it", name)
	return ""
}

// required says that list, the value of SEAWAL_REQUIRE, has the name.
func required(list, name string) bool {
	items := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
	return slices.Contains(items, "all") || slices.Contains(items, name)
}

func look(name string) (string, error) {
	folders := []string{os.Getenv("SEAWAL_TEST_BIN")}
	if root, err := moduleRoot(); err == nil {
		folders = append(folders, filepath.Join(root, ".testservers", "bin"))
	}
	folders = append(folders, "/usr/sbin", "/usr/local/sbin") // of sshd; often not on PATH
	for _, dir := range folders {
		if dir == "" {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// moduleRoot is the folder of go.mod at or above the working directory, which
// go test makes the folder of the package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod here or above")
		}
		dir = up
	}
}

// start tries a few ports: another process may take a free one before the server does.
func start(p Program, path string) (*Server, error) {
	var last error
	for range 3 {
		s, err := startOnce(p, path)
		if err == nil {
			return s, nil
		}
		last = err
	}
	return nil, last
}

// leash starts a server that ends when our end of its standard input is closed:
// by stop, or by the system when the test process is killed.
const leash = `exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ cat <&3 >/dev/null; kill -9 $server 2>/dev/null; } &
watcher=$!
exec 3<&-
wait $server
code=$?
kill $watcher 2>/dev/null
exit $code`

func startOnce(p Program, path string) (_ *Server, err error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: addr, exited: make(chan struct{})}
	if s.dir, err = os.MkdirTemp("", "testserver-"+filepath.Base(p.Name)+"-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(s.dir)
		}
	}()
	data := filepath.Join(s.dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	args, err := p.Args(addr, data)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", p.Name, err)
	}
	if s.log, err = os.Create(filepath.Join(s.dir, "log.txt")); err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", leash, "sh", path}, args...)...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), p.Env...)
	if s.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	go func() {
		s.waitErr = cmd.Wait()
		close(s.exited)
	}()
	if err := s.wait(p); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s %s: %w\n%s", path, strings.Join(args, " "), err, s.Log())
	}
	return s, nil
}

// wait polls until the server answers.
func (s *Server) wait(p Program) error {
	ready := p.Ready
	if ready == nil {
		ready = dial
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyWithin)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		attempt, end := context.WithTimeout(ctx, 10*time.Second)
		err := ready(attempt, s.Addr)
		end()
		if err == nil {
			return s.err()
		}
		select {
		case <-s.exited:
			return s.err()
		case <-ctx.Done():
			return fmt.Errorf("did not answer within %v: %w", readyWithin, err)
		case <-tick.C:
		}
	}
}

func dial(ctx context.Context, addr string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}

// err is not nil when the server has ended.
func (s *Server) err() error {
	select {
	case <-s.exited:
		return fmt.Errorf("the server has ended: %v", s.waitErr)
	default:
		return nil
	}
}

// stop kills the server and waits until it is gone.
func (s *Server) stop() {
	s.stdin.Close()
	<-s.exited
}

// remove removes the files of a server that is stopped.
func (s *Server) remove() {
	s.log.Close()
	os.RemoveAll(s.dir)
}

// Log returns the last 16 KiB of what the server has written.
func (s *Server) Log() string {
	const last = 16 << 10
	b, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-last):])
}

// freeAddr is an address of loopback that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
