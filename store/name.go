package store

import (
	"errors"
	"fmt"
	"strings"
)

// The longest name a store takes, and the longest component of one, in bytes.
// S3, GCS and Azure stop at 1,024 including the user's prefix, so half of that is
// left for it; 255 is what file systems take (NAME_MAX).
const (
	MaxNameLen      = 512
	MaxComponentLen = 255
)

// ErrName is wrapped by the error for a name, a prefix or a start that breaks
// the rule of ValidateName. Such an error is Permanent.
var ErrName = errors.New("invalid object name")

// ValidateName reports whether every store can hold an object of this name: 1 to
// MaxNameLen bytes out of a-z 0-9 . _ - and slash, in components of at most
// MaxComponentLen bytes that are not empty and neither begin nor end with a dot.
//
// The rule is the common part of what the stores take unescaped. Capitals are
// out because some file systems fold them. The leading dot is out because "."
// and ".." leave the folder, and so that a store on folders can keep temporary
// files under names that no object has; the trailing one because Azure drops it.
func ValidateName(name string) error {
	if name == "" {
		return nameError(name, "it is empty")
	}
	if strings.HasSuffix(name, "/") {
		return nameError(name, "it ends with a slash")
	}
	if strings.HasSuffix(name, ".") {
		return nameError(name, "a component ends with a dot")
	}
	return ValidatePrefix(name)
}

// ValidatePrefix is ValidateName for the prefix and the start of a List, which
// may be empty and may end anywhere in a name.
func ValidatePrefix(name string) error {
	if len(name) > MaxNameLen {
		return nameError(name[:32]+"...", fmt.Sprintf("it has %d bytes, the limit is %d", len(name), MaxNameLen))
	}
	start := 0 // of the component
	for i := range len(name) {
		c := name[i]
		switch {
		case !nameByte(c):
			return nameError(name, fmt.Sprintf("byte %q at %d is not one of a-z 0-9 . _ - /", c, i))
		case c == '/' && i == start:
			return nameError(name, "it has an empty component")
		case c == '/' && name[i-1] == '.':
			return nameError(name, "a component ends with a dot")
		case c == '.' && i == start:
			return nameError(name, "a component begins with a dot")
		case c != '/' && i-start >= MaxComponentLen:
			return nameError(name[:32]+"...", fmt.Sprintf("a component has more than %d bytes", MaxComponentLen))
		}
		if c == '/' {
			start = i + 1
		}
	}
	return nil
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-' || c == '/'
}

func nameError(name, why string) error {
	return Permanent(fmt.Errorf("%w %q: %s", ErrName, name, why))
}
