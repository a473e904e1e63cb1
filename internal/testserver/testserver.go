// Package testserver starts real servers for the tests of stores, on loopback, and stops them at the end.
//
// A program is looked for in the folder SEAWAL_TEST_BIN and then on PATH; `make testservers` installs them. A test whose server is not
// there is skipped and says so, unless SEAWAL_REQUIRE names the program or is "all": then it fails.
package testserver

import (
	"bytes"
	"context"
	"fmt"
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

// startTimeout is how long a server may take until it answers.
const startTimeout = 60 * time.Second

// find returns the path of a program.
func find(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("SEAWAL_TEST_BIN"); dir != "" {
		if path := filepath.Join(dir, name); exists(path) {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	required := strings.Split(os.Getenv("SEAWAL_REQUIRE"), ",")
	text := fmt.Sprintf("%s is not on PATH, nor in SEAWAL_TEST_BIN; `make testservers` installs it", name)
	if slices.Contains(required, "all") || slices.Contains(required, name) {
		t.Fatal(text)
	}
	t.Skip(text)
	return ""
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// freeAddress is an address on loopback that nobody listens at.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// output keeps what a server prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// start runs a server until the test ends, and returns once address accepts connections.
func start(t testing.TB, address string, env []string, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	out := new(output)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(program), out)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", program, err, out)
		case <-ctx.Done():
			t.Fatalf("%s does not answer at %s\n%s", program, address, out)
		case <-time.After(20 * time.Millisecond): // between two attempts to connect
		}
	}
}
