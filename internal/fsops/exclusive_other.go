//go:build !linux && !darwin

package fsops

import (
	"errors"
	"os"
)

func renameExclusive(from, to string) error {
	return &os.LinkError{Op: "rename", Old: from, New: to, Err: errors.ErrUnsupported}
}
