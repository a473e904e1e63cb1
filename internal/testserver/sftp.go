package testserver

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

// SFTPServer is OpenSSH's server, which lets the user in who runs the test.
type SFTPServer struct {
	*Server
	User       string
	Identity   string // path of the private key that it accepts
	KnownHosts string // path of a file that has the server's own key
	Dir        string // where objects may be kept, on this machine
}

// SFTP starts sshd.
func SFTP(t testing.TB) *SFTPServer {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := Start(t, Program{
		Name:  "sshd",
		Args:  func(addr, dir string) ([]string, error) { return prepareSSH(t.Context(), addr, dir) },
		Ready: dial,
	})
	in := func(name string) string { return filepath.Join(s.dir, "data", name) }
	return &SFTPServer{Server: s, User: me.Username, Identity: in("user"), KnownHosts: in("known_hosts"), Dir: in("files")}
}

// URL names a folder below Dir, on the server or on a proxy before it at addr.
func (s *SFTPServer) URL(addr, folder string) string {
	q := url.Values{"identity": {s.Identity}, "known_hosts": {s.KnownHosts}}
	u := url.URL{Scheme: "sftp", User: url.User(s.User), Host: addr, Path: filepath.Join(s.Dir, folder), RawQuery: q.Encode()}
	return u.String()
}

// Knows makes the known_hosts file have the server's key for another address too, such as a proxy's.
func (s *SFTPServer) Knows(t testing.TB, addr string) {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(filepath.Dir(s.KnownHosts), "host.pub"))
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, s.KnownHosts, knownHost(addr, key))
}

// KeyFor makes another key, with which a client gets command in the place of the usual one, as in authorized_keys, and returns
// its path.
func (s *SFTPServer) KeyFor(t testing.TB, command string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := makeKey(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	appendTo(t, filepath.Join(filepath.Dir(s.Identity), "authorized_keys"), fmt.Sprintf("command=%q %s", command, public))
	return path
}

func appendTo(t testing.TB, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func makeKey(ctx context.Context, path string) error {
	out, err := exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ssh-keygen: %w\n%s", err, out)
	}
	return nil
}

// knownHost is a line of known_hosts.
func knownHost(addr string, key []byte) string {
	host, port, _ := strings.Cut(addr, ":")
	return fmt.Sprintf("[%s]:%s %s\n", host, port, strings.TrimSpace(string(key)))
}

// prepareSSH makes keys and a configuration in dir.
func prepareSSH(ctx context.Context, addr, dir string) ([]string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if os.Getuid() == 0 { // sshd wants it, and only a package's start script makes it
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Mkdir(in("files"), 0o700); err != nil {
		return nil, err
	}
	for _, name := range []string{"host", "user"} {
		if err := makeKey(ctx, in(name)); err != nil {
			return nil, err
		}
	}
	for name, key := range map[string]string{"authorized_keys": "user.pub", "known_hosts": "host.pub"} {
		text, err := os.ReadFile(in(key))
		if err != nil {
			return nil, err
		}
		if name == "known_hosts" {
			text = []byte(knownHost(addr, text))
		}
		if err := os.WriteFile(in(name), text, 0o600); err != nil {
			return nil, err
		}
	}
	config := strings.Join([]string{
		"ListenAddress " + host, "Port " + port, "HostKey " + in("host"), "AuthorizedKeysFile " + in("authorized_keys"), "PidFile none",
		"StrictModes no", "UsePAM no", "PasswordAuthentication no", "PermitRootLogin prohibit-password", "UseDNS no",
		"MaxStartups 100", "Subsystem sftp internal-sftp", "",
	}, "\n")
	return []string{"-D", "-e", "-f", in("config")}, os.WriteFile(in("config"), []byte(config), 0o600)
}
