package sftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"seawal/store"
)

// keyring holds the keys to log in with. Those of an agent are used by way of its connection.
type keyring struct {
	signers []ssh.Signer
	agent   net.Conn // nil: none
	from    []string // where keys were found, for errors
}

func (k *keyring) close() {
	if k.agent != nil {
		k.agent.Close()
	}
}

// findKeys looks for keys: in the file identity, or where ssh would when it is empty.
func findKeys(ctx context.Context, identity string) (_ *keyring, err error) {
	k := &keyring{}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	held, agentErr := k.askAgent(ctx)
	if identity != "" {
		return k, k.addIdentity(identity, held)
	}
	if len(held) > 0 {
		k.signers, k.from = held, []string{"ssh-agent"}
	}
	home, homeErr := os.UserHomeDir()
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		file := filepath.Join(home, ".ssh", name)
		if homeErr != nil {
			break
		}
		if signer, err := readKey(file); err == nil { // no such file, a passphrase: others may do
			k.signers, k.from = append(k.signers, signer), append(k.from, file)
		}
	}
	if len(k.signers) == 0 {
		err := errors.New("no key to log in with was found; add one to ssh-agent (ssh-add), make ~/.ssh/id_ed25519 without a passphrase (ssh-keygen -t ed25519), or write ?identity=/path/to/key")
		if agentErr != nil {
			err = fmt.Errorf("%w; ssh-agent: %w", err, agentErr)
		}
		return nil, store.Permanent(err)
	}
	return k, nil
}

// askAgent returns the keys of the agent, if there is one.
func (k *keyring) askAgent(ctx context.Context) ([]ssh.Signer, error) {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	k.agent = conn
	context.AfterFunc(ctx, func() { conn.Close() }) // an agent may ask a person, and wait
	return agent.NewClient(conn).Signers()
}

// addIdentity takes the one key that the URL names.
func (k *keyring) addIdentity(file string, held []ssh.Signer) error {
	signer, err := readKey(file)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) && locked.PublicKey != nil {
		i := slices.IndexFunc(held, func(s ssh.Signer) bool {
			return bytes.Equal(s.PublicKey().Marshal(), locked.PublicKey.Marshal())
		})
		if i >= 0 {
			signer, err = held[i], nil
		}
	}
	switch {
	case errors.As(err, &locked):
		return store.Permanent(fmt.Errorf("the key %s has a passphrase, and ssh-agent doesn't hold it: ssh-add %s", file, file))
	case errors.Is(err, fs.ErrNotExist):
		return store.Permanent(fmt.Errorf("the key that parameter identity names is not there: %w", err))
	case err != nil:
		return store.Permanent(fmt.Errorf("the key that parameter identity names can't be used: %w", err))
	}
	k.signers, k.from = []ssh.Signer{signer}, []string{file}
	return nil
}

func readKey(file string) (ssh.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return signer, nil
}

// knownKeys is what known_hosts files say of a server.
type knownKeys struct {
	addr       string
	files      []string
	callback   ssh.HostKeyCallback
	algorithms []string // nil: any
	refused    error    // what check has said
}

// readKnownHosts reads those of the files that are there.
func readKnownHosts(addr string, files []string) (*knownKeys, error) {
	k := &knownKeys{addr: addr, files: files}
	var there []string
	authority := false
	for _, file := range files {
		text, err := os.ReadFile(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // says the error for an unknown host
		case err != nil:
			return nil, store.Permanent(fmt.Errorf("read known_hosts: %w", err))
		}
		there = append(there, file)
		authority = authority || bytes.Contains(text, []byte("@cert-authority"))
	}
	var err error
	if k.callback, err = knownhosts.New(there...); err != nil {
		return nil, store.Permanent(fmt.Errorf("a line of known_hosts can't be read; mend or remove it: %w", err))
	}
	if !authority { // its line doesn't say of which kind the keys are that it vouches for
		k.algorithms = k.known()
	}
	return k, nil
}

// known lists the kinds of the keys that the files have for the server. Servers have several keys, and show one of a
// kind that the client asks for: it must be one that can be compared.
func (k *knownKeys) known() (algorithms []string) {
	var unknown *knownhosts.KeyError
	if !errors.As(k.callback(k.addr, nowhere{}, noKey{}), &unknown) {
		return nil
	}
	for _, want := range unknown.Want {
		kinds := []string{want.Key.Type()}
		if want.Key.Type() == ssh.KeyAlgoRSA {
			kinds = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, kind := range kinds {
			if !slices.Contains(algorithms, kind) {
				algorithms = append(algorithms, kind)
			}
		}
	}
	return algorithms
}

// noKey is a key that no file has.
type noKey struct{ ssh.PublicKey }

func (noKey) Type() string    { return "none" }
func (noKey) Marshal() []byte { return nil }

// nowhere is the address of a server that isn't asked.
type nowhere struct{}

func (nowhere) Network() string { return "tcp" }
func (nowhere) String() string  { return "0.0.0.0:0" }

// check is the ssh.HostKeyCallback.
func (k *knownKeys) check(addr string, remote net.Addr, key ssh.PublicKey) error {
	err := k.callback(addr, remote, key)
	if err == nil {
		return nil
	}
	shown := fmt.Sprintf("the key that %s shows (%s %s)", k.addr, key.Type(), ssh.FingerprintSHA256(key))
	host, port, _ := net.SplitHostPort(k.addr) // it was joined by us
	var unknown *knownhosts.KeyError
	switch {
	case errors.As(err, &unknown) && len(unknown.Want) > 0:
		err = fmt.Errorf("%s is not the one in %s, line %d: somebody may be in between. If the server has a new key, compare the fingerprint with what its administrator says, then: ssh-keygen -R '%s' -f %s, and ssh-keyscan -p %s %s >> %s",
			shown, unknown.Want[0].Filename, unknown.Want[0].Line, knownhosts.Normalize(k.addr), unknown.Want[0].Filename, port, host, unknown.Want[0].Filename)
	case errors.As(err, &unknown):
		err = fmt.Errorf("%s is not in %s; compare the fingerprint with what the server's administrator says, then: ssh-keyscan -p %s %s >> %s",
			shown, strings.Join(k.files, " or "), port, host, k.files[0])
	default: // revoked, or a certificate that doesn't hold
		err = fmt.Errorf("%s is refused: %w", shown, err)
	}
	k.refused = store.Permanent(err)
	return k.refused
}
