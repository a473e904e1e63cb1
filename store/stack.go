package store

// StackOptions says what goes around a store. The zero value repeats with the
// default policy and neither limits nor counts.
type StackOptions struct {
	Retry  RetryPolicy
	Budget *Budget // nil: no limit
	Counts *Counts // nil: not counted
}

// Stack is the one place that puts the decorators around a store, in this order
// from the outside:
//
//	Retry   outermost, so that a call which waits to be repeated holds no part of the budget
//	Limit   each attempt pays
//	Count   innermost: what passed the budget and really went to the store
func Stack(s Store, o StackOptions) Store {
	if o.Counts != nil {
		s = Count(s, o.Counts)
	}
	if o.Budget != nil {
		s = Limit(s, o.Budget)
	}
	return Retry(s, o.Retry)
}
