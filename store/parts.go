package store

import "context"

type partsKey struct{}

// WithParts asks Create to store an object in the way in which it stores a large one, however small it is. A store that has one way
// only takes no notice. It is for seeing what a service does with large objects without sending one.
func WithParts(ctx context.Context) context.Context {
	return context.WithValue(ctx, partsKey{}, true)
}

// WantsParts says whether ctx is of WithParts.
func WantsParts(ctx context.Context) bool {
	return ctx.Value(partsKey{}) != nil
}
