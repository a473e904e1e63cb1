package replica

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"seawal/internal/segment"
	"seawal/store"
)

// ErrOverwrites says that a store takes a name that is taken: some services accept the condition of a create, and don't look at
// it. Two writers would overwrite each other's segments there, and nobody would notice.
var ErrOverwrites = errors.New("the store overwrites what is there: it ignores the condition that creates a name only once (If-None-Match)")

// ProveCreate sees whether a store creates a name only once: it creates replica.json, which is there, a second time, with other
// bytes. What is to be refused is the same document, but that it says of the store that it was not: where it lands, every
// later reader is told. The error is ErrOverwrites then. It is tried twice, the second time as large objects are created: some
// services look at the condition only where an object comes in one piece.
func ProveCreate(ctx context.Context, s store.Store, r Replica) error {
	r.Format, r.Created, r.Overwrites = formatOf(r.Key), r.Created.UTC(), true
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", segment.ReplicaName, err)
	}
	body := store.BytesBody(seal(b))
	for _, way := range []context.Context{ctx, store.WithParts(ctx)} {
		err = s.Create(way, segment.ReplicaName, body)
		switch {
		case errors.Is(err, store.ErrExist):
		case err != nil:
			return fmt.Errorf("see whether the store overwrites: %w", err)
		case store.WantsParts(way):
			return fmt.Errorf("%w, for objects that are uploaded in parts", ErrOverwrites)
		default:
			return ErrOverwrites
		}
	}
	return nil
}
