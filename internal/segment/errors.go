package segment

import (
	"errors"
	"fmt"
	"io"
)

// ErrTorn says that an object ends before it is complete: an upload or a copy
// was cut short. What is there may be intact.
var ErrTorn = errors.New("segment is cut short")

// CorruptError says that an object, or a delta in it, is not what a writer
// wrote.
type CorruptError struct {
	Object string // name in the store; empty unless the caller filled it in, the codec doesn't know it
	Offset int64  // bytes from the start of the object (of the delta, from ApplyDelta and MergeDelta) to the part that is wrong
	Err    error  // what is wrong
}

func (e *CorruptError) Error() string {
	if e.Object == "" {
		return fmt.Sprintf("segment is corrupt at byte %d: %v", e.Offset, e.Err)
	}
	return fmt.Sprintf("segment %s is corrupt at byte %d: %v", e.Object, e.Offset, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

func corrupt(offset int64, format string, args ...any) error {
	return &CorruptError{Offset: offset, Err: fmt.Errorf(format, args...)}
}

// VersionError says that an object uses a format version, or flags, that this
// version doesn't know. It may be intact: a newer seawal can tell.
type VersionError struct {
	Version uint16 // of the object
	Flags   uint32 // flags of the object that are unknown here; 0 when Version is what is unknown
}

func (e *VersionError) Error() string {
	if e.Flags != 0 {
		return fmt.Sprintf("segment was written by a newer seawal: unknown flags %#08x", e.Flags)
	}
	return fmt.Sprintf("segment was written by a newer seawal: format version %d, this one reads up to %d", e.Version, Version)
}

// readError turns the end of the input into ErrTorn and leaves other read
// errors as they are.
func readError(doing string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = ErrTorn
	}
	return fmt.Errorf("%s: %w", doing, err)
}
