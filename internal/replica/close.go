package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"seawal/internal/segment"
	"seawal/store"
)

// Whoever opens the next timeline ends the log of the one before with a close (see [segment.Close]). It lies among the
// log segments and is none: what walks a log passes over it.

// ClosedError says that the object under the name of a log segment is a close. It is no damage.
type ClosedError struct{ segment.Close }

func (e *ClosedError) Error() string {
	s := fmt.Sprintf("timeline %d was taken over behind transaction %d by timeline %d, on %s (writer %v)", e.Timeline, e.First-1, e.Next,
		time.Unix(0, e.Time).UTC().Format(time.DateTime), e.Writer)
	if e.Parent == e.Timeline && e.ParentTx < e.First-1 {
		s += fmt.Sprintf("; it goes on from %d/%d, and what came after that is on timeline %d alone", e.Parent, e.ParentTx, e.Timeline)
	}
	return s
}

// inspectClose is the *ClosedError of an object whose footer is that of a close, or what is wrong with it.
func inspectClose(r *objectReader) error {
	c, ok, err := ReadClose(r.ctx, r.s, r.o)
	switch {
	case err != nil:
		return err
	case !ok:
		return InObject(r.o.Name, &segment.CorruptError{Err: errors.New("it is a close, and not as it must be")})
	}
	return &ClosedError{c}
}

// mayBeClose says whether an object that a list has shown may be a close.
func mayBeClose(o store.Object) bool { return o.Size == segment.CloseSize }

// ReadClose reads the close that a listed object of a log may be; ok says that it is one. What is damaged isn't, and no error:
// it may as well be a segment, and whoever needs that will say so. Only an object of a close's size costs a request.
func ReadClose(ctx context.Context, s store.Store, o store.Object) (c segment.Close, ok bool, err error) {
	if !mayBeClose(o) {
		return c, false, nil
	}
	n, err := segment.ParseName(o.Name)
	if err != nil || n.Kind != segment.Log {
		return c, false, nil
	}
	b, err := readAll(ctx, s, o.Name)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return c, false, nil
	case err != nil:
		return c, false, err
	}
	c, err = segment.ParseClose(b)
	return c, err == nil && c.Timeline == n.Timeline && c.First == n.First, nil
}

// CloseTimeline creates the close of a timeline whose last transaction is c.First-1. The error wraps store.ErrExist when the name is
// taken; by this very close it is no error, so calling it again is what to do when the outcome is unknown.
func CloseTimeline(ctx context.Context, s store.Store, c segment.Close) error {
	b, err := c.Encode()
	if err != nil {
		return err
	}
	return create(ctx, s, segment.LogName(c.Timeline, c.First), b)
}
