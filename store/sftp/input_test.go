package sftp_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"seawal/internal/storetrial"
	"seawal/internal/testserver"
	"seawal/store"
)

func put(t *testing.T, s store.Store, name string) error {
	t.Helper()
	return s.Create(t.Context(), name, store.BytesBody([]byte("content")))
}

// with returns the URL with a parameter changed.
func with(t *testing.T, rawURL, key, value string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Del(key)
	if value != "" {
		q.Set(key, value)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func keygen(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// nobody makes a home without keys, and takes the agent away.
func nobody(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "")
	return home
}

// What a person has to mend is said at once, with the way out.
func TestBadInput(t *testing.T) {
	server := testserver.SFTP(t)
	home := nobody(t)
	good := server.URL(server.Addr, "input")
	host, port, _ := strings.Cut(server.Addr, ":")
	write(t, filepath.Join(server.Dir, "file"), "x")
	if err := os.Mkdir(filepath.Join(server.Dir, "folders"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(server.Dir, "folders", "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	other, locked := filepath.Join(home, "other"), filepath.Join(home, "locked")
	keygen(t, "-q", "-t", "ed25519", "-N", "", "-f", other)
	keygen(t, "-q", "-t", "ed25519", "-N", "hunter2", "-f", locked)
	public, err := os.ReadFile(other + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	mismatch := write(t, filepath.Join(home, "mismatch"), "["+host+"]:"+port+" "+string(public))
	garbled := write(t, filepath.Join(home, "garbled"), "["+host+"]:"+port+" ssh-ed25519 AAAA\n")
	storetrial.BadInput(t, []storetrial.Bad{
		{Name: "unknown host", URL: with(t, good, "known_hosts", write(t, filepath.Join(home, "empty"), "")), Want: "ssh-keyscan -p " + port + " " + host + " >> " + home + "/empty"},
		{Name: "no known_hosts", URL: with(t, good, "known_hosts", filepath.Join(home, "nothere")), Want: "is not in " + home + "/nothere; compare the fingerprint"},
		{Name: "default known_hosts", URL: with(t, good, "known_hosts", ""), Want: "is not in " + home + "/.ssh/known_hosts or /etc/ssh/ssh_known_hosts"},
		{Name: "no home", URL: with(t, good, "known_hosts", ""), Env: map[string]string{"HOME": ""}, Want: "is not in /etc/ssh/ssh_known_hosts; "},
		{Name: "another host key", URL: with(t, good, "known_hosts", mismatch), Want: "ssh-keygen -R '[" + host + "]:" + port + "' -f " + mismatch},
		{Name: "garbled known_hosts", URL: with(t, good, "known_hosts", garbled), Want: garbled + ":1"},
		{Name: "unknown key", URL: with(t, good, "identity", other), Want: "authorized_keys"},
		{Name: "key with a passphrase", URL: with(t, good, "identity", locked), Want: "ssh-add " + locked},
		{Name: "no such key", URL: with(t, good, "identity", filepath.Join(home, "nokey")), Want: "is not there"},
		{Name: "key that is none", URL: with(t, good, "identity", garbled), Want: "can't be used"},
		{Name: "no keys", URL: with(t, good, "identity", ""), Want: "ssh-keygen -t ed25519"},
		{Name: "read-only", URL: with(t, good, "identity", server.KeyFor(t, "internal-sftp -R")), Want: "lets " + server.User + " only read"},
		{Name: "no permission", URL: with(t, server.URL(server.Addr, "denied"), "identity", server.KeyFor(t, "internal-sftp -P mkdir")), Want: "no permission; let the user " + server.User},
		{Name: "no hard links", URL: with(t, good, "identity", server.KeyFor(t, "internal-sftp -P hardlink")), Want: "hardlink@openssh.com"},
		{Name: "no fsync", URL: with(t, good, "identity", server.KeyFor(t, "internal-sftp -P fsync")), Want: "fsync@openssh.com"},
		{Name: "root is a file", URL: server.URL(server.Addr, "file"), Want: "is a file, not a folder"},
		{Name: "root is below a file", URL: server.URL(server.Addr, "file/x"), Want: "is a file, not a folder"},
		{Name: "object is a folder", URL: server.URL(server.Addr, "folders"), Want: "a folder has this name"},
		{Name: "password", URL: strings.Replace(good, "@", ":hunter2@", 1), Want: "a password doesn't belong into the URL"},
		{Name: "parameter", URL: with(t, good, "compress", "1"), Want: "unknown parameter"},
		{Name: "relative path of a key", URL: with(t, good, "identity", "id"), Want: "the whole path"},
		{Name: "no host", URL: "sftp:///x", Want: "sftp://user@host/path"},
		{Name: "no folder", URL: "sftp://user@host", Want: "names no folder"},
	}, "hunter2")
}

// Who may only read can restore.
func TestReadOnly(t *testing.T) {
	server := testserver.SFTP(t)
	rawURL := server.URL(server.Addr, "read-only")
	s, err := store.Open(t.Context(), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := put(t, s, "a"); err != nil {
		t.Fatal(err)
	}
	reader, err := store.Open(t.Context(), with(t, rawURL, "identity", server.KeyFor(t, "internal-sftp -R")))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if o, err := reader.Stat(t.Context(), "a"); err != nil || o.Size != 7 {
		t.Errorf("stat: %+v, %v", o, err)
	}
	for o, err := range reader.List(t.Context(), "", "") {
		if err != nil || o.Name != "a" {
			t.Errorf("list: %+v, %v", o, err)
		}
	}
	if err := reader.Delete(t.Context(), "a"); !store.IsPermanent(err) {
		t.Errorf("delete: %v", err)
	}
}

// A key is found where ssh finds it: in the home, or with an agent, which may also hold the one whose file is locked.
func TestKeys(t *testing.T) {
	server := testserver.SFTP(t)
	home := nobody(t)
	key, err := os.ReadFile(server.Identity)
	if err != nil {
		t.Fatal(err)
	}
	locked := write(t, filepath.Join(home, "locked"), string(key))
	keygen(t, "-q", "-p", "-P", "", "-N", "hunter2", "-f", locked)
	try := func(name, rawURL string) {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(t.Context(), rawURL)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if err := put(t, s, strings.ReplaceAll(name, " ", "-")); err != nil {
				t.Fatal(err)
			}
		})
	}
	good := server.URL(server.Addr, "keys")
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := write(t, filepath.Join(home, ".ssh", "id_ed25519"), string(key))
	known, err := os.ReadFile(server.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(home, ".ssh", "known_hosts"), string(known))
	try("home", with(t, with(t, good, "identity", ""), "known_hosts", ""))
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}

	agent := exec.Command(testserver.Find(t, "ssh-agent"), "-D", "-a", filepath.Join(home, "agent"))
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		agent.Process.Kill()
		agent.Wait()
	}()
	t.Setenv("SSH_AUTH_SOCK", filepath.Join(home, "agent"))
	for { // until it listens
		out, err := exec.Command("ssh-add", "-q", server.Identity).CombinedOutput()
		if err == nil {
			break
		}
		if t.Context().Err() != nil || !strings.Contains(string(out), "agent") {
			t.Fatalf("ssh-add: %v\n%s", err, out)
		}
	}
	try("agent", with(t, good, "identity", ""))
	try("locked key in the agent", with(t, good, "identity", locked))
}
