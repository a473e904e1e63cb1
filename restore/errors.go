package restore

import (
	"errors"
	"fmt"
	"time"

	"seawal/internal/segment"
	"seawal/store"
)

var (
	// ErrNoReplica says that there is no replica at the URL: no replica.json.
	ErrNoReplica = errors.New("no replica here")

	// ErrNoPoint says that the replica has no such point: before the first one,
	// after the last one, inside a squashed span, or on a timeline that does not
	// exist. The error is a *PointError, which tells more.
	ErrNoPoint = errors.New("no such point")

	// ErrExists says that something is at the output, and neither
	// Options.IfMissing nor Options.Force says what to do about it.
	ErrExists = errors.New("output exists")

	// ErrInUse says that a process has the database open that Options.Force would replace.
	ErrInUse = errors.New("database is in use")

	// ErrMissing is the reason of an ObjectError whose object isn't there.
	ErrMissing = errors.New("it is missing")

	// ErrUnfit is the reason of an ObjectError whose object reads well by itself,
	// and is not the one that belongs here: it lies under another object's name,
	// is of another replica, or doesn't lead to the database that it says.
	ErrUnfit = errors.New("it is corrupt")
)

// PointError says that the replica has no such point, and which it has. It
// wraps ErrNoPoint. The points are as good as the listing: nothing was read to
// prove them.
type PointError struct {
	Want   string // what was asked for
	Reason string // why it can't be had
	First  *Point // oldest point that restores; nil when there is none
	Last   *Point // newest point that restores; nil when there is none

	// Before and After are the points on either side of one that fell into a
	// squashed span or between two merged segments; else nil.
	Before, After *Point
}

func (e *PointError) Error() string {
	s := fmt.Sprintf("%v: %s: %s", ErrNoPoint, e.Want, e.Reason)
	if e.Before != nil && e.After != nil {
		return s + fmt.Sprintf("; the nearest points are %v and %v", *e.Before, *e.After)
	}
	if e.First != nil && e.Last != nil {
		return s + fmt.Sprintf("; the first point is %v, the last one %v", *e.First, *e.Last)
	}
	return s
}

// Unwrap returns ErrNoPoint.
func (e *PointError) Unwrap() error { return ErrNoPoint }

// ObjectError says that an object of the replica is missing, cut short,
// corrupt or written by a newer version, and that no other objects lead to the target.
type ObjectError struct {
	Object string // name in the store; of a missing log segment the one that it would have
	Err    error  // ErrMissing, ErrUnfit, segment.ErrTorn, *segment.CorruptError, *segment.VersionError or *replica.CorruptError, wrapped
	Newest *Point // newest point before the target that restores without what is wrong; nil when there is none
}

func (e *ObjectError) Error() string {
	s := fmt.Sprintf("object %s: %v", e.Object, e.Err)
	if e.Newest == nil {
		return s + "; no point before it can be restored"
	}
	return s + fmt.Sprintf("; the newest point that still restores is %v", *e.Newest)
}

// Reason is "missing", "cut short", "newer version" or "corrupt", for machines.
func (e *ObjectError) Reason() string {
	var newer *segment.VersionError
	switch {
	case errors.Is(e.Err, ErrMissing):
		return "missing"
	case errors.Is(e.Err, segment.ErrTorn):
		return "cut short"
	case errors.As(e.Err, &newer):
		return "newer version"
	}
	return "corrupt"
}

// Unwrap returns what is wrong.
func (e *ObjectError) Unwrap() error { return e.Err }

// Point is a state that the replica can give back.
type Point struct {
	Pos  Pos       `json:"pos"`
	Time time.Time `json:"time,omitzero"` // of the commit, as the writer's clock had it; zero when it is not known
}

// String is "1/42 (2026-01-02T15:04:05.123456789Z)". The time has all its digits: given
// back as a target it means this point and not the one before.
func (p Point) String() string {
	if p.Time.IsZero() {
		return p.Pos.String()
	}
	return fmt.Sprintf("%v (%s)", p.Pos, FormatTime(p.Time))
}

// FormatTime is how this package writes times: RFC 3339 in UTC with the nanoseconds.
func FormatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func unixTime(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// badObject is the error of a step whose object can't be used. Other errors (the
// store is down, the disk is full) are no fault of the object, and end the run.
type badObject struct {
	object string
	err    error
}

func (e *badObject) Error() string { return fmt.Sprintf("object %s: %v", e.object, e.err) }
func (e *badObject) Unwrap() error { return e.err }

// shortSegment is the error of a step whose log segment ends early, and is whole: what should come behind it is missing.
type shortSegment struct {
	object string
	last   uint64 // transaction that it ends with
}

func (e *shortSegment) Error() string {
	return fmt.Sprintf("object %s ends with transaction %d, and the next segment begins later", e.object, e.last)
}

// blame turns what reading or decoding an object said into a *badObject where
// the object is to blame, and otherwise adds what was done.
func blame(doing, object string, err error) error {
	var bad *badObject
	if errors.As(err, &bad) {
		return err
	}
	var damaged *segment.CorruptError
	var newer *segment.VersionError
	switch {
	case errors.Is(err, store.ErrNotExist):
		return &badObject{object, fmt.Errorf("%w: %w", ErrMissing, err)}
	case errors.As(err, &damaged), errors.As(err, &newer), errors.Is(err, segment.ErrTorn):
		return &badObject{object, err}
	}
	return fmt.Errorf("%s %s: %w", doing, object, err)
}

// unfit is the *badObject of an object that reads well and says something that can't be.
func unfit(object, format string, args ...any) error {
	return &badObject{object, fmt.Errorf("%w: %w", ErrUnfit, fmt.Errorf(format, args...))}
}
