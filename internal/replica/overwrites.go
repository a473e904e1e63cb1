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
// later reader is told. The error is ErrOverwrites then.
func ProveCreate(ctx context.Context, s store.Store, r Replica) error {
	r.Format, r.Created, r.Overwrites = formatOf(r.Key), r.Created.UTC(), true
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", segment.ReplicaName, err)
	}
	err = s.Create(ctx, segment.ReplicaName, store.BytesBody(seal(b)))
	switch {
	case errors.Is(err, store.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("see whether the store overwrites: %w", err)
	}
	return ErrOverwrites
}
