package restore

import (
	"cmp"
	"context"
	"errors"
	"math"
	"sync"

	"seawal/internal/segment"
	"seawal/store"
)

// A log segment's name tells where it begins. It ends right in front of the next one, unless that one is
// missing: then its own footer says otherwise, or its content does when it is applied. So a plan is
// made of what the names tell, for nothing; what proves it wrong is noted in planner.ends, and the next try knows better.

// openEnd is the last transaction of a log segment that may go on for ever, as far as is known: no name is behind it.
const openEnd = math.MaxUint64

// footersAtOnce is how many footers are asked for at a time.
const footersAtOnce = 16

// errMeasured says that a log segment ends elsewhere than was taken for granted, and that planner.ends has it now.
var errMeasured = errors.New("a log segment ends in front of where the next one begins")

// measure sets the ends of the log segments: what is known of them, else where the next one begins.
func (h *history) measure() {
	for i := range h.logs {
		o := &h.logs[i]
		last, known := h.ends[o.String()]
		switch behind := h.behind[o.Timeline]; {
		case known:
			o.Last = last
		case i+1 < len(h.logs) && h.logs[i+1].Timeline == o.Timeline:
			o.Last = h.logs[i+1].First - 1
		case behind > o.First:
			o.Last = behind - 1
		default:
			o.Last = openEnd
		}
		o.end = min(o.Last, h.branchOf(o.Timeline).to)
	}
}

// learn notes where a log segment really ends. The error is errMeasured when that is elsewhere than o says.
func (p *planner) learn(o object, last uint64) error {
	switch {
	case o.Kind != segment.Log || last == o.Last:
		return nil
	case last > o.Last:
		return unfit(o.String(), "ends with transaction %d, and the next segment begins with %d", last, o.Last+1)
	}
	p.ends[o.String()] = last
	if min(last, o.end) == o.end {
		return nil // behind a fork
	}
	return errMeasured
}

// info reads an object's footer, and learns from it.
func (p *planner) info(ctx context.Context, o object) (segment.Info, error) {
	info, err := readInfo(ctx, p.store, o.Name, o.size)
	if err != nil {
		return segment.Info{}, err
	}
	return info, p.learn(o, info.Last)
}

// measureEnd finds out where the log ends. When that can't be told, because the last segment is among the bad, it stays open.
func (p *planner) measureEnd(ctx context.Context) error {
	n := len(p.hist.logs)
	if n == 0 || p.hist.logs[n-1].end != openEnd {
		return nil
	}
	o := p.hist.logs[n-1]
	if _, bad := p.bad[o.String()]; bad {
		return nil
	}
	if _, err := p.info(ctx, o); err != nil && !errors.Is(err, errMeasured) {
		return err
	}
	p.hist.measure()
	return nil
}

// prove reads the footers of a plan's log segments, but for the last one's, which is known to reach the
// target. It returns false when there are too many for that.
func (p *planner) prove(ctx context.Context, steps []Step) (bool, error) {
	var logs []object
	for _, s := range steps[:len(steps)-1] {
		if s.name.Kind == segment.Log {
			logs = append(logs, object{Name: s.name, size: s.Size, end: s.Last})
		}
	}
	if len(logs) > p.footers {
		return false, nil
	}
	var wrong error // with the first one in order
	first := len(logs)
	err := readFooters(ctx, p.store, logs, func(i int, info segment.Info, err error) error {
		var bad *badObject
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		if err == nil {
			err = p.learn(logs[i], info.Last)
		}
		if err != nil && i < first {
			first, wrong = i, err
		}
		return nil
	})
	return true, cmp.Or(err, wrong)
}

// readFooters reads the footers of objects, a few at a time, and calls each with what it got, one call at a time. An error of
// each ends it.
func readFooters(ctx context.Context, s store.Store, objects []object, each func(i int, info segment.Info, err error) error) error {
	var mu sync.Mutex // guards next, and what each does
	next := 0
	g := newGroup(ctx)
	for range min(footersAtOnce, len(objects)) {
		g.run(func(ctx context.Context) error {
			for ctx.Err() == nil {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= len(objects) {
					return nil
				}
				info, err := readInfo(ctx, s, objects[i].Name, objects[i].size)
				mu.Lock()
				err = each(i, info, err)
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.wait()
}
