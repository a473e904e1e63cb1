package testserver

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The test binary plays the servers too: roleEnv says which part.
const roleEnv = "TESTSERVER_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "":
		Main(m)
	case "serve": // a good server, on the address in its last argument
		fmt.Println("serving")
		err := http.ListenAndServe(os.Args[len(os.Args)-1], http.NotFoundHandler())
		fmt.Println(err)
		os.Exit(1)
	case "fail":
		fmt.Println("no disk, no network, no mood")
		os.Exit(3)
	case "hold": // a test process with a server of its own, which waits to be killed
		s, err := start(program("serve"), os.Args[0])
		fmt.Println(s.Addr, err)
		select {}
	}
}

func program(role string) Program {
	return Program{
		Name: "testserver-" + role,
		Args: func(addr, _ string) ([]string, error) { return []string{"-test.run=^$", addr}, nil },
		Env:  []string{roleEnv + "=" + role},
	}
}

// install makes the test binary be found under a name.
func install(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SEAWAL_TEST_BIN", dir)
}

func TestStart(t *testing.T) {
	p := program("serve")
	install(t, p.Name)
	s := Start(t, p)
	if again := Start(t, p); again != s {
		t.Errorf("a second Start made a second server")
	}
	resp, err := http.Get("http://" + s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !strings.Contains(s.Log(), "serving") {
		t.Errorf("log: %q", s.Log())
	}
}

func TestStartOfBrokenServer(t *testing.T) {
	_, err := start(program("fail"), os.Args[0])
	if err == nil || !strings.Contains(err.Error(), "no mood") || !strings.Contains(err.Error(), "exit status 3") {
		t.Fatalf("start: %v; want what the server said and how it ended", err)
	}
}

// TestServerDiesWithTests kills a process that has started a server.
func TestServerDiesWithTests(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=hold", "TMPDIR="+t.TempDir()) // what it leaves behind
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	addr, _, _ := strings.Cut(line, " ")
	if err != nil || dial(t.Context(), addr) != nil {
		t.Fatalf("the server did not start: %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, out)
	cmd.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for dial(ctx, addr) == nil {
	}
	if ctx.Err() != nil {
		t.Errorf("the server at %s has outlived who started it", addr)
	}
}

// verdict records what Find does to a test.
type verdict struct {
	testing.TB
	skipped, failed string
}

var errStop = errors.New("stop")

func (v *verdict) Helper()                   {}
func (v *verdict) Skipf(f string, a ...any)  { v.skipped = fmt.Sprintf(f, a...); panic(errStop) }
func (v *verdict) Fatalf(f string, a ...any) { v.failed = fmt.Sprintf(f, a...); panic(errStop) }

func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		require string
		fails   bool
	}{
		{"", false}, {"sshd", false}, {"all", true}, {"no-such-server", true}, {"sshd,no-such-server", true}, {"sshd, all", true},
	} {
		t.Setenv("SEAWAL_REQUIRE", tt.require)
		v := &verdict{TB: t}
		func() {
			defer func() {
				if r := recover(); r != errStop {
					t.Errorf("recovered %v", r)
				}
			}()
			Find(v, "no-such-server")
		}()
		if (v.failed != "") != tt.fails || (v.skipped != "") == tt.fails || !strings.Contains(v.failed+v.skipped, "make testservers") {
			t.Errorf("SEAWAL_REQUIRE=%q: failed %q, skipped %q", tt.require, v.failed, v.skipped)
		}
	}
}

func TestFreeAddr(t *testing.T) {
	addr, err := freeAddr()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// TestServers starts each known server.
func TestServers(t *testing.T) {
	t.Run("GCS", func(t *testing.T) {
		s := GCS(t)
		MakeGCSBucket(t, s, strings.ToLower(rand.Text()))
	})
	t.Run("Azure", func(t *testing.T) { Azure(t) })
}
