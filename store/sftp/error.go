package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"seawal/store"
	"seawal/store/internal/transfer"
)

// wrap says what failed, and whether it may go away by itself.
func (s *files) wrap(ctx context.Context, op store.Op, name string, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	return fmt.Errorf("%s %s/%s: %w", op, s.target, name, s.classify(err))
}

// classify turns what the server said into what the contract has for it.
func (s *files) classify(err error) error {
	var body *transfer.BodyError
	var subsystem *subsystemError
	switch {
	case store.IsPermanent(err) || errors.As(err, &body):
		return err
	case errors.Is(err, fs.ErrPermission):
		return store.Permanent(fmt.Errorf("no permission; let the user %s read and write %s on the server: %w", s.user, s.root, err))
	case errors.As(err, &subsystem):
		return store.Permanent(fmt.Errorf("the server doesn't offer SFTP to %s (in OpenSSH: Subsystem sftp internal-sftp): %w", s.user, err))
	}
	return err
}

// explainHandshake tells why a server that was reached did not let us in.
func (s *files) explainHandshake(err error, keys *keyring, hosts *knownKeys) error {
	var algorithm *ssh.AlgorithmNegotiationError
	switch {
	case hosts.refused != nil:
		return hosts.refused
	case errors.As(err, &algorithm) && hosts.algorithms != nil:
		return store.Permanent(fmt.Errorf("the server has none of the keys that %s knows of it (%s), or no cipher that we have: %w",
			strings.Join(hosts.files, " or "), strings.Join(hosts.algorithms, ", "), err))
	case strings.Contains(err.Error(), "unable to authenticate"): // the SDK has no type for it
		var shown []string
		for _, k := range keys.signers {
			shown = append(shown, ssh.FingerprintSHA256(k.PublicKey()))
		}
		return store.Permanent(fmt.Errorf("the server lets %s in with none of the keys of %s (%s); add the public key to ~/.ssh/authorized_keys there: %w",
			s.user, strings.Join(keys.from, ", "), strings.Join(shown, ", "), err))
	}
	return err
}

// absent turns "no such file" into what the contract has for it.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", store.ErrNotExist, err)
	}
	return err
}

// isAnswer says that the server has refused something, and the connection is whole.
func isAnswer(err error) bool {
	return isFailure(err) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// Codes of the protocol. OpenSSH says badMessage for EINVAL.
const (
	codeEOF          = 1
	codeNoSuchFile   = 2
	codePermission   = 3
	codeBadMessage   = 5
	codeNotSupported = 8
)

// isUnsupported says that the server can't do such a thing with such a file.
func isUnsupported(err error) bool {
	var status *sftp.StatusError
	return errors.As(err, &status) && (status.Code == codeBadMessage || status.Code == codeNotSupported)
}

// isFailure says that the server answered with a failure that it doesn't explain: so it says that a name is taken, that the
// disk is full, and much else.
func isFailure(err error) bool {
	var status *sftp.StatusError
	return errors.As(err, &status)
}

// writeError is the error of writing to the server's disk.
func writeError(err error) error {
	if isFailure(err) {
		return fmt.Errorf("the server could not write; is its disk or a quota full? %w", err)
	}
	return err
}

// notAFolder is the error for a file on the way to an object.
func notAFolder(dir string) error {
	return store.Permanent(fmt.Errorf("%s is a file, not a folder; move it away, or choose another path than %s", dir, path.Dir(dir)))
}
