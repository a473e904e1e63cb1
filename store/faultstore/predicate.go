package faultstore

import (
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"sync/atomic"

	"seawal/store"
)

// Call is one call of a method of a Store.
type Call struct {
	Op   store.Op
	Name string // the object; of a listing the prefix
}

// String is like "create 00000001/timeline.json".
func (c Call) String() string { return c.Op.String() + " " + c.Name }

// Predicate chooses calls. Match is called once for each call that reaches the
// predicate, from the goroutine of the call; it may count.
type Predicate interface {
	Match(Call) bool
}

// PredicateFunc is a function as a Predicate.
type PredicateFunc func(Call) bool

// Match implements Predicate.
func (f PredicateFunc) Match(c Call) bool { return f(c) }

// Always matches every call.
func Always() Predicate { return PredicateFunc(func(Call) bool { return true }) }

// OnOp matches calls of these classes.
func OnOp(ops ...store.Op) Predicate {
	return PredicateFunc(func(c Call) bool {
		for _, op := range ops {
			if c.Op == op {
				return true
			}
		}
		return false
	})
}

// NameMatch matches names by a pattern of path.Match, in which a star stands for
// anything within a component: "*/log/*". It panics on a malformed pattern.
func NameMatch(pattern string) Predicate {
	if _, err := path.Match(pattern, ""); err != nil {
		panic(fmt.Sprintf("faultstore: pattern %q: %v", pattern, err))
	}
	return PredicateFunc(func(c Call) bool {
		ok, _ := path.Match(pattern, c.Name) // the pattern is good
		return ok
	})
}

// OnIndex matches one call: the one with this number, from 0, among those that
// reach it. Inside And it counts only what the predicates before it matched.
func OnIndex(index int) Predicate { return Between(index, index+1) }

// Between matches the calls numbered from up to but not including to, counted as
// in OnIndex.
func Between(from, to int) Predicate {
	var seen atomic.Int64
	return PredicateFunc(func(Call) bool {
		i := seen.Add(1) - 1
		return int64(from) <= i && i < int64(to)
	})
}

// Randomly matches each call with probability p, 0 to 1, by a generator of its own.
func Randomly(p float64, seed uint64) Predicate {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0)) // under mu
	return PredicateFunc(func(Call) bool {
		mu.Lock()
		defer mu.Unlock()
		return rng.Float64() < p
	})
}

// And matches what all of ps match. It asks them in turn up to the first that
// does not.
func And(ps ...Predicate) Predicate {
	return PredicateFunc(func(c Call) bool {
		for _, p := range ps {
			if !p.Match(c) {
				return false
			}
		}
		return true
	})
}

// Or matches what any of ps matches. It asks them in turn up to the first that does.
func Or(ps ...Predicate) Predicate {
	return PredicateFunc(func(c Call) bool {
		for _, p := range ps {
			if p.Match(c) {
				return true
			}
		}
		return false
	})
}

// Not matches what p does not.
func Not(p Predicate) Predicate { return PredicateFunc(func(c Call) bool { return !p.Match(c) }) }

// Toggle matches every call while it is on. The zero value is off. It is safe
// for concurrent use.
type Toggle struct{ on atomic.Bool }

var _ Predicate = (*Toggle)(nil)

// On makes it match.
func (t *Toggle) On() { t.on.Store(true) }

// Off makes it match no more.
func (t *Toggle) Off() { t.on.Store(false) }

// Match implements Predicate.
func (t *Toggle) Match(Call) bool { return t.on.Load() }

// Counter matches what P matches, and counts it. With a nil P it matches, and
// counts, nothing. It is safe for concurrent use as P is.
type Counter struct {
	P Predicate

	n atomic.Int64
}

var _ Predicate = (*Counter)(nil)

// Match implements Predicate.
func (c *Counter) Match(call Call) bool {
	if c.P == nil || !c.P.Match(call) {
		return false
	}
	c.n.Add(1)
	return true
}

// Count is how many calls have matched so far.
func (c *Counter) Count() int { return int(c.n.Load()) }
