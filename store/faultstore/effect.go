package faultstore

import "time"

// effectKind says what becomes of a call.
type effectKind uint8

const (
	effectNone effectKind = iota
	effectFail
	effectHang
	effectCutShort
	effectSlow
	effectLostAck
	effectLate
)

// Effect is what becomes of a call that a rule meets. The zero value is nothing:
// the call passes.
type Effect struct {
	kind  effectKind
	err   error
	bytes int64
	delay time.Duration
}

// Pass lets the call through: a rule with it shields calls from the rules behind it.
func Pass() Effect { return Effect{} }

// Fail returns err; the store behind is not asked.
func Fail(err error) Effect { return Effect{kind: effectFail, err: err} }

// Hang waits until the call's context ends; the store behind is not asked.
func Hang() Effect { return Effect{kind: effectHang} }

// CutShort breaks the connection after n bytes. Of a Create n bytes of the body
// are read and nothing is stored; a reader yields n bytes; both then say
// io.ErrUnexpectedEOF, as a broken connection does. A listing yields n objects and that
// error; Stat and Delete fail with it at once. What is not longer than n passes whole.
func CutShort(n int64) Effect { return Effect{kind: effectCutShort, bytes: n} }

// Slow waits for d on Options.Clock and then lets the call through.
func Slow(d time.Duration) Effect { return Effect{kind: effectSlow, delay: d} }

// LostAck lets the call through and then returns err, though it succeeded. What
// fails anyway returns its own error. A reader or a listing yields everything,
// and err in place of its end.
func LostAck(err error) Effect { return Effect{kind: effectLostAck, err: err} }

// Late returns err, and applies a Create or a Delete only when the test calls
// Deliver: the request that was given up and got there after all. The body of a
// Create is read at once. Of other calls it is Fail.
func Late(err error) Effect { return Effect{kind: effectLate, err: err} }

// Rule is a Predicate with its Effect, made by When.
type Rule struct {
	predicate Predicate
	effect    Effect
}

// When gives calls that p matches the effect e.
func When(p Predicate, e Effect) Rule { return Rule{p, e} }
