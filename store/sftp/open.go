package sftp

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strings"
	"time"

	"seawal/store"
	"seawal/store/internal/transfer"
)

func init() { store.Register("sftp", open) }

// target is what a URL says.
type target struct {
	user, addr string // addr is host:port
	root       string // absolute, or relative to the user's home
	identity   string // path of a private key; "": wherever there are any
	knownHosts []string
}

// String is the target as a URL, for errors.
func (t target) String() string {
	root := t.root
	if !path.IsAbs(root) {
		root = path.Join("/~", root)
	}
	return "sftp://" + t.user + "@" + strings.TrimSuffix(t.addr, ":22") + strings.TrimSuffix(root, "/")
}

func parse(u *url.URL) (t target, err error) {
	if _, has := u.User.Password(); has {
		return t, fmt.Errorf("a password doesn't belong into the URL; use a key: ssh-agent, ~/.ssh/id_ed25519 or ?identity=/path/to/key")
	}
	if u.Hostname() == "" {
		return t, fmt.Errorf("it names no host; write sftp://user@host/path")
	}
	if u.Path == "" {
		return t, fmt.Errorf("it names no folder; write sftp://user@host/path, or sftp://user@host/~/path for one in the user's home")
	}
	if t.user = u.User.Username(); t.user == "" {
		me, err := user.Current()
		if err != nil {
			return t, fmt.Errorf("it names no user, and who runs this can't be told; write sftp://user@host/path: %w", err)
		}
		t.user = me.Username
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	t.addr, t.root = net.JoinHostPort(u.Hostname(), port), u.Path
	if u.Path == "/~" || strings.HasPrefix(u.Path, "/~/") {
		t.root = path.Clean("." + u.Path[2:])
	}
	for k, v := range u.Query() {
		switch {
		case k == "identity" && filepath.IsAbs(v[0]):
			t.identity = v[0]
		case k == "known_hosts" && filepath.IsAbs(v[0]):
			t.knownHosts = []string{v[0]}
		case k == "identity" || k == "known_hosts":
			return t, fmt.Errorf("parameter %s is %q; write the whole path of a file", k, v[0])
		default:
			return t, fmt.Errorf("unknown parameter %q; there are identity and known_hosts, each the path of a file", k)
		}
	}
	if t.knownHosts == nil {
		t.knownHosts = defaultKnownHosts()
	}
	return t, nil
}

// defaultKnownHosts are the files that ssh looks into. A service may have no home: the machine's own file serves it.
func defaultKnownHosts() []string {
	const ofMachine = "/etc/ssh/ssh_known_hosts"
	home, err := os.UserHomeDir()
	if err != nil {
		return []string{ofMachine}
	}
	return []string{filepath.Join(home, ".ssh", "known_hosts"), ofMachine}
}

// open is the store.Opener. It asks nothing of the server.
func open(_ context.Context, u *url.URL) (store.Store, error) {
	t, err := parse(u)
	if err != nil {
		return nil, store.Permanent(err)
	}
	return newFiles(t), nil
}

func newFiles(t target) *files {
	life, end := context.WithCancel(context.Background())
	return &files{
		target: t, life: life, end: end,
		patience: transfer.RequestTimeout, keepalive: keepaliveEvery, idle: idleFor, window: listWindow,
		safe: map[string]bool{}, left: map[string]bool{},
	}
}

// How long a connection that nobody uses stays, and how often one is asked whether it is alive. An idle database makes no
// traffic: its connection is given back first.
const (
	idleFor        = time.Minute
	keepaliveEvery = 15 * time.Second
)
